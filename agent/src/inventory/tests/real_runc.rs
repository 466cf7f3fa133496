//! A container that runc made, with volumes of each kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::super::{Runtime, Volume, VolumeKind, still_the_same};
use super::stage::{Stage, ids, made, settle_until};

/// Deletes the container at the end of the test, however it ends.
struct Container<'a>(&'a str);

impl Drop for Container<'_> {
    fn drop(&mut self) {
        Command::new("runc").args(["delete", "--force", self.0]).status().ok();
    }
}

fn bind(source: &Path, destination: &str, option: &str) -> serde_json::Value {
    json!({"source": source, "destination": destination, "type": "bind", "options": ["bind", option]})
}

/// Writes the bundle's config.json: runc's own example, with what the test is about put in.
fn write_config(stage: &Stage, cgroup: &str, binds: &[serde_json::Value]) {
    let bundle = stage.path("bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    assert!(Command::new("runc").arg("spec").current_dir(&bundle).status().unwrap().success());
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/busybox", "sleep", "600"]);
    config["root"]["readonly"] = json!(false);
    config["annotations"] = json!({"org.opencontainers.image.ref.name": "busybox:test"});
    config["linux"]["cgroupsPath"] = json!(cgroup);
    config["mounts"].as_array_mut().unwrap().extend(binds.iter().cloned());
    fs::write(file, config.to_string()).unwrap();
}

fn run(stage: &Stage, id: &str) {
    let script = "mount -t overlay overlay -o lowerdir=$HOME/lower,upperdir=$HOME/upper,workdir=$HOME/work \
                  $HOME/bundle/rootfs && exec runc run --detach --bundle $HOME/bundle $ID";
    let status = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .env("HOME", stage.path(""))
        .env("ID", id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "runc run: {status}");
}

#[test]
fn runc_makes_a_container_that_is_known_by_name_with_layer_and_volumes() {
    let stage = Stage::new();
    let id = format!("{:064x}", std::process::id());
    let directory = |name: String| -> PathBuf {
        let path = stage.path(&name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let anonymous = directory(format!("volumes/{}/_data", "ab".repeat(32)));
    let allowed = directory("allowed/cache".into());
    let read_only = directory("allowed/read-only".into());
    let named = directory("volumes/database/_data".into());
    let (parent, parent_path) = stage.make("/docker");
    let path = format!("{parent_path}/{id}");
    let binds = [
        bind(&anonymous, "/scratch", "rw"),
        bind(&allowed, "/cache", "rw"),
        bind(&read_only, "/ro", "ro"),
        bind(&named, "/db", "rw"),
    ];
    write_config(&stage, &path, &binds);
    let mut inventory = stage.inventory();
    assert!(inventory.apply(&made(parent, &parent_path)).is_empty());

    let running = Container(&id);
    run(&stage, &id);
    let cgroup = stage.id(&path);
    let mut changes = inventory.apply(&made(cgroup, &path));
    let later = settle_until(&mut inventory, |inventory| {
        inventory.get(cgroup).is_some_and(|container| container.layer.is_some())
    });
    changes.added.extend(later.added);
    assert_eq!(ids(&changes.added), [cgroup]);

    let container = inventory.get(cgroup).unwrap().clone();
    assert_eq!((container.runtime, container.id.as_str()), (Runtime::Docker, id.as_str()));
    assert_eq!(container.names.image.as_deref(), Some("busybox:test"));
    assert_eq!(container.layer.as_ref().unwrap().upper, stage.path("upper"));
    let mut volumes: Vec<_> = container
        .volumes
        .iter()
        .map(|Volume { kind, mount_point, host_path, .. }| (*kind, mount_point.clone(), host_path.clone()))
        .collect();
    volumes.sort();
    assert_eq!(volumes, [(VolumeKind::HostPath, "/cache".into(), allowed)]);
    for other in ["/ro", "/db", "/scratch", "/proc", "/dev"] {
        assert!(container.other_mounts.iter().any(|mount| mount == Path::new(other)), "{other}");
    }
    assert_eq!(still_the_same(&container), Ok(()));

    drop(running);
    assert!(still_the_same(&container).is_err());
    let changes = settle_until(&mut inventory, |inventory| inventory.get(cgroup).is_none());
    assert_eq!(ids(&changes.removed), [cgroup]);
}
