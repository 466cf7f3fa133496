//! What admission must know of a policy.

use std::time::Duration;

use crate::policy::{Guard, Mode, SerialBy, Spec, WorkloadBreaker};

/// The part of a `SweepPolicy` that bounds how many of its sweeps run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Of the object: another one begins with a canary again.
    pub generation: i64,
    /// Observe: none of its sweeps is admitted.
    pub mode: Mode,
    /// Why nobody acts by it, where it cannot be used.
    pub invalid: Option<String>,
    /// Containers of a workload before the first observation.
    pub canary: u32,
    /// Each healthy wave may be this many times the last.
    pub growth: u32,
    /// Dimensions in which its sweeps want to be alone.
    pub serial_by: Vec<SerialBy>,
    /// Its sweeps at a time.
    pub max_parallel: u32,
    /// When harm stops a workload.
    pub breaker: WorkloadBreaker,
    /// What must hold before its sweeps begin, and while they run.
    pub guards: Vec<Guard>,
}

impl Rules {
    /// Of a policy.
    pub fn of(spec: &Spec, generation: i64, invalid: Option<String>) -> Self {
        Self {
            generation,
            mode: spec.mode,
            invalid,
            canary: spec.rollout.canary.max(1),
            growth: spec.rollout.growth.max(1),
            serial_by: spec.rollout.serial_by.clone(),
            max_parallel: spec.rollout.max_parallel,
            breaker: spec.breakers.workload,
            guards: spec.rollout.guards.clone(),
        }
    }

    pub(super) fn cool_down(&self) -> Duration {
        self.breaker.cool_down.0
    }
}
