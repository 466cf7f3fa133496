//! The course of a sweep: its limits, its brakes, its story. On plain directories, no container.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::event::Event;
use super::super::plan::Plan;
use super::super::test_bed::{InThisProcess, Lister, Remembers, list, policy_with, rule};
use super::{Ran, directory_plan, sweep};
use crate::policy::{Action, Executor, Mode, Pressure, Spec, StopWhen};
use crate::report::Outcome;
use crate::scan::Kept;
use crate::units::{Percent, Span};

fn files(count: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("tmp")).unwrap();
    for number in 0..count {
        fs::write(directory.path().join(format!("tmp/{number:03}")), "junk").unwrap();
    }
    directory
}

fn left(directory: &TempDir) -> usize {
    fs::read_dir(directory.path().join("tmp")).unwrap().count()
}

fn plan_with(directory: &Path, mode: Mode, change: impl FnOnce(&mut Spec)) -> Plan {
    let mut plan = directory_plan(directory, vec![rule("scratch", "/tmp/**")], mode);
    plan.policy = Arc::new(policy_with(plan.policy.spec.junk.clone(), change));
    plan
}

async fn run(plan: Plan) -> Ran {
    let candidates = list(&plan.roots[0].host, Action::Delete);
    sweep(plan, Lister::of(candidates), Remembers::default(), CancellationToken::new(), None).await
}

