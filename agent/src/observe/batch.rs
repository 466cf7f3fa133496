//! Many entries of a per-CPU hash map in one system call: `BPF_MAP_LOOKUP_BATCH` (kernel doc bpf/map_hash.rst; 5.6).
//!
//! Entry by entry, with two calls each, reading 250 cgroups four times a second was more than a quarter of the
//! agent's CPU time (perf, release build, on 2 CPUs). Aya has no call for it.
//!
//! In: a map of `u64` keys. Out: keys and values. Must never: trust the kernel with a buffer that is too small.
#![allow(unsafe_code, reason = "aya and nix have no BPF_MAP_LOOKUP_BATCH")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// Entries of one call: more than any bucket of a hash map can be thought to hold (a call returns whole buckets), and
/// 24 KiB of values on 2 CPUs, 786 KiB on 64.
const ENTRIES: usize = 128;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const LOOKUP_BATCH: libc::c_long = 24;

/// The part of `union bpf_attr` that belongs to it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Buffers for one map, and where the reading stands.
pub(super) struct Batches {
    keys: Vec<u64>,
    /// `words` for each key and possible CPU.
    values: Vec<u64>,
    words: usize,
    /// The kernel's own mark: where the next call goes on.
    position: u32,
}

impl Batches {
    /// For values of `words` words, one for each of `cpus` possible CPUs.
    pub(super) fn new(words: usize, cpus: usize) -> Self {
        let words = words * cpus;
        Self { keys: vec![0; ENTRIES], values: vec![0; ENTRIES * words], words, position: 0 }
    }

    /// Hands every entry to `take`: its key, and its value on each CPU one after the other. Entries that come or go
    /// meanwhile may be there or not; no other is left out or told twice. Ends: each call goes on where the one before
    /// ended, and the map has an end.
    pub(super) fn read(&mut self, map: BorrowedFd<'_>, mut take: impl FnMut(u64, &[u64])) -> io::Result<()> {
        let mut first = true;
        loop {
            let (count, is_last) = self.next(map, first)?;
            for (key, values) in self.keys.iter().zip(self.values.chunks_exact(self.words)).take(count) {
                take(*key, values);
            }
            if is_last || count == 0 {
                return Ok(());
            }
            first = false;
        }
    }

    /// One call: how many entries it wrote, and whether they were the last.
    fn next(&mut self, map: BorrowedFd<'_>, first: bool) -> io::Result<(usize, bool)> {
        let position = (&raw mut self.position) as u64;
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { position },
            out_batch: position,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(ENTRIES).unwrap_or_default(),
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or_default(),
            ..Attributes::default()
        };
        // SAFETY: the kernel writes at most `count` keys of 8 bytes and as many values, for which `new` made room by the
        // map's own sizes, and a u32 to `out_batch`; it keeps none of the pointers.
        let answer = unsafe {
            libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>())
        };
        let count = (attributes.count as usize).min(ENTRIES);
        match Errno::result(answer) {
            Ok(_) => Ok((count, false)),
            Err(Errno::ENOENT) => Ok((count, true)),
            Err(error) => Err(error.into()),
        }
    }
}
