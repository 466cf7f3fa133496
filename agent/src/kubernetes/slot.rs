//! The Lease that is a slot: granted, renewed, freed; each by compare-and-swap on the version that was read.
//!
//! Must never: write a Lease without the version that it was read at.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::client::{RequestError, request};
use crate::rollout::{Holder, SlotSeen};

/// A Lease without a duration, which podsweep never writes: the API server's own default for leader election.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// What decisions need of a slot's Lease.
pub fn seen(lease: &Lease) -> SlotSeen {
    let spec = lease.spec.as_ref();
    let seconds =
        spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    SlotSeen {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        lease: seconds.map_or(DEFAULT_DURATION, Duration::from_secs),
    }
}

/// The Leases of one namespace.
#[derive(Clone)]
pub struct SlotLeases(Api<Lease>);

impl SlotLeases {
    /// Those of podsweep's own namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self(Api::namespaced(client, namespace))
    }

    /// All of them, for a watch; one that cannot be read does not hide the others.
    pub fn guarded(client: Client, namespace: &str) -> Api<DeserializeGuard<Lease>> {
        Api::namespaced(client, namespace)
    }

    /// Reads one.
    pub async fn read(&self, slot: &str) -> Result<Lease, RequestError> {
        request(|| format!("read Lease {slot}"), self.0.get(slot)).await
    }

    /// Gives a free slot to a sweep.
    pub async fn grant(
        &self,
        slot: &str,
        version: &str,
        holder: &Holder,
        lease: Duration,
    ) -> Result<Lease, RequestError> {
        let now = now();
        let spec = json!({
            "holderIdentity": holder.to_string(),
            "leaseDurationSeconds": lease.as_secs(),
            "acquireTime": now,
            "renewTime": now,
        });
        self.write("grant", slot, version, &spec).await
    }

    /// Says that its holder is still there.
    pub async fn renew(&self, slot: &str, version: &str) -> Result<Lease, RequestError> {
        self.write("renew", slot, version, &json!({ "renewTime": now() })).await
    }

    /// Gives it back.
    pub async fn free(&self, slot: &str, version: &str) -> Result<Lease, RequestError> {
        let spec = json!({ "holderIdentity": null, "acquireTime": null, "renewTime": null });
        self.write("free", slot, version, &spec).await
    }

    // With a resourceVersion in it, the server takes a patch only for the object that was read.
    async fn write(
        &self,
        what: &str,
        slot: &str,
        version: &str,
        spec: &Value,
    ) -> Result<Lease, RequestError> {
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = self.0.patch(slot, &params, &patch);
        request(|| format!("{what} Lease {slot}"), patched).await
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}
