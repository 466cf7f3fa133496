//! The turns of the replica that leads: hear, decide, write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::{Timestamp, Zoned};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guards::Guards;
use super::known::{Known, Named, Sweeps};
use super::metrics::CoordinatorMetrics;
use super::neighbours::Neighbours;
use super::policies;
use super::prometheus::Prometheus;
use super::rollouts::Rollouts;
use super::settings::CoordinatorConfig;
use super::write::Writer;
use crate::admission::Window;
use crate::kubernetes::labels;
use crate::kubernetes::resources::{Breaker, PolicyObject, SweepRollout};
use crate::kubernetes::slot::SlotLeases;
use crate::kubernetes::{Selection, Stale, View, Watch};
use crate::rollout::{Circumstances, Step, Wants};

/// Between two turns at least: what comes in together is decided together.
const BREATH: Duration = Duration::from_millis(100);
/// And at least this many times what the last decision took: with 100,000 Sweeps a coordinator needs a tenth of a core
/// to decide, not a whole one.
const REST: u32 = 9;
/// Between two turns at most: leases run out, breakers become half-open, without a word from anybody.
const TURN: Duration = Duration::from_secs(1);
/// Between two looks whether everything was listed, at the start of a term.
const LOOK: Duration = Duration::from_millis(20);
/// Writes at a time. The API server takes some hundred a second from one client without noticing.
const WRITES: usize = 16;

/// The watches of a term.
struct Watches {
    sweeps: Arc<View<Sweeps>>,
    slots: Arc<View<Named<Lease>>>,
    policies: Arc<View<Named<PolicyObject>>>,
    breakers: Arc<View<Named<Breaker>>>,
    rollouts: Arc<View<Named<SweepRollout>>>,
}

impl Watches {
    fn start(
        client: &Client,
        namespace: &str,
        known: &Arc<Known>,
        metrics: &Arc<CoordinatorMetrics>,
        tasks: &TaskTracker,
        term: &CancellationToken,
    ) -> Self {
        let watches = Self {
            sweeps: Arc::new(View::new(Sweeps(Arc::clone(known)))),
            slots: Arc::new(View::new(Named::new(known))),
            policies: Arc::new(View::new(Named::new(known))),
            breakers: Arc::new(View::new(Named::new(known))),
            rollouts: Arc::new(View::new(Named::new(known))),
        };
        let counts = || -> Arc<dyn crate::kubernetes::WatchCounts> { metrics.clone() };
        let all = Selection::default;
        let of_slots = Selection { labels: Some(format!("{}={}", labels::SLOT, labels::SLOT_KIND)), ..all() };
        let sweeps = Watch::new(Api::all(client.clone()), all(), Arc::clone(&watches.sweeps), counts());
        let leases = SlotLeases::guarded(client.clone(), namespace);
        let slots = Watch::new(leases, of_slots, Arc::clone(&watches.slots), counts());
        let policies = Watch::new(Api::all(client.clone()), all(), Arc::clone(&watches.policies), counts());
        let breakers = Watch::new(Api::all(client.clone()), all(), Arc::clone(&watches.breakers), counts());
        let rollouts = Watch::new(Api::all(client.clone()), all(), Arc::clone(&watches.rollouts), counts());
        tasks.spawn(rollouts.run(term.clone()));
        tasks.spawn(sweeps.run(term.clone()));
        tasks.spawn(slots.run(term.clone()));
        tasks.spawn(policies.run(term.clone()));
        tasks.spawn(breakers.run(term.clone()));
        watches
    }

    /// Whether what they told still holds.
    fn current(&self) -> Result<(), (&'static str, Stale)> {
        self.sweeps.current().map_err(|stale| ("sweeps", stale))?;
        self.slots.current().map_err(|stale| ("slots", stale))?;
        self.policies.current().map_err(|stale| ("sweeppolicies", stale))?;
        self.breakers.current().map_err(|stale| ("breakers", stale))?;
        self.rollouts.current().map_err(|stale| ("sweeprollouts", stale))
    }
}

