//! An agent's part in a cluster without a node: takes the slots that its Sweeps are granted by podsweep's own code, keeps
//! them, tells phases, and keeps a book of when it worked under which slot. Many of them run in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use podsweep::admission::lease::HeldSlot;
use podsweep::kubernetes::client::connect;
use podsweep::kubernetes::labels;
use podsweep::kubernetes::resources::{Asked, PodReference, RequestedBy, Sweep, SweepPhase, SweepSpec};
use podsweep::kubernetes::slot::SlotLeases;
use podsweep::report::Health;
use podsweep::rollout::{Holder, SweepKey};
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Between two looks at its Sweeps. Real agents watch.
const LOOK: Duration = Duration::from_millis(200);
const NAMESPACE: &str = "default";
const SYSTEM: &str = "podsweep-system";

/// A time in which a sweep worked under a slot.
#[derive(Debug, Clone)]
pub struct Worked {
    /// The slot.
    pub slot: String,
    /// The Sweep.
    pub sweep: String,
    /// From when …
    pub from: Instant,
    /// … to when.
    pub to: Instant,
}

/// What all test agents of a test share.
#[derive(Default)]
pub struct Book(Mutex<Vec<Worked>>);

impl Book {
    /// All that was worked.
    pub fn worked(&self) -> Vec<Worked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most that worked at one moment, and whether one slot was worked under twice at once.
    pub fn most_at_once(&self) -> (usize, bool) {
        let worked = self.worked();
        let at_once = |at: Instant| worked.iter().filter(move |work| work.from <= at && at < work.to);
        let most = worked.iter().map(|work| at_once(work.from).count()).max().unwrap_or_default();
        let twice = worked.iter().any(|work| {
            let slots: Vec<_> = at_once(work.from).map(|other| &other.slot).collect();
            slots.iter().collect::<BTreeSet<_>>().len() < slots.len()
        });
        (most, twice)
    }
}

/// How the sweeps of a test go.
#[derive(Clone, Default)]
pub struct Course {
    /// How long each works.
    pub works: Duration,
    /// How its container fares, by the name of the pod; healthy where nothing is said.
    pub fates: BTreeMap<String, (Health, &'static str)>,
}

/// Connects as whoever the kubeconfig names. Call it within a runtime.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let requests = IntCounterVec::new(Opts::new("requests", "requests"), &["verb", "code"])?;
    Ok(connect(Some(kubeconfig), requests).await?)
}

/// Asks for a sweep of a container of its own.
pub async fn ask(client: &Client, node: &str, workload: &str, pod: &str, policy: &str) -> Result<Sweep> {
    let mut sweep = Sweep::new(
        &format!("app-{pod}"),
        SweepSpec {
            node: node.into(),
            pod: PodReference { name: pod.into(), uid: format!("uid-{pod}") },
            container: "app".into(),
            container_id: None,
            workload: format!("Deployment/{workload}"),
            policy: policy.into(),
            mode: None,
            requested_by: RequestedBy::Agent,
            rollout: None,
            asked: Asked { trigger: "Burst".into(), message: "a test".into(), urgency: 300 },
            zone: None,
            attempt: 0,
            ttl: None,
            abort: false,
        },
    );
    sweep.metadata = ObjectMeta {
        labels: Some([(labels::NODE.to_owned(), labels::short(node))].into()),
        ..sweep.metadata
    };
    let api: Api<Sweep> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(api.create(&PostParams::default(), &sweep).await?)
}

/// Until `stop`: carries out what the Sweeps of this node are granted.
pub async fn run(client: Client, node: String, course: Course, book: Arc<Book>, stop: CancellationToken) {
    let api: Api<Sweep> = Api::namespaced(client.clone(), NAMESPACE);
    let of_node = ListParams::default().labels(&format!("{}={}", labels::NODE, labels::short(&node)));
    let mut begun = BTreeSet::new();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let Ok(sweeps) = api.list(&of_node).await else { continue };
        for sweep in sweeps {
            let status = sweep.status.clone().unwrap_or_default();
            if status.phase == SweepPhase::Admitted && begun.insert(sweep.name_any()) {
                let work = work(client.clone(), sweep, course.clone(), Arc::clone(&book));
                tokio::spawn(async move {
                    if let Err(error) = work.await {
                        tracing::warn!(%error, "test agent");
                    }
                });
            }
        }
    }
}

async fn work(client: Client, sweep: Sweep, course: Course, book: Arc<Book>) -> Result<()> {
    let slots = SlotLeases::new(client.clone(), SYSTEM);
    let key = SweepKey { namespace: NAMESPACE.into(), name: sweep.name_any() };
    let holder = Holder { node: sweep.spec.node.clone(), sweep: key, uid: sweep.uid().unwrap_or_default() };
    let slot = sweep.status.as_ref().and_then(|status| status.slot.clone()).unwrap_or_default();
    let held = HeldSlot::take(&slots, &slot, &holder).await?;
    let (fenced, done) = (CancellationToken::new(), CancellationToken::new());
    let keeper = {
        let (slots, fenced, done) = (slots.clone(), fenced.clone(), done.clone());
        tokio::spawn(async move { held.keep(&slots, &fenced, &done).await })
    };
    let from = Instant::now();
    let name = sweep.name_any();
    tell(&client, &name, &json!({ "phase": SweepPhase::Sweeping })).await;
    let in_time = fenced.run_until_cancelled(tokio::time::sleep(course.works)).await.is_some();
    let to = Instant::now();
    let worked = Worked { slot, sweep: name.clone(), from, to };
    book.0.lock().unwrap_or_else(PoisonError::into_inner).push(worked);
    let (health, sign) = course.fates.get(&sweep.spec.pod.name).copied().unwrap_or((Health::Healthy, "Well"));
    let phase = match health {
        Health::Healthy if in_time => SweepPhase::Succeeded,
        Health::Healthy => SweepPhase::Aborted,
        _ => SweepPhase::Failed,
    };
    tell(&client, &name, &json!({ "phase": phase, "health": health, "healthReason": sign })).await;
    done.cancel();
    keeper.await?;
    Ok(())
}

/// Tried again for a while: the test may have stopped or cut the API server.
async fn tell(client: &Client, name: &str, status: &Value) {
    let api: Api<Sweep> = Api::namespaced(client.clone(), NAMESPACE);
    for _ in 0..60 {
        let patch = json!({ "status": status });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let written = api.patch_status(name, &params, &patch);
        match tokio::time::timeout(Duration::from_secs(5), written).await {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
