//! x86-64, and i386 programs on it.

use super::{Architecture, CompatMark};
use crate::observe::gap::GapId;
use crate::observe::hooks::Field;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "x86_64",
    // Of `struct pt_regs` in arch/x86/include/asm/ptrace.h. Arguments are in rdi, rsi, rdx; of an i386 program in ebx,
    // ecx, edx (arch/x86/include/asm/syscall.h).
    fields: &[
        Field::new("REGISTERS_NUMBER", "pt_regs", "orig_ax"),
        Field::new("REGISTERS_SECOND", "pt_regs", "si"),
        Field::new("REGISTERS_THIRD", "pt_regs", "dx"),
        Field::new("REGISTERS_COMPAT_SECOND", "pt_regs", "cx"),
        Field::new("REGISTERS_COMPAT_THIRD", "pt_regs", "dx"),
        Field::new("TASK_THREAD_INFO", "task_struct", "thread_info"),
        Field::new("COMPAT_WORD", "thread_info", "status"),
    ],
    // TS_COMPAT of arch/x86/include/asm/thread_info.h. Not the code segment: a 64-bit program may make 32-bit calls.
    compat_mark: CompatMark { bit: 2, in_registers: false },
    native: NATIVE,
    compat: COMPAT,
    blind_spots: &[(GapId::Socketcall, "its arguments lie in the program's own memory")],
};

/// arch/x86/entry/syscalls/syscall_64.tbl.
const NATIVE: &[(&str, usize)] = &[
    ("open", 2),
    ("bind", 49),
    ("rename", 82),
    ("mkdir", 83),
    ("rmdir", 84),
    ("creat", 85),
    ("link", 86),
    ("unlink", 87),
    ("symlink", 88),
    ("mknod", 133),
    ("openat", 257),
    ("mkdirat", 258),
    ("mknodat", 259),
    ("unlinkat", 263),
    ("renameat", 264),
    ("linkat", 265),
    ("symlinkat", 266),
    ("renameat2", 316),
    ("openat2", 437),
];

/// arch/x86/entry/syscalls/syscall_32.tbl.
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
    ("openat", 295),
    ("mkdirat", 296),
    ("mknodat", 297),
    ("unlinkat", 301),
    ("renameat", 302),
    ("linkat", 303),
    ("symlinkat", 304),
    ("renameat2", 353),
    ("bind", 361),
    ("openat2", 437),
];
