//! The directories in which files are created: counted by (cgroup, inode, device), named once, on first sight.
//!
//! A storm over ever new directories cannot turn this into an event per file: the ring buffer takes
//! [`SEEN_BYTES`] between two reads, further directories are neither named nor counted here, only lost and counted
//! as such.

use agent_common::{DEPTH, DirKey, DirSeen, Loss, NAME_BYTES};
use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruPerCpuHashMap, RingBuf};

use crate::count::lose;
use crate::kernel::{
    DENTRY_INODE, DENTRY_NAME, DENTRY_PARENT, INODE_NUMBER, INODE_SUPER_BLOCK, QSTR_NAME, SUPER_BLOCK_DEVICE,
    at,
};

/// Bytes of the ring buffer: 264 records of [`DirSeen`].
const SEEN_BYTES: u32 = 256 * 1024;

/// 1 where directories are wanted.
#[unsafe(no_mangle)]
static WITH_DIRECTORIES: Global<u8> = Global::new(0);

/// Creations since the directory was first seen. 8,192 entries of 80 + 8 * CPUs bytes: 0.8 MB on 2 CPUs, 4.9 MB on
/// 64. The least recently used go.
#[map]
static DIRECTORIES: LruPerCpuHashMap<DirKey, u64> = LruPerCpuHashMap::with_max_entries(8192, 0);

/// One [`DirSeen`] for each directory that enters the map.
#[map]
static DIRECTORIES_SEEN: RingBuf = RingBuf::with_byte_size(SEEN_BYTES, 0);

/// Whether [`created_in`] would do anything.
#[inline(always)]
pub fn wanted() -> bool {
    WITH_DIRECTORIES.load() != 0
}

/// Counts a creation in the directory that holds `dentry`; `None` where it could not.
#[inline(always)]
pub fn created_in(dentry: u64, cgroup: u64) -> Option<()> {
    let directory: u64 = at(dentry + DENTRY_PARENT.load())?;
    let inode: u64 = at(directory + DENTRY_INODE.load())?;
    let super_block: u64 = at(inode + INODE_SUPER_BLOCK.load())?;
    let device: u32 = at(super_block + SUPER_BLOCK_DEVICE.load())?;
    let key = DirKey { cgroup, inode: at(inode + INODE_NUMBER.load())?, device: u64::from(device) };
    if let Some(creates) = DIRECTORIES.get_ptr_mut(key) {
        // SAFETY: a map value that the verifier knows, of this CPU alone. A figure for people: an update lost to an
        // interruption does not matter.
        unsafe { *creates += 1 };
        return Some(());
    }
    first_seen(directory, key)
}

/// Names the directory first: one without a name must not take a place in the map, it would never get one.
#[inline(always)]
fn first_seen(directory: u64, key: DirKey) -> Option<()> {
    let Some(mut entry) = DIRECTORIES_SEEN.reserve::<DirSeen>(0) else {
        lose(Loss::Directories);
        return None;
    };
    let seen = entry.as_mut_ptr();
    // SAFETY: the reserved record, which the verifier knows; every field but the rest of `names` is written.
    unsafe {
        (*seen).key = key;
        (*seen).depth = write_names(directory, (&raw mut (*seen).names).cast());
    }
    entry.submit(0);
    DIRECTORIES.insert(key, 1, 0).ok()
}

/// Components from the directory upwards, to the filesystem's root or [`DEPTH`]; returns how many.
#[inline(always)]
unsafe fn write_names(directory: u64, names: *mut [u8; NAME_BYTES]) -> u64 {
    let mut dentry = directory;
    let mut depth = 0;
    for index in 0..DEPTH {
        let parent: u64 = at(dentry + DENTRY_PARENT.load()).unwrap_or(0);
        if parent == 0 || parent == dentry {
            break;
        }
        let name: u64 = at(dentry + DENTRY_NAME.load() + QSTR_NAME.load()).unwrap_or(0);
        // SAFETY: `index` is below DEPTH; the helper checks `name`, writes at most NAME_BYTES and closes with NUL.
        unsafe { bpf_probe_read_kernel_str(names.add(index).cast(), NAME_BYTES as u32, name as *const _) };
        depth += 1;
        dentry = parent;
    }
    depth
}
