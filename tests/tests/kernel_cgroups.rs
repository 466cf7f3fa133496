//! Cgroups made and removed are told, their counters freed, and a full counter map is told too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

use std::fs;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podsweep::inventory::CgroupEvent;
use podsweep::inventory::CgroupId;
use podsweep::kernel::Cgroups;
use podsweep::observe::{CgroupEvents, Counts, Kind, ObserveSettings, Observer};
use podsweep_tests::kernel_cgroup::TestCgroup;

fn observer(settings: ObserveSettings) -> Observer {
    Observer::start(&settings).expect("counting needs root and a kernel with BTF")
}

/// Makes a file and removes it, in the cgroup.
fn touch_in(cgroup: &TestCgroup) {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo 0 > \"$1/cgroup.procs\" && : > \"$2/file\" && rm \"$2/file\"";
    let status =
        Command::new("sh").args(["-c", script, "sh"]).arg(&cgroup.path).arg(folder.path()).status().unwrap();
    assert!(status.success());
}

/// The next event that concerns `id`, within the second that issue 2 allows.
async fn next_of(events: &mut CgroupEvents, id: CgroupId) -> CgroupEvent {
    let found = async {
        loop {
            let event = events.next().await.expect("the stream goes on");
            let (CgroupEvent::Made { id: found, .. } | CgroupEvent::Removed { id: found }) = &event;
            if *found == id {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), found).await.expect("told within one second")
}

#[tokio::test]
async fn a_cgroup_is_told_of_within_a_second_when_made_and_when_removed() {
    let mut observer = observer(ObserveSettings::default());
    let mut events = observer.cgroup_events().expect("this kernel tells of cgroups");
    assert!(observer.cgroup_events().is_none(), "there is one stream");

    let cgroup = TestCgroup::new("events").unwrap();
    let name = cgroup.path.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        next_of(&mut events, cgroup.id).await,
        CgroupEvent::Made { id: cgroup.id, path: format!("/{name}") }
    );
    cgroup.remove().unwrap();
    assert_eq!(next_of(&mut events, cgroup.id).await, CgroupEvent::Removed { id: cgroup.id });
    assert_eq!(observer.loss().cgroup_events, 0);
}

#[tokio::test]
async fn cgroups_of_v1_hierarchies_are_not_told_of() {
    let Some((_, v1)) = Cgroups::find().unwrap().v1.into_iter().find(|(_, mount)| mount.is_dir()) else {
        // A host with cgroup2 alone has nothing to confuse.
        return;
    };
    let mut observer = observer(ObserveSettings::default());
    let mut events = observer.cgroup_events().unwrap();
    let name = format!("podsweep-kernel-v1-{}", std::process::id());
    fs::create_dir(v1.join(&name)).unwrap();
    fs::remove_dir(v1.join(&name)).unwrap();
    let after = TestCgroup::new("after-v1").unwrap();
    loop {
        let event = events.next().await.unwrap();
        let CgroupEvent::Made { id, path } = event else { continue };
        assert_ne!(path, format!("/{name}"));
        if id == after.id {
            return;
        }
    }
}

#[test]
fn a_removed_cgroups_counts_are_read_once_more_and_its_slot_freed() {
    let mut observer = observer(ObserveSettings::default());
    let cgroup = TestCgroup::new("freed").unwrap();
    touch_in(&cgroup);
    cgroup.remove().unwrap();
    let last = observer.read().unwrap();
    assert_eq!(last.get(&cgroup.id).map(|counts| counts.get(Kind::Create)), Some(1));
    assert!(!observer.read().unwrap().contains_key(&cgroup.id));
}

#[test]
fn a_forgotten_cgroup_starts_again_from_nothing() {
    let mut observer = observer(ObserveSettings::default());
    let cgroup = TestCgroup::new("forgotten").unwrap();
    touch_in(&cgroup);
    touch_in(&cgroup);
    assert_eq!(observer.read().unwrap()[&cgroup.id].get(Kind::Unlink), 2);
    observer.forget(cgroup.id);
    observer.forget(cgroup.id);
    touch_in(&cgroup);
    assert_eq!(observer.read().unwrap()[&cgroup.id].get(Kind::Unlink), 1);
}

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_counter_map_is_counted_and_the_kernel_sides_line_reaches_the_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut observer = observer(ObserveSettings { max_cgroups: 16, ..ObserveSettings::default() });
        let cgroups: Vec<_> =
            (0..32).map(|number| TestCgroup::new(&format!("full-{number}")).unwrap()).collect();
        cgroups.iter().for_each(touch_in);
        let counted = observer.read().unwrap();
        let left_out = cgroups.iter().filter(|cgroup| !counted.contains_key(&cgroup.id)).count();
        let loss = observer.loss();
        assert!(counted.len() <= 16 && left_out >= 16, "{} counted, {left_out} left out", counted.len());
        assert!(loss.cgroups_not_counted >= left_out as u64, "{loss:?}");
        // Each made one file and removed it.
        assert!(loss.operations_not_counted >= 2 * left_out as u64, "{loss:?}");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("counter map full: cgroup "), "{text:?}");
}

#[test]
fn more_cgroups_than_one_call_reads_are_all_read() {
    // The observer reads 128 at a time.
    const CGROUPS: usize = 300;
    let mut observer = observer(ObserveSettings::default());
    let cgroups: Vec<_> =
        (0..CGROUPS).map(|number| TestCgroup::new(&format!("many-{number}")).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let script = "cd \"$1\"; shift; for to; do echo $$ > \"$to/cgroup.procs\"; : > \"${to##*/}\"; done";
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, "sh"]).arg(folder.path()).args(cgroups.iter().map(|cgroup| &cgroup.path));
    assert!(shell.status().unwrap().success());
    let counts = observer.read().unwrap();
    for cgroup in &cgroups {
        let created = counts.get(&cgroup.id).map(Counts::creates);
        assert_eq!(created, Some(1), "{}", cgroup.path.display());
    }
}
