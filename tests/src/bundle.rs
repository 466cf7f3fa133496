//! An OCI bundle: an overlayfs root on the disk, and the config.json that runc reads. Plain runc, no daemon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::image::{self, WORKLOAD};
use crate::workspace::Workspace;

/// What a small service gets from Docker, less what it has no use for.
const CAPABILITIES: [&str; 5] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL"];

/// A mounted root with its config; unmounted when this is dropped.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// Makes it in the workspace. Its containers' cgroup will be `cgroup`; a `volume` of the host is at `/vol`.
    pub fn make(workspace: &Workspace, cgroup: &str, volume: Option<&Path>) -> Result<Self> {
        let path = workspace.path().to_owned();
        let [lower, upper, work, merged] =
            ["lower", "upper", "work", "merged"].map(|name| workspace.folder(name));
        let lower = lower?;
        image::build(&lower)?;
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper?.display(), work?.display());
        mount(Some("overlay"), &merged?, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount an overlay ({options})"))?;
        let bundle = Self { path };
        fs::write(bundle.path.join("config.json"), config(cgroup, volume).to_string())?;
        Ok(bundle)
    }

    /// The folder that holds config.json.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let merged = self.path.join("merged");
        if let Err(error) = umount2(&merged, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", merged.display());
        }
    }
}

fn config(cgroup: &str, volume: Option<&Path>) -> Value {
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
               "options": ["nosuid", "noexec", "nodev", "ro"]}),
    ];
    mounts.extend(
        volume.map(|source| json!({"destination": "/vol", "source": source, "options": ["bind", "rw"]})),
    );
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [WORKLOAD, "serve"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "noNewPrivileges": true
        },
        "root": {"path": "merged", "readonly": false},
        "hostname": "podsweep-test",
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
        }
    })
}
