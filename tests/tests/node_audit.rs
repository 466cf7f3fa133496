//! What is gone is on record, and what is on record as gone is gone: through agents that are killed at any moment, a
//! torn line, and a journal that cannot be written any more. At most the one batch in flight is left open, and the next
//! agent marks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use podsweep::report::{Outcome, Phase};
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::disk::{Disk, Size};
use podsweep_tests::journal::{End, Identity, Journal};
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use podsweep_tests::workspace::Workspace;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Half of the time a batch is being worked off, so that a random moment often hits one.
const BUSY: &str = "{batchSize: 100, batchInterval: 50ms}";
const FILES: u32 = 6000;

/// Files that the policy names, as the host sees them before anything is removed.
type Before = BTreeMap<String, Identity>;

fn junk(container: &Container) -> Before {
    let mut found = Before::new();
    for folder in ["/tmp", "/app/cache"] {
        let names = podsweep_tests::listing::list(&container.root().unwrap(), &[folder]).unwrap();
        for path in names.into_keys() {
            let upper = container.upper().join(path.trim_start_matches('/'));
            found.extend(Identity::of(&upper).map(|identity| (path, identity)));
        }
    }
    found
}

fn is_gone(container: &Container, path: &str) -> bool {
    fs::symlink_metadata(container.inside(path).unwrap()).is_err()
}

fn begin(agent: &Agent, container: &Container) -> String {
    let target = container.cgroup().path();
    wait::until("a sweep is accepted", ACCEPTED_WITHIN, || {
        Ok(agent.api().request_sweep(&target, "audited").ok())
    })
    .unwrap()
}

/// Journal and disk say the same of every file; the batches that are open.
fn must_agree(container: &Container, before: &Before, state: &Path, sweeps: &[String]) -> Vec<u64> {
    let journal = Journal::read(state).unwrap();
    let mut may_be_gone = BTreeSet::new();
    let mut must_be_gone = BTreeSet::new();
    for (number, batch) in &journal.batches {
        assert!(sweeps.contains(&batch.sweep), "batch {number} is of no sweep of ours");
        let whole = batch.files.len() == batch.promised;
        assert!(
            whole || batch.end != End::Done { others: BTreeSet::new(), removed: 0 },
            "{number}: {batch:?}"
        );
        for (index, file) in batch.files.iter().enumerate() {
            assert_eq!(before.get(&file.path), Some(&file.identity), "batch {number}: {file:?}");
            assert!(["tmp", "downloads"].contains(&file.rule.as_str()), "{file:?}");
            match &batch.end {
                End::Done { others, .. } if !others.contains(&index) => must_be_gone.insert(&file.path),
                End::Done { .. } => false,
                End::Open | End::Interrupted => may_be_gone.insert(&file.path),
            };
        }
        if let End::Done { others, removed } = &batch.end {
            assert_eq!(removed + others.len(), batch.promised, "batch {number}");
        }
    }
    for path in before.keys() {
        let gone = is_gone(container, path);
        assert!(gone || !must_be_gone.contains(path), "{path} is on record as removed, and is there");
        let on_record = must_be_gone.contains(path) || may_be_gone.contains(path);
        assert!(!gone || on_record, "{path} is gone, and on no record");
    }
    journal.open()
}

/// A container with junk, an agent with its state on a disk of its own, and what the junk is.
fn stage(workspace: &Workspace) -> (Disk, Agent, Container, Before) {
    let mut container = Container::start(PREFIX).unwrap();
    let state = workspace.folder("state").unwrap();
    let disk = Disk::mount(PREFIX, &state, Size { bytes: 64 << 20, inodes: 1000 }).unwrap();
    fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let policy = Scratch { sweep: BUSY, ..Scratch::by_hand("audited") }.of(&container);
    let settings = json!({"state": state, "coolDown": "0s", "journal": {"maxBytes": "16Mi", "files": 4}});
    let agent = Agent::start_with(PREFIX, &[("audited", &policy)], &settings).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let before = junk(&container);
    assert!(before.len() >= FILES as usize, "{}", before.len());
    (disk, agent, container, before)
}

