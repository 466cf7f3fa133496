//! An agent's part in a cluster without a node: watches its Sweeps and takes the slots that they are granted by podsweep's
//! own code, keeps them, tells phases, and keeps a book of when it worked under which slot. Many of them run in one
//! process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use podsweep::admission::lease::{HeldSlot, NotHeld};
use podsweep::kubernetes::client::connect;
use podsweep::kubernetes::events::{Kind, PodEvent, PodEvents};
use podsweep::kubernetes::resources::{Asked, PodReference, RequestedBy, Sweep, SweepPhase, SweepSpec};
use podsweep::kubernetes::slot::SlotLeases;
use podsweep::kubernetes::{Collection, Selection, View, Watch, WatchCounts, events, labels};
use podsweep::report::Health;
use podsweep::rollout::{Holder, SweepKey};
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const SYSTEM: &str = "podsweep-system";
/// As an agent does: a slot that cannot be taken for an error is tried again after this, and not for ever.
const TAKE_AGAIN: Duration = Duration::from_secs(1);
const TAKES: u32 = 30;

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
pub struct Book {
    worked: Mutex<Vec<Worked>>,
    listed: AtomicU64,
    failed: AtomicU64,
}

impl WatchCounts for Book {
    fn listed(&self, _resource: &'static str) {
        self.listed.fetch_add(1, Ordering::Relaxed);
    }

    fn event(&self, _resource: &'static str) {}

    fn failed(&self, _resource: &'static str, _reason: &'static str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn limit_reached(&self, _limit: &'static str) {}
}

impl Book {
    /// All that was worked.
    pub fn worked(&self) -> Vec<Worked> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a watch has listed everything, and how often one has failed.
    pub fn lists_and_failures(&self) -> (u64, u64) {
        (self.listed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn enter(&self, worked: Worked) {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner).push(worked);
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
    /// How long it watches its container after that.
    pub observes: Duration,
    /// Whom it tells that the pod was swept.
    pub events: Option<PodEvents>,
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

/// The Sweeps of one node that were admitted since this was last asked.
#[derive(Default)]
struct Admitted {
    new: Vec<Sweep>,
    /// Bounded by the sweeps of a test.
    begun: BTreeSet<String>,
    bell: Arc<Notify>,
}

impl Admitted {
    fn take(&mut self) -> Vec<Sweep> {
        std::mem::take(&mut self.new)
    }
}

impl Collection for Admitted {
    type Object = DeserializeGuard<Sweep>;
    const RESOURCE: &'static str = "sweeps";
    const LIMIT: &'static str = "sweeps";

    fn replace(&mut self, all: Vec<Self::Object>) {
        for sweep in all {
            self.put(sweep);
        }
    }

    fn put(&mut self, object: Self::Object) {
        let Ok(sweep) = object.0 else { return };
        let is_admitted = sweep.status.as_ref().is_some_and(|status| status.phase == SweepPhase::Admitted);
        if is_admitted && self.begun.insert(sweep.name_any()) {
            self.new.push(sweep);
            self.bell.notify_one();
        }
    }

    fn remove(&mut self, _object: &Self::Object) {}

    fn count(&self) -> usize {
        self.begun.len()
    }

    fn left_out(&self) -> usize {
        0
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// Until `stop`: carries out what the Sweeps of this node are granted.
pub async fn run(client: Client, node: String, course: Course, book: Arc<Book>, stop: CancellationToken) {
    let of_node = format!("{}={}", labels::NODE, labels::short(&node));
    let selection = Selection { labels: Some(of_node), ..Selection::default() };
    let view: Arc<View<Admitted>> = Arc::default();
    let bell = Arc::clone(&view.kept().bell);
    let api = Api::all(client.clone());
    let watching = Watch::new(api, selection, Arc::clone(&view), Arc::clone(&book) as Arc<dyn WatchCounts>)
        .run(stop.clone());
    let working = async {
        while stop.run_until_cancelled(bell.notified()).await.is_some() {
            let admitted = view.kept().take();
            for sweep in admitted {
                let work = work(client.clone(), sweep, course.clone(), Arc::clone(&book));
                tokio::spawn(async move {
                    if let Err(error) = work.await {
                        tracing::warn!(%error, "test agent");
                    }
                });
            }
        }
    };
    tokio::join!(watching, working);
}

async fn work(client: Client, sweep: Sweep, course: Course, book: Arc<Book>) -> Result<()> {
    let slots = SlotLeases::new(client.clone(), SYSTEM);
    let slot = sweep.status.as_ref().and_then(|status| status.slot.clone()).unwrap_or_default();
    let held = take(&slots, &slot, &sweep).await?;
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
    book.enter(Worked { slot, sweep: name.clone(), from, to });
    if !course.observes.is_zero() {
        tell(&client, &name, &json!({ "phase": SweepPhase::Observing })).await;
        tokio::time::sleep(course.observes).await;
    }
    if let Some(events) = &course.events {
        events.tell(swept(&sweep));
    }
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

async fn take(slots: &SlotLeases, slot: &str, sweep: &Sweep) -> Result<HeldSlot> {
    let key = SweepKey { namespace: NAMESPACE.into(), name: sweep.name_any() };
    let holder = Holder { node: sweep.spec.node.clone(), sweep: key, uid: sweep.uid().unwrap_or_default() };
    for _ in 1..TAKES {
        match HeldSlot::take(slots, slot, &holder).await {
            Err(NotHeld::Request(_)) => tokio::time::sleep(TAKE_AGAIN).await,
            taken => return Ok(taken?),
        }
    }
    Ok(HeldSlot::take(slots, slot, &holder).await?)
}

fn swept(sweep: &Sweep) -> PodEvent {
    let PodReference { name, uid } = sweep.spec.pod.clone();
    let pod = events::PodReference { uid, namespace: NAMESPACE.into(), name };
    PodEvent { pod, container: Some(sweep.spec.container.clone()), kind: Kind::Swept, note: "a test".into() }
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
