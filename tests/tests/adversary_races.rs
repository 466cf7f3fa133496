//! A container that swaps, as fast as the kernel lets it, what is scanned and removed at that moment: nothing goes but
//! what the policy names, and whatever the container does in its directories meanwhile works.
//!
//! Each test says in its output how many swaps were made while sweeps ran.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use podsweep_tests::attacker::{
    Attack, By, Canaries, Errand, Fought, Ground, LONG_SWAPS, Order, Pace, Siege, Tally, fill, race_is_long,
};
use podsweep_tests::container::Container;
use podsweep_tests::workspace::Workspace;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
/// Directories that change places: each is away half of the time.
const VICTIMS: u32 = 48;
/// Junk in each. Empty, here and below: what takes time is to remove blocks, not names.
const FILES: u32 = 150;
/// Half of what was measured on two busy cores in CI's time.
const SWAPS: u64 = 10_000;
const SWEEPS: u64 = 3;

/// Directories `/tmp/victim-N` with junk at `below` in them, and in a directory below that.
fn victims(container: &Container, below: &str) -> Vec<PathBuf> {
    let victims: Vec<_> = (0..VICTIMS).map(|number| PathBuf::from(format!("/tmp/victim-{number}"))).collect();
    for victim in &victims {
        let inside = container.inside(&victim.to_string_lossy()).unwrap().join(below);
        fill(&inside, FILES, "").unwrap();
        fill(&inside.join("sub"), FILES / 10, "").unwrap();
    }
    victims
}

/// A service's own directory, which the policy covers.
fn bystand(container: &Container) -> Vec<PathBuf> {
    let place = PathBuf::from("/tmp/service");
    fill(&container.inside(&place.to_string_lossy()).unwrap(), 1, "").unwrap();
    vec![place]
}

/// Sweeps while the pairs change places; then nothing outside the policy may differ, and the container's own work in
/// all of them must have gone on without a failure.
fn race(
    siege: &Siege<'_>,
    container: &Container,
    pairs: Vec<(PathBuf, PathBuf)>,
    untouched: &Canaries,
) -> Fought {
    let is_directory = |path: &&PathBuf| path.extension().is_none();
    let places = pairs.iter().map(|(victim, _)| victim).filter(is_directory).cloned().collect();
    let order = Order { errand: Errand::Flip { pairs }, bystand: places, supply: true };
    let attack = Attack::start(container, &order, &[]).unwrap();
    let fought = siege.hold(&attack, LONG_SWAPS);
    let tally = attack.end().unwrap();
    let fought = fought.unwrap();
    eprintln!("{fought}; {tally:?}");
    untouched.must_be_untouched().unwrap();
    eprintln!("{} canaries untouched", untouched.count());
    assert!(fought.swaps >= SWAPS && fought.scanned() >= SWEEPS, "no race: {fought}");
    assert!(fought.removed() > 0, "nothing was removed: {fought}");
    must_have_worked(&tally);
    assert!(container.is_running());
    fought
}

/// Create, rename, unlink, mkdir and rmdir in the container: all of it, all the time, without an error.
fn must_have_worked(tally: &Tally) {
    assert!(tally.rounds > 0 && tally.bystander.is_empty(), "{tally:?}");
}

#[test]
fn a_directory_swapped_with_a_symlink_leads_nowhere() {
    let container = Container::start(PREFIX).unwrap();
    let agent = Siege::agent(PREFIX, &container, Pace::MANY_BATCHES, &json!({})).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    let pairs = ground.decoys(&container, &victims(&container, "")).unwrap();
    container.grow_old();
    let siege = Siege::lay(&agent, &container).unwrap();
    race(&siege, &container, pairs, &ground.canaries().unwrap());
}

#[test]
fn a_parent_swapped_with_a_symlink_leads_nowhere() {
    let container = Container::start(PREFIX).unwrap();
    let agent = Siege::agent(PREFIX, &container, Pace::MANY_BATCHES, &json!({})).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    // What is removed is one level further down, where the canaries have such a directory, too.
    let pairs = ground.decoys(&container, &victims(&container, "v")).unwrap();
    container.grow_old();
    let siege = Siege::lay(&agent, &container).unwrap();
    race(&siege, &container, pairs, &ground.canaries().unwrap());
}

