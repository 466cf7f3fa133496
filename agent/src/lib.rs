//! podsweep: sees a container's burst of file creation through eBPF, decides by policy, scans the writable layer
//! from the host in a throttled process, removes what the policy names through the container's own mount view,
//! watches the container afterwards.
//!
//! ```text
//! observe -> inventory -> policy -> admission -> scan -> sweep -> breaker (observation) -> report
//! ```
//!
//! Data flows one way. `agent` wires the stages in this order; each stage knows the type it receives and the type
//! it hands on, and nothing else. `policy` and `breaker` are pure: no I/O, time comes in as an argument.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests clear up after themselves"))]

pub mod units;

pub mod text;

pub mod document;

pub mod kernel;

pub mod confinement;

pub mod observe;

pub mod inventory;

pub mod policy;

pub mod kubernetes;

pub mod rollout;

pub mod coordinator;

pub mod admission;

pub mod scan;

pub mod sweep;

pub mod observation;

pub mod breaker;

pub mod http_client;

pub mod report;

pub mod config;

pub mod control;

pub mod cli;

pub mod doctor;

pub mod gate;

pub mod operation;

pub mod explain;

pub mod one_shot;

pub mod agent;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
