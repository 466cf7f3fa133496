//! Trees that are too much: so many entries in one directory that whoever remembers them is out of memory, and paths
//! too long to say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use podsweep::report::{Outcome, SweepRecord};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::disk::Size;
use podsweep_tests::peak::{Peaks, peaks_during};
use podsweep_tests::policies::{Rules, SCAN};
use podsweep_tests::wait;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
/// A million files took a sweep by hand 4 minutes, on tmpfs.
const SWEPT_WITHIN: Duration = Duration::from_mins(20);
const TMP: &str = "[{name: tmp, paths: [\"/tmp/**\"], olderThan: 10s}]";
const LARGE: &str = "{batchSize: 5000, batchInterval: 10ms, timeout: 20m}";

fn start_agent(container: &Container) -> (Agent, String) {
    let policy = Rules { name: "own", junk: TMP, scan: SCAN, sweep: LARGE }.of(container);
    let agent = Agent::start(PREFIX, &[("own", &policy)]).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    (agent, seen.id)
}

/// A whole sweep. One asked for too soon after another is asked for again.
fn sweep(agent: &Agent, target: &str) -> SweepRecord {
    let accepted = || {
        let id = agent.api().request_sweep(target, "own")?;
        let record = agent.ended(&id, SWEPT_WITHIN)?;
        Ok((record.outcome != Some(Outcome::Refused)).then_some(record))
    };
    wait::until("the sweep is let in", ACCEPTED_WITHIN, accepted).unwrap()
}

/// Files without content in a directory of the container, as many as told.
fn crowd(container: &Container, files: u64) {
    let folder = container.inside("/tmp/crowd").unwrap();
    fs::create_dir_all(&folder).unwrap();
    let folder = open(CWD, folder.as_os_str().as_encoded_bytes());
    for number in 0..files {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&folder, number.to_string(), flags, Mode::RUSR).unwrap();
    }
}

fn open(above: impl std::os::fd::AsFd, name: &[u8]) -> OwnedFd {
    openat(above, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Sweeps a directory with so many entries, all of them junk; what that took.
fn swept(container: &Container, agent: &Agent, target: &str, files: u64) -> Peaks {
    crowd(container, files);
    container.grow_old();
    let (sweep, peaks) = peaks_during(agent.pid().unwrap(), || sweep(agent, target)).unwrap();
    eprintln!(
        "{files} entries: peaks {peaks:?} KiB, {} ms in batches, scan {:?}",
        sweep.sweep.wall_ms, sweep.scan
    );
    assert_eq!((sweep.outcome, sweep.sweep.removed), (Some(Outcome::Complete), files), "{sweep:?}");
    peaks
}

/// What a process holds does not grow with the entries of a directory, be they some ten thousand or a million.
#[test]
fn no_process_remembers_the_entries_of_a_directory() {
    const FEW: u64 = 30_000;
    /// KiB. Measured: the agent grows by 2 to 3 MiB from one sweep to the next, of 30,000 entries or of 200,000; a
    /// worker that remembers its candidates, by 29 MiB for 200,000.
    const SLACK: u64 = 8192;
    let many = if std::env::var_os("PODSWEEP_TEST_LONG").is_some() { 1_000_000 } else { 200_000 };
    let disk = Size { bytes: 4 << 30, inodes: u32::try_from(many).unwrap() + 10_000 };
    let container = Container::start_on_small_disk(PREFIX, disk).unwrap();
    let (agent, target) = start_agent(&container);

    // The first sweep of an agent's life also fills its allocators' and SQLite's buffers.
    swept(&container, &agent, &target, FEW);
    let few = swept(&container, &agent, &target, FEW);
    let peaks = swept(&container, &agent, &target, many);

    for process in ["agent", "scan-worker", "deleter"] {
        assert!(peaks.contains_key(process) && few.contains_key(process), "{process}: {few:?} {peaks:?}");
    }
    for (what, peak) in &peaks {
        let before = few[what];
        assert!(*peak <= before + SLACK, "{what}: {peak} KiB for {many} entries, {before} KiB for {FEW}");
    }
    assert!(container.is_running());
}

/// Makes a chain of directories in the container, one in the other, with a file `old.tmp` in some of them.
fn chain(container: &Container, name: &[u8], levels: usize, with_file: &[usize]) {
    let mut here = open(CWD, container.inside("/tmp").unwrap().as_os_str().as_encoded_bytes());
    for level in 1..=levels {
        mkdirat(&here, name, Mode::RWXU).unwrap();
        here = open(&here, name);
        if with_file.contains(&level) {
            openat(&here, "old.tmp", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR).unwrap();
        }
    }
}

#[test]
fn what_lies_deeper_than_a_path_can_say_goes_and_what_lies_deeper_than_a_scan_goes_is_told() {
    /// Past `PATH_MAX` (4096 bytes) from level 400 on; a newline and an escape in each, for the log.
    const NAME: &[u8] = b"deep\n\x1b[1m!";
    const LEVELS: usize = 3000;
    const WITH_FILE: [usize; 5] = [1, 300, 600, 900, 3000];
    let disk = Size { bytes: 512 << 20, inodes: 20_000 };
    let container = Container::start_on_small_disk(PREFIX, disk).unwrap();
    let (agent, target) = start_agent(&container);
    chain(&container, NAME, LEVELS, &WITH_FILE);
    fs::write(container.inside("/tmp/after.tmp").unwrap(), "junk").unwrap();
    container.grow_old();

    let sweep = sweep(&agent, &target);

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    // All but the deepest; and the file beside the chain.
    assert_eq!((sweep.sweep.removed, sweep.sweep.kept.len()), (WITH_FILE.len() as u64, 0), "{sweep:?}");
    let scan = sweep.scan.unwrap();
    assert_eq!(scan.errors, 1, "{scan:?}");
    let log = agent.log();
    assert!(log.contains("the scan worker says"), "{}", agent.log_end());
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    }
    assert!(container.is_running());
}
