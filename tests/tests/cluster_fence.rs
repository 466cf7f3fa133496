//! An agent that loses its slot in the middle of a sweep, stopped in its tracks or cut off: it touches nothing after its
//! slot is over, nobody else gets the slot before that, and the Sweep's object tells what happened.
//!
//! The agent is a real one and sweeps a real container; the API server and the coordinator are real, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]
#![allow(clippy::print_stdout, reason = "figures that --no-capture shows")]

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep_tests::agent::Agent;
use podsweep_tests::cluster::installed::{Installed, POLICY};
use podsweep_tests::cluster::slot_history::SlotHistory;
use podsweep_tests::cluster::test_agent::{self, Book, Course};
use podsweep_tests::cluster::told_pod::{NAMESPACE, ToldPod};
use podsweep_tests::wait;
use podsweep_tests::workload::Plan;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const NODE: &str = "node-1";
/// The shortest that a coordinator takes.
const SLOT: Duration = Duration::from_secs(10);
/// A Sweep whose slot was not seen for so long is closed by the coordinator (`rollout`, `SLOT_UNSEEN`).
const UNSEEN: Duration = Duration::from_secs(30);
/// Half of them below /tmp, which the policy names: at twenty in half a second, more than a minute.
const FILES: u32 = 6_000;
const STORM_WITHIN: Duration = Duration::from_mins(1);
const BEGUN_WITHIN: Duration = Duration::from_mins(1);
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// The longest wait of an agent between two tries, and a busy machine.
const BACK_WITHIN: Duration = Duration::from_mins(1);
/// A batch of twenty files takes milliseconds.
const BATCH: Duration = Duration::from_secs(1);

/// A cluster with one slot, and on its one real node a container that is being swept.
struct Swept {
    agent: Agent,
    pod: ToldPod,
    cluster: Installed,
}

impl Swept {
    /// The agent reaches the API server at `server`.
    fn begin(mut cluster: Installed, server: &str) -> Self {
        cluster.slots(1).unwrap();
        cluster.coordinator(&json!({ "slotDuration": format!("{}s", SLOT.as_secs()) })).unwrap();
        cluster
            .policy(&json!({
                "junk": [{"name": "tmp", "paths": ["/tmp/job-*/**"], "olderThan": "10s"}],
                // Whatever else this machine does: what is tested is when it stops.
                "sweep": {"batchSize": 20, "batchInterval": "500ms", "maxPressure": any_pressure()},
                "rollout": {"observe": "10s", "canary": 9, "serialBy": []},
            }))
            .unwrap();
        let kubeconfig = cluster.plane.kubeconfig_of("agent", Some("system:masters"), server).unwrap();
        let settings = json!({
            "nodePressure": any_pressure(),
            "kubernetes": {"kubeconfig": kubeconfig, "nodeName": NODE}, "policies": "/etc/podsweep/policies",
        });
        let agent = Agent::start_with(PREFIX, &[], &settings).unwrap();
        let mut pod = ToldPod::start(cluster.kubectl(), PREFIX, NODE, "cart").unwrap();
        agent.knows(pod.container.cgroup_id().unwrap(), TOLD_WITHIN).unwrap();
        pod.container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
        pod.container.grow_old();
        let swept = Self { agent, pod, cluster };
        swept.ask();
        let all = swept.left();
        let some_are_gone = || Ok(swept.left() + 100 < all);
        wait::until_true("files are being removed", BEGUN_WITHIN, some_are_gone).unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{}", swept.agent.log_end(), swept.cluster.coordinators_said())
        });
        swept
    }

    fn ask(&self) {
        let path = self.pod.container.cgroup().path();
        wait::until_true("the wish is taken", TOLD_WITHIN, || {
            let said =
                self.agent.api().request_sweep(&path, POLICY).expect_err("it began at once").to_string();
            // Until pod and policy are known, it says so.
            Ok(said.contains("AwaitsSlot"))
        })
        .unwrap();
    }

    /// Files that the policy names and that are there.
    fn left(&self) -> usize {
        let tmp = self.pod.container.upper().join("tmp");
        let jobs = fs::read_dir(tmp)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"));
        jobs.map(|job| fs::read_dir(job.path()).map_or(0, Iterator::count)).sum()
    }

    /// Its Sweep's name and status.
    fn told(&self) -> (String, Value) {
        let sweeps = self.cluster.kubectl().get(&["sweeps", "-n", NAMESPACE]).unwrap();
        let all = sweeps["items"].as_array().unwrap();
        let own = all.iter().find(|sweep| sweep["spec"]["node"] == NODE).expect("its Sweep is gone");
        (own["metadata"]["name"].as_str().unwrap().to_owned(), own["status"].clone())
    }

    fn until_aborted(&self, limit: Duration) -> Value {
        let aborted = || Ok(Some(self.told().1).filter(|status| status["phase"] == "Aborted"));
        wait::until("its Sweep is aborted", limit, aborted).unwrap_or_else(|error| {
            panic!("{error:#}: {}\n{}", self.told().1, self.agent.log_end());
        })
    }

    /// When the journal's last batch of it was announced.
    fn last_batch(&self) -> Timestamp {
        let journal = fs::read_to_string(self.agent.path("state").join("audit.jsonl")).unwrap();
        let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let batches = lines.filter(|line| line["event"] == "batch");
        batches.map(|line| line["time"].as_str().unwrap().parse().unwrap()).max().expect("no batch")
    }

    fn history(&self) -> SlotHistory {
        SlotHistory::of(&self.cluster.plane.audit().unwrap()).unwrap()
    }
}

