//! The cap where somebody else writes what podsweep writes, as fast as the API server takes it; and where agents are cut
//! off in the middle of their sweeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]
#![allow(clippy::print_stdout, reason = "figures that --no-capture shows")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use podsweep::kubernetes::resources::Sweep;
use podsweep_tests::cluster::audit::Record;
use podsweep_tests::cluster::installed::{Installed, POLICY, SLOTS, SYSTEM};
use podsweep_tests::cluster::slot_history::SlotHistory;
use podsweep_tests::cluster::test_agent::{self, Book, Course, Worked};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const SLOT: Duration = Duration::from_secs(12);
/// Longer than half of it: each sweep has to renew in the storm.
const WORKS: Duration = Duration::from_secs(8);
const SWEEPS: u32 = 10;
const ENDED_WITHIN: Duration = Duration::from_mins(3);

/// Writes an annotation on every slot and a message on every Sweep, over and over, on whatever version there is. Takes
/// nothing: holders and phases stay.
async fn rival(client: Client, stop: CancellationToken) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    let sweeps: Api<Sweep> = Api::namespaced(client, "default");
    let slots = async {
        for number in 0_u64.. {
            let patch = Patch::Merge(json!({ "metadata": {"annotations": {"rival": number.to_string()}} }));
            let slot = format!("podsweep-slot-{}", number % SLOTS as u64);
            let _ = leases.patch(&slot, &PatchParams::default(), &patch).await;
        }
    };
    let statuses = async {
        for number in 0_u64.. {
            let Ok(all) = sweeps.list(&ListParams::default()).await else { continue };
            for sweep in all {
                let patch = Patch::Merge(json!({ "status": {"message": format!("rival {number}")} }));
                let _ = sweeps.patch_status(&sweep.name_any(), &PatchParams::default(), &patch).await;
            }
        }
    };
    stop.run_until_cancelled(Box::pin(async { tokio::join!(slots, statuses) })).await;
}

/// How often these were answered with 409, and how many requests they made of these resources at all.
fn asked(records: &[Record], user: &str, resource: &str) -> (usize, usize) {
    let of_theirs = records
        .iter()
        .filter(|record| record.user.username == user && record.is_of(resource) && record.verb != "watch");
    let refused = of_theirs.clone().filter(|record| record.code() == Some(409)).count();
    (refused, of_theirs.count())
}

/// A cluster with coordinators to come, whose policy lets everything run beside everything.
struct Cluster {
    installed: Installed,
    runtime: Runtime,
    book: Arc<Book>,
    stop: CancellationToken,
}

impl Cluster {
    fn start() -> Self {
        let installed = Installed::start(PREFIX).unwrap();
        let rollout = json!({"canary": 50, "growth": 1, "serialBy": [], "maxParallel": 100});
        installed.policy(&json!({ "rollout": rollout })).unwrap();
        let (book, stop) = (Arc::default(), CancellationToken::new());
        Self { installed, runtime: Runtime::new().unwrap(), book, stop }
    }

    fn coordinators(&mut self, count: usize) {
        let settings = json!({ "leaseDuration": "6s", "slotDuration": format!("{}s", SLOT.as_secs()) });
        for _ in 0..count {
            self.installed.coordinator(&settings).unwrap();
        }
    }

    fn client(&self, kubeconfig: &Path) -> Client {
        self.runtime.block_on(test_agent::client(kubeconfig)).unwrap()
    }

    fn agents(&self, nodes: Range<u32>, client: &Client, works: Duration) {
        for number in nodes {
            let course = Course { works, ..Course::default() };
            let (client, book, stop) = (client.clone(), Arc::clone(&self.book), self.stop.clone());
            self.runtime.spawn(test_agent::run(client, format!("n{number}"), course, book, stop));
        }
    }

    /// One sweep on each of these nodes, each of a workload of its own.
    fn ask(&self, nodes: Range<u32>) {
        let client = self.client(&self.installed.plane.admin());
        for number in nodes {
            let (node, workload, pod) = (format!("n{number}"), format!("w{number}"), format!("pod-{number}"));
            self.runtime.block_on(test_agent::ask(&client, &node, &workload, &pod, POLICY)).unwrap();
        }
    }

