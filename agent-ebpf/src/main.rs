//! podsweep's kernel side: counts successful file creations and removals per cgroup and kind, in the kernel, with no
//! event per file; names the directories in which files are created, on first sight only; tells of cgroups made
//! and removed.
//!
//! ```text
//! tier lsm      lsm/file_open ─┐
//! tier fexit    fexit/open ────┼─ + fexit on the path calls ──┐
//! tier sys_exit tp_btf/sys_exit ──────────────────────────────┴─> count ──> COUNTS, DIRECTORIES, DIRECTORIES_SEEN
//! all           tp_btf/cgroup_mkdir, cgroup_rmdir ─────────────────────────> CGROUP_EVENTS
//! ```
//!
//! The loader (`podsweep::observe`) picks one tier, loads only its programs and fills in field offsets from the
//! running kernel's BTF. This file holds the entry points alone.
//!
//! Must never: change what a system call returns, sleep, send an event for each file, or read through a pointer of
//! the kernel's without a checked read.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "AtomicU64::fetch_add does not exist for this target")]

mod cgroups;
mod count;
mod directories;
mod kernel;
mod sys_exit;
mod trampolines;

use agent_common::{CgroupEventKind, Kind};
use aya_ebpf::macros::{btf_tracepoint, fexit, lsm};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext, LsmContext};

/// Files made by open, on kernels whose LSM list has `bpf`. LSM programs have no recursion guard, so miss nothing
/// where fexit programs may.
#[lsm(hook = "file_open")]
pub fn lsm_file_open(context: LsmContext) -> i32 {
    trampolines::opened(&context, context.arg(0));
    // No objection. A program before this one that had any would have ended the call.
    0
}

/// Files made by open: `do_file_open`, or `do_filp_open`, of three arguments.
#[fexit]
pub fn fexit_open(context: FExitContext) -> i32 {
    trampolines::open_returned(&context, context.arg(3));
    0
}

/// Directories made: three arguments.
#[fexit]
pub fn fexit_mkdir(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(3), Kind::Mkdir)
}

/// Nodes made: four arguments.
#[fexit]
pub fn fexit_mknod(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(4), Kind::Mknod)
}

/// Symbolic links made: three arguments.
#[fexit]
pub fn fexit_symlink(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(3), Kind::Symlink)
}

/// Names given to files that exist: five arguments.
#[fexit]
pub fn fexit_link(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(5), Kind::Link)
}

/// Names removed: two arguments.
#[fexit]
pub fn fexit_unlink(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(2), Kind::Unlink)
}

/// Directories removed: two arguments.
#[fexit]
pub fn fexit_rmdir(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(2), Kind::Rmdir)
}

/// Renames: five arguments.
#[fexit]
pub fn fexit_rename(context: FExitContext) -> i32 {
    trampolines::returned(&context, context.arg(5), Kind::Rename)
}

/// Renames that removed their target: `vfs_rename(renamedata *)`.
#[fexit]
pub fn fexit_rename_over(context: FExitContext) -> i32 {
    trampolines::renamed(&context, context.arg(0), context.arg(1));
    0
}

/// Socket nodes made: `unix_bind(socket *, sockaddr *, length)`.
#[fexit]
pub fn fexit_unix_bind(context: FExitContext) -> i32 {
    trampolines::bound(&context, context.arg(1), context.arg(2), context.arg(3));
    0
}

/// Everything that can be told from system calls alone, for kernels that refuse trampolines.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(context: BtfTracePointContext) -> i32 {
    sys_exit::exited(&context, context.arg(0), context.arg(1));
    0
}

/// A cgroup was made.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(context: BtfTracePointContext) -> i32 {
    cgroups::changed(context.arg(0), context.arg(1), CgroupEventKind::Made);
    0
}

/// A cgroup was removed.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(context: BtfTracePointContext) -> i32 {
    cgroups::changed(context.arg(0), context.arg(1), CgroupEventKind::Removed);
    0
}

// Unreachable: the verifier admits no program that could get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
