//! The way of others, for `cargo xtask bench hooks` alone: one ring-buffer event for each open that asks for a new
//! file, with its path. Never part of podsweep itself.
#![no_std]
#![no_main]

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_probe_read_user_str_bytes};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::TracePointContext;

/// As much of a path as an event has.
const PATH_BYTES: usize = 64;

/// `/sys/kernel/tracing/events/syscalls/sys_enter_openat/format`: arguments of eight bytes each, from byte 16.
const PATH: usize = 24;
const FLAGS: usize = 32;

/// `include/uapi/asm-generic/fcntl.h`.
const O_CREAT: u64 = 0o100;

#[repr(C)]
struct Event {
    cgroup: u64,
    process: u64,
    path: [u8; PATH_BYTES],
}

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// openat(2) begins.
#[tracepoint]
pub fn openat_begins(context: TracePointContext) -> u32 {
    told(&context);
    0
}

#[inline(always)]
fn told(context: &TracePointContext) -> Option<()> {
    // SAFETY: within the tracepoint's record, whose format is above.
    let (path, flags) = unsafe { (context.read_at::<u64>(PATH).ok()?, context.read_at::<u64>(FLAGS).ok()?) };
    if flags & O_CREAT == 0 {
        return None;
    }
    let mut entry = EVENTS.reserve::<Event>(0)?;
    let event = entry.as_mut_ptr();
    // SAFETY: the reserved record, which the verifier knows; the helper checks the path and writes at most PATH_BYTES.
    unsafe {
        (*event).cgroup = bpf_get_current_cgroup_id();
        (*event).process = bpf_get_current_pid_tgid();
        let _ = bpf_probe_read_user_str_bytes(path as *const u8, &mut (*event).path);
    }
    entry.submit(0);
    Some(())
}

// Unreachable: the verifier admits no program that could get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
