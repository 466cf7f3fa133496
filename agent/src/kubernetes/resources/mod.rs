//! The custom resources of podsweep, group `podsweep.io`. The types are the single source: `cargo xtask gen` makes the
//! CRDs of deploy/ from them.
//!
//! A `SweepPolicy` says what is junk, a `Sweep` is one operation on one container, a `SweepRollout` is many of them by
//! a person's wish, a `Breaker` says where nothing flows. A Sweep lives in its pod's namespace; the others are
//! cluster-scoped.

#![allow(clippy::duplicated_attributes, reason = "each `printcolumn` has a name, a type and a path")]

mod breaker;
mod policy;
mod rollout;
mod sweep;

pub use breaker::{Breaker, BreakerLevel, BreakerSpec, BreakerState, BreakerStatus};
pub use policy::{PolicyObject, PolicySpec, PolicyStatus};
pub use rollout::{RolloutPhase, RolloutStatus, SweepRollout, SweepRolloutSpec};
pub use sweep::{
    Asked, Figures, PodReference, RequestedBy, Sweep, SweepPhase, SweepSpec, SweepStatus, WORKLOAD_HEALTHY,
    Wave,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Group of all of them.
pub const GROUP: &str = "podsweep.io";

/// The definitions, in the order in which people meet them.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![PolicyObject::crd(), Sweep::crd(), SweepRollout::crd(), Breaker::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_can_be_made_and_has_a_schema() {
        let names: Vec<_> = definitions()
            .into_iter()
            .map(|definition| {
                let schema = definition.spec.versions.first().and_then(|version| version.schema.clone());
                assert!(schema.is_some_and(|schema| schema.open_api_v3_schema.is_some()));
                definition.metadata.name.unwrap_or_default()
            })
            .collect();
        let expected = ["sweeppolicies", "sweeps", "sweeprollouts", "breakers"];
        assert_eq!(names, expected.map(|plural| format!("{plural}.{GROUP}")));
    }
}
