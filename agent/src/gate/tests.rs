use std::time::{Duration, Instant};

use super::*;
use crate::agent::stores;
use crate::breaker::{Board, BoardSnapshot, Finding, GlobalBreaker, Sign};
use crate::config::{KubernetesConfig, Switch};
use crate::kernel::Cgroups;
use crate::kubernetes::fixtures::{self, ID, UID, cart};
use crate::operation::{BREAKERS, Operation};
use crate::policy::fixtures::{container, policy};
use crate::policy::{Fired, PolicySet, WorkloadBreaker};
use crate::report::Outcome;
use crate::units::Span;

struct Node {
    config: Config,
    stores: Arc<Stores>,
    _state: tempfile::TempDir,
}

/// A real history database in a folder of its own.
fn node(change: impl FnOnce(&mut Config)) -> Node {
    let state = tempfile::tempdir().unwrap();
    let mut config = Config { state: state.path().into(), ..Config::default() };
    change(&mut config);
    let stores = stores(&config, Cgroups::find().unwrap()).unwrap();
    Node { config, stores, _state: state }
}

impl Node {
    /// As after a start of the agent.
    fn gate(&self) -> Gate {
        Gate::new(&self.config, Arc::clone(&self.stores)).unwrap()
    }

    fn on_record(&self, ended_at: &str, outcome: Outcome) {
        let operation = Operation {
            id: ulid::Ulid::new().to_string(),
            container: Some(Arc::new(container())),
            policy: policy("p", ""),
            mode: crate::policy::Mode::Enforce,
            fired: Fired::ByHand,
            roots: Vec::new(),
            never: Vec::new(),
            top_directories: Vec::new(),
            attempt: 0,
        };
        let mut record = operation.record(Timestamp::now());
        (record.ended_at, record.outcome) = (Some(ended_at.into()), Some(outcome));
        self.stores.history.begin(&record).unwrap();
    }
}

fn reason(gate: &Gate) -> Option<String> {
    gate.refusal(&container(), &policy("p", ""), None).map(|refusal| refusal.reason)
}

async fn entered(gate: &Gate) -> Result<Entry, String> {
    gate.enter(&container(), &policy("p", "")).await.map_err(|refusal| refusal.reason)
}

#[test]
fn a_pause_outlives_the_agent_and_comes_before_everything_else() {
    let node = node(|config| config.sweeps = Switch::Disabled);
    let gate = node.gate();
    assert_eq!(reason(&gate).as_deref(), Some("NodeDisabled"));
    gate.pause("looking into it").unwrap();
    let again = node.gate();
    assert_eq!(reason(&again).as_deref(), Some("Paused"));
    assert!(again.closed().unwrap().message.contains("looking into it"));
    again.resume().unwrap();
    assert_eq!(reason(&again).as_deref(), Some("NodeDisabled"));
    assert_eq!(node.gate().paused(), None);
}

#[test]
fn a_policy_with_guards_sweeps_nothing_where_nobody_asks_them() {
    let guarded = policy("p", "  rollout: {guards: [{name: a, query: up}]}");
    let alone = node(|_| {});
    let refusal = alone.gate().refusal(&container(), &guarded, None).unwrap();
    assert_eq!((refusal.level, refusal.reason.as_str()), (4, "GuardsUnavailable"));
}

#[test]
fn a_policy_that_does_not_select_the_container_may_not_sweep_it() {
    let node = node(|_| {});
    let mut other = container();
    other.names.container = Some("sidecar".into());
    let refusal = node.gate().refusal(&other, &policy("p", ""), None).unwrap();
    assert_eq!((refusal.level, refusal.reason.as_str()), (4, "NotSelected"));
    assert!(refusal.message.contains("select.containers"), "{}", refusal.message);
}

#[test]
fn on_a_node_of_a_cluster_the_apis_last_word_counts_at_once() {
    let node = node(|config| config.kubernetes = Some(KubernetesConfig::default()));
    let (gate, index) = (node.gate(), node.stores.pods.clone().unwrap());
    let mut container = container();
    (container.names.pod_uid, container.id) = (Some(UID.into()), ID.into());
    let said =
        || gate.refusal(&container, &policy("p", ""), None).map(|refusal| (refusal.level, refusal.reason));
    assert_eq!(said(), Some((3, "ApiStale".into())));

    fixtures::listed(&index, vec![cart()]);
    assert_eq!(said(), None);
    let mut disabled = cart();
    disabled["metadata"]["annotations"] = serde_json::json!({"podsweep.io/sweep": "Disabled"});
    fixtures::listed(&index, vec![disabled]);
    assert_eq!(said(), Some((3, "PodDisabled".into())));
    fixtures::listed(&index, vec![]);
    assert_eq!(said(), Some((3, "PodUnknown".into())));

    let set = PolicySet::new(vec![policy("p", "")]).unwrap();
    let standing = gate.explain(&container, Wanted::ByOneOf(&set), None);
    let last = standing.before_files.last().unwrap();
    assert_eq!((last.level, last.reason.as_deref(), last.deciding), (3, Some("PodUnknown"), true));
}

