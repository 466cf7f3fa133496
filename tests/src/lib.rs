//! What the tests and the demo share: real containers, real agents, and a workload whose every file is known.
//!
//! Nothing here is part of the product. Everything made here (cgroups, mounts, files, processes) carries a name of
//! its own, is removed when it is dropped, and where a test was killed, by the next one.

pub mod agent;
pub mod api;
pub mod attacker;
pub mod bench_agent;
pub mod bench_hooks;
pub mod bench_rollout;
pub mod bundle;
pub mod cgroup;
pub mod cluster;
pub mod collector;
pub mod container;
pub mod demo;
pub mod disk;
pub mod exposition;
pub mod fingerprint;
pub mod holding;
mod holding_raw;
pub mod hostile_names;
pub mod http;
pub mod hung_fuse;
pub mod image;
pub mod inside;
pub mod isolation;
pub mod journal;
pub mod kernel_cgroup;
pub mod kernel_compat;
pub mod kernel_demands;
pub mod kernel_filesystems;
pub mod kernel_operations;
pub mod kernel_raw;
pub mod kernel_storm;
pub mod kernel_tasks;
pub mod kernel_uring;
pub mod kernel_worker;
pub mod listing;
pub mod peak;
pub mod pod;
pub mod policies;
mod progress;
pub mod rights;
pub mod simulation;
pub mod terminal;
#[cfg(test)]
mod threat_model;
pub mod traps;
pub mod wait;
pub mod workload;
pub mod workspace;