/// Leads until `term` ends.
pub(super) async fn lead(
    client: Client,
    config: Arc<CoordinatorConfig>,
    prometheus: Option<Arc<Prometheus>>,
    metrics: Arc<CoordinatorMetrics>,
    term: CancellationToken,
) {
    let known = Known::new(config.rollout());
    let tasks = TaskTracker::new();
    let watches = Watches::start(&client, &config.namespace, &known, &metrics, &tasks, &term);
    let mut rollouts = Rollouts::default();
    let mut neighbours = Neighbours::new(
        client.clone(),
        Arc::clone(&known),
        Arc::clone(&metrics),
        tasks.clone(),
        term.clone(),
    );
    let mut guards =
        Guards::new(prometheus, Arc::clone(&known), Arc::clone(&metrics), tasks.clone(), term.clone());
    let writer = Writer::new(client.clone(), &config.namespace, config.slot_duration.0, Arc::clone(&known));
    let windows = config.windows();
    let turns = async {
        while watches.current().is_err() {
            tokio::time::sleep(LOOK).await;
        }
        // One look: a second one within the same expression would wait for the first.
        let (sweeps, slots) = known.counts();
        tracing::info!(sweeps, slots, "everything is listed");
        loop {
            let mut breath = BREATH;
            match watches.current() {
                Ok(()) => {
                    tell_policies(&client, &known).await;
                    rollouts.turn(&client, &known).await;
                    neighbours.report();
                    let (steps, wants, took) = turn(&known, &windows, &metrics);
                    breath = breath.max(took.saturating_mul(REST));
                    neighbours.follow(&wants.namespaces);
                    guards.ask(&wants.questions);
                    carry_out(&writer, steps, &metrics).await;
                }
                Err((what, stale)) => tracing::warn!(what, %stale, "nothing is granted"),
            }
            metrics.stale(watches.current().is_err());
            tokio::time::sleep(breath).await;
            // Whichever comes first; a bell that rang during the turn still rings.
            let _ = tokio::time::timeout(TURN, known.changed()).await;
        }
    };
    term.run_until_cancelled(turns).await;
    tasks.close();
    tasks.wait().await;
}

/// Decides; what is to be written, what the next turn wants to know, and how long it took.
fn turn(known: &Known, windows: &[Window], metrics: &CoordinatorMetrics) -> (Vec<Step>, Wants, Duration) {
    let circumstances = Circumstances {
        now: known.now(),
        wall: Timestamp::now(),
        hours: Window::open_now(windows, &Zoned::now()),
    };
    let started = Instant::now();
    let mut index = known.index();
    let (steps, figures) = index.decide(&circumstances);
    let (sweeps, slots, dropped) = (index.sweeps(), index.slots(), index.dropped());
    let wants = index.wants().clone();
    drop(index);
    let took = started.elapsed();
    metrics.turned(&figures, sweeps, slots, dropped, took.as_secs_f64());
    (steps, wants, took)
}

/// In their order to begin with, several at a time: no step of a turn waits for another.
async fn carry_out(writer: &Writer, steps: Vec<Step>, metrics: &CoordinatorMetrics) {
    futures::stream::iter(steps).for_each_concurrent(WRITES, |step| write(writer, step, metrics)).await;
}

async fn tell_policies(client: &Client, known: &Known) {
    for (name, verdict) in known.take_untold() {
        if let Err(error) = policies::tell(client, &name, &verdict).await {
            tracing::warn!(policy = name, %error, "its status is not written; tries again");
            known.to_tell(&name, Some(verdict));
        }
    }
}

async fn write(writer: &Writer, step: Step, metrics: &CoordinatorMetrics) {
    let word = step.word();
    tracing::debug!(?step, "step");
    match writer.write(step).await {
        Ok(written) => metrics.stepped(word, written.word()),
        Err(error) => {
            metrics.stepped(word, "failed");
            tracing::warn!(step = word, %error, "not written; the next turn asks again");
        }
    }
}
