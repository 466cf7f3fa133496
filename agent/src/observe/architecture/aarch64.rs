//! aarch64, and 32-bit ARM programs on it.

use super::{Architecture, CompatMark};
use crate::observe::hooks::Field;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "aarch64",
    // Of `struct pt_regs` in arch/arm64/include/asm/ptrace.h. Arguments are in x0 to x5 (r0 to r5 of a 32-bit program,
    // the same places); the result replaces the first only, which is not asked for.
    fields: &[
        Field::new("REGISTERS_NUMBER", "pt_regs", "syscallno"),
        Field::element("REGISTERS_SECOND", "pt_regs", "regs", 1),
        Field::element("REGISTERS_THIRD", "pt_regs", "regs", 2),
        Field::element("REGISTERS_COMPAT_SECOND", "pt_regs", "regs", 1),
        Field::element("REGISTERS_COMPAT_THIRD", "pt_regs", "regs", 2),
        Field::new("COMPAT_WORD", "pt_regs", "pstate"),
    ],
    // PSR_MODE32_BIT of arch/arm64/include/uapi/asm/ptrace.h, a bit of the processor's. Not TIF_32BIT, which is the
    // kernel's own to renumber.
    compat_mark: CompatMark { bit: 0x10, in_registers: true },
    native: NATIVE,
    compat: COMPAT,
    // There is no socketcall(2) for the EABI, the only one that runs on 64-bit kernels.
    blind_spots: &[],
};

/// include/uapi/asm-generic/unistd.h: of the old calls only those that take a directory, and bind.
const NATIVE: &[(&str, usize)] = &[
    ("mknodat", 33),
    ("mkdirat", 34),
    ("unlinkat", 35),
    ("symlinkat", 36),
    ("linkat", 37),
    ("renameat", 38),
    ("openat", 56),
    ("bind", 200),
    ("renameat2", 276),
    ("openat2", 437),
];

/// arch/arm/tools/syscall.tbl, the numbers of the EABI.
const COMPAT: &[(&str, usize)] = &[
    ("open", 5),
    ("creat", 8),
    ("link", 9),
    ("unlink", 10),
    ("mknod", 14),
    ("rename", 38),
    ("mkdir", 39),
    ("rmdir", 40),
    ("symlink", 83),
    ("bind", 282),
    ("openat", 322),
    ("mkdirat", 323),
    ("mknodat", 324),
    ("unlinkat", 328),
    ("renameat", 329),
    ("linkat", 330),
    ("symlinkat", 331),
    ("renameat2", 382),
    ("openat2", 437),
];