fn any_pressure() -> Value {
    json!({"cpu": 100, "io": 100, "memory": 100})
}

/// How long one was after another; nothing where it was before.
fn after(one: Timestamp, other: Timestamp) -> Duration {
    Duration::try_from(one.duration_since(other)).unwrap_or_default()
}

#[test]
fn an_agent_that_is_stopped_past_its_lease_touches_nothing_when_it_goes_on() {
    let cluster = Installed::start(PREFIX).unwrap();
    let server = cluster.plane.server();
    let swept = Swept::begin(cluster, &server);
    // Another node waits for the one slot.
    let runtime = Runtime::new().unwrap();
    let (book, stop) = (Arc::new(Book::default()), CancellationToken::new());
    let client = runtime.block_on(test_agent::client(&swept.cluster.plane.admin())).unwrap();
    let course = Course { works: Duration::from_secs(3), ..Course::default() };
    runtime.spawn(test_agent::run(client.clone(), "node-2".into(), course, Arc::clone(&book), stop.clone()));
    runtime.block_on(test_agent::ask(&client, "node-2", "other", "other-0", POLICY)).unwrap();

    let agent = Pid::from_raw(swept.agent.pid().unwrap());
    kill(agent, Signal::SIGSTOP).unwrap();
    thread::sleep(BATCH);
    let left = swept.left();
    assert!(left > 0, "the sweep was over too soon");
    let other_works = || Ok((!book.worked().is_empty()).then_some(()));
    let waited = wait::until("the other gets the slot", SLOT * 3, other_works);
    kill(agent, Signal::SIGCONT).unwrap();
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", swept.cluster.coordinators_said()));

    let status = swept.until_aborted(UNSEEN + BACK_WITHIN);
    println!("{status}");
    let reason = status["reason"].as_str().unwrap();
    assert!(matches!(reason, "SlotExpired" | "SlotLost"), "{status}");
    assert_eq!(swept.left(), left, "it went on after its slot was over");
    let history = swept.history();
    assert_eq!(history.taken_too_early(SLOT), [""; 0]);
    assert_eq!(history.most_at_once(), 1);
    assert!(history.sweeps().contains("app-other-0"));
    stop.cancel();
}

#[test]
fn an_agent_that_is_cut_off_stops_within_its_lease_and_does_not_write_over_what_was_said_meanwhile() {
    let cluster = Installed::start(PREFIX).unwrap();
    let way = cluster.plane.proxy().unwrap();
    let server = way.server();
    let swept = Swept::begin(cluster, &server);

    way.cut();
    let cut = Timestamp::now();
    thread::sleep(SLOT + BATCH);
    let left = swept.left();
    let last = swept.last_batch();
    println!("last batch {:?} after the cut, {left} files left", after(last, cut));
    assert!(left > 0, "the sweep was over too soon");
    assert!(after(last, cut) < SLOT, "a batch began {:?} after the cut", after(last, cut));
    let held = swept.history().writes("podsweep-slot-0").iter().rfind(|write| write.user == "agent").cloned();
    let held = held.expect("the agent never held the slot");
    assert!(after(last, held.at) < SLOT, "a batch began {:?} after the last renewal", after(last, held.at));

    // The coordinator gives it up, and says so.
    let status = swept.until_aborted(SLOT + UNSEEN + TOLD_WITHIN);
    assert_eq!(status["reason"], "SlotLost", "{status}");
    assert!(status["message"].as_str().unwrap().contains(NODE), "{status}");
    way.restore();
    let left_alone = || Ok(swept.agent.log().contains("its object has ended already"));
    wait::until_true("the agent leaves the object alone", BACK_WITHIN, left_alone)
        .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", swept.told().1, swept.agent.log_end()));
    assert_eq!(swept.told().1, status, "it was written over");
    assert_eq!(swept.left(), left, "it went on after its slot was over");
    // On the node, it is known how it ended.
    let cgroup = swept.pod.container.cgroup_id().unwrap();
    let ends: Vec<_> =
        swept.agent.api().sweeps_of(cgroup).unwrap().into_iter().map(|sweep| sweep.reason).collect();
    assert!(
        ends.iter().flatten().any(|reason| reason == "Cancelled" || reason == "PermitExpired"),
        "{ends:?}"
    );
}
