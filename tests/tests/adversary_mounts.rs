//! Something else is mounted where podsweep cleans, in the container's own mount namespace: before the agent sees the
//! container, between the scan and the removal, and while files are being removed. It stays, what lies beneath stays,
//! and nothing of podsweep waits for a filesystem that hangs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pivot_root};
use podsweep::report::{Outcome, SweepRecord};
use podsweep::scan::Kept;
use podsweep_tests::agent::Agent;
use podsweep_tests::cgroup;
use podsweep_tests::container::Container;
use podsweep_tests::holding::{Hold, Holder};
use podsweep_tests::hung_fuse::{Hangs, HungFuse, Root};
use podsweep_tests::inside::{attach, copy_of_mount, inside, is_mounted};
use podsweep_tests::isolation::private_mounts;
use podsweep_tests::policies::{FAST, Rules, SCAN, Scratch};
use podsweep_tests::traps::Traps;
use podsweep_tests::wait;
use podsweep_tests::workspace::Workspace;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
/// More than the timeout of each policy here, and the observation.
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Junk beside what is mounted.
const PLAIN: u64 = 200;
/// Some ten seconds, most of them spent removing.
const STEADY: &str = "{batchSize: 10, batchInterval: 100ms, timeout: 40s}";
/// Files more beneath each directory that is mounted on.
const MORE: usize = 100;
/// Ten seconds from the first batch to the last.
const SLOW: &str = "{batchSize: 20, batchInterval: 1s, timeout: 40s}";

/// Junk that is nothing but junk, in a directory that a scan reads before those below it.
fn plain_junk(container: &Container) {
    for number in 0..PLAIN {
        fs::write(container.inside(&format!("/tmp/plain-{number}.tmp")).unwrap(), "junk").unwrap();
    }
}

fn plain_left(container: &Container) -> u64 {
    let names = fs::read_dir(container.upper().join("tmp")).unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with("plain-")).count() as u64
}

/// Waits for the sweep's end. That the agent answers meanwhile is part of it: asking it is how it is waited for.
fn swept(agent: &Agent, id: &str) -> SweepRecord {
    let sweep = agent.ended(id, SWEPT_WITHIN).unwrap();
    assert!(agent.api().is_ready());
    wait::until_true("no process and no cgroup stays", SETTLED_WITHIN, || Ok(agent.orphans().is_empty()))
        .unwrap();
    sweep
}

fn kept(sweep: &SweepRecord, why: Kept) -> u64 {
    sweep.sweep.kept.get(&why).copied().unwrap_or(0)
}

#[test]
fn whoever_asks_a_hung_fuse_waits_and_is_seen_to_have_asked() {
    private_mounts().unwrap();
    let home = Workspace::new(PREFIX).unwrap();
    let fuse = HungFuse::mount(home.path(), Root::Directory, Hangs::AfterInit).unwrap();
    assert!(!fuse.was_asked().unwrap());
    let path = home.path().to_owned();
    thread::scope(|scope| {
        let asker = scope.spawn(|| fs::metadata(&path));
        wait::until_true("it is asked", SETTLED_WITHIN, || fuse.was_asked()).unwrap();
        assert!(!asker.is_finished());
        drop(fuse);
        assert!(asker.join().unwrap().is_err());
    });
}

