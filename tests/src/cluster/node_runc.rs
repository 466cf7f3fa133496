//! runc as a node's containerd calls it. On a machine whose controllers are on cgroup v1, runc leaves a container's
//! processes in whatever cgroup2 cgroup it was started from: those of all pods would be one to podsweep. So it is started
//! from the cgroup2 cgroup of the same path as the others, where cgroup2 alone would have put them.
//!
//! In: runc's own arguments. Out: runc, in this process's place. Must never change what runc is asked to do.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podsweep::kernel::Cgroups;
use serde_json::Value;

/// A cgroup is empty a moment after its last process was reaped.
const REMOVALS: u32 = 20;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(50);

/// Does what runc is asked to do by `arguments`, the program's own name left out.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let cgroups = Cgroups::find()?;
    let mut runc = Command::new("runc");
    runc.args(arguments);
    let call = Call(arguments);
    if cgroups.v1.contains_key("memory") {
        match call.subcommand() {
            Some("create" | "run") => join(&cgroups.directory(&call.cgroup_of_bundle()?))?,
            Some("exec") => join(&cgroups.directory(&call.cgroup_of_container()?))?,
            Some("delete") => return delete(&mut runc, &call, &cgroups),
            _ => {}
        }
    }
    Err(runc.exec()).context("cannot start runc")
}

/// Its cgroup goes with it, and its pod's with the last container.
fn delete(runc: &mut Command, call: &Call<'_>, cgroups: &Cgroups) -> Result<ExitCode> {
    // runc is asked a second time where it is not sure of the first: its records may be gone.
    let directory = call.cgroup_of_container().ok().map(|path| cgroups.directory(&path));
    let status = runc.status().context("cannot start runc")?;
    if let Some(directory) = directory.filter(|_| status.success()) {
        remove(&directory);
        let _ = directory.parent().map(fs::remove_dir);
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn join(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
    let procs = directory.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot write {}", procs.display()))
}

/// What is left goes with the node.
fn remove(directory: &Path) {
    for _ in 0..REMOVALS {
        if fs::remove_dir(directory).is_ok() || !directory.exists() {
            return;
        }
        sleep(BETWEEN_REMOVALS);
    }
}

/// The arguments of one call.
struct Call<'a>(&'a [OsString]);

impl Call<'_> {
    fn subcommand(&self) -> Option<&str> {
        const CHANGING: [&str; 4] = ["create", "run", "exec", "delete"];
        self.0.iter().filter_map(|word| word.to_str()).find(|word| CHANGING.contains(word))
    }

    fn value(&self, flag: &str) -> Option<&OsStr> {
        let position = self.0.iter().position(|word| word == flag)?;
        self.0.get(position + 1).map(OsString::as_os_str)
    }

    fn cgroup_of_bundle(&self) -> Result<String> {
        let bundle = self.value("--bundle").context("runc is called without a bundle")?;
        field(&Path::new(bundle).join("config.json"), "/linux/cgroupsPath")
    }

    /// runc's own record of a container.
    fn cgroup_of_container(&self) -> Result<String> {
        let root = self.value("--root").map_or_else(|| PathBuf::from("/run/runc"), PathBuf::from);
        let id = self.0.last().context("runc is called without arguments")?;
        field(&root.join(id).join("state.json"), "/config/cgroups/path")
    }
}

fn field(file: &Path, pointer: &str) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let value: Value = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
    let field = value.pointer(pointer).and_then(Value::as_str);
    field.map(str::to_owned).with_context(|| format!("{}: no {pointer}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_call_is_told_by_its_subcommand_whatever_stands_before_it() {
        let line =
            "--root /run/r --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid id1";
        let create = words(line);
        assert_eq!(Call(&create).subcommand(), Some("create"));
        assert_eq!(Call(&create).value("--bundle"), Some(OsStr::new("/b")));
        assert_eq!(Call(&words("--root /run/r kill id1 9")).subcommand(), None);
    }

    #[test]
    fn a_containers_cgroup_is_in_runcs_record() {
        let root = std::env::temp_dir().join(format!("podsweep-node-runc-{}", std::process::id()));
        fs::create_dir_all(root.join("id1")).unwrap();
        fs::write(root.join("id1/state.json"), r#"{"config": {"cgroups": {"path": "/kubepods/x"}}}"#)
            .unwrap();
        let line = words(&format!("--root {} delete id1", root.display()));
        assert_eq!(Call(&line).cgroup_of_container().unwrap(), "/kubepods/x");
        fs::remove_dir_all(root).unwrap();
    }
}
