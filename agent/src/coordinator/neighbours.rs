//! Watches the pods of the namespaces in which something is swept, or would be next, and of no others: an idle cluster
//! costs no request.
//!
//! In: the namespaces that the index wants. Out: pods into the index, and whether what was told of them holds. Must
//! never: hold on to a watch that nobody wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as Whole;
use kube::Client;
use kube::api::Api;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::known::Known;
use super::metrics::CoordinatorMetrics;
use crate::kubernetes::{Collection, Pod, Selection, Stale, View, Watch, WatchCounts};
use crate::rollout::{MAX_PODS, Neighbour};

/// Namespaces that are watched at a time. Slots bound what runs, and are a handful.
const MAX_WATCHES: usize = 100;
/// A watch that nobody wants any more stays for this long: the next wave of the same workload follows within seconds.
const LINGER: Duration = Duration::from_secs(10);

/// One namespace's pods on their way into the index.
struct NamespacePods {
    known: Arc<Known>,
    namespace: String,
}

struct Running {
    view: Arc<View<NamespacePods>>,
    stop: CancellationToken,
    wanted_at: Duration,
}

/// The watches.
pub(super) struct Neighbours {
    client: Client,
    known: Arc<Known>,
    metrics: Arc<CoordinatorMetrics>,
    tasks: TaskTracker,
    term: CancellationToken,
    running: BTreeMap<String, Running>,
}

impl Neighbours {
    /// None yet. They end with `term`, in `tasks`.
    pub(super) fn new(
        client: Client,
        known: Arc<Known>,
        metrics: Arc<CoordinatorMetrics>,
        tasks: TaskTracker,
        term: CancellationToken,
    ) -> Self {
        Self { client, known, metrics, tasks, term, running: BTreeMap::new() }
    }

    /// Before a turn: tells the index whether what each watch told still holds.
    pub(super) fn report(&self) {
        for (namespace, running) in &self.running {
            let holds = match running.view.current() {
                Ok(()) => Ok(()),
                // The first list is on its way.
                Err(Stale::NotListed(None)) => continue,
                Err(stale) => Err(stale.to_string()),
            };
            self.known.index().hold_pods(namespace, holds);
        }
    }

    /// After a turn: begins the watches that it wanted, ends those that nobody has wanted for a while.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<String>) {
        let now = self.known.now();
        for namespace in wanted {
            if let Some(running) = self.running.get_mut(namespace) {
                running.wanted_at = now;
            } else if self.running.len() < MAX_WATCHES {
                self.start(namespace, now);
            } else {
                self.metrics.limit_reached("watched_namespaces");
                let why = format!("{MAX_WATCHES} namespaces are watched already");
                self.known.index().hold_pods(namespace, Err(why));
            }
        }
        self.running.retain(|_, running| {
            let stays = now < running.wanted_at.saturating_add(LINGER);
            if !stays {
                running.stop.cancel();
            }
            stays
        });
        let stays = |namespace: &str| self.running.contains_key(namespace) || wanted.contains(namespace);
        self.known.index().forget_pods_but(stays);
        self.metrics.watched_namespaces(self.running.len());
    }

    fn start(&mut self, namespace: &str, now: Duration) {
        self.known.index().expect_pods(namespace);
        let pods = NamespacePods { known: Arc::clone(&self.known), namespace: namespace.to_owned() };
        let view = Arc::new(View::new(pods));
        let api: Api<Whole> = Api::namespaced(self.client.clone(), namespace);
        // Whole pods: metadata alone has no restart counts, and which labels a workload selects by is not known.
        let watch = Watch::new(api, Selection::default(), Arc::clone(&view), self.metrics.clone());
        let stop = self.term.child_token();
        self.tasks.spawn(watch.run(stop.clone()));
        self.running.insert(namespace.to_owned(), Running { view, stop, wanted_at: now });
    }
}

impl Collection for NamespacePods {
    type Object = Whole;
    const RESOURCE: &'static str = "pods";
    const LIMIT: &'static str = "watched_pods";

    fn replace(&mut self, all: Vec<Whole>) {
        let pods: Vec<_> = all.iter().map(neighbour).collect();
        self.known.change(|index, _| index.list_pods(&self.namespace, pods));
    }

    fn put(&mut self, object: Whole) {
        let pod = neighbour(&object);
        self.known.change_if(|index| index.put_pod(&self.namespace, pod));
    }

    fn remove(&mut self, object: &Whole) {
        let uid = neighbour(object).map(|pod| pod.uid).or_else(|| object.metadata.uid.clone());
        if let Some(uid) = uid {
            self.known.change_if(|index| index.remove_pod(&self.namespace, &uid));
        }
    }

    fn count(&self) -> usize {
        self.known.index().count_pods(&self.namespace).0
    }

    fn left_out(&self) -> usize {
        self.known.index().count_pods(&self.namespace).1
    }

    fn has_room(&self) -> bool {
        self.count() < MAX_PODS
    }
}

fn neighbour(whole: &Whole) -> Option<Neighbour> {
    Pod::of(whole).as_ref().map(Neighbour::of)
}
