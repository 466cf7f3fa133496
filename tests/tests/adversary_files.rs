//! Files that are junk by their names and in use, changed, of the image, or not what their size says: each stays or
//! goes for the right reason, and the container keeps what it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use podsweep::report::{Outcome, SweepRecord};
use podsweep::scan::Kept;
use podsweep_tests::agent::Agent;
use podsweep_tests::cgroup;
use podsweep_tests::container::Container;
use podsweep_tests::fingerprint::fingerprints;
use podsweep_tests::holding::{HOLDER, Hold, Holder, LINE};
use podsweep_tests::image::IMAGE_TREE;
use podsweep_tests::listing::list;
use podsweep_tests::policies::{FAST, Rules, SCAN};
use podsweep_tests::wait;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
/// One rule for everything in /tmp.
const TMP: &str = "[{name: tmp, paths: [\"/tmp/**\"], exclude: [\"**/*.keep\"], olderThan: 10s}]";
const SLOW: &str = "{batchSize: 20, batchInterval: 1s, timeout: 60s}";

fn start_agent(container: &Container, junk: &str, sweep: &str) -> (Agent, String) {
    let policy = Rules { name: "own", junk, scan: SCAN, sweep }.of(container);
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
    let sweep = wait::until("the sweep is let in", ACCEPTED_WITHIN, accepted).unwrap();
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    sweep
}

fn kept(sweep: &SweepRecord, why: Kept) -> u64 {
    sweep.sweep.kept.get(&why).copied().unwrap_or(0)
}

fn write(container: &Container, path: &str, content: &[u8]) {
    let file = container.inside(path).unwrap();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

fn plain_junk(container: &Container, files: u64) {
    for number in 0..files {
        write(container, &format!("/tmp/plain-{number}.tmp"), b"junk");
    }
}

fn run(container: &Container, script: &str) {
    let output = container.exec(&["/bin/sh", "-ec", script]).unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_in_use_stay_and_go_when_they_are_let_go() {
    const PLAIN: u64 = 50;
    let holds: [(Hold, &str); 9] = [
        (Hold::Reader, "/tmp/use/reader.tmp"),
        (Hold::Writer, "/tmp/use/writer.tmp"),
        (Hold::Mapped, "/tmp/use/mapped.tmp"),
        (Hold::SwapLike, "/tmp/use/swap-like.tmp"),
        (Hold::Flock, "/tmp/use/flock.tmp"),
        (Hold::Ofd, "/tmp/use/ofd.tmp"),
        (Hold::Posix, "/tmp/use/posix.tmp"),
        (Hold::Lease, "/tmp/use/lease.tmp"),
        (Hold::Unnamed, "/tmp/use/unnamed"),
    ];
    let container = Container::start(PREFIX).unwrap();
    let (agent, target) = start_agent(&container, TMP, FAST);
    plain_junk(&container, PLAIN);
    fs::create_dir_all(container.inside("/tmp/use/unnamed").unwrap()).unwrap();
    for (hold, path) in holds.iter().filter(|(hold, _)| *hold != Hold::Unnamed) {
        write(&container, path, &vec![b'x'; if *hold == Hold::SwapLike { 1 << 20 } else { 100 }]);
    }
    fs::set_permissions(container.inside(holds[3].1).unwrap(), fs::Permissions::from_mode(0o600)).unwrap();
    let program = "/tmp/use/program.tmp";
    fs::copy(container.inside(HOLDER).unwrap(), container.inside(program).unwrap()).unwrap();
    write(&container, "/tmp/use/rewritten.tmp", b"long ago");
    container.grow_old();
    let mut holder = Holder::start(&container, &holds).unwrap();
    let running = Holder::start_program(&container, program, &[]).unwrap();
    let in_use = || fingerprints(&container.upper().join("tmp/use")).unwrap();
    write(&container, "/tmp/use/fresh.tmp", b"now");
    let mut rewritten =
        OpenOptions::new().append(true).open(container.inside("/tmp/use/rewritten.tmp").unwrap()).unwrap();
    rewritten.write_all(b"and now").unwrap();
    drop(rewritten);
    let before = in_use();

    let first = sweep(&agent, &target);
    assert_eq!(first.sweep.removed, PLAIN, "{first:?}");
    let held = holds.len() as u64; // the one without a name is no candidate; the program is one more
    assert_eq!((kept(&first, Kept::Open), kept(&first, Kept::TooYoung)), (held, 2), "{first:?}");
    assert_eq!(in_use(), before);
    // Nobody has broken the lease or touched what has no name: its holder lives and links it.
    holder.link_unnamed().unwrap();
    assert_eq!(fs::read_to_string(container.inside("/tmp/use/unnamed/linked.keep").unwrap()).unwrap(), LINE);

    drop((holder, running));
    container.grow_old();
    let second = sweep(&agent, &target);
    assert_eq!((second.sweep.removed, kept(&second, Kept::Open)), (held + 2, 0), "{second:?}");
    assert!(container.is_running());
}

#[test]
fn a_file_rotated_in_the_middle_of_a_sweep_stays_under_both_names() {
    const PLAIN: u64 = 200;
    const LOGS: u64 = 5;
    let container = Container::start(PREFIX).unwrap();
    let (agent, target) = start_agent(&container, TMP, SLOW);
    plain_junk(&container, PLAIN);
    for number in 0..LOGS {
        write(&container, &format!("/tmp/logs/{number}.log"), b"old");
    }
    write(&container, "/tmp/logs/over", b"the newer");
    write(&container, "/tmp/logs/under", b"the older");
    container.grow_old();

    let id = agent.api().request_sweep(&target, "own").unwrap();
    let plain_left = || {
        let names = fs::read_dir(container.upper().join("tmp")).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("plain-")).count() as u64
    };
    wait::until_true("the scan is over and removal has begun", BEGUN_WITHIN, || {
        Ok(plain_left() < PLAIN && cgroup::nested(&agent.slice()).is_empty())
    })
    .unwrap();
    let inside = |name: &str| container.inside(&format!("/tmp/logs/{name}")).unwrap();
    for number in 0..LOGS {
        fs::rename(inside(&format!("{number}.log")), inside(&format!("{number}.log.1"))).unwrap();
        fs::write(inside(&format!("{number}.log")), "new").unwrap();
    }
    fs::rename(inside("over"), inside("under")).unwrap();
    assert!(plain_left() > 0, "rotated too late");
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!((sweep.sweep.removed, sweep.sweep.gone), (PLAIN, 1), "{sweep:?}");
    assert_eq!(kept(&sweep, Kept::Changed), LOGS + 1, "{sweep:?}");
    let content = |name: &str| fs::read_to_string(inside(name)).unwrap();
    for number in 0..LOGS {
        assert_eq!(
            (content(&format!("{number}.log.1")), content(&format!("{number}.log"))),
            ("old".into(), "new".into())
        );
    }
    assert_eq!(content("under"), "the newer");
}

/// Whiteouts in the writable layer: files that the container has removed from its image.
fn whiteouts(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.append(&mut whiteouts(&entry.path()));
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            found.insert(entry.path());
        }
    }
    found
}