#[test]
fn journal_and_disk_agree_wherever_the_agent_is_killed() {
    const KILLS: u32 = 6;
    let workspace = Workspace::new(PREFIX).unwrap();
    let state = workspace.path().join("state");
    let (_disk, mut agent, container, before) = stage(&workspace);
    let mut random = Random::seeded();
    let (mut sweeps, mut cut_off) = (Vec::new(), 0);
    for kill in 0..KILLS {
        sweeps.push(begin(&agent, &container));
        let api = agent.api();
        let removes = || Ok(api.sweep(&sweeps[kill as usize])?.sweep.batches > 0);
        wait::until_true("the first batch is done", SWEPT_WITHIN, removes).unwrap();
        let delay = Duration::from_millis(random.below(400));
        eprintln!("kill {kill}: {delay:?} after the first batch");
        std::thread::sleep(delay);
        agent.kill().unwrap();

        let open = must_agree(&container, &before, &state, &sweeps);
        assert!(open.len() <= 1, "more than one batch in flight: {open:?}");
        cut_off += open.len();
        if kill == 0 {
            // What a power cut may leave of a line.
            let mut journal = OpenOptions::new().append(true).open(state.join("audit.jsonl")).unwrap();
            journal.write_all(br#"{"event":"batch","time":"2026-11-22T"#).unwrap();
        }

        agent.restart().unwrap();
        assert_eq!(must_agree(&container, &before, &state, &sweeps), Vec::<u64>::new(), "not marked");
        let journal = Journal::read(&state).unwrap();
        assert_eq!(journal.torn.len(), 1, "{:?}", journal.torn);
        for number in &open {
            assert_eq!(journal.batches[number].end, End::Interrupted, "batch {number}");
        }
        let ended = || Ok(agent.api().sweep(&sweeps[kill as usize])?.phase == Phase::Ended);
        wait::until_true("the sweep is on record as abandoned", SETTLED_WITHIN, ended).unwrap();
    }
    eprintln!("{cut_off} of {KILLS} kills cut a batch off");

    sweeps.push(begin(&agent, &container));
    let record = agent.ended(sweeps.last().unwrap(), SWEPT_WITHIN).unwrap();
    assert_eq!(record.outcome, Some(Outcome::Complete), "{record:?}");
    assert_eq!(must_agree(&container, &before, &state, &sweeps), Vec::<u64>::new());
    assert!(before.keys().filter(|path| is_gone(&container, path)).count() >= FILES as usize);

    let shown = agent.command(&["history", &record.id, "--files", "-o", "json"]).unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let removed = shown.lines().filter(|line| {
        let file: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(before.contains_key(file["path"].as_str().unwrap()), "{line}");
        file["result"] == "Removed"
    });
    assert_eq!(removed.count() as u64, record.sweep.removed);
}

#[test]
fn a_journal_that_can_no_longer_be_written_ends_the_sweep() {
    let workspace = Workspace::new(PREFIX).unwrap();
    let state = workspace.path().join("state");
    let (_disk, agent, container, before) = stage(&workspace);
    let id = begin(&agent, &container);
    let removes = || Ok(agent.api().sweep(&id)?.sweep.batches > 0);
    wait::until_true("the first batch is done", SWEPT_WITHIN, removes).unwrap();

    let journal = Immutable::set(state.join("audit.jsonl"));
    let record = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(
        (record.outcome, record.reason.as_deref()),
        (Some(Outcome::Stopped), Some("AuditUnavailable"))
    );
    let left = before.keys().filter(|path| !is_gone(&container, path)).count();
    assert!(left > 0, "the sweep was over before the journal failed");
    let open = must_agree(&container, &before, &state, std::slice::from_ref(&id));
    assert!(open.len() <= 1, "{open:?}");
    drop(journal);

    let again = begin(&agent, &container);
    let record = agent.ended(&again, SWEPT_WITHIN).unwrap();
    assert_eq!(record.outcome, Some(Outcome::Complete), "{record:?}");
    let open = must_agree(&container, &before, &state, &[id, again]);
    assert_eq!(open, Vec::<u64>::new(), "the batch whose end could not be written is not marked");
}

/// A file that not even root may write to, on ext4 also by a descriptor that is open already.
struct Immutable(PathBuf);

impl Immutable {
    fn set(path: PathBuf) -> Self {
        assert!(chattr("+i", &path), "chattr +i {}", path.display());
        Self(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(how: &str, path: &Path) -> bool {
    Command::new("chattr").arg(how).arg(path).status().is_ok_and(|status| status.success())
}

/// A small generator whose seed is printed, so that a failure can be looked into.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("PODSWEEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
        let seed = given.unwrap_or_else(now) | 1;
        eprintln!("PODSWEEP_TEST_SEED={seed}");
        Self(seed)
    }

    /// xorshift64 (Marsaglia, 2003).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
