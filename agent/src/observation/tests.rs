//! Against this kernel: a real process in a cgroup of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use super::*;
use crate::inventory::{CgroupId, Names, Runtime};
use crate::kernel::{Cgroups, process};
use crate::report::Health;

const PERIOD: Duration = Duration::from_millis(20);
const LONG: WatchSettings = WatchSettings { window: Duration::from_mins(1) };

/// A process in a cgroup made for one test; both go with it.
struct Sleeper {
    child: Child,
    directory: PathBuf,
    cgroups: Arc<Cgroups>,
    container: Arc<Container>,
}

impl Sleeper {
    fn start(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test makes a cgroup: run it as root");
        let cgroups = Cgroups::find().unwrap();
        let cgroup_path = format!("/podsweep-observation-{test}-{}", std::process::id());
        let directory = cgroups.directory(&cgroup_path);
        fs::create_dir(&directory).unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
        let container = Container {
            cgroup: CgroupId(0),
            cgroup_path,
            nested: vec![],
            runtime: Runtime::Other,
            id: "test".into(),
            names: Names::default(),
            first: process(pid).unwrap(),
            layer: None,
            volumes: vec![],
            other_mounts: vec![],
        };
        Self { child, directory, cgroups: Arc::new(cgroups), container: Arc::new(container) }
    }

    fn sources(&self) -> Sources {
        Sources { cgroups: Arc::clone(&self.cgroups), pods: None }
    }

    fn vitals(&self) -> Vitals {
        self.sources().read(&self.container)
    }

    async fn watch(&self, settings: WatchSettings, stop: CancellationToken) -> Finding {
        watch_every(PERIOD, Arc::clone(&self.container), self.sources(), self.vitals(), settings, stop).await
    }

    fn freeze(&self, on: bool) {
        fs::write(self.directory.join("cgroup.freeze"), if on { "1" } else { "0" }).unwrap();
        let events = self.directory.join("cgroup.events");
        while fs::read_to_string(&events).unwrap().contains("frozen 1") != on {
            std::thread::yield_now();
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = fs::write(self.directory.join("cgroup.freeze"), "0");
        let _ = self.child.kill();
        let _ = self.child.wait();
        while fs::read_to_string(self.directory.join("cgroup.procs")).is_ok_and(|procs| !procs.is_empty()) {
            std::thread::yield_now();
        }
        let _ = fs::remove_dir(&self.directory);
    }
}

#[tokio::test]
async fn a_container_that_goes_on_is_healthy() {
    let sleeper = Sleeper::start("healthy");
    let settings = WatchSettings { window: PERIOD * 3 };
    let found = sleeper.watch(settings, CancellationToken::new()).await;
    assert_eq!(found.health, Health::Healthy, "{}", found.message);
}

#[tokio::test]
async fn a_killed_one_is_gone_even_as_a_zombie() {
    let mut sleeper = Sleeper::start("gone");
    let before = sleeper.vitals();
    assert_eq!(before.same_process, Some(true));
    // Not reaped: it stays in /proc with its start time.
    sleeper.child.kill().unwrap();
    let (container, sources) = (Arc::clone(&sleeper.container), sleeper.sources());
    let found = watch_every(PERIOD, container, sources, before, LONG, CancellationToken::new()).await;
    assert_eq!(found.sign, Sign::Gone, "{}", found.message);
    assert_eq!(sleeper.vitals().same_process, Some(false), "a zombie");
    sleeper.child.wait().unwrap();
    assert_eq!(sleeper.vitals().same_process, Some(false));
}

#[tokio::test]
async fn a_frozen_one_is_harmed() {
    let sleeper = Sleeper::start("frozen");
    let before = sleeper.vitals();
    sleeper.freeze(true);
    let (container, sources) = (Arc::clone(&sleeper.container), sleeper.sources());
    let found = watch_every(PERIOD, container, sources, before, LONG, CancellationToken::new()).await;
    assert_eq!(found.sign, Sign::Frozen, "{}", found.message);
    sleeper.freeze(false);
    assert_eq!(sleeper.vitals().frozen, Some(false));
}

#[tokio::test]
async fn a_watch_that_is_cut_short_is_unknown() {
    let sleeper = Sleeper::start("cut");
    let stop = CancellationToken::new();
    stop.cancel();
    let found = sleeper.watch(LONG, stop).await;
    assert_eq!((found.health, found.sign), (Health::Unknown, Sign::NotWatched));
}
