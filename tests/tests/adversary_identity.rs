//! A container that is not, or whose mounts are not, what was scanned: the sweep ends or passes by, says why, and
//! nothing of what has taken the place is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep::report::{Outcome, SweepRecord};
use podsweep::scan::Kept;
use podsweep_tests::agent::Agent;
use podsweep_tests::attacker::{Attack, Canaries, Errand, Ground, Order, Pace, Siege, fill};
use podsweep_tests::container::{Container, lives};
use podsweep_tests::wait;
use podsweep_tests::workspace::Workspace;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
const FILES: u32 = 2000;
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
/// Some batches of [`Pace::SLOW`]: what would go on would show.
const WOULD_GO_ON: Duration = Duration::from_secs(2);

/// Files in a directory.
fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// A container with old junk in /tmp/job, seen on the host, and an agent that sweeps it slowly.
fn under_a_slow_sweep(prefix: &str) -> (Agent, Container, PathBuf) {
    let container = Container::start(prefix).unwrap();
    let agent = Siege::agent(prefix, &container, Pace::SLOW, &json!({})).unwrap();
    fill(&container.inside("/tmp/job").unwrap(), FILES, "").unwrap();
    container.grow_old();
    let job = container.upper().join("tmp/job");
    (agent, container, job)
}

/// Begins a sweep and waits for its first removals.
fn begin(agent: &Agent, container: &Container, job: &Path) -> String {
    let at_first = files(job);
    let id = Siege::lay(agent, container).unwrap().begin(&mut 0).unwrap();
    wait::until_true("files go", SWEPT_WITHIN, || Ok(files(job) < at_first)).unwrap();
    id
}

fn must_have_stopped(sweep: &SweepRecord, reason: &str) {
    assert_eq!((sweep.outcome, sweep.reason.as_deref()), (Some(Outcome::Stopped), Some(reason)), "{sweep:?}");
}

#[test]
fn a_restarted_container_is_not_the_one_that_was_scanned() {
    let (agent, mut container, job) = under_a_slow_sweep(PREFIX);
    let id = begin(&agent, &container, &job);
    container.kill().unwrap();
    let at_its_end = files(&job);
    container.restart().unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();
    must_have_stopped(&sweep, "ContainerChanged");
    sleep(WOULD_GO_ON);
    // One was at the door.
    assert!(at_its_end - files(&job) <= 1, "{at_its_end} -> {}", files(&job));
}

/// Set in the test's own pid namespace: the prefix of what is made there.
const IN_A_PID_NAMESPACE: &str = "PODSWEEP_TEST_IN_A_PID_NAMESPACE";

/// Runs this test once more in a pid namespace: which pid comes next is a matter of each namespace, and the machine's
/// own stays as it is. The shell is its init, and reaps.
fn again_in_a_pid_namespace(test: &str) {
    let mut again = Command::new("unshare");
    again.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    again.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    // Pids begin at 1 in there: without the outer one, another run's leftovers would bear the same names.
    again.env(IN_A_PID_NAMESPACE, format!("{PREFIX}-{}", std::process::id()));
    assert!(again.status().unwrap().success(), "failed in the pid namespace; why is said above");
}

