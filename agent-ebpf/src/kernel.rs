//! The kernel's own structures: field offsets, written by the loader from BTF, and the two ways to read a field.
//!
//! Aya's Rust programs have no CO-RE relocations. The globals are constants to the verifier, as `.rodata` is frozen
//! before the programs load.

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;

/// Offset in bytes of one field. A program whose field the kernel does not have is not loaded.
pub type Offset = Global<u64>;

const UNSET: u64 = 0;

#[unsafe(no_mangle)]
pub static FILE_MODE: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static FILE_FLAGS: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static FILE_PATH: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static PATH_DENTRY: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static DENTRY_INODE: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static DENTRY_PARENT: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static DENTRY_NAME: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static QSTR_NAME: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static INODE_NUMBER: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static INODE_SUPER_BLOCK: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static SUPER_BLOCK_DEVICE: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TASK_CRED: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TASK_REAL_CRED: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TASK_FILES: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TASK_THREAD_INFO: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static FILES_TABLE: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TABLE_FILES: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static TABLE_LENGTH: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static REGISTERS_NUMBER: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static REGISTERS_SECOND: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static REGISTERS_THIRD: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static REGISTERS_COMPAT_SECOND: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static REGISTERS_COMPAT_THIRD: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static COMPAT_WORD: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static RENAME_OLD: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static RENAME_NEW: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static RENAME_FLAGS: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static SOCKADDR_DATA: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static CGROUP_ROOT: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static CGROUP_NODE: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static CGROUP_ROOT_HIERARCHY: Offset = Global::new(UNSET);
#[unsafe(no_mangle)]
pub static NODE_ID: Offset = Global::new(UNSET);

/// `FMODE_CREATED` of `include/linux/fs.h`: this open made the file. BTF does not hold it; the loader's self-test
/// guards the value.
pub const FMODE_CREATED: u32 = 0x10_0000;

/// `FMODE_NOACCOUNT` of the same file, since 4.19: opened by the kernel for itself, as overlayfs does on its layers.
pub const FMODE_NOACCOUNT: u32 = 0x2000_0000;

/// `O_CREAT`, the same on x86-64, i386 and arm64 (`include/uapi/asm-generic/fcntl.h`).
pub const O_CREAT: u64 = 0o100;

/// `__O_TMPFILE` of the same file: the bit of `O_TMPFILE` that `O_DIRECTORY` does not have.
pub const O_TMPFILE_BIT: u32 = 0o20_000_000;

/// Reads a field through a pointer whose type the verifier knows: a program's own argument or the current task.
///
/// # Safety
///
/// `structure` came from such a source, `offset` is that of a field of type `T`.
#[inline(always)]
pub unsafe fn field<T: Copy>(structure: *const u8, offset: &Offset) -> T {
    // SAFETY: the verifier checks the access against the kernel's BTF; a fault reads as zero.
    unsafe { structure.add(offset.load() as usize).cast::<T>().read_volatile() }
}

/// Reads kernel memory at any address; `None` where it cannot be read.
#[inline(always)]
pub fn at<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// The task that runs the program.
#[inline(always)]
pub fn current_task() -> *const u8 {
    // SAFETY: no arguments; the kernel returns a pointer that the verifier knows.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// Whether the task acts under its own credentials. Overlayfs acts on its layers under the mounter's
/// (`override_creds`), which tells its inner operation from the caller's.
#[inline(always)]
pub fn acts_as_itself() -> bool {
    let task = current_task();
    // SAFETY: the current task; both fields are pointers.
    unsafe { field::<u64>(task, &TASK_CRED) == field::<u64>(task, &TASK_REAL_CRED) }
}

/// Whether a pointer that the kernel returned is an error number (`IS_ERR`), or null.
#[inline(always)]
pub fn is_error(pointer: *const u8) -> bool {
    const MAX_ERRNO: i64 = 4095;
    pointer.is_null() || pointer as u64 >= -MAX_ERRNO as u64
}
