//! Inventory: cgroup id to container.
//!
//! In: the cgroup tree, `/proc/PID/{cgroup,mountinfo,root,stat}`, the kernel's cgroup mkdir/rmdir events.
//! Out: [`Container`]s. Must never: change anything on the host.
//!
//! ```text
//! tree ── survey ──────────── look ─────────────── book ── find
//! cgroups  which of them are   first process,       what changed
//!          containers (name,   mounts (overlay,
//!          or own root)        volumes), names
//! ```
//!
//! [`Inventory`] runs this for the whole tree (rescan), for one cgroup that was just made (apply, then settle until
//! its container is complete), and for a container whose first process ended.

mod book;
pub(crate) mod cgroup_name;
mod container;
mod event;
mod find;
mod fresh;
mod live;
mod look;
pub(crate) mod mounts;
mod names;
pub(crate) mod overlay;
mod processes;
mod root;
mod runtime_paths;
mod same;
mod survey;
mod target;
mod tree;
mod volumes;

#[cfg(test)]
mod tests;

pub use book::Changes;
pub use container::{CgroupId, Container, Layer, Names, Process, Runtime, Volume, VolumeKind};
pub use event::CgroupEvent;
pub use live::{Inventory, InventoryLoss, InventorySettings};
pub use names::NameSource;
pub use runtime_paths::RuntimePaths;
pub use same::{Gone, still_the_same};
pub use survey::containers_without_cgroup;
pub use target::{SHORTEST_PREFIX, Target, TargetError};