#[test]
fn what_was_mounted_before_the_agent_came_stays() {
    let container = Container::start(PREFIX).unwrap();
    let traps = Traps::prepare(PREFIX, &container).unwrap();
    plain_junk(&container);
    traps.set(&container).unwrap();
    container.grow_old();
    let before = (traps.mounted().unwrap(), traps.beneath(&container).unwrap());

    let policy = Scratch::by_hand("hand").of(&container);
    let agent = Agent::start(PREFIX, &[("hand", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    let id = agent.api().request_sweep(&seen.id, "hand").unwrap();
    let sweep = swept(&agent, &id);

    assert_eq!(traps.asked().unwrap(), [] as [&Path; 0], "{sweep:?}");
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, plain_left(&container)), (PLAIN, 0), "{sweep:?}");
    let (directories, files) = traps.counts();
    assert_eq!(kept(&sweep, Kept::MountInside), directories + files, "{sweep:?}");
    assert_eq!((traps.mounted().unwrap(), traps.beneath(&container).unwrap()), before);
    assert_eq!(traps.lost(&container).unwrap(), [] as [&str; 0]);
}

#[test]
fn what_is_mounted_between_scan_and_removal_stays() {
    let container = Container::start(PREFIX).unwrap();
    let traps = Traps::prepare(PREFIX, &container).unwrap();
    let policy = Scratch { sweep: SLOW, ..Scratch::by_hand("slow") }.of(&container);
    let agent = Agent::start(PREFIX, &[("slow", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    plain_junk(&container);
    container.grow_old();
    let before = (traps.mounted().unwrap(), traps.beneath(&container).unwrap());

    let id = agent.api().request_sweep(&seen.id, "slow").unwrap();
    wait::until_true("the scan is over and removal has begun", BEGUN_WITHIN, || {
        Ok(plain_left(&container) < PLAIN && cgroup::nested(&agent.slice()).is_empty())
    })
    .unwrap();
    traps.set(&container).unwrap();
    assert!(plain_left(&container) > 0, "mounted too late");
    let sweep = swept(&agent, &id);

    assert_eq!(traps.asked().unwrap(), [] as [&Path; 0], "{sweep:?}");
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, plain_left(&container)), (PLAIN, 0), "{sweep:?}");
    assert_eq!(kept(&sweep, Kept::MountInside), traps.files_beneath(), "{sweep:?}");
    assert_eq!((traps.mounted().unwrap(), traps.beneath(&container).unwrap()), before);
    assert_eq!(traps.lost(&container).unwrap(), [] as [&str; 0]);
}

#[test]
fn what_is_mounted_time_and_again_during_removal_stays() {
    let container = Container::start(PREFIX).unwrap();
    let traps = Traps::prepare(PREFIX, &container).unwrap();
    let policy = Scratch { sweep: STEADY, ..Scratch::by_hand("steady") }.of(&container);
    let agent = Agent::start(PREFIX, &[("steady", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    plain_junk(&container);
    traps.more_beneath(&container, MORE).unwrap();
    container.grow_old();
    let before = traps.mounted().unwrap();

    let over = AtomicBool::new(false);
    let (sweep, times) = thread::scope(|scope| {
        let flicker = scope.spawn(|| traps.flicker(&container, || !over.load(Ordering::Relaxed)));
        let id = agent.api().request_sweep(&seen.id, "steady");
        let sweep = id.and_then(|id| agent.ended(&id, SWEPT_WITHIN));
        over.store(true, Ordering::Relaxed);
        (sweep, flicker.join().unwrap().unwrap())
    });
    let sweep = sweep.unwrap();

    println!("{times} mounts during the sweep; kept {:?}", sweep.sweep.kept);
    assert_eq!(traps.asked().unwrap(), [] as [&Path; 0], "{sweep:?}");
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert!(times > 20 && kept(&sweep, Kept::MountInside) > 0, "{times} mounts: {sweep:?}");
    assert_eq!(plain_left(&container), 0, "{sweep:?}");
    assert_eq!(traps.mounted().unwrap(), before);
    assert!(agent.orphans().is_empty());
}

#[test]
fn a_proc_that_is_covered_in_the_container_hides_no_open_file() {
    let container = Container::start(PREFIX).unwrap();
    plain_junk(&container);
    let (open, socket) = ("/tmp/open.tmp", "/tmp/in-use.fifo");
    fs::write(container.inside(open).unwrap(), "junk").unwrap();
    mkfifo(&container.inside(socket).unwrap(), Mode::S_IRWXU).unwrap();
    container.grow_old();
    let holder = Holder::start(&container, &[(Hold::Reader, open), (Hold::Both, socket)]).unwrap();
    inside(&container, || Ok(mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>)?))
        .unwrap();
    assert!(is_mounted(&container, "/proc").unwrap());

    let junk = "[{name: all, paths: [/tmp/**], types: [File, Fifo], olderThan: 10s}]";
    let policy = Rules { name: "all", junk, scan: SCAN, sweep: FAST }.of(&container);
    let agent = Agent::start(PREFIX, &[("all", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    let id = agent.api().request_sweep(&seen.id, "all").unwrap();
    let sweep = swept(&agent, &id);

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, kept(&sweep, Kept::Open)), (PLAIN, 2), "{sweep:?}");
    drop(holder);
}

#[test]
fn a_rule_that_leads_into_a_hung_fuse_holds_up_nothing() {
    let container = Container::start(PREFIX).unwrap();
    let home = Workspace::new(PREFIX).unwrap();
    let fuse = HungFuse::mount(home.path(), Root::Directory, Hangs::AfterInit).unwrap();
    fs::create_dir(container.inside("/tmp/bucket").unwrap()).unwrap();
    plain_junk(&container);
    attach(&container, &copy_of_mount(home.path()).unwrap(), "/tmp/bucket").unwrap();
    container.grow_old();

    let junk = "[{name: in, paths: [/tmp/bucket/cache/*.part, /tmp/*.tmp], olderThan: 10s}]";
    let policy = Rules { name: "in", junk, scan: SCAN, sweep: FAST }.of(&container);
    let agent = Agent::start(PREFIX, &[("in", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    let id = agent.api().request_sweep(&seen.id, "in").unwrap();
    let sweep = swept(&agent, &id);

    assert!(!fuse.was_asked().unwrap(), "{sweep:?}");
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, plain_left(&container)), (PLAIN, 0), "{sweep:?}");
}

#[test]
fn a_container_whose_root_becomes_a_hung_fuse_does_not_blind_the_agent() {
    let hung = Container::start(PREFIX).unwrap();
    let home = Workspace::new(PREFIX).unwrap();
    let fuse = HungFuse::mount(home.path(), Root::Directory, Hangs::AfterInit).unwrap();
    fs::create_dir(hung.inside("/tmp/root").unwrap()).unwrap();
    let agent = Agent::start(PREFIX, &[("hand", &Scratch::by_hand("hand").of(&hung))]).unwrap();
    let seen = agent.knows(hung.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();

    attach(&hung, &copy_of_mount(home.path()).unwrap(), "/tmp/root").unwrap();
    inside(&hung, || Ok(pivot_root("/tmp/root", "/tmp/root")?)).unwrap();
    // It is being looked at from here on, time and again; the sweep asks for one look more.
    let refused = agent.api().request_sweep(&seen.id, "hand").map(|id| swept(&agent, &id));
    wait::until_true("the container itself waits", SETTLED_WITHIN, || fuse.was_asked()).unwrap();
    let other = Container::start(PREFIX).unwrap();
    let known = agent.knows(other.cgroup_id().unwrap(), KNOWN_WITHIN);
    let alive = agent.api().is_ready();
    drop(fuse);

    assert!(alive, "{}", agent.log_end());
    known.unwrap();
    if let Ok(sweep) = refused {
        assert_eq!((sweep.outcome, sweep.sweep.removed), (Some(Outcome::Stopped), 0), "{sweep:?}");
    }
}