#[test]
fn what_the_image_has_shows_and_hides_as_before() {
    let container = Container::start(PREFIX).unwrap();
    let junk = format!(
        "[{{name: image, paths: [\"{IMAGE_TREE}/**\"], types: [File, Symlink], olderThan: 10s, \
         emptyDirectories: true}}]"
    );
    let (agent, target) = start_agent(&container, &junk, FAST);
    run(
        &container,
        &format!(
            "cd {IMAGE_TREE}
             busybox rm removed.tmp
             echo more >> appended.tmp
             busybox chmod 600 chmodded.tmp
             busybox mv renamed.tmp renamed-to.tmp
             busybox ln linked.tmp link-to.tmp
             busybox mv over.tmp overwritten.tmp
             busybox rm -r replaced hollow hidden
             busybox mkdir replaced hollow own own/deep
             echo new > replaced/a.tmp
             echo new > replaced/new.tmp
             echo new > hollow/new.tmp
             echo new > own/deep/new.tmp
             echo new > new.tmp
             busybox ln -s new.tmp link.tmp"
        ),
    );
    container.grow_old();
    let merged = || list(&container.root().unwrap(), &[IMAGE_TREE]).unwrap();
    let upper = container.upper().join(IMAGE_TREE.trim_start_matches('/'));
    let lower = container.upper().with_file_name("lower").join(IMAGE_TREE.trim_start_matches('/'));
    let (before, white, image) = (merged(), whiteouts(&upper), fingerprints(&lower).unwrap());
    assert!(white.len() >= 4, "{white:?}");

    let sweep = sweep(&agent, &target);

    let after = merged();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).map(String::as_str).collect();
    let junk = ["hollow/new.tmp", "link.tmp", "new.tmp", "own/deep/new.tmp", "replaced/new.tmp"];
    assert_eq!(gone, junk.map(|name| format!("{IMAGE_TREE}/{name}")), "{sweep:?}");
    let appeared: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(appeared.is_empty(), "shows again: {appeared:?}");
    assert_eq!(whiteouts(&upper), white, "{sweep:?}");
    assert_eq!(fingerprints(&lower).unwrap(), image);
    // Directories: the container's own goes when it is empty, one that covers the image's stays.
    let exists = |name: &str| container.inside(&format!("{IMAGE_TREE}/{name}")).unwrap().exists();
    assert_eq!(["own", "hollow", "hidden"].map(exists), [false, true, false], "{sweep:?}");
    assert!(kept(&sweep, Kept::LowerLayer) >= 4, "{sweep:?}");
}

