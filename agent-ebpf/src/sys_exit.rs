//! What can be told from system calls as they return, on kernels that refuse trampolines: success by the return
//! value, created or not by the new descriptor's own file.
//!
//! Does not see io_uring, nor whether a rename removed its target. A hostile thread that swaps the descriptor before
//! the tracepoint runs can falsify its own container's count, no one else's.

use agent_common::{Call, Kind, SYSCALLS};
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::{EbpfContext, Global};

use crate::count::count;
use crate::directories;
use crate::kernel::{
    COMPAT_WORD, FILE_FLAGS, FILE_MODE, FILE_PATH, FILES_TABLE, FMODE_CREATED, O_CREAT, O_TMPFILE_BIT,
    Offset, PATH_DENTRY, REGISTERS_COMPAT_SECOND, REGISTERS_COMPAT_THIRD, REGISTERS_NUMBER, REGISTERS_SECOND,
    REGISTERS_THIRD, TABLE_FILES, TABLE_LENGTH, TASK_FILES, TASK_THREAD_INFO, at, current_task, field,
};

/// System-call number to [`Call`]; written by the loader.
#[unsafe(no_mangle)]
static NATIVE_CALLS: [u8; SYSCALLS] = [0; SYSCALLS];

/// The same for 32-bit programs on a 64-bit kernel, whose numbers differ.
#[unsafe(no_mangle)]
static COMPAT_CALLS: [u8; SYSCALLS] = [0; SYSCALLS];

/// The bit of [`COMPAT_WORD`] that marks a 32-bit system call; written by the loader, as the next.
#[unsafe(no_mangle)]
static COMPAT_BIT: Global<u64> = Global::new(0);

/// Whether that word is one of the registers saved at entry (arm64), not of the task's `thread_info` (x86).
#[unsafe(no_mangle)]
static COMPAT_IN_REGISTERS: Global<u64> = Global::new(0);

/// `__X32_SYSCALL_BIT` of `arch/x86/include/uapi/asm/unistd.h`: same numbers otherwise.
const X32_BIT: u32 = 0x4000_0000;

/// `AT_REMOVEDIR` of `include/uapi/linux/fcntl.h`.
const AT_REMOVEDIR: u64 = 0x200;

/// `AF_UNIX`.
const AF_UNIX: u16 = 1;

/// A system call returned. `None` where there was nothing to count, or it could not be told.
#[inline(always)]
pub fn exited<C: EbpfContext>(context: &C, registers: *const u8, result: i64) -> Option<()> {
    // 32 bits: x86 keeps the number in a register of 64, arm64 in an int with another field behind it.
    // SAFETY: the tracepoint's argument, a `struct pt_regs *`; so in the functions below.
    let number = unsafe { field::<u32>(registers, &REGISTERS_NUMBER) } & !X32_BIT;
    if number >= SYSCALLS as u32 || result < 0 {
        return None;
    }
    let index = number as usize;
    // The tables first: the task is looked at only for numbers that could matter.
    // SAFETY: `index` is below SYSCALLS.
    let (native, compat) = unsafe { (entry(&NATIVE_CALLS, index), entry(&COMPAT_CALLS, index)) };
    if native == Call::Other as u8 && compat == Call::Other as u8 {
        return None;
    }
    let is_compat = is_compat(registers);
    // Not every arm64 kernel extends the sign of a 32-bit result.
    if is_compat && (result as i32) < 0 {
        return None;
    }
    let call = if is_compat { compat } else { native };
    let arguments = Arguments { registers, is_compat };
    let (kind, dentry) = done(call, &arguments, result as u64)?;
    let cgroup = count(context, kind);
    if dentry != 0 {
        directories::created_in(dentry, cgroup);
    }
    Some(())
}

struct Arguments {
    registers: *const u8,
    is_compat: bool,
}

impl Arguments {
    #[inline(always)]
    fn second(&self) -> u64 {
        self.read(&REGISTERS_SECOND, &REGISTERS_COMPAT_SECOND)
    }

    #[inline(always)]
    fn third(&self) -> u64 {
        self.read(&REGISTERS_THIRD, &REGISTERS_COMPAT_THIRD)
    }

