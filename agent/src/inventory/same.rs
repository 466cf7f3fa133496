//! Whether a container is still the one that was looked at before.

use super::cgroup_name::is_within;
use super::{Container, processes};
use crate::kernel;

/// The container that was looked at is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Gone {
    /// One stable word, a label of metrics: `ContainerGone` (its first process ended), `ContainerRestarted` (the
    /// pid is another process's now), `ContainerMoved` (the process is in another cgroup), `Unreadable` (the
    /// kernel would not say, which counts as gone).
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Reads the first process's start time and cgroup again. Ask before every batch; costs two small reads.
pub fn still_the_same(container: &Container) -> Result<(), Gone> {
    let first = container.first;
    let gone = |reason, message| Err(Gone { reason, message });
    match kernel::start_time(first.pid) {
        Ok(started) if started == first.start_time => {}
        Ok(_) => return gone("ContainerRestarted", format!("pid {} is another process now", first.pid)),
        Err(error) => return gone("ContainerGone", format!("the first process ended: {error}")),
    }
    if !processes::is_running(&first) {
        return gone("ContainerGone", format!("the first process, {}, is a zombie", first.pid));
    }
    match kernel::cgroup_of(&first.pid.to_string()) {
        Ok(path) if is_within(&path, &container.cgroup_path) => Ok(()),
        Ok(path) => gone(
            "ContainerMoved",
            format!("the first process is in cgroup {path:?}, no longer in {:?}", container.cgroup_path),
        ),
        Err(error) => gone("Unreadable", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CgroupId, Names, Process, Runtime};
    use super::*;

    fn container(first: Process) -> Container {
        Container {
            cgroup: CgroupId(1),
            cgroup_path: kernel::cgroup_of("self").unwrap(),
            nested: Vec::new(),
            runtime: Runtime::Other,
            id: "c".into(),
            names: Names::default(),
            first,
            layer: None,
            volumes: Vec::new(),
            other_mounts: Vec::new(),
        }
    }

    #[test]
    fn each_way_to_be_gone_has_its_word() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = kernel::process(pid).unwrap();
        let same = container(own);
        assert_eq!(still_the_same(&same), Ok(()));

        let word = |container: &Container| still_the_same(container).unwrap_err().reason;
        let restarted = container(Process { start_time: own.start_time + 1, ..own });
        assert_eq!(word(&restarted), "ContainerRestarted");
        assert_eq!(word(&Container { cgroup_path: "/elsewhere".into(), ..same }), "ContainerMoved");

        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let ended = container(kernel::process(i32::try_from(child.id()).unwrap()).unwrap());
        assert_eq!(still_the_same(&ended), Ok(()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(word(&ended), "ContainerGone");
    }
}