    /// By the agents' own book, and by the audit of the Leases.
    fn assert_cap(&self, history: &SlotHistory) {
        let (most, twice) = self.book.most_at_once();
        assert!(most <= SLOTS && !twice, "{most} at once, one slot twice: {twice}");
        assert_eq!(history.taken_too_early(SLOT), [""; 0]);
        assert!(history.most_at_once() <= SLOTS);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn in_a_storm_of_conflicts_the_cap_holds_sweeps_succeed_and_nobody_hammers_the_server() {
    let mut cluster = Cluster::start();
    let agents = cluster.client(&cluster.installed.kubeconfig_of("agents").unwrap());
    cluster.agents(0..SWEEPS, &agents, WORKS);
    let rivals = cluster.client(&cluster.installed.kubeconfig_of("rival").unwrap());
    cluster.runtime.spawn(rival(rivals, cluster.stop.clone()));
    let began = Instant::now();
    cluster.ask(0..SWEEPS);
    cluster.coordinators(2);
    let phases = cluster.installed.until_ended(SWEEPS as usize, ENDED_WITHIN).unwrap();
    let took = began.elapsed();
    cluster.stop.cancel();

    let records = cluster.installed.plane.audit().unwrap();
    cluster.assert_cap(&SlotHistory::of(&records).unwrap());
    let all = BTreeMap::from([("Succeeded".to_owned(), SWEEPS as usize)]);
    assert_eq!(phases, all, "{}", cluster.installed.coordinators_said());
    let of = |user, resource| asked(&records, user, resource);
    let (agents_slots, coordinators_slots, coordinators_sweeps) =
        (of("agents", "leases"), of("coordinator", "leases"), of("coordinator", "sweeps"));
    let rivals = of("rival", "leases").1 + of("rival", "sweeps").1;
    println!(
        "{took:?}; rival wrote {rivals}; (409, all): agents on slots {agents_slots:?}, coordinators on Leases \
         {coordinators_slots:?}, on Sweeps {coordinators_sweeps:?}"
    );
    let refused = agents_slots.0 + coordinators_slots.0 + coordinators_sweeps.0;
    assert!(refused >= 10, "no storm: {refused} conflicts");
    // A take, two renewals and what gives the slot back, each tried up to four times with a look before.
    assert!(agents_slots.1 <= SWEEPS as usize * 4 * 8, "agents asked {} times", agents_slots.1);
    // Ten turns a second, each with a grant for every slot and an admission for every holder; and the leader's Lease,
    // looked at by two.
    let turns = took.as_secs_f64() * 10.0;
    let bound = turns * SLOTS as f64;
    assert!(
        (coordinators_sweeps.1 as f64) <= bound,
        "{} writes of Sweeps in {took:?}",
        coordinators_sweeps.1
    );
    assert!((coordinators_slots.1 as f64) <= bound + turns, "{} of Leases in {took:?}", coordinators_slots.1);
}

#[test]
fn agents_that_are_cut_off_in_the_middle_stop_before_their_slots_are_given_on() {
    let cut_nodes = 0..5;
    let mut cluster = Cluster::start();
    let way = cluster.installed.plane.proxy().unwrap();
    let through =
        cluster.installed.plane.kubeconfig_of("cut", Some("system:masters"), &way.server()).unwrap();
    let through = cluster.client(&through);
    // They would work for long after their slots are over.
    cluster.agents(cut_nodes.clone(), &through, 5 * SLOT);
    let direct = cluster.client(&cluster.installed.kubeconfig_of("agents").unwrap());
    cluster.agents(5..SWEEPS, &direct, Duration::from_secs(2));
    cluster.coordinators(2);
    cluster.ask(cut_nodes.clone());
    cluster.installed.until_phase("Sweeping", cut_nodes.len(), ENDED_WITHIN).unwrap();
    cluster.ask(5..SWEEPS);

    way.cut();
    let cut = Instant::now();
    cluster.installed.until_phase("Succeeded", 5, ENDED_WITHIN).unwrap();
    cluster.installed.until_phase("Aborted", cut_nodes.len(), ENDED_WITHIN).unwrap();
    let of_the_cut =
        |work: &Worked| cut_nodes.clone().any(|number| work.sweep == format!("app-pod-{number}"));
    let stopped: Vec<_> = cluster.book.worked().into_iter().filter(of_the_cut).collect();
    assert_eq!(stopped.len(), cut_nodes.len());
    for work in stopped {
        let late = work.to.saturating_duration_since(cut);
        assert!(late < SLOT, "{} worked on for {late:?}", work.sweep);
    }
    cluster.assert_cap(&SlotHistory::of(&cluster.installed.plane.audit().unwrap()).unwrap());
}
