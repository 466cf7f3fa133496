//! `keepNewest`, asked of one file: how many of its directory are newer and would be junk by the same rule.
//!
//! In: an opened directory, one file of it, a judge of the others. Out: the number of newer ones. Must never: read more
//! than [`MAX_ENTRIES`].

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use crate::scan::Identity;

/// Entries of one directory that are looked at. Beyond it the answer is not known: a person waits for it.
const MAX_ENTRIES: usize = 1_000_000;

/// How many names of the directory come before this one, newest first, of those that `is_junk` names. `None`: the
/// directory has too many entries to say.
pub(super) fn newer(
    directory: &OwnedFd,
    name: &std::ffi::OsStr,
    identity: &Identity,
    mut is_junk: impl FnMut(&[u8], &Identity) -> bool,
) -> Result<Option<u32>, Errno> {
    let own = (touched(identity), name.as_bytes());
    let mut newer = 0;
    for (number, entry) in Dir::read_from(directory)?.enumerate() {
        if number >= MAX_ENTRIES {
            return Ok(None);
        }
        let entry = entry?;
        let other = entry.file_name();
        let stat = match rustix::fs::statat(directory, other, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let identity = Identity::from(&stat);
        // As the scan orders them: by time, equal times by name.
        if (touched(&identity), other.to_bytes()) > own && is_junk(other.to_bytes(), &identity) {
            newer += 1;
        }
    }
    Ok(Some(newer))
}

fn touched(identity: &Identity) -> (i64, i64) {
    identity.mtime.max(identity.ctime)
}