    #[inline(always)]
    fn read(&self, native: &Offset, compat: &Offset) -> u64 {
        // SAFETY: as in `exited`.
        unsafe {
            if self.is_compat {
                u64::from(field::<u64>(self.registers, compat) as u32)
            } else {
                field(self.registers, native)
            }
        }
    }
}

/// What the call has done, and the dentry of a file that it made (0: not wanted).
#[inline(always)]
fn done(call: u8, arguments: &Arguments, result: u64) -> Option<(Kind, u64)> {
    let kind = match Call::from_byte(call) {
        Call::Other => return None,
        Call::Open if may_create(arguments.second()) => return opened(result),
        Call::Openat if may_create(arguments.third()) => return opened(result),
        Call::OpenUnseen => return opened(result),
        Call::Open | Call::Openat => return None,
        Call::Mkdir => Kind::Mkdir,
        Call::Mknod => Kind::Mknod,
        Call::Symlink => Kind::Symlink,
        Call::Link => Kind::Link,
        Call::Unlink => Kind::Unlink,
        Call::Unlinkat if arguments.third() & AT_REMOVEDIR == 0 => Kind::Unlink,
        Call::Unlinkat | Call::Rmdir => Kind::Rmdir,
        Call::Rename => Kind::Rename,
        Call::Bind => return bound(arguments).then_some((Kind::SockBind, 0)),
    };
    Some((kind, 0))
}

#[inline(always)]
fn may_create(flags: u64) -> bool {
    flags & (O_CREAT | O_TMPFILE_BIT as u64) != 0
}

/// The file behind a new descriptor: made by this open, or not.
#[inline(always)]
fn opened(descriptor: u64) -> Option<(Kind, u64)> {
    let file = file_of(descriptor)?;
    let flags: u32 = at(file + FILE_FLAGS.load())?;
    if flags & O_TMPFILE_BIT != 0 {
        return Some((Kind::Tmpfile, 0));
    }
    let mode: u32 = at(file + FILE_MODE.load())?;
    if mode & FMODE_CREATED == 0 {
        return None;
    }
    let dentry =
        if directories::wanted() { at(file + FILE_PATH.load() + PATH_DENTRY.load()).unwrap_or(0) } else { 0 };
    Some((Kind::Create, dentry))
}

#[inline(always)]
fn file_of(descriptor: u64) -> Option<u64> {
    const POINTER_BYTES: u64 = 8;
    // SAFETY: the current task.
    let files: u64 = unsafe { field(current_task(), &TASK_FILES) };
    let table: u64 = at(files + FILES_TABLE.load())?;
    let length: u32 = at(table + TABLE_LENGTH.load())?;
    if descriptor >= u64::from(length) {
        return None;
    }
    let slots: u64 = at(table + TABLE_FILES.load())?;
    at(slots + descriptor * POINTER_BYTES).filter(|file| *file != 0)
}

/// Whether a bind named a path: family `AF_UNIX`, and a first byte that is not the 0 of an abstract name.
#[inline(always)]
fn bound(arguments: &Arguments) -> bool {
    const FAMILY_BYTES: u64 = 2;
    if arguments.third() <= FAMILY_BYTES {
        return false;
    }
    // SAFETY: the helper checks the address.
    let Ok([low, high, first]) = (unsafe { bpf_probe_read_user(arguments.second() as *const [u8; 3]) })
    else {
        return false;
    };
    u16::from_ne_bytes([low, high]) == AF_UNIX && first != 0
}

/// Whether a 32-bit call returned.
#[inline(always)]
fn is_compat(registers: *const u8) -> bool {
    // SAFETY: as in `exited`, or the current task, within which `thread_info` is. The verifier sees one of the two.
    let word: u32 = unsafe {
        if COMPAT_IN_REGISTERS.load() != 0 {
            field(registers, &COMPAT_WORD)
        } else {
            field(current_task().add(TASK_THREAD_INFO.load() as usize), &COMPAT_WORD)
        }
    };
    word & COMPAT_BIT.load() as u32 != 0
}

/// Volatile: the loader writes the table after the compiler saw it.
#[inline(always)]
unsafe fn entry(table: &'static [u8; SYSCALLS], index: usize) -> u8 {
    // SAFETY: the caller checked `index`.
    unsafe { table.as_ptr().add(index).read_volatile() }
}
