//! Why one file of a container would, or would not, be removed: reads what the policy stage must know and asks it.
//!
//! In: a container, a path as it sees it, policies. Out: the chain of answers. Must never: follow a symlink in the
//! container, change anything.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::inventory::Container;
use crate::policy::explain::{Asked, Step, explain};
use crate::policy::{FileFacts, NodeGuard, PolicySet};
use crate::scan::{Identity, facts};

/// Asks everybody about one file. `now`: seconds and nanoseconds since 1970.
pub fn explain_file(
    container: &Container,
    path: &Path,
    set: &PolicySet,
    guard: &NodeGuard,
    now: (i64, u32),
) -> std::io::Result<Vec<Step>> {
    if let Some(layer) = layer_with(container, path)? {
        return Ok(vec![Step {
            level: 0,
            question: "is it a file of the image?".into(),
            answer: format!(
                "yes, also in {}: stays; removing it would free nothing and leave a whiteout",
                layer.display()
            ),
            deciding: true,
        }]);
    }
    let facts = file_facts(container, path)?;
    let asked = Asked { container, path: path.as_os_str().as_bytes(), facts: facts.as_ref(), now };
    Ok(explain(set, guard, &asked))
}

/// The image's layer that has this path, too.
fn layer_with(container: &Container, path: &Path) -> std::io::Result<Option<PathBuf>> {
    if container.volumes.iter().any(|volume| path.starts_with(&volume.mount_point)) {
        return Ok(None);
    }
    for lower in container.layer.iter().flat_map(|layer| &layer.lower) {
        if stat_below(lower, path)?.is_some() {
            return Ok(Some(lower.clone()));
        }
    }
    Ok(None)
}

/// What the file is on the host's side of its storage; `None` where it is not there.
fn file_facts(container: &Container, path: &Path) -> std::io::Result<Option<FileFacts>> {
    let volumes = container.volumes.iter().map(|volume| (volume.mount_point.as_path(), &volume.host_path));
    let layer = container.layer.iter().map(|layer| (Path::new("/"), &layer.upper));
    let innermost = volumes
        .chain(layer)
        .filter(|(mount_point, _)| path.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.components().count());
    let Some((mount_point, host)) = innermost else { return Ok(None) };
    let below = path.strip_prefix(mount_point).unwrap_or(path);
    Ok(stat_below(host, below)?.map(|stat| facts(&identity(&stat))))
}

fn stat_below(root: &Path, path: &Path) -> std::io::Result<Option<Stat>> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else { return Ok(None) };
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve)
        .and_then(|parent| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
    match found {
        Ok(stat) => Ok(Some(stat)),
        // A symlink on the way is not the file that was asked about: rules do not reach through it either.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[allow(clippy::useless_conversion, reason = "the kernel's count of links has 32 bits on aarch64")]
fn identity(stat: &Stat) -> Identity {
    Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: u64::from(stat.st_nlink),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        ctime: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
    }
}
