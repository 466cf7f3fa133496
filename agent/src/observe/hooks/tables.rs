//! The tables, tried on Debian's 6.1, 6.12 and 7.3 and on 6.18; other kernels' BTF: `observe/recorded.rs`.
//!
//! Why these functions: they run once for each call, also for io_uring's, and overlayfs does not call them for its
//! upper layer. `vfs_*` change their arguments between kernels and run a second time for the upper layer; the
//! security hooks that run before an operation count failures.

use super::{Field, Hook, Point};
use crate::observe::gap::GapId;
use crate::observe::tiers::Tier;

/// The program that reads system calls, and so the processor's registers.
pub(super) const SYS_EXIT: &str = "sys_exit";

/// The programs of a tier, those that it cannot do without first.
pub(in crate::observe) fn of(tier: Tier) -> Vec<Hook> {
    let own: &[Hook] = match tier {
        Tier::Lsm => &[LSM_OPEN],
        Tier::Fexit => &[FEXIT_OPEN],
        Tier::SysExit => &[SYSTEM_CALLS],
    };
    let calls: &[Hook] = if tier == Tier::SysExit { &[] } else { &PATH_CALLS };
    [own, calls, &CGROUPS].concat()
}

/// What a tier cannot see on any kernel, and why.
pub(in crate::observe) const fn blind_spots(tier: Tier) -> &'static [(GapId, &'static str)] {
    const NAMED: (GapId, &str) =
        (GapId::DirectoriesBeyondOpen, "only an open file leads to its directory on every kernel");
    match tier {
        Tier::Lsm | Tier::Fexit => &[
            (GapId::RenameOverUnderOthers, "overlayfs's own renames look the same"),
            (GapId::CallsInFlight, "the kernel swaps the code that calls the hook"),
            NAMED,
        ],
        Tier::SysExit => &[
            (GapId::IoUring, "they return from no system call of their own"),
            (GapId::CoreDump, "the kernel makes the file outside any system call"),
            (GapId::SwappedDescriptor, "the new file is looked up by its descriptor after the call"),
            (GapId::RenameOver, "a system call does not tell whether its target was there"),
            NAMED,
        ],
    }
}

/// What is read of a file that was opened, and of its directory.
const FILE: &[Field] = &[
    Field::new("FILE_MODE", "file", "f_mode"),
    Field::new("FILE_FLAGS", "file", "f_flags"),
    Field::new("FILE_PATH", "file", "f_path"),
    Field::new("PATH_DENTRY", "path", "dentry"),
    DENTRY_INODE,
    Field::new("DENTRY_PARENT", "dentry", "d_parent"),
    Field::new("DENTRY_NAME", "dentry", "d_name"),
    Field::new("QSTR_NAME", "qstr", "name"),
    Field::new("INODE_NUMBER", "inode", "i_ino"),
    Field::new("INODE_SUPER_BLOCK", "inode", "i_sb"),
    Field::new("SUPER_BLOCK_DEVICE", "super_block", "s_dev"),
];

const DENTRY_INODE: Field = Field::new("DENTRY_INODE", "dentry", "d_inode");

const LSM_OPEN: Hook =
    Hook { program: "lsm_file_open", point: Point::Lsm("file_open", 1), fields: &[FILE], without: None };

const FEXIT_OPEN: Hook = Hook {
    program: "fexit_open",
    point: Point::Return(&["do_file_open", "do_filp_open"], 3),
    fields: &[FILE],
    without: None,
};

const PATH_CALLS: [Hook; 9] = [
    path_call("fexit_unlink", &["filename_unlinkat", "do_unlinkat"], 2, None),
    path_call("fexit_rmdir", &["filename_rmdir", "do_rmdir"], 2, Some(GapId::Rmdir)),
    path_call("fexit_mkdir", &["filename_mkdirat", "do_mkdirat"], 3, Some(GapId::Mkdir)),
    path_call("fexit_mknod", &["filename_mknodat", "do_mknodat"], 4, Some(GapId::Mknod)),
    path_call("fexit_symlink", &["filename_symlinkat", "do_symlinkat"], 3, Some(GapId::Symlink)),
    path_call("fexit_link", &["filename_linkat", "do_linkat"], 5, Some(GapId::Link)),
    path_call("fexit_rename", &["filename_renameat2", "do_renameat2"], 5, Some(GapId::Rename)),
    Hook {
        program: "fexit_rename_over",
        point: Point::Return(&["vfs_rename"], 1),
        fields: &[&[
            Field::new("RENAME_OLD", "renamedata", "old_dentry"),
            Field::new("RENAME_NEW", "renamedata", "new_dentry"),
            Field::new("RENAME_FLAGS", "renamedata", "flags"),
            DENTRY_INODE,
            Field::new("TASK_CRED", "task_struct", "cred"),
            Field::new("TASK_REAL_CRED", "task_struct", "real_cred"),
        ]],
        without: Some(GapId::RenameOver),
    },
    Hook {
        program: "fexit_unix_bind",
        point: Point::Return(&["unix_bind"], 3),
        fields: &[&[Field::new("SOCKADDR_DATA", "sockaddr", "sa_data")]],
        without: Some(GapId::UnixBind),
    },
];

const fn path_call(
    program: &'static str,
    names: &'static [&'static str],
    arguments: usize,
    without: Option<GapId>,
) -> Hook {
    Hook { program, point: Point::Return(names, arguments), fields: &[], without }
}

/// The processor's own fields are added to these.
const SYSTEM_CALLS: Hook = Hook {
    program: SYS_EXIT,
    point: Point::Tracepoint("sys_exit", 2),
    fields: &[
        FILE,
        &[
            Field::new("TASK_FILES", "task_struct", "files"),
            Field::new("FILES_TABLE", "files_struct", "fdt"),
            Field::new("TABLE_FILES", "fdtable", "fd"),
            Field::new("TABLE_LENGTH", "fdtable", "max_fds"),
        ],
    ],
    without: None,
};

const CGROUPS: [Hook; 2] =
    [cgroup("cgroup_mkdir", GapId::CgroupMkdir), cgroup("cgroup_rmdir", GapId::CgroupRmdir)];

const CGROUP_FIELDS: &[Field] = &[
    Field::new("CGROUP_ROOT", "cgroup", "root"),
    Field::new("CGROUP_NODE", "cgroup", "kn"),
    Field::new("CGROUP_ROOT_HIERARCHY", "cgroup_root", "hierarchy_id"),
    Field::new("NODE_ID", "kernfs_node", "id"),
];

const fn cgroup(name: &'static str, without: GapId) -> Hook {
    Hook {
        program: name,
        point: Point::Tracepoint(name, 2),
        fields: &[CGROUP_FIELDS],
        without: Some(without),
    }
}
