//! Which processes a cgroup holds, and which of them is the container's first.
//!
//! In: cgroup directories, pids. Out: [`Process`]es. Must never: take a pid for a process without its start time.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::Process;
use crate::kernel;

/// Most processes of one container that are looked at for its first one. The kernel lists them unsorted; with more,
/// the first found may be a later one, which is still a process of the same container.
const MAX_PROCESSES: usize = 4096;

/// The process of these cgroups that started first; of two in the same clock tick, the one with the lower pid.
pub(super) fn first<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Option<Process> {
    let pids = directories.into_iter().flat_map(pids).take(MAX_PROCESSES);
    pids.filter_map(kernel::running).min_by_key(|process| (process.start_time, process.pid))
}

/// All processes of this very cgroup, bounded.
pub(super) fn pids(directory: &Path) -> impl Iterator<Item = i32> {
    let file = File::open(directory.join("cgroup.procs")).ok();
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    // 0 stands for a process of another pid namespace.
    lines.filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).take(MAX_PROCESSES)
}

/// Whether this very process still runs (a zombie does not).
pub(super) fn is_running(process: &Process) -> bool {
    kernel::running(process.pid).as_ref() == Some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Process {
        kernel::process(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let own = own();
        assert!(is_running(&own));
        assert!(!is_running(&Process { start_time: own.start_time + 1, ..own }));
    }

    #[test]
    fn the_first_is_the_earliest_over_all_cgroups() {
        let home = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        for (name, pid) in [("a", child.id()), ("b", std::process::id())] {
            std::fs::create_dir(home.path().join(name)).unwrap();
            std::fs::write(home.path().join(name).join("cgroup.procs"), format!("0\n{pid}\n")).unwrap();
        }
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        let child_pid = i32::try_from(child.id()).unwrap();
        assert_eq!(first([a.as_path()]).map(|found| found.pid), Some(child_pid));
        assert_eq!(first([a.as_path(), b.as_path()]), Some(own()));
        assert_eq!(pids(&a).collect::<Vec<_>>(), [child_pid]);

        // Ended but not waited for: a zombie, and no process of the container any more.
        child.kill().unwrap();
        while std::fs::read_to_string(format!("/proc/{child_pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            std::thread::yield_now();
        }
        assert_eq!(first([a.as_path()]), None);
        child.wait().unwrap();
    }
}