/// A process with this pid, in that cgroup, whose root is `root`: all that a successor can have in common with a
/// container's first process.
fn impostor(pid: i32, cgroup: &Path, root: &Path) -> Child {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut chroot = Command::new("chroot");
        chroot.arg(root).args(["/busybox", "sleep", "600"]).stdin(Stdio::null());
        let mut child = chroot.spawn().unwrap();
        if i32::try_from(child.id()).unwrap() == pid {
            fs::write(cgroup.join("cgroup.procs"), pid.to_string()).unwrap();
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("pid {pid} was not given out again in {TRIES} tries");
}

#[test]
fn a_process_that_got_the_pid_of_a_container_is_not_the_container() {
    let Ok(prefix) = env::var(IN_A_PID_NAMESPACE) else {
        return again_in_a_pid_namespace("a_process_that_got_the_pid_of_a_container_is_not_the_container");
    };
    let (agent, container, job) = under_a_slow_sweep(&prefix);
    let workspace = Workspace::new(&prefix).unwrap();
    let root = workspace.folder("impostor").unwrap();
    fill(&root.join("tmp/job"), FILES, "precious").unwrap();
    fs::copy("/bin/busybox", root.join("busybox")).unwrap();
    let untouched = Canaries::in_trees(&[root.join("tmp")]).unwrap();

    let id = begin(&agent, &container, &job);
    let first = container.process().unwrap();
    // runc is not told: the cgroup stays, and with it its id.
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).unwrap();
    wait::until_true("its pid is free", SWEPT_WITHIN, || {
        Ok(!lives(first) && !Path::new("/proc").join(first.pid.to_string()).exists())
    })
    .unwrap();
    let at_its_end = files(&job);
    let mut successor = impostor(first.pid, container.cgroup().directory(), &root);
    let sweep = agent.ended(&id, SWEPT_WITHIN);
    sleep(WOULD_GO_ON);
    let left = files(&job);
    successor.kill().unwrap();
    successor.wait().unwrap();

    must_have_stopped(&sweep.unwrap(), "ContainerChanged");
    assert!(at_its_end - left <= 1, "{at_its_end} -> {left}");
    untouched.must_be_untouched().unwrap();
}

/// One command in the container's own mount namespace, as its root with the right to mount.
fn mount_in(container: &Container, command: &[&str]) {
    let words: Vec<_> = std::iter::once("/bin/busybox").chain(command.iter().copied()).collect();
    let output = container.spawn(&words, &["CAP_SYS_ADMIN"]).unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn what_is_mounted_over_a_directory_between_scan_and_batch_stays() {
    let (agent, container, job) = under_a_slow_sweep(PREFIX);
    let ground = Ground::lay(PREFIX, &container).unwrap();
    let untouched = ground.canaries().unwrap();
    let id = begin(&agent, &container, &job);
    mount_in(&container, &["mount", "-o", "bind", "/srv/precious", "/tmp/job"]);
    let covered = files(&job);
    sleep(WOULD_GO_ON);
    // One batch was being worked off.
    assert!(covered - files(&job) <= 20, "went from under a mount: {covered} -> {}", files(&job));
    untouched.must_be_untouched().unwrap();
    let covered = files(&job);
    mount_in(&container, &["umount", "/tmp/job"]);
    wait::until_true("the sweep goes on", SWEPT_WITHIN, || Ok(files(&job) < covered)).unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert!(sweep.sweep.kept.get(&Kept::MountInside).is_some_and(|kept| *kept > 0), "{sweep:?}");
    untouched.must_be_untouched().unwrap();
}

#[test]
fn mounting_and_unmounting_over_what_is_swept_leads_nowhere() {
    const MOUNTS: u64 = 1000;
    let container = Container::start(PREFIX).unwrap();
    let agent = Siege::agent(PREFIX, &container, Pace::MANY_BATCHES, &json!({})).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    for job in ["bound", "covered", "service"] {
        fill(&container.inside("/tmp").unwrap().join(job), FILES, "").unwrap();
    }
    container.grow_old();
    let untouched = ground.canaries().unwrap();
    let siege = Siege::lay(&agent, &container).unwrap();
    let cover = |target: &str, source: Option<&str>| {
        let errand = Errand::Cover { target: target.into(), source: source.map(PathBuf::from) };
        let order = Order { errand, bystand: vec!["/tmp/service".into()], supply: false };
        Attack::start(&container, &order, &["CAP_SYS_ADMIN"]).unwrap()
    };
    let bind = cover("/tmp/bound", Some("/srv/precious"));
    let fought = {
        let errand = Errand::Cover { target: "/tmp/covered".into(), source: None };
        let order = Order { errand, bystand: vec![], supply: false };
        let tmpfs = Attack::start(&container, &order, &["CAP_SYS_ADMIN"]).unwrap();
        let fought = siege.hold(&bind).unwrap();
        println!("tmpfs: {:?}", tmpfs.end().unwrap());
        fought
    };
    let tally = bind.end().unwrap();
    println!("{fought}; bind: {tally:?}");
    untouched.must_be_untouched().unwrap();
    assert!(tally.rounds > 0 && tally.bystander.is_empty(), "{tally:?}");
    assert!(fought.swaps >= MOUNTS && fought.scanned() >= 3 && fought.removed() > 0, "no race: {fought}");
}