#[test]
fn a_cool_down_outlives_the_agent_and_a_refused_sweep_has_none() {
    let node = node(|_| {});
    node.on_record(&Timestamp::now().to_string(), Outcome::Refused);
    assert_eq!(reason(&node.gate()), None);
    node.on_record(&Timestamp::now().to_string(), Outcome::Abandoned);
    assert_eq!(reason(&node.gate()).as_deref(), Some("CoolDown"));
}

#[test]
fn a_sweep_that_ended_in_the_future_cools_down_no_longer_than_any_other() {
    let node = node(|config| config.cool_down = Span::from_secs(0));
    node.on_record("2999-01-01T00:00:00Z", Outcome::Complete);
    assert_eq!(reason(&node.gate()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_holds_its_slot_and_then_its_container_cools_down() {
    let node = node(|_| {});
    let gate = node.gate();
    let entry = entered(&gate).await.unwrap();
    assert!(entry.permit.until().now_at() > Instant::now());
    let mut other = container();
    other.cgroup = CgroupId(8);
    let refused = gate.enter(&other, &policy("p", "")).await.err().map(|refusal| refusal.reason);
    assert_eq!(refused.as_deref(), Some("NoSlot"));
    drop(entry);
    gate.left(CgroupId(7));
    assert_eq!(entered(&gate).await.err().as_deref(), Some("CoolDown"));
    assert!(gate.enter(&other, &policy("p", "")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_out_is_on_record_and_its_refused_twin_keeps_no_slot() {
    let node = node(|config| {
        (config.cool_down, config.slots) = (Span::from_secs(0), 2);
    });
    let key = workload_key(&container());
    {
        let mut board = node.stores.board.lock().unwrap();
        let pass = board.allow(&key, unix_now()).unwrap();
        let limits = WorkloadBreaker { cool_down: Span::from_secs(0), ..WorkloadBreaker::default() };
        let _ = board.record(pass, &Finding::new(Sign::Gone, "gone"), unix_now(), &limits);
    }
    let gate = node.gate();
    let alone = policy("p", "  rollout: {serialBy: []}");
    let probe = gate.enter(&container(), &alone).await.map_err(|refusal| refusal.message).unwrap();
    assert!(probe.pass.is_probe());
    assert_eq!(entered(&gate).await.err().as_deref(), Some("BreakerHalfOpen"));

    let kept = node.stores.history.state(BREAKERS).unwrap().unwrap();
    let snapshot: BoardSnapshot = serde_json::from_value(kept).unwrap();
    let settings = GlobalBreaker { open: 3, window: Duration::from_mins(10) };
    let after_a_kill = Board::restore(settings, snapshot, unix_now());
    assert!(after_a_kill.would_allow(&key, unix_now()).is_err(), "the lost probe counts as unknown");
}

#[test]
fn those_who_ask_at_once_do_not_pass_the_limit_together() {
    const RUNNERS: u32 = 8;
    for round in 0..20 {
        let node = node(|config| (config.sweeps_per_minute, config.slots) = (3, 100));
        let gate = node.gate();
        let starting = std::sync::Barrier::new(RUNNERS as usize);
        let passed = std::thread::scope(|scope| {
            let runners: Vec<_> =
                (0..RUNNERS)
                    .map(|runner| {
                        let (gate, starting) = (&gate, &starting);
                        scope.spawn(move || {
                            let mut container = container();
                            container.cgroup = CgroupId(runner.into());
                            starting.wait();
                            block_on(gate.enter(
                                &container,
                                &policy("p", "  rollout: {serialBy: [], maxParallel: 100}"),
                            ))
                            .is_ok()
                        })
                    })
                    .collect();
            runners.into_iter().map(|runner| runner.join().unwrap()).filter(|passed| *passed).count()
        });
        assert_eq!(passed, 3, "round {round}");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
