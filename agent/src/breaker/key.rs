//! Which workload a container belongs to, where no API server says so. Pure.

use crate::inventory::{Container, Runtime};

/// Longest key, bytes. Image references end at 255 plus a tag and a digest; a longer name is cut, which can only put
/// more containers behind one breaker.
pub const MAX_KEY_BYTES: usize = 512;

/// What a container shares with the others of its workload: the owner where it is known, else the image, else the
/// unit (all instances of a template are one), else the parent cgroup.
pub fn workload_key(container: &Container) -> String {
    let names = &container.names;
    let key = match (&names.namespace, &names.workload, &names.image) {
        (Some(namespace), Some(workload), _) => format!("{namespace}/{workload}"),
        (None, Some(workload), _) => workload.clone(),
        (_, None, Some(image)) => image.clone(),
        (_, None, None) if container.runtime == Runtime::Unit => without_instance(&container.cgroup_path),
        (_, None, None) => parent(&container.cgroup_path).to_owned(),
    };
    cut(key)
}

// `/system.slice/system-web.slice/web@3.service` -> `/system.slice/system-web.slice/web@.service` (systemd.unit(5))
fn without_instance(path: &str) -> String {
    let (folder, unit) = path.rsplit_once('/').unwrap_or(("", path));
    match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((template, _)), Some((_, suffix))) => format!("{folder}/{template}@.{suffix}"),
        _ => path.to_owned(),
    }
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

fn cut(mut key: String) -> String {
    key.truncate(key.floor_char_boundary(MAX_KEY_BYTES));
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{CgroupId, Names, Process};

    fn container(runtime: Runtime, path: &str, names: Names) -> Container {
        Container {
            cgroup: CgroupId(1),
            cgroup_path: path.into(),
            nested: vec![],
            runtime,
            id: "0123".into(),
            names,
            first: Process { pid: 1, start_time: 1 },
            layer: None,
            volumes: vec![],
            other_mounts: vec![],
        }
    }

    #[test]
    fn the_owner_comes_before_the_image() {
        let names = Names {
            namespace: Some("shop".into()),
            workload: Some("Deployment/cart".into()),
            image: Some("cart:1".into()),
            ..Names::default()
        };
        assert_eq!(
            workload_key(&container(Runtime::Containerd, "/a/b", names.clone())),
            "shop/Deployment/cart"
        );
        let no_owner = Names { workload: None, ..names };
        assert_eq!(workload_key(&container(Runtime::Containerd, "/a/b", no_owner)), "cart:1");
    }

    #[test]
    fn without_names_the_cgroup_tells() {
        let key = |runtime, path| workload_key(&container(runtime, path, Names::default()));
        assert_eq!(key(Runtime::Docker, "/docker/0123"), "/docker");
        assert_eq!(key(Runtime::Other, "/top"), "/");
        assert_eq!(key(Runtime::Unit, "/system.slice/web.service"), "/system.slice/web.service");
        assert_eq!(key(Runtime::Unit, "/system.slice/web@3.service"), "/system.slice/web@.service");
    }

    #[test]
    fn a_long_key_is_cut_between_characters() {
        let names = Names { image: Some("ä".repeat(MAX_KEY_BYTES)), ..Names::default() };
        assert_eq!(workload_key(&container(Runtime::Docker, "/x", names)).len(), MAX_KEY_BYTES);
    }
}
