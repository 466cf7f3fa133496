//! SweepRollouts, carried on: which containers they are about, the Sweeps of their next wave, their status.
//!
//! In: the API's pods, asked for while a rollout is open; the index. Out: Sweep objects, statuses. Must never: make a
//! Sweep of a container that the policy does not select, or of one that has one from this rollout already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as Whole;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::known::Known;
use crate::kubernetes::Pod;
use crate::kubernetes::client::{RequestError, request};
use crate::kubernetes::labels;
use crate::kubernetes::resources::{
    Asked, PodReference, RequestedBy, RolloutStatus, Sweep, SweepRollout, SweepRolloutSpec, SweepSpec,
};
use crate::policy::Selector;
use crate::rollout::{Next, SweepKey, Target};

/// Between two looks at all pods, for each open rollout: new pods join it that late.
const PODS_EVERY: Duration = Duration::from_mins(1);
/// Pods of one answer.
const PAGE: u32 = 500;
/// Containers of one rollout; a selector that names more is one for several rollouts.
const MAX_TARGETS: usize = 20_000;
/// As pressing as what a person waits for: below a full disk, above a schedule.
const URGENCY: u32 = 400;
/// Hex digits of a Sweep's name that stand for its rollout and container: the same one is never made twice.
const NAME_DIGITS: usize = 16;

/// What is remembered between two turns: only what can be asked for again.
#[derive(Default)]
pub(super) struct Rollouts {
    targets: BTreeMap<String, (Duration, Vec<Target>)>,
}

impl Rollouts {
    /// One turn for every open rollout.
    pub(super) async fn turn(&mut self, client: &Client, known: &Arc<Known>) {
        let open = known.index().open_rollouts();
        let names: BTreeSet<_> = open.iter().map(|(name, _)| name.clone()).collect();
        self.targets.retain(|name, _| names.contains(name));
        for (name, spec) in open {
            if let Err(error) = self.carry_on(client, known, &name, &spec).await {
                tracing::warn!(rollout = name, %error, "not carried on; the next turn tries again");
            }
        }
    }

    async fn carry_on(
        &mut self,
        client: &Client,
        known: &Arc<Known>,
        name: &str,
        spec: &SweepRolloutSpec,
    ) -> Result<(), RequestError> {
        let now = known.now();
        let listed = self.targets.get(name).map(|(at, _)| *at);
        if listed.is_none_or(|at| now >= at + PODS_EVERY) {
            let policy = known.selector(&spec.policy);
            let targets = targets(client, spec, policy.as_deref()).await?;
            self.targets.insert(name.to_owned(), (now, targets));
        }
        let targets = self.targets.get(name).map_or(&[][..], |(_, targets)| targets);
        let Some((Next { make, status, .. }, before)) = known.index().rollout_next(name, targets) else {
            return Ok(());
        };
        for target in &make {
            make_sweep(client, known, name, spec, target).await?;
        }
        if status != before {
            write_status(client, known, name, &status).await?;
        }
        Ok(())
    }
}

/// Running containers that the rollout's selector and the policy's both name.
async fn targets(
    client: &Client,
    spec: &SweepRolloutSpec,
    policy: Option<&Selector>,
) -> Result<Vec<Target>, RequestError> {
    let (Some(policy), Ok(own)) = (policy, Selector::new(&spec.select)) else { return Ok(Vec::new()) };
    let pods: Api<Whole> = Api::all(client.clone());
    let mut params = ListParams::default().fields("status.phase=Running").limit(PAGE);
    let mut targets = Vec::new();
    loop {
        let page = request(|| "list pods".into(), pods.list(&params)).await?;
        let found = page
            .items
            .iter()
            .filter(|pod| !is_leaving(pod))
            .filter_map(|whole| Some((node(whole)?, Pod::of(whole)?)));
        for (node, pod) in found {
            targets.extend(containers(&node, &pod, |names| {
                own.matches_names(names, "").is_ok() && policy.matches_names(names, "").is_ok()
            }));
        }
        let more = page.metadata.continue_.filter(|token| !token.is_empty());
        let Some(more) = more.filter(|_| targets.len() < MAX_TARGETS) else { break };
        params = params.continue_token(&more);
    }
    if targets.len() > MAX_TARGETS {
        tracing::warn!(
            most = MAX_TARGETS,
            "a rollout names more containers than it may have; the rest stays"
        );
        targets.truncate(MAX_TARGETS);
    }
    targets.sort();
    Ok(targets)
}

