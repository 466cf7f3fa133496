//! How a scan ends, and that nothing is left of it.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep::scan::{self, ScanEnd, ScanMessage, sweep_leftovers};
use podsweep::units::Span;

use crate::place::{
    MANY, Slice, eventually, fill, fill_beyond_buffers, is_gone, is_held_back, request, to_end,
};

#[tokio::test]
async fn the_entry_limit_ends_it() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill(&tree.path().join("tmp"), 100);
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.settings.max_entries = 50;
    let report = to_end(scan::start(request, &slice.place).await.unwrap()).await.report;
    // One of the fifty is the directory.
    assert_eq!((report.end, report.entries, report.candidates), (ScanEnd::EntryLimit, 50, 49));
}

#[tokio::test]
async fn the_timeout_ends_it() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill(&tree.path().join("tmp"), 100);
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.settings.timeout = Span(Duration::ZERO);
    let report = to_end(scan::start(request, &slice.place).await.unwrap()).await.report;
    assert_eq!(report.end, ScanEnd::Timeout);
}

#[tokio::test]
async fn time_in_which_nobody_reads_is_not_the_walks() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.settings.timeout = Span(TIMEOUT);
    let scan = scan::start(request, &slice.place).await.unwrap();
    eventually("the worker waits", || is_held_back(scan.pid())).await;
    tokio::time::sleep(TIMEOUT).await;
    let found = to_end(scan).await;
    assert_eq!((found.report.end, found.candidates.len()), (ScanEnd::Complete, MANY));
    assert!(found.report.wall > TIMEOUT);
}

#[tokio::test]
async fn cancelling_ends_worker_and_cgroup() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let mut scan = scan::start(request(tree.path(), &["/tmp/**"]), &slice.place).await.unwrap();
    assert!(scan.next().await.is_some());
    let pid = scan.pid();
    let report = scan.cancel().await;
    assert_eq!(report.end, ScanEnd::Cancelled);
    assert!(report.entries > 0 && report.cpu > Duration::ZERO, "{report:?}");
    assert!(is_gone(pid));
    assert_eq!(slice.scans(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn dropping_it_ends_worker_and_cgroup() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let mut scan = scan::start(request(tree.path(), &["/tmp/**"]), &slice.place).await.unwrap();
    assert!(scan.next().await.is_some());
    let pid = scan.pid();
    drop(scan);
    eventually("the worker is gone", || is_gone(pid)).await;
    eventually("its cgroup is gone", || slice.scans().is_empty()).await;
}

#[tokio::test]
async fn a_killed_worker_is_a_failure_that_says_so() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let mut scan = scan::start(request(tree.path(), &["/tmp/**"]), &slice.place).await.unwrap();
    assert!(scan.next().await.is_some());
    kill(Pid::from_raw(scan.pid()), Signal::SIGKILL).unwrap();
    let mut last = None;
    while let Some(message) = scan.next().await {
        last = Some(message);
    }
    let Some(ScanMessage::End(report)) = last else { panic!("{last:?}") };
    assert_eq!(report.end, ScanEnd::WorkerFailed);
    let failure = scan.failure().unwrap();
    assert!(failure.contains("signal: 9"), "{failure}");
    assert_eq!(slice.scans(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_worker_that_is_no_podsweep_is_a_failure() {
    let (mut slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill(&tree.path().join("tmp"), 1);
    slice.place.worker = PathBuf::from("/bin/cat");
    let request = request(tree.path(), &["/tmp/**"]);
    // `cat scan-worker` finds no such file and ends; whether before or after the request is a race.
    if let Ok(scan) = scan::start(request, &slice.place).await {
        assert_eq!(to_end(scan).await.report.end, ScanEnd::WorkerFailed);
    }
    eventually("the cgroup is gone", || slice.scans().is_empty()).await;
}

struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process in a scan cgroup of this owner, in every hierarchy that the scan uses.
fn leftover(slice: &Slice, owner: &str) -> Sleeper {
    let sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    let v1 = ["cpu", "blkio", "memory", "pids"].iter().filter_map(|name| slice.place.cgroups.v1.get(*name));
    for mount in std::iter::once(&slice.place.cgroups.unified).chain(v1) {
        let cgroup = mount.join(&slice.place.cgroup_parent).join(format!("scan-{owner}-0"));
        std::fs::create_dir_all(&cgroup).unwrap();
        std::fs::write(cgroup.join("cgroup.procs"), sleeper.0.id().to_string()).unwrap();
    }
    sleeper
}

#[test]
fn leftovers_of_a_dead_agent_are_swept_and_nobody_elses() {
    use std::os::unix::process::ExitStatusExt;

    let slice = Slice::new();
    let me = i32::try_from(std::process::id()).unwrap();
    let start_time = podsweep::kernel::start_time(me).unwrap();
    // This process's pid, but an earlier process's start.
    let mut dead = leftover(&slice, &format!("{me}-{}", start_time - 1));
    let mut alive = leftover(&slice, &format!("{me}-{start_time}"));
    let before = slice.scans().len();

    let report = sweep_leftovers(&slice.place);

    assert_eq!(report.problems, [""; 0]);
    assert_eq!((report.killed, report.removed), (1, before as u64 / 2));
    assert_eq!(dead.0.wait().unwrap().signal(), Some(9));
    assert_eq!(alive.0.try_wait().unwrap(), None, "a running podsweep's scan");
    assert_eq!(slice.scans().len(), before / 2);
    drop(alive);
    assert_eq!(sweep_leftovers(&slice.place).removed, 0);
}
