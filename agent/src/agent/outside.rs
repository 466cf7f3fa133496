//! Who outside the node is told of what happens here: owners by Kubernetes Events on their pods, a collector by
//! CloudEvents. Both optional.
//!
//! In: sweeps that ended, refusals that are news, the breakers. Out: what is told of them. Must never: wait.

use crate::breaker::BreakerView;
use crate::inventory::Container;
use crate::kubernetes::events::{Kind, PodEvent, PodEvents, PodReference, is_for_owners};
use crate::policy::Refusal;
use crate::report::{CloudEvents, Health, Outcome, SweepRecord};

/// Those who are told.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Owners of pods; `None` on a host by itself.
    pub(super) pods: Option<PodEvents>,
    /// A collector.
    pub(super) collector: Option<CloudEvents>,
}

impl Outside {
    /// A sweep has ended, its observation included.
    pub(super) fn ended(&self, container: Option<&Container>, record: &SweepRecord) {
        if let Some(collector) = &self.collector {
            collector.sweep_ended(record);
        }
        if let Some(container) = container {
            for (kind, note) in ended(record) {
                self.tell(container, kind, note);
            }
        }
    }

    /// A sweep was refused, and that is news.
    pub(super) fn refused(&self, container: &Container, policy: &str, refusal: &Refusal) {
        if is_for_owners(&refusal.reason) {
            let note = format!("policy {policy}: {} ({})", refusal.message, refusal.reason);
            self.tell(container, Kind::Refused, note);
        }
    }

    /// The breakers as they are now.
    pub(super) fn breakers(&self, views: &[BreakerView]) {
        if let Some(collector) = &self.collector {
            collector.breakers(views);
        }
    }

    /// The agent ends.
    pub(super) async fn end(&self) {
        if let Some(collector) = &self.collector {
            collector.end().await;
        }
    }

    fn tell(&self, container: &Container, kind: Kind, note: String) {
        if let (Some(pods), Some(pod)) = (&self.pods, pod(container)) {
            pods.tell(PodEvent { pod, container: container.names.container.clone(), kind, note });
        }
    }
}

fn pod(container: &Container) -> Option<PodReference> {
    let names = &container.names;
    Some(PodReference {
        uid: names.pod_uid.clone()?,
        namespace: names.namespace.clone()?,
        name: names.pod.clone()?,
    })
}

/// What an owner is told of an ended sweep.
fn ended(record: &SweepRecord) -> Vec<(Kind, String)> {
    let mut told = Vec::new();
    let policy = &record.policy;
    if record.sweep.removed > 0 {
        let (files, bytes) = (record.sweep.removed, record.sweep.removed_bytes);
        let reason = record.reason.as_deref().unwrap_or("unknown");
        told.push((Kind::Swept, format!("policy {policy}: removed {files} files, {bytes} bytes ({reason})")));
    }
    if record.health == Some(Health::Harmed) {
        let why = record.health_reason.as_deref().unwrap_or("unknown");
        let note = format!(
            "policy {policy}: came to harm after a sweep ({why}); no more sweeps of this workload for now"
        );
        told.push((Kind::Harmed, note));
    }
    if let (Some(Outcome::Refused), Some(refusal)) = (record.outcome, &record.refusal)
        && is_for_owners(&refusal.reason)
    {
        told.push((Kind::Refused, format!("policy {policy}: {} ({})", refusal.message, refusal.reason)));
    }
    told
}