/// Files of the host, and hard links to them, made by the host in a volume of the container: a container cannot link
/// to what it does not see.
fn hard_links(host: &Path, links: &Path, files: u32) {
    fill(host, files, "precious").unwrap();
    fs::create_dir_all(links).unwrap();
    for entry in fs::read_dir(host).unwrap().map(|entry| entry.unwrap()) {
        fs::hard_link(entry.path(), links.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_file_swapped_for_a_hard_link_to_the_hosts_stays() {
    let volume = Workspace::new(PREFIX).unwrap();
    let shared = volume.folder("shared").unwrap();
    let container = Container::start_with_volume(PREFIX, &shared).unwrap();
    let agent =
        Siege::agent(PREFIX, &container, Pace::MANY_BATCHES, &json!({"hostPaths": [&shared]})).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    let mut pairs = Vec::new();
    for number in 0..VICTIMS {
        let (junk, links) = (format!("junk/d-{number}"), format!("links/d-{number}"));
        fill(&shared.join(&junk), FILES, "").unwrap();
        hard_links(&ground.host().join(&links), &shared.join(&links), FILES);
        // Their directories change places, and not they: a swapped file has a new ctime, and so is too young.
        pairs.push((Path::new("/vol").join(junk), Path::new("/vol").join(links)));
    }
    // These do, and their canaries bear the attacker's own ctime.
    let named = volume.folder("named").unwrap();
    fill(&shared.join("junk/named"), 8, "").unwrap();
    hard_links(&named, &shared.join("links/named"), 8);
    pairs.extend((0..8).map(|number| {
        ["junk", "links"].map(|top| PathBuf::from(format!("/vol/{top}/named/j-{number}.tmp"))).into()
    }));
    container.grow_old();
    let siege = Siege::lay(&agent, &container).unwrap();
    let fought = race(&siege, &container, pairs, &ground.canaries().unwrap());
    for entry in fs::read_dir(&named).unwrap().map(|entry| entry.unwrap()) {
        assert_eq!(fs::read_to_string(entry.path()).unwrap(), "precious");
        assert_eq!(entry.metadata().unwrap().nlink(), 2, "{entry:?}");
    }
    let linked = podsweep::scan::Kept::HardLinked;
    let met: u64 = fought.sweeps.iter().filter_map(|sweep| sweep.sweep.kept.get(&linked)).sum();
    assert!(met > 0, "no sweep ever met a hard link: {fought}");
}

/// What the files of these directories say, of those that begin with `precious`.
fn precious(directories: &[PathBuf]) -> BTreeSet<String> {
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    texts.filter(|text| text.starts_with("precious")).collect()
}

/// Junk that lasts to the end: this many files in CI's time.
fn enough(files: u32) -> u32 {
    if race_is_long() { files * 12 } else { files }
}

/// How many precious files are lost. Puts them in the place of those that are about to go, and back a moment later. While such a file has a
/// name that the policy covers, it is young: only what happens between the last look at a name and its removal can
/// take it.
fn take_over(by: By) -> u64 {
    let files = enough(12_000);
    let container = Container::start(PREFIX).unwrap();
    let agent = Siege::agent(PREFIX, &container, Pace::ONE_BATCH, &json!({})).unwrap();
    let [doomed, kept] = ["/tmp/doomed", "/srv/kept"].map(|path| container.inside(path).unwrap());
    fill(&doomed, files, "").unwrap();
    fs::create_dir_all(&kept).unwrap();
    for number in 0..files / 4 {
        fs::write(kept.join(format!("p-{number}")), format!("precious {number}")).unwrap();
    }
    let places = bystand(&container);
    container.grow_old();
    let before = precious(&[doomed.clone(), kept.clone()]);
    let siege = Siege::lay(&agent, &container).unwrap();
    let errand = Errand::Aim { doomed: "/tmp/doomed".into(), precious: "/srv/kept".into(), by };
    let attack = Attack::start(&container, &Order { errand, bystand: places, supply: false }, &[]).unwrap();
    let fought = siege.hold(&attack, 0).unwrap();
    let tally = attack.end().unwrap();
    let lost = before.difference(&precious(&[doomed, kept])).count() as u64;
    eprintln!("{fought}; {tally:?}; {lost} lost");
    must_have_worked(&tally);
    assert_eq!(lost, tally.lost, "lost, but not in a race");
    assert!(fought.scanned() >= SWEEPS && tally.swaps >= 10, "no race: {fought} {tally:?}");
    lost
}

/// What is removed has been moved aside first, to a name that the attacker does not know, and looked at once more: a
/// third of its swaps hit when names were removed as they were.
#[test]
fn a_file_exchanged_in_its_last_microseconds_stays() {
    assert_eq!(take_over(By::Exchange), 0);
}

#[test]
fn a_file_renamed_over_in_its_last_microseconds_stays() {
    assert_eq!(take_over(By::RenameOver), 0);
}

#[test]
fn a_directory_moved_out_of_the_tree_takes_its_files_with_it() {
    let container = Container::start(PREFIX).unwrap();
    let agent = Siege::agent(PREFIX, &container, Pace::ONE_BATCH, &json!({})).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    let [from, to] = ["/tmp/build/release", "/srv/release"].map(PathBuf::from);
    fill(&container.inside("/tmp/build/release").unwrap(), enough(20_000), "").unwrap();
    container.grow_old();
    let untouched = ground.canaries().unwrap();
    let siege = Siege::lay(&agent, &container).unwrap();
    let errand = Errand::MoveAway { from, to };
    let attack =
        Attack::start(&container, &Order { errand, bystand: bystand(&container), supply: false }, &[])
            .unwrap();
    let fought = siege.hold(&attack, 0).unwrap();
    let tally = attack.end().unwrap();
    eprintln!("{fought}; {tally:?}");
    untouched.must_be_untouched().unwrap();
    must_have_worked(&tally);
    assert!(tally.moved.len() >= 3, "never moved while files went: {fought} {tally:?}");
    // One may be between its last look and its removal while the directory moves.
    let lost: Vec<_> = tally.moved.iter().filter(|(at_first, at_last)| at_first - at_last > 1).collect();
    assert!(lost.is_empty(), "removed where no rule looks: {lost:?} of {:?}", tally.moved);
}

/// Of the tests' own ground: canaries that are on another filesystem would prove nothing.
#[test]
fn canaries_are_on_the_filesystem_of_the_layers() {
    let container = Container::start(PREFIX).unwrap();
    let ground = Ground::lay(PREFIX, &container).unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_eq!(device(ground.host()), device(&container.upper()));
}
