use super::*;
use crate::agent::stores;
use crate::breaker::Sign;
use crate::config::Config;
use crate::policy::fixtures::policy;
use crate::units::Span;

const WORKLOAD: &str = "web";

fn node() -> (Arc<Stores>, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let config = Config { state: state.path().into(), ..Config::default() };
    (stores(&config, Cgroups::find().unwrap()).unwrap(), state)
}

/// Mode Observe ends in the sweep stage before anything is started.
fn operation(id: &str) -> Operation {
    Operation {
        id: id.into(),
        container: None,
        policy: policy("p", ""),
        mode: Mode::Observe,
        fired: Fired::ByHand,
        roots: Vec::new(),
        never: Vec::new(),
        top_directories: Vec::new(),
        attempt: 0,
    }
}

/// A pass that is the one probe of an open breaker.
fn probe(stores: &Stores) -> Pass {
    let limits = crate::policy::WorkloadBreaker { cool_down: Span::from_secs(0), ..Default::default() };
    let mut board = board(stores);
    let pass = board.allow(WORKLOAD, unix_now()).unwrap();
    let _ = board.record(pass, &Finding::new(Sign::Gone, "gone"), unix_now(), &limits);
    let probe = board.allow(WORKLOAD, unix_now()).unwrap();
    assert!(probe.is_probe() && board.would_allow(WORKLOAD, unix_now()).is_err());
    probe
}

#[derive(Default)]
struct Phases(Mutex<Vec<Phase>>);

impl Follow for Phases {
    fn phase(&self, record: &SweepRecord) {
        self.0.lock().unwrap().push(record.phase);
    }

    fn event(&self, _: &str, _: &Event) {}
}

async fn run_one(stores: &Stores, id: &str, phases: &Phases) -> SweepRecord {
    let operation = operation(id);
    let begun = begin(&operation, stores, Some(probe(stores))).map_err(|refusal| refusal.message).unwrap();
    let kept = stores.history.get(id).unwrap().unwrap();
    assert_eq!((kept.phase, kept.ended_at), (Phase::Sweeping, None), "on record before it runs");
    let stop = Stop { sweeping: CancellationToken::new(), watching: CancellationToken::new() };
    run(operation, begun, stores, phases, Until::at(std::time::Instant::now()), &stop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_on_record_does_not_begin_and_gives_its_probe_back() {
    let (stores, _state) = node();
    // One id twice is a constraint of the database: a write that fails for real.
    stores.history.begin(&operation("1").record(Timestamp::now())).unwrap();
    let refused = begin(&operation("1"), &stores, Some(probe(&stores))).err();
    assert_eq!(refused.map(|refusal| refusal.reason).as_deref(), Some("HistoryUnavailable"));
    assert_eq!(board(&stores).would_allow(WORKLOAD, unix_now()), Ok(()));
    let metrics = stores.metrics.render().unwrap();
    assert!(metrics.contains(r#"podsweep_history_writes_failed_total{store="history"} 1"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_touched_nothing_is_not_watched_and_gives_its_probe_back() {
    let (stores, _state) = node();
    let phases = Phases::default();
    let record = run_one(&stores, "2", &phases).await;
    assert_eq!((record.outcome, record.reason.as_deref()), (Some(Outcome::Refused), Some("ObserveOnly")));
    assert_eq!(*phases.0.lock().unwrap(), [Phase::Sweeping, Phase::Ended]);
    assert_eq!(board(&stores).would_allow(WORKLOAD, unix_now()), Ok(()));
    let kept = stores.history.get("2").unwrap().unwrap();
    assert_eq!((kept.phase, kept.health), (Phase::Ended, None));
    assert!(kept.ended_at.is_some());
    assert!(stores.history.state(BREAKERS).unwrap().is_some(), "the breakers outlive the process");
}

#[test]
fn only_a_sweep_that_removed_something_can_have_harmed() {
    let mut record = operation("3").record(Timestamp::now());
    record.sweep.removed = 1;
    assert!(!touched(&record));
    record.mode = Mode::Enforce;
    assert!(touched(&record));
    record.sweep = SweepFigures { removed_directories: 1, ..SweepFigures::default() };
    assert!(touched(&record));
    record.sweep = SweepFigures::default();
    assert!(!touched(&record));
}