fn is_leaving(pod: &Whole) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn node(pod: &Whole) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

fn containers(node: &str, pod: &Pod, wanted: impl Fn(&crate::inventory::Names) -> bool) -> Vec<Target> {
    let ids = pod.containers.iter().filter_map(|container| container.id.as_deref());
    let named = ids.map(|id| pod.names(id, None)).filter(wanted);
    named
        .filter_map(|names| {
            Some(Target {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                pod_uid: pod.cgroup_uid.clone(),
                container: names.container?,
                node: node.to_owned(),
                workload: pod.workload.clone(),
            })
        })
        .collect()
}

async fn make_sweep(
    client: &Client,
    known: &Arc<Known>,
    rollout: &str,
    spec: &SweepRolloutSpec,
    target: &Target,
) -> Result<(), RequestError> {
    let sweep = sweep(rollout, spec, target);
    let key = SweepKey {
        namespace: target.namespace.clone(),
        name: sweep.metadata.name.clone().unwrap_or_default(),
    };
    let api: Api<Sweep> = Api::namespaced(client.clone(), &target.namespace);
    let params = PostParams::default();
    match request(|| format!("create Sweep {key}"), api.create(&params, &sweep)).await {
        Ok(made) => known.change(|index, now| index.observe_sweep(&made, now)),
        // By a leader before this one, a moment ago.
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn sweep(rollout: &str, spec: &SweepRolloutSpec, target: &Target) -> Sweep {
    let hash = labels::hash(&format!("{rollout}/{}/{}", target.pod_uid, target.container));
    let name = format!("{}-{}", target.container, &hash[..NAME_DIGITS.min(hash.len())]);
    let mut sweep = Sweep::new(
        &name,
        SweepSpec {
            node: target.node.clone(),
            pod: PodReference { name: target.pod.clone(), uid: target.pod_uid.clone() },
            container: target.container.clone(),
            container_id: None,
            workload: target.workload.clone(),
            policy: spec.policy.clone(),
            mode: spec.mode,
            requested_by: RequestedBy::Rollout,
            rollout: Some(rollout.to_owned()),
            asked: Asked {
                trigger: "Rollout".into(),
                message: format!("SweepRollout {rollout}"),
                urgency: URGENCY,
            },
            zone: None,
            attempt: 0,
            ttl: None,
            abort: false,
        },
    );
    let labels = [
        (labels::NODE, labels::short(&target.node)),
        (labels::POLICY, labels::short(&spec.policy)),
        (labels::ROLLOUT, labels::short(rollout)),
        (labels::MANAGED_BY, labels::PODSWEEP.to_owned()),
    ];
    sweep.metadata = ObjectMeta {
        namespace: Some(target.namespace.clone()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..sweep.metadata
    };
    sweep
}

async fn write_status(
    client: &Client,
    known: &Arc<Known>,
    name: &str,
    status: &RolloutStatus,
) -> Result<(), RequestError> {
    let api: Api<SweepRollout> = Api::all(client.clone());
    let patch = json!({ "status": {
        "phase": status.phase, "reason": status.reason, "message": status.message, "wave": status.wave,
        "waveSize": status.wave_size, "total": status.total, "done": status.done, "healthy": status.healthy,
        "harmed": status.harmed, "unknown": status.unknown, "unknownAccepted": status.unknown_accepted,
        "skipped": status.skipped, "observedGeneration": status.observed_generation,
    }});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = api.patch_status(name, &params, &patch);
    let rollout = request(|| format!("write status of SweepRollout {name}"), patched).await?;
    tracing::info!(rollout = name, phase = ?status.phase, wave = status.wave, done = status.done, "rollout");
    known.change(|index, _| index.observe_rollout(name, Some(&rollout)));
    Ok(())
}
