//! Where each program is hung on, and which fields it reads. Tables, tried on Debian's 6.1, 6.12 and 7.3 and on 6.18.
//!
//! Why these functions: they run once for each call, also for io_uring's, and overlayfs does not call them for its
//! upper layer. `vfs_*` change their arguments between kernels and run a second time for the upper layer; the
//! security hooks that run before an operation count failures.

use super::btf::KernelTypes;
use super::tiers::Tier;

/// A field whose offset a program needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The program's global that takes the offset.
    pub(super) global: &'static str,
    structure: &'static str,
    member: &'static str,
}

/// Where a program is hung on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// An LSM hook.
    Lsm(&'static str),
    /// The first of `names` that the kernel has; the program was written for this number of arguments.
    Return {
        /// Newest name first.
        names: &'static [&'static str],
        /// How many arguments it must have.
        arguments: usize,
    },
    /// A BTF-typed tracepoint.
    Tracepoint(&'static str),
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// Its name in the object.
    pub(super) program: &'static str,
    /// Where it is hung on.
    pub(super) point: Point,
    /// The fields that it reads.
    pub(super) fields: &'static [Field],
    /// What goes unseen without it, as the beginning of a sentence; `None`: the tier is of no use without it.
    pub(super) without: Option<&'static str>,
}

impl Field {
    const fn new(global: &'static str, structure: &'static str, member: &'static str) -> Self {
        Self { global, structure, member }
    }

    /// Its offset on this kernel.
    pub(super) fn offset(self, types: &KernelTypes) -> Result<u64, String> {
        types
            .offset(self.structure, self.member)
            .ok_or_else(|| format!("this kernel's BTF has no field {}.{}", self.structure, self.member))
    }
}

impl Point {
    /// The name to load for on this kernel.
    pub(super) fn resolve(self, types: &KernelTypes) -> Result<&'static str, String> {
        match self {
            Self::Lsm(name) | Self::Tracepoint(name) => Ok(name),
            Self::Return { names, arguments } => first_of(names, arguments, |name| types.arguments(name)),
        }
    }
}

fn first_of(
    names: &[&'static str],
    wanted: usize,
    arguments: impl Fn(&str) -> Option<usize>,
) -> Result<&'static str, String> {
    for name in names {
        match arguments(name) {
            None => {}
            Some(found) if found == wanted => return Ok(name),
            Some(found) => {
                return Err(format!("{name} takes {found} arguments on this kernel, not {wanted}"));
            }
        }
    }
    Err(format!("this kernel has none of {}", names.join(", ")))
}

/// The programs of a tier, those that it cannot do without first.
pub(super) fn of(tier: Tier) -> Vec<Hook> {
    let own: &[Hook] = match tier {
        Tier::Lsm => &[LSM_OPEN],
        Tier::Fexit => &[FEXIT_OPEN],
        Tier::SysExit => &[SYS_EXIT],
    };
    let calls: &[Hook] = if tier == Tier::SysExit { &[] } else { &PATH_CALLS };
    [own, calls, &CGROUPS].concat()
}

/// What a tier cannot see on any kernel.
pub(super) const fn blind_spots(tier: Tier) -> &'static [&'static str] {
    const NAMED: &str =
        "directories are named for files made by open(2), not for directories, nodes or links";
    match tier {
        Tier::Lsm | Tier::Fexit => &[
            "a rename that removed its target, by an io_uring request under other credentials than its task's, is \
             counted as a rename alone",
            "calls in flight while another BPF program is attached to the same kernel function, or detached, are \
             not counted, nor in recursion_misses",
            NAMED,
        ],
        Tier::SysExit => &[
            "operations through io_uring are not counted",
            "a rename that removed its target is counted as a rename alone",
            "sockets bound through 32-bit socketcall(2) are not counted",
            NAMED,
        ],
    }
}

const FILE_MODE: Field = Field::new("FILE_MODE", "file", "f_mode");
const FILE_FLAGS: Field = Field::new("FILE_FLAGS", "file", "f_flags");
const FILE_PATH: Field = Field::new("FILE_PATH", "file", "f_path");
const PATH_DENTRY: Field = Field::new("PATH_DENTRY", "path", "dentry");
const DENTRY_INODE: Field = Field::new("DENTRY_INODE", "dentry", "d_inode");
const DENTRY_PARENT: Field = Field::new("DENTRY_PARENT", "dentry", "d_parent");
const DENTRY_NAME: Field = Field::new("DENTRY_NAME", "dentry", "d_name");
const QSTR_NAME: Field = Field::new("QSTR_NAME", "qstr", "name");
const INODE_NUMBER: Field = Field::new("INODE_NUMBER", "inode", "i_ino");
const INODE_SUPER_BLOCK: Field = Field::new("INODE_SUPER_BLOCK", "inode", "i_sb");
const SUPER_BLOCK_DEVICE: Field = Field::new("SUPER_BLOCK_DEVICE", "super_block", "s_dev");
const TASK_CRED: Field = Field::new("TASK_CRED", "task_struct", "cred");
const TASK_REAL_CRED: Field = Field::new("TASK_REAL_CRED", "task_struct", "real_cred");

const OPEN_FIELDS: &[Field] = &[
    FILE_MODE,
    FILE_FLAGS,
    FILE_PATH,
    PATH_DENTRY,
    DENTRY_INODE,
    DENTRY_PARENT,
    DENTRY_NAME,
    QSTR_NAME,
    INODE_NUMBER,
    INODE_SUPER_BLOCK,
    SUPER_BLOCK_DEVICE,
];

const LSM_OPEN: Hook =
    Hook { program: "lsm_file_open", point: Point::Lsm("file_open"), fields: OPEN_FIELDS, without: None };

