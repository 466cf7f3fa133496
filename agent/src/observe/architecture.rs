//! What the sys_exit program must know of a processor: system-call numbers, and where arguments and the mark of a
//! 32-bit call lie. Data: every architecture's is in every build, so that a test on any of them checks all; the
//! program itself is the same everywhere. [`own`] alone chooses.
//!
//! Must never: be asked for by the other tiers, whose hooks are the same on every architecture.

mod aarch64;
mod x86_64;

use agent_common::{Call, SYSCALLS};

use super::gap::GapId;
use super::hooks::Field;

/// One architecture.
#[derive(Debug)]
pub(super) struct Architecture {
    /// As Rust and the kernel call it.
    pub(super) name: &'static str,
    /// The fields that the sys_exit program reads besides those that are the same everywhere.
    pub(super) fields: &'static [Field],
    /// How a 32-bit call is told from a 64-bit one.
    pub(super) compat_mark: CompatMark,
    /// Names and numbers for 64-bit programs.
    native: &'static [(&'static str, usize)],
    /// The same for 32-bit programs on a 64-bit kernel.
    compat: &'static [(&'static str, usize)],
    /// What sys_exit cannot see here alone, and why.
    pub(super) blind_spots: &'static [(GapId, &'static str)],
}

/// The mark of a 32-bit call: a bit of the field whose offset `COMPAT_WORD` takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompatMark {
    /// The bit, as a mask.
    pub(super) bit: u64,
    /// Whether the field is one of `pt_regs`, not of the task's `thread_info`.
    pub(super) in_registers: bool,
}

/// Every architecture that podsweep counts on.
pub(super) const ALL: [&Architecture; 2] = [&x86_64::ARCHITECTURE, &aarch64::ARCHITECTURE];

/// That of this build.
pub(super) fn own() -> Result<&'static Architecture, String> {
    let name = std::env::consts::ARCH;
    let found = ALL.into_iter().find(|architecture| architecture.name == name);
    found.ok_or_else(|| format!("podsweep has no table of the system calls of {name}"))
}

/// What each system call that makes or removes a name does. The same on every architecture, where it exists.
const CALLS: [(&str, Call); 19] = [
    ("open", Call::Open),
    ("creat", Call::OpenUnseen),
    ("openat", Call::Openat),
    ("openat2", Call::OpenUnseen),
    ("mkdir", Call::Mkdir),
    ("mkdirat", Call::Mkdir),
    ("mknod", Call::Mknod),
    ("mknodat", Call::Mknod),
    ("symlink", Call::Symlink),
    ("symlinkat", Call::Symlink),
    ("link", Call::Link),
    ("linkat", Call::Link),
    ("unlink", Call::Unlink),
    ("unlinkat", Call::Unlinkat),
    ("rmdir", Call::Rmdir),
    ("rename", Call::Rename),
    ("renameat", Call::Rename),
    ("renameat2", Call::Rename),
    ("bind", Call::Bind),
];

impl Architecture {
    /// [`Call`] by system-call number, for 64-bit programs.
    pub(super) fn native_calls(&self) -> [u8; SYSCALLS] {
        table(self.native)
    }

    /// The same for 32-bit programs.
    pub(super) fn compat_calls(&self) -> [u8; SYSCALLS] {
        table(self.compat)
    }
}

fn table(numbers: &[(&str, usize)]) -> [u8; SYSCALLS] {
    let mut table = [Call::Other as u8; SYSCALLS];
    for (name, number) in numbers {
        let call = CALLS.iter().find(|(known, _)| known == name);
        if let (Some(entry), Some((_, call))) = (table.get_mut(*number), call) {
            *entry = *call as u8;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use syscalls::{aarch64, arm, x86, x86_64};

    use super::*;

    type Numbers = BTreeMap<&'static str, usize>;

    /// Of all the calls that crate `syscalls` took from the kernel's own tables, those that matter here.
    fn independent(calls: impl Iterator<Item = (&'static str, i32)>) -> Numbers {
        calls
            .filter(|(name, _)| CALLS.iter().any(|(known, _)| known == name))
            .map(|(name, number)| (name, usize::try_from(number).unwrap()))
            .collect()
    }

    fn ours(numbers: &[(&'static str, usize)]) -> Numbers {
        numbers.iter().copied().collect()
    }

    #[test]
    fn numbers_are_the_kernels_and_none_is_left_out() {
        let native = x86_64::Sysno::iter().map(|call| (call.name(), call.id()));
        assert_eq!(ours(super::x86_64::ARCHITECTURE.native), independent(native));
        let compat = x86::Sysno::iter().map(|call| (call.name(), call.id()));
        assert_eq!(ours(super::x86_64::ARCHITECTURE.compat), independent(compat));
        let native = aarch64::Sysno::iter().map(|call| (call.name(), call.id()));
        assert_eq!(ours(super::aarch64::ARCHITECTURE.native), independent(native));
        let compat = arm::Sysno::iter().map(|call| (call.name(), call.id()));
        assert_eq!(ours(super::aarch64::ARCHITECTURE.compat), independent(compat));
    }

    #[test]
    fn every_number_has_its_place() {
        let filled = |table: [u8; SYSCALLS]| table.iter().filter(|call| **call != Call::Other as u8).count();
        for architecture in ALL {
            assert_eq!(
                filled(architecture.native_calls()),
                architecture.native.len(),
                "{}",
                architecture.name
            );
            assert_eq!(
                filled(architecture.compat_calls()),
                architecture.compat.len(),
                "{}",
                architecture.name
            );
        }
    }

    #[test]
    fn the_same_number_means_different_things() {
        let x86_64 = &super::x86_64::ARCHITECTURE;
        // mkdir on x86-64 is symlink on i386.
        assert_eq!(x86_64.native_calls()[83], Call::Mkdir as u8);
        assert_eq!(x86_64.compat_calls()[83], Call::Symlink as u8);
    }

    #[test]
    fn this_build_takes_the_table_of_its_own_processor() {
        let openat = usize::try_from(nix::libc::SYS_openat).unwrap();
        assert_eq!(own().unwrap().native_calls()[openat], Call::Openat as u8);
    }
}
