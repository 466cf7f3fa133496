//! What the kernel side (`agent-ebpf`) and the user side (`podsweep::observe`) must agree on to the byte: map keys,
//! map values and ring-buffer records, all `#[repr(C)]` without padding, and the limits of each.
//!
//! Comes in: nothing. Goes out: types. Must never: allocate, do I/O, or hold a pointer.
#![no_std]

mod call;
mod cgroup_event;
mod directory;
mod kind;
mod loss;

pub use call::{Call, SYSCALLS};
pub use cgroup_event::{CGROUP_PATH_BYTES, CgroupEventKind, CgroupRecord};
pub use directory::{DEPTH, DirKey, DirSeen, NAME_BYTES};
pub use kind::{COUNTERS, Counters, KINDS, Kind, REMOVED};
pub use loss::{LOSSES, Loss};

/// A native-endian `u64` at `offset`; `None` past the end.
fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let word = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_ne_bytes(word.try_into().ok()?))
}
