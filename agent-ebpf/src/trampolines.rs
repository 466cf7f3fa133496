//! What the LSM and fexit programs count. The functions they hang on run once for each system call, are never nested
//! and are reached by io_uring as well.

use agent_common::Kind;
use aya_ebpf::EbpfContext;

use crate::count::count;
use crate::directories;
use crate::kernel::{
    DENTRY_INODE, FILE_FLAGS, FILE_MODE, FILE_PATH, FMODE_CREATED, FMODE_NOACCOUNT, O_TMPFILE_BIT,
    PATH_DENTRY, RENAME_FLAGS, RENAME_NEW, RENAME_OLD, SOCKADDR_DATA, acts_as_itself, at, field, is_error,
};

/// `RENAME_EXCHANGE` of `include/uapi/linux/fs.h`: nothing is removed.
const RENAME_EXCHANGE: u32 = 2;

/// An open that returned `file`, or an error.
#[inline(always)]
pub fn open_returned<C: EbpfContext>(context: &C, file: *const u8) {
    if !is_error(file) {
        opened(context, file);
    }
}

/// A file was opened: count it if that made it.
#[inline(always)]
pub fn opened<C: EbpfContext>(context: &C, file: *const u8) {
    // SAFETY: an argument or the result of the function hooked, a `struct file *`.
    let (mode, flags): (u32, u32) = unsafe { (field(file, &FILE_MODE), field(file, &FILE_FLAGS)) };
    let tmpfile = flags & O_TMPFILE_BIT != 0;
    // Overlayfs opens a second nameless file, on its upper layer. Credentials do not tell it from the caller's: an
    // io_uring request may have others than its task, too.
    let made = if tmpfile { mode & FMODE_NOACCOUNT == 0 } else { mode & FMODE_CREATED != 0 };
    if !made {
        return;
    }
    let kind = if tmpfile { Kind::Tmpfile } else { Kind::Create };
    let cgroup = count(context, kind);
    if !tmpfile && directories::wanted() {
        // SAFETY: as above; `f_path` is within the file, `dentry` within that.
        let dentry: u64 = unsafe { field(file.add(FILE_PATH.load() as usize), &PATH_DENTRY) };
        directories::created_in(dentry, cgroup);
    }
}

/// A path call that returned `result`: counted if that is success.
#[inline(always)]
pub fn returned<C: EbpfContext>(context: &C, result: i32, kind: Kind) -> i32 {
    if result == 0 {
        count(context, kind);
    }
    0
}

/// `vfs_rename(data)` returned: count it if it removed its target, and is not overlayfs's own on its upper layer. An
/// io_uring request under credentials other than its task's cannot be told from that, and is left out.
#[inline(always)]
pub fn renamed<C: EbpfContext>(context: &C, data: *const u8, result: i32) {
    if result != 0 {
        return;
    }
    // SAFETY: the argument of the function hooked, a `struct renamedata *`, and dentries that it holds.
    let (flags, old, new) = unsafe {
        let old: *const u8 = field(data, &RENAME_OLD);
        let new: *const u8 = field(data, &RENAME_NEW);
        (
            field::<u32>(data, &RENAME_FLAGS),
            field::<u64>(old, &DENTRY_INODE),
            field::<u64>(new, &DENTRY_INODE),
        )
    };
    // Two names of one file: rename(2) leaves both.
    if flags & RENAME_EXCHANGE == 0 && new != 0 && new != old && acts_as_itself() {
        count(context, Kind::RenameOver);
    }
}

/// `unix_bind` returned: count it if it bound a path, which makes a node without mknod.
#[inline(always)]
pub fn bound<C: EbpfContext>(context: &C, address: u64, length: i32, result: i32) {
    const FAMILY_BYTES: i32 = 2;
    if result != 0 || length <= FAMILY_BYTES {
        return;
    }
    // The first byte of an abstract name, which makes no node, is 0.
    if at::<u8>(address + SOCKADDR_DATA.load()).is_some_and(|first| first != 0) {
        count(context, Kind::SockBind);
    }
}
