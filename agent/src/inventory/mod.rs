//! Inventory: cgroup id to container.
//!
//! In: the cgroup tree, `/proc/PID/{cgroup,mountinfo,stat}`, the kernel's cgroup mkdir/rmdir events.
//! Out: [`Container`]s. Must never: change anything on the host.

mod container;

pub use container::{CgroupId, Container, Layer, Names, Process, Runtime, Volume, VolumeKind};
