//! seccomp filters: a list of what a process needs; anything else kills it.
//!
//! A list of what is allowed, so that a system call that a later kernel adds is forbidden without anyone thinking of
//! it. In: rules. Out: a filter in force. Must never: allow a program to be started, or memory to be executed.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::ConfinementError;

/// What the allocator, the clock, the locks and the hash seeds of the standard library need, and the end of a process.
/// None of these can name a file, start a process or reach a network.
const EVERYBODY: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_close,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// A filter in the making.
#[derive(Debug)]
pub(crate) struct Filter(BTreeMap<i64, Vec<SeccompRule>>);

/// What an argument must be. Arguments that are pointers cannot be looked behind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// This value.
    Be(u8, i32),
    /// Any other than this value.
    NotBe(u8, i32),
    /// Have none of these bits.
    Lack(u8, i32),
    /// Of the bits of the first mask, exactly those of the second.
    Have(u8, i32, i32),
}

impl Filter {
    /// With what everybody needs. `F_GETFD`: debug builds of the standard library ask it before they close a handle.
    pub(crate) fn new() -> Result<Self, BackendError> {
        let mut filter = Self(EVERYBODY.iter().map(|&call| (call, Vec::new())).collect());
        filter.allow_if(libc::SYS_fcntl, &[Must::Be(1, libc::F_GETFD)])?;
        filter.allow_if(libc::SYS_mmap, &[Must::Lack(2, libc::PROT_EXEC)])?;
        filter.allow_if(libc::SYS_mprotect, &[Must::Lack(2, libc::PROT_EXEC)])?;
        filter.allow_if(libc::SYS_write, &[Must::Be(0, libc::STDERR_FILENO)])?;
        Ok(filter)
    }

    /// Allows calls whatever their arguments.
    pub(crate) fn allow(&mut self, calls: &[i64]) {
        self.0.extend(calls.iter().map(|&call| (call, Vec::new())));
    }

    /// Allows a call with arguments such as these; asked again, also with such as those.
    pub(crate) fn allow_if(&mut self, call: i64, arguments: &[Must]) -> Result<(), BackendError> {
        let conditions = arguments.iter().map(|must| must.condition()).collect::<Result<_, _>>()?;
        self.0.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    }

    /// Puts it in force on the calling thread, which must be the only one.
    pub(crate) fn install(self) -> Result<(), ConfinementError> {
        let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
        let program: BpfProgram =
            SeccompFilter::new(self.0, kill, allow, std::env::consts::ARCH.try_into()?)?.try_into()?;
        Ok(seccompiler::apply_filter(&program)?)
    }
}

impl Must {
    fn condition(self) -> Result<SeccompCondition, BackendError> {
        let bits = |value: i32| u64::from(value.cast_unsigned());
        let (argument, operator, value) = match self {
            Self::Be(argument, value) => (argument, SeccompCmpOp::Eq, value),
            Self::NotBe(argument, value) => (argument, SeccompCmpOp::Ne, value),
            Self::Lack(argument, mask) => (argument, SeccompCmpOp::MaskedEq(bits(mask)), 0),
            Self::Have(argument, mask, value) => (argument, SeccompCmpOp::MaskedEq(bits(mask)), value),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bits(value))
    }
}
