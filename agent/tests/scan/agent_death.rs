//! The worker ends with the agent that started it, however that dies: nothing but the pipes between the two tells it.
//!
//! The agent that is killed here is this test binary in a process of its own, told by its environment to run one test
//! that starts a scan and never reads from it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{Pid, getpgid};
use podsweep::scan::{self, sweep_leftovers};

use crate::place::{Slice, eventually, fill_beyond_buffers, is_held_back, request};

const TREE: &str = "PODSWEEP_TEST_TREE";
const SLICE: &str = "PODSWEEP_TEST_SLICE";
const WORKER: &str = "PODSWEEP_TEST_WORKER";

/// Longest life of an agent that its test forgets.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// Deny patterns that make a request longer than a pipe of any page size.
const MANY_PATTERNS: usize = 100_000;

#[tokio::test]
#[ignore = "only run by the tests below, in a process of its own"]
async fn agent() {
    let (Some(tree), Some(parent)) = (std::env::var_os(TREE), std::env::var_os(SLICE)) else { return };
    let mut slice = Slice::new();
    slice.place.cgroup_parent = parent.into_string().unwrap();
    let mut request = request(Path::new(&tree), &["/tmp/**"]);
    if let Some(worker) = std::env::var_os(WORKER) {
        slice.place.worker = worker.into();
        request.never = vec!["/some/path/that/is/nowhere/**".into(); MANY_PATTERNS];
    }
    let _scan = scan::start(request, &slice.place).await.unwrap();
    tokio::time::sleep(FORGOTTEN).await;
}

struct Agent {
    child: Child,
    slice: Slice,
}

impl Agent {
    fn start(tree: &Path, worker: Option<&Path>) -> Self {
        let slice = Slice::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "agent_death::agent", "--ignored", "--nocapture"])
            .env(TREE, tree)
            .env(SLICE, &slice.place.cgroup_parent)
            .stdout(Stdio::null());
        if let Some(worker) = worker {
            command.env(WORKER, worker);
        }
        Self { child: command.spawn().unwrap(), slice }
    }

    /// Its only child, wherever in the start it is.
    fn worker(&self) -> Option<i32> {
        let agent = self.child.id().cast_signed();
        let all = procfs::process::all_processes().unwrap();
        all.filter_map(|process| process.ok()?.stat().ok())
            .find(|stat| stat.ppid == agent)
            .map(|stat| stat.pid)
    }

    async fn worker_that(&self, what: &str, is_so: impl Fn(i32) -> bool) -> i32 {
        eventually(what, || self.worker().is_some_and(&is_so)).await;
        self.worker().unwrap()
    }

    async fn dies_and_takes_with_it(mut self, worker: i32) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        eventually("the worker has ended", || state(worker).is_none_or(|state| state == 'Z')).await;
        let report = sweep_leftovers(&self.slice.place);
        assert_eq!((report.killed, report.problems), (0, vec![]));
        assert_eq!(self.slice.scans(), Vec::<PathBuf>::new());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The letter of `/proc/PID/stat`; an orphan whose init does not wait for it stays a zombie.
fn state(pid: i32) -> Option<char> {
    procfs::process::Process::new(pid).ok()?.stat().ok().map(|stat| stat.state)
}

/// Inode numbers of the pipes that a process holds an end of.
fn pipes(pid: i32) -> BTreeSet<String> {
    let handles = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = handles.filter_map(|handle| std::fs::read_link(handle.unwrap().path()).ok());
    targets.map(|target| target.display().to_string()).filter(|target| target.starts_with("pipe:")).collect()
}

#[test]
fn a_worker_without_a_request_ends_when_its_input_does() {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_podsweep"))
        .arg(scan::worker::COMMAND)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(worker.stdin.take());
    assert!(worker.wait().unwrap().success());
}

/// The worker stops the agent first thing, so that the agent dies before the worker has a request, or with half of it
/// in the pipe: depending on who was faster, before the worker was moved to its cgroup or after.
#[tokio::test]
async fn killed_while_it_starts_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("worker");
    let podsweep = env!("CARGO_BIN_EXE_podsweep");
    std::fs::write(&script, format!("#!/bin/sh\nkill -STOP $PPID\nexec {podsweep} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let agent = Agent::start(folder.path(), Some(&script));
    eventually("the agent is stopped", || state(agent.child.id().cast_signed()) == Some('T')).await;
    let worker = agent
        .worker_that("the worker is podsweep", |pid| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(podsweep))
        })
        .await;
    agent.dies_and_takes_with_it(worker).await;
}

#[tokio::test]
async fn killed_while_the_worker_waits_in_a_full_pipe() {
    let tree = tempfile::tempdir().unwrap();
    fill_beyond_buffers(&tree.path().join("tmp"));
    let agent = Agent::start(tree.path(), None);
    let worker = agent.worker_that("the worker waits", is_held_back).await;
    agent.dies_and_takes_with_it(worker).await;
}

/// An end of another worker's pipe, inherited, would keep that pipe open when the agent is dead.
#[tokio::test]
async fn no_worker_holds_an_end_of_anothers_pipes() {
    // A test runner's, a job server's.
    let inherited = pipes(std::process::id().cast_signed());
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let request = request(tree.path(), &["/tmp/**"]);
    let (first, second) =
        tokio::join!(scan::start(request.clone(), &slice.place), scan::start(request, &slice.place));
    let (first, second) = (first.unwrap(), second.unwrap());
    let (of_first, of_second) = (pipes(first.pid()), pipes(second.pid()));
    let shared: Vec<_> =
        of_first.intersection(&of_second).filter(|pipe| !inherited.contains(*pipe)).collect();
    assert!(shared.is_empty(), "{shared:?}");
    assert!(of_first.len() >= 3, "stdin, stdout, stderr: {of_first:?}");
    tokio::join!(first.cancel(), second.cancel());
}

/// A terminal sends its interrupt to the foreground group: the agent ends the scan, and hears its report.
#[tokio::test]
async fn the_worker_is_in_a_process_group_of_its_own() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let scan = scan::start(request(tree.path(), &["/tmp/**"]), &slice.place).await.unwrap();
    let worker = Pid::from_raw(scan.pid());
    assert_eq!(getpgid(Some(worker)), Ok(worker));
    scan.cancel().await;
}
