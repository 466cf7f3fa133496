//! From a wish to a Sweep object: the cluster's queue.
//!
//! In: a [`Wish`] to which nobody on this node said no. Out: a Sweep object, once; until that has ended, every further
//! wish for the container is answered with what it waits for. Must never: make two for one container.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::{Api, ObjectMeta, PostParams};

use super::Cluster;
use super::urgency;
use crate::agent::admit::Wish;
use crate::agent::shared::lock;
use crate::inventory::Container;
use crate::kubernetes::client::request;
use crate::kubernetes::labels;
use crate::kubernetes::resources::{PodReference, RequestedBy, Sweep, SweepSpec};
use crate::policy::{Fired, Reason, Refusal};
use crate::rollout::SweepKey;

/// A Sweep that was made and has not come back by the watch for this long is asked for again. Watches bring it within
/// milliseconds.
const ON_ITS_WAY: Duration = Duration::from_mins(1);
/// Containers whose Sweep is on its way.
const MAX_ON_ITS_WAY: usize = 1_000;

/// A container as the API knows it.
pub(super) type Place = (String, String);

/// Sweeps that were made a moment ago.
#[derive(Default)]
pub(super) struct OnTheirWay(BTreeMap<Place, (Instant, SweepKey)>);

impl OnTheirWay {
    fn get(&mut self, place: &Place, now: Instant) -> Option<SweepKey> {
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < ON_ITS_WAY);
        self.0.get(place).map(|(_, key)| key.clone())
    }

    /// Before the request: its answer may be lost, and the Sweep made all the same.
    fn note(&mut self, place: Place, key: SweepKey, now: Instant) -> bool {
        let room = self.0.len() < MAX_ON_ITS_WAY;
        if room {
            self.0.insert(place, (now, key));
        }
        room
    }
}

impl Cluster {
    /// Asks the cluster. Always a refusal: the sweep begins when the coordinator has granted a slot.
    pub(in crate::agent) async fn ask(&self, wish: &Wish) -> Refusal {
        let Some(sweep) = self.sweep(wish) else {
            let message = "the Kubernetes API does not name its pod, container or workload";
            return Refusal::new(Reason::PodUnknown, message);
        };
        if let Err(stale) = self.sweeps.current() {
            let message =
                format!("what the Kubernetes API told of this node's Sweeps may not hold any more: {stale}");
            return Refusal::new(Reason::ApiStale, message);
        }
        let place = (sweep.spec.pod.uid.clone(), sweep.spec.container.clone());
        if let Some((key, open)) = self.sweeps.kept().of_container(&place.0, &place.1) {
            return waits(&key, Some(&open));
        }
        let key = SweepKey {
            namespace: sweep.metadata.namespace.clone().unwrap_or_default(),
            name: sweep.metadata.name.clone().unwrap_or_default(),
        };
        {
            let mut on_their_way = lock(&self.on_their_way);
            if let Some(key) = on_their_way.get(&place, Instant::now()) {
                return waits(&key, None);
            }
            if !on_their_way.note(place, key.clone(), Instant::now()) {
                let message = format!("{MAX_ON_ITS_WAY} Sweeps of this node are being made; it asks again");
                return Refusal::new(Reason::AwaitsSlot, message);
            }
        }
        let api: Api<Sweep> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PostParams::default();
        match request(|| format!("create Sweep {key}"), api.create(&params, &sweep)).await {
            Ok(_) => {
                tracing::info!(sweep = %key, urgency = sweep.spec.asked.urgency, "asked the cluster for a slot");
                waits(&key, None)
            }
            Err(error) => {
                let message = format!("the cluster cannot be asked for a slot: {error}");
                Refusal::new(Reason::ApiStale, message)
            }
        }
    }

    /// The object of a wish; `None` where the API does not name the container.
    fn sweep(&self, wish: &Wish) -> Option<Sweep> {
        let names = &wish.container.names;
        let namespace = names.namespace.clone()?;
        let pod = PodReference { name: names.pod.clone()?, uid: names.pod_uid.clone()? };
        let requested_by =
            if matches!(wish.fired, Fired::ByHand) { RequestedBy::Person } else { RequestedBy::Agent };
        let spec = SweepSpec {
            node: self.node.clone(),
            pod,
            container: names.container.clone()?,
            container_id: Some(wish.container.id.clone()),
            workload: names.workload.clone()?,
            policy: wish.policy.metadata.name.clone(),
            mode: Some(wish.mode),
            requested_by,
            rollout: None,
            asked: urgency::asked(&wish.fired),
            zone: lock(&self.zone).clone(),
            attempt: wish.attempt,
            ttl: None,
            abort: false,
        };
        let mut sweep = Sweep::new(&name(&wish.container), spec);
        sweep.metadata = ObjectMeta {
            namespace: Some(namespace),
            labels: Some(
                [
                    (labels::NODE, labels::short(&self.node)),
                    (labels::POLICY, labels::short(&wish.policy.metadata.name)),
                    (labels::MANAGED_BY, labels::PODSWEEP.to_owned()),
                ]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            ),
            ..sweep.metadata
        };
        Some(sweep)
    }
}

/// A name that people can read and that sorts by time: the container's, and a ULID.
fn name(container: &Container) -> String {
    let readable = container.names.container.as_deref().unwrap_or("container");
    format!("{readable}-{}", ulid::Ulid::new().to_string().to_lowercase())
}

fn waits(key: &SweepKey, sweep: Option<&Sweep>) -> Refusal {
    let status = sweep.and_then(|sweep| sweep.status.as_ref());
    let why = match status {
        Some(status) if status.phase.is_running() => format!("is {:?}", status.phase),
        Some(status) => match (&status.reason, &status.message) {
            (Some(reason), Some(message)) => format!("waits for a slot ({reason}: {message})"),
            _ => "waits for a slot".to_owned(),
        },
        None => "waits for a slot".to_owned(),
    };
    Refusal::new(Reason::AwaitsSlot, format!("Sweep {key} {why}"))
}