const FEXIT_OPEN: Hook = Hook {
    program: "fexit_open",
    point: Point::Return { names: &["do_file_open", "do_filp_open"], arguments: 3 },
    fields: OPEN_FIELDS,
    without: None,
};

const PATH_CALLS: [Hook; 9] = [
    path_call("fexit_unlink", &["filename_unlinkat", "do_unlinkat"], 2, None),
    path_call("fexit_rmdir", &["filename_rmdir", "do_rmdir"], 2, Some("removed directories are not counted")),
    path_call("fexit_mkdir", &["filename_mkdirat", "do_mkdirat"], 3, Some("new directories are not counted")),
    path_call("fexit_mknod", &["filename_mknodat", "do_mknodat"], 4, Some("new nodes are not counted")),
    path_call(
        "fexit_symlink",
        &["filename_symlinkat", "do_symlinkat"],
        3,
        Some("new symbolic links are not counted"),
    ),
    path_call("fexit_link", &["filename_linkat", "do_linkat"], 5, Some("new hard links are not counted")),
    path_call("fexit_rename", &["filename_renameat2", "do_renameat2"], 5, Some("renames are not counted")),
    Hook {
        program: "fexit_rename_over",
        point: Point::Return { names: &["vfs_rename"], arguments: 1 },
        fields: &[
            Field::new("RENAME_OLD", "renamedata", "old_dentry"),
            Field::new("RENAME_NEW", "renamedata", "new_dentry"),
            Field::new("RENAME_FLAGS", "renamedata", "flags"),
            DENTRY_INODE,
            TASK_CRED,
            TASK_REAL_CRED,
        ],
        without: Some("a rename that removed its target is counted as a rename alone"),
    },
    Hook {
        program: "fexit_unix_bind",
        point: Point::Return { names: &["unix_bind"], arguments: 3 },
        fields: &[Field::new("SOCKADDR_DATA", "sockaddr", "sa_data")],
        without: Some("socket nodes made by bind are not counted"),
    },
];

const fn path_call(
    program: &'static str,
    names: &'static [&'static str],
    arguments: usize,
    without: Option<&'static str>,
) -> Hook {
    Hook { program, point: Point::Return { names, arguments }, fields: &[], without }
}

const SYS_EXIT: Hook = Hook {
    program: "sys_exit",
    point: Point::Tracepoint("sys_exit"),
    fields: &[
        FILE_MODE,
        FILE_FLAGS,
        FILE_PATH,
        PATH_DENTRY,
        DENTRY_INODE,
        DENTRY_PARENT,
        DENTRY_NAME,
        QSTR_NAME,
        INODE_NUMBER,
        INODE_SUPER_BLOCK,
        SUPER_BLOCK_DEVICE,
        Field::new("TASK_FILES", "task_struct", "files"),
        Field::new("TASK_THREAD_INFO", "task_struct", "thread_info"),
        Field::new("THREAD_INFO_STATUS", "thread_info", "status"),
        Field::new("FILES_TABLE", "files_struct", "fdt"),
        Field::new("TABLE_FILES", "fdtable", "fd"),
        Field::new("TABLE_LENGTH", "fdtable", "max_fds"),
        // x86-64's registers: on another architecture they are missing and the tier is refused with their names.
        Field::new("REGISTERS_NUMBER", "pt_regs", "orig_ax"),
        Field::new("REGISTERS_SECOND", "pt_regs", "si"),
        Field::new("REGISTERS_THIRD", "pt_regs", "dx"),
        Field::new("REGISTERS_COMPAT_SECOND", "pt_regs", "cx"),
        Field::new("REGISTERS_COMPAT_THIRD", "pt_regs", "dx"),
    ],
    without: None,
};

const CGROUPS: [Hook; 2] = [
    cgroup("cgroup_mkdir", "new cgroups are found by the slow rescan alone"),
    cgroup("cgroup_rmdir", "removed cgroups are found by the slow rescan alone"),
];

const CGROUP_FIELDS: &[Field] = &[
    Field::new("CGROUP_ROOT", "cgroup", "root"),
    Field::new("CGROUP_NODE", "cgroup", "kn"),
    Field::new("CGROUP_ROOT_HIERARCHY", "cgroup_root", "hierarchy_id"),
    Field::new("NODE_ID", "kernfs_node", "id"),
];

const fn cgroup(name: &'static str, without: &'static str) -> Hook {
    Hook { program: name, point: Point::Tracepoint(name), fields: CGROUP_FIELDS, without: Some(without) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_name_that_fits_is_taken() {
        let old = |name: &str| (name == "do_filp_open").then_some(3);
        assert_eq!(first_of(&["do_file_open", "do_filp_open"], 3, old), Ok("do_filp_open"));
        let both = |_: &str| Some(3);
        assert_eq!(first_of(&["do_file_open", "do_filp_open"], 3, both), Ok("do_file_open"));
    }

    #[test]
    fn changed_arguments_are_refused_by_name() {
        let refused = first_of(&["vfs_rename"], 1, |_| Some(6)).unwrap_err();
        assert_eq!(refused, "vfs_rename takes 6 arguments on this kernel, not 1");
        assert!(first_of(&["a", "b"], 1, |_| None).unwrap_err().contains("a, b"));
    }

    #[test]
    fn this_kernel_has_every_field_and_function() {
        let types = KernelTypes::load().unwrap();
        for hook in Tier::ALL.into_iter().flat_map(of) {
            hook.point.resolve(&types).unwrap();
            for field in hook.fields {
                field.offset(&types).unwrap();
            }
        }
    }
}
