//! The agent's pod, without a kubelet: runc starts the program with the rights that deploy/base/agent.yaml gives it, in
//! a root that cannot be written to and a cgroup namespace of its own, as a runtime does on cgroup2 for containers that
//! are not privileged. In: a folder that is the agent's. Out: a command that starts it, and everything gone afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{cgroup, image, rights};

/// Part of this program: guests have no sources.
const MANIFEST: &str = include_str!("../../deploy/base/agent.yaml");
/// The one that kernels from 5.11 on do without, by its bit: some machines that run tests have none to give.
const DISPENSABLE: (&str, u64) = ("CAP_SYS_RESOURCE", 1 << 24);
/// Where the pod sees the program.
const PROGRAM: &str = "/podsweep";
/// What its shared libraries are in.
const LIBRARIES: [&str; 3] = ["lib", "lib64", "usr"];
/// What containerd hides of /proc and /sys, and what it lets nobody write to.
const HIDDEN: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container that runs the agent. Dropped, it is gone, with its cgroups.
#[derive(Debug)]
pub struct Pod {
    name: String,
    folder: PathBuf,
}

impl Pod {
    /// For an agent whose files are all in `folder`, which it may write to; `environment` as `NAME=value`.
    pub fn make(name: &str, folder: &Path, config: &Path, environment: &[String]) -> Result<Self> {
        let pod = Self { name: name.to_owned(), folder: folder.join("pod") };
        let root = pod.folder.join("root");
        fs::create_dir_all(&root)?;
        let libraries = libraries(&root)?;
        let spec = pod.spec(folder, config, environment, &libraries)?;
        fs::write(pod.folder.join("config.json"), spec.to_string())?;
        Ok(pod)
    }

    /// Starts it; ends when it ends, and hands on signals to end.
    pub fn command(&self) -> Command {
        let mut runc = self.runc();
        runc.args(["run", "--bundle"])
            .arg(&self.folder)
            .arg("--pid-file")
            .arg(self.pid_file())
            .arg(&self.name);
        runc
    }

    /// The agent's process.
    pub fn pid(&self) -> Result<i32> {
        fs::read_to_string(self.pid_file())?.trim().parse().context("runc wrote no pid")
    }

    fn spec(&self, folder: &Path, config: &Path, environment: &[String], more: &[Value]) -> Result<Value> {
        let rights = agents_rights()?;
        let added = rights["capabilities"]["add"].as_array().context("no capabilities in the manifest")?;
        let added = added.iter().filter_map(|name| Some(format!("CAP_{}", name.as_str()?)));
        let given = rights::of_all_threads(i32::try_from(std::process::id())?)?;
        let has_all = given.iter().all(|thread| thread.bounding & DISPENSABLE.1 != 0);
        let capabilities: Vec<_> = added.filter(|name| has_all || name != DISPENSABLE.0).collect();
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                   "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                   "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                   "options": ["nosuid", "noexec", "nodev", "ro"]}),
            bind("/sys/fs/cgroup".as_ref(), &["rbind", "rslave", "rw"]),
            // The layers of the tests' containers, and the agent's own folder among them.
            bind(folder.parent().context("the agent's folder is in none")?, &["rbind", "rslave", "ro"]),
            bind(folder, &["rbind", "rw"]),
            json!({"destination": PROGRAM, "source": image::program("podsweep")?, "options": ["bind", "ro"]}),
        ];
        mounts.extend_from_slice(more);
        Ok(json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": rights["runAsUser"], "gid": 0},
                "args": [PROGRAM, "agent", "--config", config],
                "env": environment,
                "cwd": "/",
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
                "noNewPrivileges": rights["allowPrivilegeEscalation"] == false
            },
            "root": {"path": "root", "readonly": rights["readOnlyRootFilesystem"]},
            "mounts": mounts,
            "linux": {
                "cgroupsPath": format!("/{}/agent", self.parent()),
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "rootfsPropagation": "rslave",
                // Of the node: its processes (hostPID).
                "namespaces": [{"type": "cgroup"}, {"type": "ipc"}, {"type": "mount"}, {"type": "network"},
                               {"type": "uts"}],
                "maskedPaths": HIDDEN,
                "readonlyPaths": READ_ONLY
            }
        }))
    }

    /// The cgroup that a kubelet would make for the pod.
    fn parent(&self) -> String {
        format!("{}.pod", self.name)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        // Never the machine's own /run/runc.
        runc.arg("--root").arg(self.folder.join("state"));
        runc
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Gone already where it has ended by itself.
        let _ = self.runc().args(["delete", "--force", &self.name]).output();
        if let Err(error) = cgroup::remove(&self.parent()) {
            eprintln!("pod {}: {error:#}", self.name);
        }
    }
}

fn bind(path: &Path, options: &[&str]) -> Value {
    json!({"destination": path, "source": path, "options": options})
}

/// Links as the machine has them, mounts of what they lead to.
fn libraries(root: &Path) -> Result<Vec<Value>> {
    let mut mounts = Vec::new();
    for name in LIBRARIES {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => symlink(target, root.join(name))?,
            Err(_) if path.is_dir() => mounts.push(bind(&path, &["rbind", "ro"])),
            Err(_) => {}
        }
    }
    Ok(mounts)
}

/// The agent's securityContext in the manifest.
fn agents_rights() -> Result<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(MANIFEST)?;
    let daemon_set = documents.iter().find(|document| document["kind"] == "DaemonSet");
    let daemon_set = daemon_set.context("no DaemonSet in the manifest")?;
    Ok(daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"].clone())
}
