//! Which system-call number does what, for the sys_exit program. Tables.

use agent_common::{Call, SYSCALLS};

/// [`Call`] by system-call number, for 64-bit programs.
pub(super) fn native() -> [u8; SYSCALLS] {
    table(NATIVE)
}

/// The same for 32-bit programs on a 64-bit kernel.
pub(super) fn compat() -> [u8; SYSCALLS] {
    table(COMPAT)
}

fn table(calls: &[(i64, Call)]) -> [u8; SYSCALLS] {
    let mut table = [Call::Other as u8; SYSCALLS];
    for (number, call) in calls {
        if let Some(entry) = usize::try_from(*number).ok().and_then(|number| table.get_mut(number)) {
            *entry = *call as u8;
        }
    }
    table
}

#[cfg(target_arch = "x86_64")]
const NATIVE: &[(i64, Call)] = {
    use nix::libc;
    &[
        (libc::SYS_open, Call::Open),
        (libc::SYS_creat, Call::OpenUnseen),
        (libc::SYS_openat, Call::Openat),
        (libc::SYS_openat2, Call::OpenUnseen),
        (libc::SYS_mkdir, Call::Mkdir),
        (libc::SYS_mkdirat, Call::Mkdir),
        (libc::SYS_mknod, Call::Mknod),
        (libc::SYS_mknodat, Call::Mknod),
        (libc::SYS_symlink, Call::Symlink),
        (libc::SYS_symlinkat, Call::Symlink),
        (libc::SYS_link, Call::Link),
        (libc::SYS_linkat, Call::Link),
        (libc::SYS_unlink, Call::Unlink),
        (libc::SYS_unlinkat, Call::Unlinkat),
        (libc::SYS_rmdir, Call::Rmdir),
        (libc::SYS_rename, Call::Rename),
        (libc::SYS_renameat, Call::Rename),
        (libc::SYS_renameat2, Call::Rename),
        (libc::SYS_bind, Call::Bind),
    ]
};

/// i386's numbers: arch/x86/entry/syscalls/syscall_32.tbl.
#[cfg(target_arch = "x86_64")]
const COMPAT: &[(i64, Call)] = &[
    (5, Call::Open),
    (8, Call::OpenUnseen),
    (295, Call::Openat),
    (437, Call::OpenUnseen),
    (39, Call::Mkdir),
    (296, Call::Mkdir),
    (14, Call::Mknod),
    (297, Call::Mknod),
    (83, Call::Symlink),
    (304, Call::Symlink),
    (9, Call::Link),
    (303, Call::Link),
    (10, Call::Unlink),
    (301, Call::Unlinkat),
    (40, Call::Rmdir),
    (38, Call::Rename),
    (302, Call::Rename),
    (353, Call::Rename),
    (361, Call::Bind),
];

// The sys_exit program reads x86-64's registers alone; elsewhere the tier is refused for want of them.
#[cfg(not(target_arch = "x86_64"))]
const NATIVE: &[(i64, Call)] = &[];
#[cfg(not(target_arch = "x86_64"))]
const COMPAT: &[(i64, Call)] = &[];

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_place() {
        let filled = |table: [u8; SYSCALLS]| table.iter().filter(|call| **call != Call::Other as u8).count();
        assert_eq!(filled(native()), NATIVE.len());
        assert_eq!(filled(compat()), COMPAT.len());
    }

    #[test]
    fn the_same_number_means_different_things() {
        // mkdir on x86-64 is symlink on i386.
        assert_eq!(native()[83], Call::Mkdir as u8);
        assert_eq!(compat()[83], Call::Symlink as u8);
    }
}
