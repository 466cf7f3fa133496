//! What succeeds and makes or removes no name.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Operation;
use super::called::{create, open_how};
use super::prepare::{file, nothing, read_only};
use crate::kernel_raw as raw;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("open with O_CREAT of an existing file", file, |d| create(&d.join("file")), &[]),
    Operation::new("openat2 of an existing file", file, |d| open_how(&d.join("file")), &[]),
    Operation::new("creat of an existing file", file, |d| raw::creat(&d.join("file")), &[]),
    Operation::new("open with O_TRUNC", file, |d| fs::File::create(d.join("file")).map(drop), &[]),
    Operation::new("open by a file handle", file, |d| raw::open_by_handle(d, "file"), &[]).may_be_refused(),
    Operation::new("open of a file on a read-only mount", read_only, |d| reopen(&d.join("file")), &[]),
    Operation::new("write and chmod", file, |d| write_and_chmod(&d.join("file")), &[]),
    Operation::new(
        "memfd",
        nothing,
        |_| Ok(memfd_create("podsweep-test", MFdFlags::empty()).map(drop)?),
        &[],
    ),
    // A file of the kernel's own filesystem, which is in no container's layer.
    Operation::new("message queue", nothing, |_| raw::message_queue("podsweep-test"), &[]).may_be_refused(),
];

/// `O_CREAT` asks for nothing where the file is there.
fn reopen(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(nix::libc::O_CREAT).open(path).map(drop)
}

fn write_and_chmod(path: &Path) -> io::Result<()> {
    fs::write(path, "other content")?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
}
