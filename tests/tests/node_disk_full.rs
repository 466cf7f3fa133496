//! The disk that holds the agent's state is full: the agent lives, nothing is removed off the record, and with room
//! again it works again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podsweep::report::Outcome;
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::policies::Scratch;
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use podsweep_tests::workspace::Workspace;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const STORM_WITHIN: Duration = Duration::from_mins(1);
const ACCEPTED_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);

/// A file system of 24 MiB; unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Self {
        let none: Option<&str> = None;
        mount(none, &path, Some("tmpfs"), MsFlags::empty(), Some("size=24m,mode=0700")).unwrap();
        Self(path)
    }

    /// Fills it to the last byte; the file to remove again.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn downloads(container: &Container) -> usize {
    let cache: &Path = &container.inside("/app/cache").unwrap();
    let names = fs::read_dir(cache).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("download-")).count()
}

#[test]
fn a_full_disk_stops_no_agent_and_hides_no_removal() {
    // First the container: it gives this thread the mount namespace that the small disk is mounted in.
    let mut container = Container::start(PREFIX).unwrap();
    let workspace = Workspace::new(PREFIX).unwrap();
    let disk = SmallDisk::mount(workspace.folder("state").unwrap());
    let policy = Scratch::by_hand("hand").of(&container);
    let settings = json!({"state": disk.0, "journal": {"maxBytes": "2Mi", "files": 3}});
    let agent = Agent::start_with(PREFIX, &[("hand", &policy)], &settings).unwrap();
    agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(400) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let target = container.cgroup().path();

    // Twice: what the agent has put by for this case may carry it through the first time.
    let mut fillers = Vec::new();
    for round in 0..2 {
        let filler = disk.fill();
        let aside = disk.0.join(format!("filler-{round}"));
        fs::rename(&filler, &aside).unwrap();
        fillers.push(aside);
        let before = downloads(&container);
        let on_record = match agent.api().request_sweep(&target, "hand") {
            Ok(id) => agent.ended(&id, SWEPT_WITHIN).unwrap().sweep.removed,
            Err(error) => {
                // What is put by for this case has to carry it through once: the sweep is what makes room.
                assert!(round > 0, "refused at once: {error:#}");
                0
            }
        };
        let gone = (before - downloads(&container)) as u64;
        assert!(round > 0 || gone > 0, "the first sweep on a full disk removed nothing");
        assert!(
            gone <= on_record,
            "round {round}: {gone} downloads are gone, {on_record} removals on record"
        );
        let health = agent.api().ask("GET", "/healthz", None).unwrap();
        assert_eq!(health.status, 200, "{health:?}");
    }

    for filler in fillers {
        fs::remove_file(filler).unwrap();
    }
    let id = wait::until("a sweep is accepted again", ACCEPTED_WITHIN, || {
        Ok(agent.api().request_sweep(&target, "hand").ok())
    })
    .unwrap();
    let sweep = agent.ended(&id, SWEPT_WITHIN).unwrap();
    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    assert_eq!(downloads(&container), 0);
}
