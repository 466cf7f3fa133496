//! The counters: one slot for each cgroup, one word for each kind.
//!
//! Each program has one call site of [`count`]: inlined at twelve, the code was four times as large (measured:
//! 5.8 KB of machine code against 1.3 KB).

use agent_common::{COUNTERS, Counters, Kind, LOSSES, Loss, REMOVED};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, PerCpuHashMap};
use aya_log_ebpf::warn;

/// Totals since the programs were attached. The loader sets the size; the memory, taken at load, is
/// `entries * (104 + 96 * CPUs)` bytes: 1.2 MB for 4,096 entries on 2 CPUs, 26 MB on 64.
#[map]
static COUNTS: PerCpuHashMap<u64, Counters> = PerCpuHashMap::with_max_entries(4096, 0);

/// A slot to insert: too large for the 512 bytes of stack to be wasted on it.
#[map]
static EMPTY: Array<Counters> = Array::with_max_entries(1, 0);

/// What was lost, by [`Loss`].
#[map]
static LOSS: PerCpuArray<[u64; LOSSES]> = PerCpuArray::with_max_entries(1, 0);

/// Cgroups that got no slot, so that each is told once; the least recently seen is forgotten.
#[map]
static WITHOUT_SLOT: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);

/// Flag of `bpf_map_update_elem`: only if the key is not there.
const BPF_NOEXIST: u64 = 1;

/// Adds one to the current cgroup's count of `kind`; returns the cgroup's id.
#[inline(always)]
pub fn count<C: EbpfContext>(context: &C, kind: Kind) -> u64 {
    // SAFETY: no arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    match slot(cgroup) {
        // SAFETY: a map value that the verifier knows; `kind` is below COUNTERS.
        Some(slot) => unsafe { add_one(slot.cast::<u64>().add(kind as usize)) },
        None => without_slot(context, cgroup),
    }
    cgroup
}

/// Tells the reader that this cgroup will count no more: it takes the last totals and frees the slot.
#[inline(always)]
pub fn removed(cgroup: u64) {
    if let Some(slot) = COUNTS.get_ptr_mut(cgroup) {
        // SAFETY: as in `count`.
        unsafe { add_one(slot.cast::<u64>().add(REMOVED)) }
    }
}

/// Adds one to a loss; returns what it was before, on this CPU.
#[inline(always)]
pub fn lose(loss: Loss) -> u64 {
    let Some(losses) = LOSS.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value that the verifier knows; `loss` is below LOSSES.
    unsafe {
        let word = losses.cast::<u64>().add(loss as usize);
        let before = word.read_volatile();
        add_one(word);
        before
    }
}

#[inline(always)]
fn slot(cgroup: u64) -> Option<*mut [u64; COUNTERS]> {
    if let Some(slot) = COUNTS.get_ptr_mut(cgroup) {
        return Some(slot);
    }
    // Another CPU may insert it at the same time: then this insert fails and the second look finds the other's.
    let _ = COUNTS.insert(cgroup, EMPTY.get(0)?, BPF_NOEXIST);
    COUNTS.get_ptr_mut(cgroup)
}

#[inline(always)]
fn without_slot<C: EbpfContext>(context: &C, cgroup: u64) {
    lose(Loss::Operations);
    // Once for each cgroup, and in the log once for each CPU.
    if WITHOUT_SLOT.insert(cgroup, 1, BPF_NOEXIST).is_ok() && lose(Loss::Cgroups) == 0 {
        warn!(context, "counter map full: cgroup {} is not counted", cgroup);
    }
}

/// Atomic: an LSM program may be interrupted by itself on the same CPU.
#[inline(always)]
unsafe fn add_one(word: *mut u64) {
    // SAFETY: the caller's; `lock *(u64 *)word += 1`.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(word, 1);
    }
}