#[test]
fn sparse_and_huge_files_go_and_their_blocks_are_counted() {
    const SPARSE: u64 = 1 << 40;
    const HUGE: i64 = 3 << 30;
    const ROOM: u64 = 12 << 30;
    let container = Container::start(PREFIX).unwrap();
    let (agent, target) = start_agent(&container, TMP, FAST);
    let sparse = File::create(container.inside("/tmp/sparse.tmp").unwrap()).unwrap();
    sparse.set_len(SPARSE).unwrap();
    let free = statvfs(&container.upper()).unwrap();
    let huge = free.blocks_available() * free.fragment_size() > ROOM;
    if huge {
        let file = File::create(container.inside("/tmp/huge.tmp").unwrap()).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, HUGE).unwrap();
    } else {
        println!("not tried: a file of 3 GiB, for want of 12 GiB free");
    }
    write(&container, "/tmp/small.tmp", &[b'x'; 5000]);
    drop(sparse);
    container.grow_old();
    let names = ["sparse.tmp", "huge.tmp", "small.tmp"];
    let blocks = |name: &str| {
        fs::metadata(container.upper().join("tmp").join(name)).map_or(0, |found| found.blocks() * 512)
    };
    let allocated: u64 = names.map(blocks).iter().sum();
    assert!(blocks("sparse.tmp") < 1 << 20 && (!huge || allocated >= HUGE.unsigned_abs()), "{allocated}");

    let sweep = sweep(&agent, &target);

    assert_eq!(sweep.sweep.removed, if huge { 3 } else { 2 }, "{sweep:?}");
    assert_eq!(sweep.sweep.removed_bytes, allocated, "{sweep:?}");
    assert_eq!(sweep.scan.unwrap().candidate_bytes, allocated);
}

#[test]
fn a_log_is_cut_under_its_writer_and_one_in_other_use_stays_whole() {
    let junk = "[{name: logs, paths: [\"/tmp/logs/*.log\"], olderThan: 10s, action: Truncate}]";
    let content = vec![b'x'; 1 << 20];
    let logs = ["written", "idle", "mapped", "locked"].map(|name| format!("/tmp/logs/{name}.log"));
    let container = Container::start(PREFIX).unwrap();
    let (agent, target) = start_agent(&container, junk, FAST);
    for log in &logs {
        write(&container, log, &content);
    }
    write(&container, "/tmp/logs/other.txt", &content);
    container.grow_old();
    let holds = [(Hold::Appender, &*logs[0]), (Hold::Mapped, &*logs[2]), (Hold::Flock, &*logs[3])];
    let mut holder = Holder::start(&container, &holds).unwrap();
    let upper = |log: &str| fs::metadata(container.upper().join(&log[1..])).unwrap();
    let before = logs.each_ref().map(|log| (upper(log).ino(), upper(log).blocks() * 512));

    let sweep = sweep(&agent, &target);

    assert_eq!((sweep.sweep.removed, kept(&sweep, Kept::Open)), (2, 2), "{sweep:?}");
    assert_eq!(sweep.sweep.removed_bytes, before[0].1 + before[1].1, "{sweep:?}");
    assert_eq!(logs.each_ref().map(|log| upper(log).size()), [0, 0, 1 << 20, 1 << 20]);
    assert_eq!(logs.each_ref().map(|log| upper(log).ino()), before.map(|(inode, _)| inode));
    assert_eq!(upper("/tmp/logs/other.txt").size(), 1 << 20);
    holder.append().unwrap();
    assert_eq!(fs::read_to_string(container.inside(&logs[0]).unwrap()).unwrap(), LINE);
}
