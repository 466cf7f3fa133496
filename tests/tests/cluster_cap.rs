//! The cap where somebody else writes what podsweep writes, as fast as the API server takes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]
#![allow(clippy::print_stdout, reason = "figures that --no-capture shows")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use podsweep::kubernetes::resources::Sweep;
use podsweep_tests::cluster::audit::Record;
use podsweep_tests::cluster::installed::{Installed, POLICY, SLOTS, SYSTEM};
use podsweep_tests::cluster::slot_history::SlotHistory;
use podsweep_tests::cluster::test_agent::{self, Book, Course};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "podsweep-test";
const SLOT: Duration = Duration::from_secs(12);
/// Longer than half of it: each sweep has to renew in the storm.
const WORKS: Duration = Duration::from_secs(8);
const NODES: u32 = 10;
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
    stop.run_until_cancelled(async { tokio::join!(slots, statuses) }).await;
}

/// How often these were answered with 409, and how many requests they made of these resources at all.
fn asked(records: &[Record], user: &str, resource: &str) -> (usize, usize) {
    let of_theirs =
        records.iter().filter(|record| record.user.username == user && record.is_of(resource) && record.verb != "watch");
    let refused = of_theirs.clone().filter(|record| record.code() == Some(409)).count();
    (refused, of_theirs.count())
}

#[test]
fn in_a_storm_of_conflicts_the_cap_holds_sweeps_succeed_and_nobody_hammers_the_server() {
    let mut cluster = Installed::start(PREFIX).unwrap();
    cluster.policy(&json!({ "rollout": {"canary": 50, "growth": 1, "serialBy": [], "maxParallel": 100} })).unwrap();
    let runtime = Runtime::new().unwrap();
    let (book, stop) = (Arc::new(Book::default()), CancellationToken::new());
    let agents = cluster.kubeconfig_of("agents").unwrap();
    let course = Course { works: WORKS, ..Course::default() };
    let client = runtime.block_on(test_agent::client(&agents)).unwrap();
    for number in 0..NODES {
        let (client, course, book, stop) = (client.clone(), course.clone(), Arc::clone(&book), stop.clone());
        runtime.spawn(test_agent::run(client, format!("n{number}"), course, book, stop));
    }
    let rivals = cluster.kubeconfig_of("rival").unwrap();
    let rivals = runtime.block_on(test_agent::client(&rivals)).unwrap();
    runtime.spawn(rival(rivals, stop.clone()));

    let began = Instant::now();
    for number in 0..SWEEPS {
        let (node, workload, pod) = (format!("n{number}"), format!("w{number}"), format!("pod-{number}"));
        runtime.block_on(test_agent::ask(&client, &node, &workload, &pod, POLICY)).unwrap();
    }
    for _ in 0..2 {
        cluster.coordinator(&json!({ "leaseDuration": "6s", "slotDuration": format!("{}s", SLOT.as_secs()) })).unwrap();
    }
    let phases = cluster.until_ended(SWEEPS as usize, ENDED_WITHIN).unwrap();
    let took = began.elapsed();
    stop.cancel();

    let records = cluster.plane.audit().unwrap();
    let history = SlotHistory::of(&records).unwrap();
    let (most, twice) = book.most_at_once();
    assert!(most <= SLOTS && !twice, "{most} at once, one slot twice: {twice}");
    assert_eq!(history.taken_too_early(SLOT), [""; 0]);
    assert!(history.most_at_once() <= SLOTS);
    assert_eq!(phases, BTreeMap::from([("Succeeded".to_owned(), SWEEPS as usize)]), "{}", cluster.coordinators_said());

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
    assert!((coordinators_sweeps.1 as f64) <= bound, "{} writes of Sweeps in {took:?}", coordinators_sweeps.1);
    assert!((coordinators_slots.1 as f64) <= bound + turns, "{} of Leases in {took:?}", coordinators_slots.1);
}