fn ended(ran: &Ran) -> (Outcome, &str, u64) {
    (ran.done.outcome, &ran.done.reason, ran.done.figures.removed)
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_touches_nothing() {
    let directory = files(5);
    let _open = File::open(directory.path().join("tmp/003")).unwrap();
    let ran = run(plan_with(directory.path(), Mode::DryRun, |_| {})).await;
    assert_eq!(ended(&ran), (Outcome::Complete, "Complete", 0));
    assert_eq!((ran.done.figures.would_remove, ran.done.figures.would_remove_bytes), (4, 4 * 4096));
    assert_eq!(ran.done.figures.kept.get(&Kept::Open), Some(&1));
    assert_eq!(ran.done.sample.len(), 4);
    assert_eq!(ran.done.sample[0], (b"/tmp/000".to_vec(), "scratch".to_owned(), 4096));
    assert!(ran.audit.announced.lock().unwrap().is_empty());
    assert_eq!(left(&directory), 5);
}

#[tokio::test]
async fn limits_of_the_policy_end_it_partial() {
    let directory = files(10);
    let ran = run(plan_with(directory.path(), Mode::Enforce, |spec| spec.sweep.max_files = 4)).await;
    assert_eq!(ended(&ran), (Outcome::Partial, "MaxFiles", 4));
    let enough = StopWhen { node_inodes_free: Some(Percent(0.0)), node_bytes_free: None };
    let ran = run(plan_with(directory.path(), Mode::Enforce, |spec| spec.sweep.stop_when = enough)).await;
    assert_eq!(ended(&ran), (Outcome::Partial, "StopWhen", 0));
    let ran =
        run(plan_with(directory.path(), Mode::Enforce, |spec| spec.sweep.timeout = Span::default())).await;
    assert_eq!(ended(&ran), (Outcome::Partial, "Timeout", 0));
    // Exactly as many as there are is not too many.
    let ran = run(plan_with(directory.path(), Mode::Enforce, |spec| spec.sweep.max_files = 6)).await;
    assert_eq!(ended(&ran), (Outcome::Complete, "Complete", 6));
}

#[tokio::test]
async fn a_dry_run_is_not_ended_by_what_is_free_but_says_so() {
    let directory = files(2);
    let enough = StopWhen { node_inodes_free: Some(Percent(0.0)), node_bytes_free: None };
    let ran = run(plan_with(directory.path(), Mode::DryRun, |spec| spec.sweep.stop_when = enough)).await;
    assert_eq!(ran.done.figures.would_remove, 2);
    assert!(ran.done.notes[0].starts_with("StopWhen: "), "{:?}", ran.done.notes);
}

#[tokio::test]
async fn an_expired_permit_and_a_person_stop_it_before_the_first_file() {
    let directory = files(3);
    let candidates = list(directory.path(), Action::Delete);
    let plan = || plan_with(directory.path(), Mode::Enforce, |_| {});
    let scans = || Lister::of(candidates.clone());
    let expired = Some(Instant::now());
    let ran = sweep(plan(), scans(), Remembers::default(), CancellationToken::new(), expired).await;
    assert_eq!(ended(&ran), (Outcome::Stopped, "PermitExpired", 0));
    let stop = CancellationToken::new();
    stop.cancel();
    let ran = sweep(plan(), scans(), Remembers::default(), stop, None).await;
    assert_eq!(ended(&ran), (Outcome::Stopped, "Cancelled", 0));
    assert_eq!(left(&directory), 3);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let directory = files(3);
    let plan = plan_with(directory.path(), Mode::Enforce, |_| {});
    let scans = Lister::of(list(directory.path(), Action::Delete));
    let full = Remembers { full: true, ..Remembers::default() };
    let ran = sweep(plan, scans, full, CancellationToken::new(), None).await;
    assert_eq!(ended(&ran), (Outcome::Stopped, "AuditUnavailable", 0));
    assert_eq!(left(&directory), 3);
}

#[tokio::test]
async fn a_worker_that_names_what_it_was_not_asked_for_is_not_believed() {
    let directory = files(3);
    for (root, rule, action, path) in [
        (1, 0, Action::Delete, "tmp/000"),
        (0, 1, Action::Delete, "tmp/000"),
        (0, 0, Action::Truncate, "tmp/000"),
        (0, 0, Action::Delete, "../tmp/000"),
        (0, 0, Action::Delete, "/tmp/000"),
    ] {
        let mut candidates = list(directory.path(), Action::Delete);
        let one = &mut candidates[0];
        (one.root, one.rule, one.action, one.path) = (root, rule, action, path.into());
        let plan = plan_with(directory.path(), Mode::Enforce, |_| {});
        let none = CancellationToken::new();
        let ran = sweep(plan, Lister::of(candidates), Remembers::default(), none, None).await;
        assert_eq!(ended(&ran), (Outcome::Stopped, "ScanNotBelieved", 0));
    }
    assert_eq!(left(&directory), 3);
}

#[tokio::test]
async fn each_candidate_is_judged_again_before_it_goes() {
    let directory = files(3);
    let candidates = list(directory.path(), Action::Delete);
    let mut plan = plan_with(directory.path(), Mode::Enforce, |_| {});
    plan.never = vec!["/tmp/001".into()];
    let none = CancellationToken::new;
    let ran = sweep(plan, Lister::of(candidates), Remembers::default(), none(), None).await;
    assert_eq!(ended(&ran), (Outcome::Complete, "Complete", 2));
    assert_eq!(ran.done.figures.kept.get(&Kept::Never), Some(&1));

    fs::write(directory.path().join("precious"), "data").unwrap();
    let candidates = list(directory.path(), Action::Delete);
    let plan = plan_with(directory.path(), Mode::Enforce, |_| {});
    let ran = sweep(plan, Lister::of(candidates), Remembers::default(), none(), None).await;
    assert_eq!(ended(&ran), (Outcome::Stopped, "ScanNotBelieved", 0));
    assert!(directory.path().join("precious").exists());
}

#[tokio::test]
async fn refusals_in_a_row_open_the_breaker() {
    let directory = files(30);
    let frozen = directory.path().join("tmp");
    let immutable = |flag: &str| {
        let chattr = std::process::Command::new("chattr").arg(flag).arg(&frozen).status();
        assert!(chattr.unwrap().success());
    };
    immutable("+i");
    let ran = run(plan_with(directory.path(), Mode::Enforce, |spec| spec.breakers.sweep.errors = 4)).await;
    immutable("-i");
    assert_eq!(ended(&ran), (Outcome::Stopped, "SweepBreaker", 0));
    assert_eq!(ran.done.figures.kept.get(&Kept::Refused), Some(&4));
    assert_eq!(ran.audit.results.lock().unwrap().len(), 30);
}

#[tokio::test]
async fn pressure_holds_it_up_until_somebody_stops_it() {
    let directory = files(3);
    let plan = plan_with(directory.path(), Mode::Enforce, |_| {});
    let tools = super::Tools {
        scans: Lister::of(list(directory.path(), Action::Delete)),
        cgroups: super::Cgroups::find().unwrap(),
        audit: Arc::new(Remembers::default()) as Arc<dyn super::Audit>,
        deleters: Arc::new(InThisProcess),
        exec: std::sync::OnceLock::new(),
        stuck: super::super::Stuck::default(),
        node_pressure: Pressure { cpu: -1.0, io: -1.0, memory: -1.0 },
    };
    let (sender, mut events) = tokio::sync::mpsc::channel(100);
    let stop = CancellationToken::new();
    let running = super::run_by_clock(plan, &tools, sender, stop.clone(), None, super::in_an_hour);
    let watching = async {
        while let Some(event) = events.recv().await {
            if matches!(event, Event::Waiting { .. }) {
                stop.cancel();
            }
        }
    };
    let (done, ()) = tokio::join!(running, watching);
    assert_eq!((done.outcome, done.reason.as_str()), (Outcome::Stopped, "Cancelled"));
    assert_eq!(left(&directory), 3);
}

#[tokio::test]
async fn batches_start_an_interval_apart() {
    let directory = files(6);
    let interval = Duration::from_millis(40);
    let began = Instant::now();
    let ran = run(plan_with(directory.path(), Mode::Enforce, |spec| {
        spec.sweep.batch_size = 2;
        spec.sweep.batch_interval = Span(interval);
    }))
    .await;
    assert!(began.elapsed() >= 2 * interval);
    let batches = ran.events.iter().filter(|event| matches!(event, Event::Batch { removed: 2, .. }));
    assert_eq!((batches.count(), ran.done.figures.batches), (3, 3));
}

#[tokio::test]
async fn what_this_node_does_not_do_is_refused() {
    let directory = files(1);
    let ran = run(plan_with(directory.path(), Mode::Observe, |_| {})).await;
    assert_eq!(ended(&ran), (Outcome::Refused, "ObserveOnly", 0));
    let ran =
        run(plan_with(directory.path(), Mode::Enforce, |spec| spec.sweep.executor = Executor::Exec)).await;
    assert_eq!(ended(&ran), (Outcome::Refused, "ExecutorUnavailable", 0));
}

#[tokio::test]
async fn a_young_file_stays_whatever_the_scan_said() {
    let directory = files(2);
    let plan = plan_with(directory.path(), Mode::Enforce, |_| {});
    let tools = super::Tools {
        scans: Lister::of(list(directory.path(), Action::Delete)),
        cgroups: super::Cgroups::find().unwrap(),
        audit: Arc::new(Remembers::default()) as Arc<dyn super::Audit>,
        deleters: Arc::new(InThisProcess),
        exec: std::sync::OnceLock::new(),
        stuck: super::super::Stuck::default(),
        node_pressure: super::ANY_PRESSURE,
    };
    let (sender, _events) = tokio::sync::mpsc::channel(100);
    let done = super::super::run(plan, &tools, sender, CancellationToken::new(), None).await;
    assert_eq!(done.figures.kept.get(&Kept::TooYoung), Some(&2));
    assert_eq!(left(&directory), 2);
}

/// What was logged, for reading back.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_end_is_left_to_tell_to_who_asked_for_the_sweep() {
    let directory = files(3);
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    run(plan_with(directory.path(), Mode::DryRun, |_| {})).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ends: Vec<_> = text.lines().filter(|line| line.contains("ended")).collect();
    assert_eq!(ends.len(), 1, "{text}");
    assert!(ends[0].contains(" DEBUG ") && ends[0].contains("batches ended"), "{text}");
    assert!(ends[0].contains("detail=\"everything that the policy names was seen to\""), "{text}");
}
