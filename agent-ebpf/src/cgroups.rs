//! Cgroups made and removed, of the cgroup2 hierarchy alone.

use agent_common::{CGROUP_PATH_BYTES, CgroupEventKind, CgroupRecord, Loss};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

use crate::count::{lose, removed};
use crate::kernel::{CGROUP_NODE, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY, NODE_ID, at, field};

/// One [`CgroupRecord`] for each event; 496 of them until read.
#[map]
static CGROUP_EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// `hierarchy_id` of cgroup2; v1 hierarchies fire the same tracepoints (`cgroup_init`, kernel/cgroup/cgroup.c).
const UNIFIED: i32 = 0;

/// A cgroup was made or removed. `None` where that could not be told, or concerns another hierarchy.
#[inline(always)]
pub fn changed(cgroup: *const u8, path: u64, kind: CgroupEventKind) -> Option<()> {
    // SAFETY: the tracepoint's argument, a `struct cgroup *`; both fields are pointers.
    let (root, node): (u64, u64) = unsafe { (field(cgroup, &CGROUP_ROOT), field(cgroup, &CGROUP_NODE)) };
    let hierarchy: i32 = at(root + CGROUP_ROOT_HIERARCHY.load())?;
    if hierarchy != UNIFIED {
        return None;
    }
    let id: u64 = at(node + NODE_ID.load())?;
    if kind as u32 == CgroupEventKind::Removed as u32 {
        removed(id);
    }
    let Some(mut entry) = CGROUP_EVENTS.reserve::<CgroupRecord>(0) else {
        lose(Loss::CgroupEvents);
        return None;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record, which the verifier knows; the helper checks `path` and closes with NUL.
    let read = unsafe {
        (*record).id = id;
        (*record).kind = kind as u32;
        bpf_probe_read_kernel_str(
            (&raw mut (*record).path).cast(),
            CGROUP_PATH_BYTES as u32,
            path as *const _,
        )
    };
    // A path that fills the buffer was cut.
    if read <= 1 || read >= CGROUP_PATH_BYTES as i64 {
        entry.discard(0);
        lose(Loss::CgroupEvents);
        return None;
    }
    // SAFETY: as above.
    unsafe { (*record).length = read as u32 - 1 };
    entry.submit(0);
    Some(())
}
