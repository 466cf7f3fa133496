//! What the removing half itself says of one file: a dry run of a sweep to which nothing but this file is handed.
//!
//! In: a container, a policy, a candidate. Out: the first of the removal's own checks that would keep it. Not a second
//! writing of those checks: the sweep stage runs as it always does, so that the answer cannot differ from what a sweep
//! does. Must never: run in another mode than `DryRun`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admission::Until;
use crate::inventory::Container;
use crate::kernel::Cgroups;
use crate::policy::{Mode, Pressure, SweepPolicy};
use crate::report::Outcome;
use crate::scan::{Candidate, Kept, ScanEnd, ScanMessage, ScanReport, ScanRequest, ScanRoot};
use crate::sweep::{
    self, Audit, Candidates, Done, NotRun, Plan, PodContainer, PodExec, Program, Ran, RmCommand,
    ScanNotStarted, Scans, Tools,
};
use crate::units::Span;

/// One file is looked at; a person waits.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A question must not wait for the node to be idle.
const ANY_PRESSURE: Pressure = Pressure { cpu: 100.0, io: 100.0, memory: 100.0 };

/// What the removing half says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every check is passed.
    Goes,
    /// It stays.
    Stays(Kept),
    /// It is gone by now.
    Gone,
    /// A sweep would end before it comes to this file: the reason's word, and a sentence.
    Ends(String, String),
}

/// Asks. `audit` must refuse to be written to.
pub(super) async fn ask(
    container: &Arc<Container>,
    policy: &SweepPolicy,
    roots: Vec<ScanRoot>,
    never: Vec<String>,
    candidate: Candidate,
    cgroups: &Cgroups,
    audit: Arc<dyn Audit>,
) -> Verdict {
    let plan = Plan {
        id: "explain".into(),
        container: Some(Arc::clone(container)),
        policy: Arc::new(at_once(policy)),
        mode: Mode::DryRun,
        roots,
        never,
    };
    let tools = Tools {
        scans: Only(candidate),
        cgroups: cgroups.clone(),
        audit,
        deleters: Arc::new(Program::this()),
        exec: OnceLock::from(Arc::new(NothingToRun) as Arc<dyn PodExec>),
        stuck: sweep::Stuck::default(),
        node_pressure: ANY_PRESSURE,
    };
    // Nobody listens: the sweep does not wait for its listener.
    let (events, _) = mpsc::channel(1);
    let until = Some(Until::at(Instant::now() + TIMEOUT));
    verdict(sweep::run(plan, &tools, events, CancellationToken::new(), until).await)
}

fn at_once(policy: &SweepPolicy) -> SweepPolicy {
    let mut policy = policy.clone();
    policy.spec.sweep.max_pressure = ANY_PRESSURE;
    policy.spec.sweep.timeout = Span(TIMEOUT);
    policy
}

fn verdict(done: Done) -> Verdict {
    let Done { outcome, reason, message, figures, notes, .. } = done;
    if let Some(enough) = notes.iter().find(|note| note.starts_with("StopWhen")) {
        return Verdict::Ends("StopWhen".into(), enough.clone());
    }
    match (outcome, figures.kept.keys().next()) {
        (_, Some(reason)) => Verdict::Stays(*reason),
        (Outcome::Complete, None) if figures.would_remove == 1 => Verdict::Goes,
        (Outcome::Complete, None) => Verdict::Gone,
        _ => Verdict::Ends(reason, message),
    }
}

/// In place of pods/exec: a dry run asks for nothing.
#[derive(Debug)]
struct NothingToRun;

impl PodExec for NothingToRun {
    fn must_be(&self, _: &PodContainer) -> Result<(), NotRun> {
        Err(NotRun::Failed("an explanation runs nothing in a container".into()))
    }

    fn run(&self, _: &PodContainer, _: &RmCommand, _: Duration, _: &mut dyn FnMut()) -> Result<Ran, NotRun> {
        Err(NotRun::Failed("an explanation runs nothing in a container".into()))
    }
}

/// In place of a scan: hands one candidate over.
struct Only(Candidate);

struct Handed {
    left: Vec<ScanMessage>,
    limits: BTreeMap<String, String>,
}

impl Scans for Only {
    type Running = Handed;

    async fn start(&self, _: ScanRequest) -> Result<Handed, ScanNotStarted> {
        let end = ScanMessage::End(ScanReport::empty(ScanEnd::Complete));
        Ok(Handed { left: vec![end, ScanMessage::Candidate(self.0.clone())], limits: BTreeMap::new() })
    }
}

impl Candidates for Handed {
    async fn next(&mut self) -> Option<ScanMessage> {
        self.left.pop()
    }

    fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        (&self.limits, &[])
    }

    fn failure(&self) -> Option<&str> {
        None
    }

    async fn cancel(self) -> ScanReport {
        ScanReport::empty(ScanEnd::Cancelled)
    }
}
