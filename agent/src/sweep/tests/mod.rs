//! The stage as a whole, on real files, a real overlayfs and a real process.

mod container;
mod course;
mod overlay;
mod properties;
mod sources;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, Fate};
use super::batch::{Hand, Worked};
use super::end::Halt;
use super::event::{Done, Event};
use super::executor::Chosen;
use super::held::Held;
use super::plan::{Plan, directory_root, plan_roots};
use super::run::{Tools, run_by_clock};
use super::test_bed::{ANY_PRESSURE, InThisProcess, Lister, Pod, Remembers, in_an_hour, policy};
use crate::inventory::Container;
use crate::kernel::Cgroups;
use crate::policy::{JunkRule, Mode};
use crate::scan::Candidate;

fn plan_of(container: Container, rules: Vec<JunkRule>, mode: Mode) -> Plan {
    let roots = plan_roots(&container, &rules);
    let container = Some(Arc::new(container));
    Plan { id: "sweep".into(), container, policy: policy(rules), mode, roots, never: Vec::new() }
}

fn directory_plan(directory: &Path, rules: Vec<JunkRule>, mode: Mode) -> Plan {
    let roots = vec![directory_root(directory)];
    Plan { id: "sweep".into(), container: None, policy: policy(rules), mode, roots, never: Vec::new() }
}

fn halt() -> Halt {
    let stop = CancellationToken::new();
    Halt { stop, permit: None, timeout: Duration::from_mins(10), began: Instant::now() }
}

/// One batch with all candidates, an hour from now.
fn work(plan: Plan, candidates: &[Candidate]) -> (Worked, Vec<(String, Fate)>) {
    let audit = Arc::new(Remembers::default());
    let held =
        plan.container.as_ref().map(|container| Held::take(container, &Cgroups::find().unwrap()).unwrap());
    let mut hand = Hand::new(
        Arc::new(plan),
        held,
        Arc::clone(&audit) as Arc<dyn Audit>,
        halt(),
        Chosen::Host(Arc::new(InThisProcess)),
    )
    .unwrap();
    let worked = hand.work(candidates, in_an_hour());
    let paths = candidates.iter().map(|candidate| String::from_utf8_lossy(&candidate.path).into_owned());
    let results = audit.results.lock().unwrap();
    (worked, paths.zip(results.iter().map(|result| result.result)).collect())
}

/// One batch of everything in the container's upper layer, by rule 0.
fn work_all(pod: &Pod, rule: JunkRule) -> Vec<(String, Fate)> {
    let candidates = super::test_bed::list(&pod.upper(), rule.action);
    let (worked, fates) = work(plan_of(pod.container(), vec![rule], Mode::Enforce), &candidates);
    assert_eq!(worked.end, None);
    fates
}

fn fate(fates: &[(String, Fate)], path: &str) -> Fate {
    let found = fates.iter().find(|(at, _)| at == path);
    found.unwrap_or_else(|| panic!("{path} is not among {fates:?}")).1
}

struct Ran {
    done: Done,
    events: Vec<Event>,
    audit: Arc<Remembers>,
}

/// A whole sweep, an hour from now.
async fn sweep(
    plan: Plan,
    scans: Lister,
    audit: Remembers,
    stop: CancellationToken,
    permit: Option<Instant>,
) -> Ran {
    let audit = Arc::new(audit);
    let tools = Tools {
        scans,
        cgroups: Cgroups::find().unwrap(),
        audit: Arc::clone(&audit) as Arc<dyn Audit>,
        deleters: Arc::new(InThisProcess),
        exec: std::sync::OnceLock::new(),
        stuck: super::Stuck::default(),
        node_pressure: ANY_PRESSURE,
    };
    let (sender, mut receiver) = mpsc::channel(10_000);
    let done =
        run_by_clock(plan, &tools, sender, stop, permit.map(crate::admission::Until::at), in_an_hour).await;
    let mut events = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        events.push(event);
    }
    Ran { done, events, audit }
}
