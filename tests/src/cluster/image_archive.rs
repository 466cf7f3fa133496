//! Container images without a registry. In: a folder that is the only layer, and what each image of it starts. Out: an
//! archive as `docker save` writes it, which `ctr images import` reads.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::image::WORKLOAD;

/// A service that ends when its standard input does: its container needs `stdin: true`.
pub const SERVICE: Image<'static> = Image { name: "podsweep.test/service:1", command: &[WORKLOAD, "serve"] };
/// What holds the namespaces of a pod. No signal is asked of it but SIGKILL.
pub const PAUSE: Image<'static> =
    Image { name: "podsweep.test/pause:1", command: &["/bin/busybox", "sleep", "2147483647"] };

/// One image.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// With its tag, which must not be `latest`: the kubelet would ask a registry.
    pub name: &'a str,
    /// What its containers start.
    pub command: &'a [&'a str],
}

/// Writes the archive into `folder`, an empty one. Files of `layer` are root's in it.
pub fn write(folder: &Path, layer: &Path, images: &[Image<'_>]) -> Result<PathBuf> {
    let contents = folder.join("contents");
    fs::create_dir_all(&contents).with_context(|| format!("cannot make {}", contents.display()))?;
    let layer_archive = folder.join("layer.tar");
    pack(&layer_archive, layer)?;
    let digest = sha256(&layer_archive)?;
    let layer_name = format!("{digest}.tar");
    fs::rename(&layer_archive, contents.join(&layer_name))?;
    let mut manifest = Vec::new();
    for image in images {
        let name = add_config(&contents, image, &digest)?;
        manifest.push(json!({"Config": name, "RepoTags": [image.name], "Layers": [layer_name]}));
    }
    fs::write(contents.join("manifest.json"), Value::from(manifest).to_string())?;
    let archive = folder.join("images.tar");
    pack(&archive, &contents)?;
    Ok(archive)
}

/// A config's name is the hash of its contents.
fn add_config(contents: &Path, image: &Image<'_>, layer: &str) -> Result<String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": image.command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created_by": "podsweep's tests"}],
    });
    let unnamed = contents.join("config");
    fs::write(&unnamed, config.to_string()).with_context(|| format!("cannot write {}", unnamed.display()))?;
    let name = format!("{}.json", sha256(&unnamed)?);
    fs::rename(unnamed, contents.join(&name))?;
    Ok(name)
}

fn pack(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--owner=0", "--group=0", "--numeric-owner", "--file"]).arg(archive);
    // Names as they are in an image, without `./`.
    tar.arg("--directory").arg(folder).args(["--transform=s,^\\./,,", "."]);
    said(&mut tar).map(drop)
}

fn sha256(file: &Path) -> Result<String> {
    let sum = said(Command::new("sha256sum").arg("--").arg(file))?;
    Ok(sum.split(' ').next().unwrap_or_default().to_owned())
}

fn said(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot start {}", shown(command.get_program())))?;
    if !output.status.success() {
        bail!("{}: {}", shown(command.get_program()), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}
