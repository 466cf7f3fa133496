//! Disk images, made from folders without a mount. In: a folder. Out: an ext4 image.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::command::{program, run};

/// Makes the image `file` of `bytes` (sparse), with the contents of `folder`, all of it root's.
pub(crate) fn ext4(file: &Path, folder: &Path, bytes: u64) -> Result<()> {
    empty(file, bytes)?;
    let mut make = program("mkfs.ext4");
    // A guest's disk is thrown away after each run: no journal to replay.
    make.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0,lazy_itable_init=1"]);
    run(make.arg("-d").arg(folder).arg(file))
}

/// Makes an image of `bytes` zeros (sparse) in place of whatever is there.
pub(crate) fn empty(file: &Path, bytes: u64) -> Result<()> {
    let image = File::create(file).and_then(|image| image.set_len(bytes));
    image.with_context(|| format!("cannot make {}", file.display()))
}
