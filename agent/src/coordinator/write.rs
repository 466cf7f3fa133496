//! Carries out steps: each is a write to the API server, and its answer goes into the index at once, since the watch
//! may bring it much later.
//!
//! Must never: write without the version that the decision was made on.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::known::Known;
use crate::kubernetes::client::{RequestError, request};
use crate::kubernetes::labels;
use crate::kubernetes::resources::{
    Breaker, BreakerSpec, BreakerStatus, Sweep, SweepPhase, WORKLOAD_HEALTHY,
};
use crate::kubernetes::slot::{self, SlotLeases};
use crate::report::Health;
use crate::rollout::{Step, SweepKey};

/// Who carries steps out.
pub(super) struct Writer {
    client: Client,
    slots: SlotLeases,
    slot_duration: Duration,
    known: Arc<Known>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Done.
    Done,
    /// Somebody else was faster, or the object is gone: the next turn knows more.
    Overtaken,
}

impl Written {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Overtaken => "overtaken",
        }
    }
}

impl Writer {
    pub(super) fn new(client: Client, namespace: &str, slot_duration: Duration, known: Arc<Known>) -> Self {
        let slots = SlotLeases::new(client.clone(), namespace);
        Self { client, slots, slot_duration, known }
    }

    pub(super) async fn write(&self, step: Step) -> Result<Written, RequestError> {
        let done = match step {
            Step::Grant { slot, version, holder } => self.grant(&slot, &version, &holder).await,
            Step::Admit { sweep, slot, wave, others } => {
                let now = Timestamp::now();
                let message = format!("by Lease {slot}");
                let conditions = [condition("Admitted", "True", "SlotGranted", &message, now)];
                let status = json!({
                    "phase": SweepPhase::Admitted, "slot": slot, "wave": wave, "reason": null, "message": null,
                    "admittedAt": now.to_string(), "others": others, "conditions": conditions,
                });
                self.status(&sweep, &status).await
            }
            Step::Note { sweep, reason, message, notes } => {
                let status = json!({
                    "phase": SweepPhase::Pending, "reason": reason, "message": message, "notes": notes,
                });
                self.status(&sweep, &status).await
            }
            Step::Stop { sweep, reason } => self.status(&sweep, &json!({ "stop": reason })).await,
            Step::End { sweep, phase, reason, message } => {
                let status = json!({
                    "phase": phase, "reason": reason, "message": message, "endedAt": Timestamp::now().to_string(),
                });
                self.status(&sweep, &status).await
            }
            Step::Tell { sweep, health, reason, message } => {
                self.tell(&sweep, health, &reason, &message).await
            }
            Step::CountHarm { sweep } => self.status(&sweep, &json!({ "harmCounted": true })).await,
            Step::SaveBreaker { name, spec, status } => self.save_breaker(&name, spec, &status).await,
            Step::CloseBreaker { name } => self.close_breaker(&name).await,
            Step::Forget { sweep } => self.forget(&sweep).await,
        };
        match done {
            Ok(()) => Ok(Written::Done),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Written::Overtaken),
            Err(error) => Err(error),
        }
    }

    async fn grant(
        &self,
        slot: &str,
        version: &str,
        holder: &crate::rollout::Holder,
    ) -> Result<(), RequestError> {
        let lease = self.slots.grant(slot, version, holder, self.slot_duration).await?;
        self.known.change(|index, now| index.observe_slot(slot, slot::seen(&lease), now));
        Ok(())
    }

    async fn status(&self, key: &SweepKey, status: &Value) -> Result<(), RequestError> {
        let Some(version) = self.known.index().version(key).map(str::to_owned) else { return Ok(()) };
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = self.sweeps(key);
        let patched = patched.patch_status(&key.name, &params, &patch);
        let sweep = request(|| format!("write status of Sweep {key}"), patched).await?;
        self.known.change(|index, now| index.observe_sweep(&sweep, now));
        Ok(())
    }

    /// The conditions that are there stay: a list is written as a whole, so it is read first. Once in a sweep, where all
    /// is not well.
    async fn tell(
        &self,
        key: &SweepKey,
        health: Health,
        reason: &str,
        message: &str,
    ) -> Result<(), RequestError> {
        let sweeps = self.sweeps(key);
        let sweep = request(|| format!("read Sweep {key}"), sweeps.get(&key.name)).await?;
        let mut conditions = sweep.status.map(|status| status.conditions).unwrap_or_default();
        conditions.retain(|condition| condition.type_ != WORKLOAD_HEALTHY);
        let status = if health == Health::Harmed { "False" } else { "Unknown" };
        conditions.push(condition(WORKLOAD_HEALTHY, status, reason, message, Timestamp::now()));
        let version = sweep.metadata.resource_version;
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "status": { "conditions": conditions } });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = sweeps.patch_status(&key.name, &params, &patch);
        let sweep = request(|| format!("write status of Sweep {key}"), patched).await?;
        tracing::warn!(sweep = %key, ?health, reason, message, "its workload's other pods");
        self.known.change(|index, now| index.observe_sweep(&sweep, now));
        Ok(())
    }

    /// An object that is there is written over at the version that it is read at; the loser of a race decides anew.
    async fn save_breaker(
        &self,
        name: &str,
        spec: BreakerSpec,
        status: &BreakerStatus,
    ) -> Result<(), RequestError> {
        let breakers: Api<Breaker> = Api::all(self.client.clone());
        let mut breaker = Breaker::new(name, spec);
        breaker.metadata = ObjectMeta {
            labels: Some([(labels::MANAGED_BY.to_owned(), labels::PODSWEEP.to_owned())].into()),
            ..breaker.metadata
        };
        let params = PostParams::default();
        match request(|| format!("create Breaker {name}"), breakers.create(&params, &breaker)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let patch = json!({ "status": status });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = breakers.patch_status(name, &params, &patch);
        let breaker = request(|| format!("write status of Breaker {name}"), patched).await?;
        tracing::warn!(breaker = name, ?status, "breaker");
        self.known.change(|index, now| index.observe_breaker(&breaker, now, Timestamp::now()));
        Ok(())
    }

    async fn close_breaker(&self, name: &str) -> Result<(), RequestError> {
        let breakers: Api<Breaker> = Api::all(self.client.clone());
        let params = DeleteParams::default();
        let deleted = request(|| format!("delete Breaker {name}"), breakers.delete(name, &params)).await;
        match deleted {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        tracing::info!(breaker = name, "breaker closed");
        self.known.change(|index, _| index.forget_breaker(name, Timestamp::now()));
        Ok(())
    }

    async fn forget(&self, key: &SweepKey) -> Result<(), RequestError> {
        let sweeps = self.sweeps(key);
        let params = DeleteParams::default();
        request(|| format!("delete Sweep {key}"), sweeps.delete(&key.name, &params)).await?;
        self.known.change(|index, _| index.forget_sweep(key, None));
        Ok(())
    }

    fn sweeps(&self, key: &SweepKey) -> Api<Sweep> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, at: Timestamp) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(at),
        observed_generation: None,
    }
}
