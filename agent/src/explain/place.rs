//! Where a path of a container lies, and what is there, as the host sees it. Reads, never follows a symlink.
//!
//! In: a container, a path as it sees it. Out: which storage, which file, or why there is none that a rule could reach.
//! Must never: open a file, or leave the directory that it started from.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::inventory::{Container, VolumeKind};

/// The storage that holds a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Storage {
    /// One that a policy may name.
    Of(Place),
    /// Another mount, at this point: never entered.
    Other(PathBuf),
    /// The container's root, which is no overlay.
    Unknown,
}

/// A path on storage that a policy may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: VolumeKind,
    /// Where the container sees the storage.
    pub(super) mount_point: PathBuf,
    /// Where the host sees it.
    pub(super) host: PathBuf,
    /// The path below it.
    pub(super) below: PathBuf,
}

/// What a path leads to on the host's side of its storage.
pub(super) enum Found {
    /// This, a directory or a device included.
    Entry(Stat),
    /// Overlayfs's mark of a file that the container removed.
    Whiteout,
    /// Nothing of that name.
    Nothing,
}

/// The mount with the longest mount point that holds the path.
pub(super) fn storage_of(container: &Container, path: &Path) -> Storage {
    let volumes =
        container.volumes.iter().map(|volume| (&*volume.mount_point, Some((volume.kind, &volume.host_path))));
    let others = container.other_mounts.iter().map(|mount_point| (&**mount_point, None));
    let layer =
        container.layer.iter().map(|layer| (Path::new("/"), Some((VolumeKind::WritableLayer, &layer.upper))));
    let innermost = layer
        .chain(volumes)
        .chain(others)
        .filter(|(mount_point, _)| path.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.components().count());
    match innermost {
        Some((mount_point, Some((kind, host)))) => Storage::Of(Place {
            kind,
            mount_point: mount_point.to_path_buf(),
            host: host.clone(),
            below: path.strip_prefix(mount_point).unwrap_or(path).to_path_buf(),
        }),
        Some((mount_point, None)) => Storage::Other(mount_point.to_path_buf()),
        None => Storage::Unknown,
    }
}

impl Place {
    /// What is there.
    pub(super) fn look(&self) -> Result<Found, Errno> {
        Ok(match stat_below(&self.host, &self.below)? {
            Some(stat) if is_whiteout(&stat) => Found::Whiteout,
            Some(stat) => Found::Entry(stat),
            None => Found::Nothing,
        })
    }

    /// The directory that the file is in, opened to be read.
    pub(super) fn parent(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_below(&self.host, self.below.parent().unwrap_or(Path::new("")), flags)
    }
}

/// The image's layer that has this path of the writable layer, too.
pub(super) fn image_layer(container: &Container, below: &Path) -> Result<Option<PathBuf>, Errno> {
    for lower in container.layer.iter().flat_map(|layer| &layer.lower) {
        if stat_below(lower, below)?.is_some() {
            return Ok(Some(lower.clone()));
        }
    }
    Ok(None)
}

/// The first symlink on the way to a path (the last name not counted), as the container itself sees it, and where it
/// points. For people: nothing is decided by it.
pub(super) fn symlink_on_the_way(container: &Container, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = Path::new("/proc").join(container.first.pid.to_string()).join("root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).ok()?;
    let mut at = PathBuf::new();
    for name in path.parent()?.components().filter(|part| matches!(part, Component::Normal(_))) {
        at.push(name);
        // Every component before this one was just seen to be no symlink.
        if let Ok(target) = rustix::fs::readlinkat(&root, &at, Vec::new()) {
            let target = PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes()));
            return Some((Path::new("/").join(at), target));
        }
    }
    None
}

/// Overlayfs's whiteout: to the container there is no such file.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn stat_below(root: &Path, path: &Path) -> Result<Option<Stat>, Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = open_below(root, parent, flags)
        .and_then(|parent| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
    match found {
        Ok(stat) => Ok(Some(stat)),
        // A symlink on the way, or a `..` that leads out, is not the file that was asked about: rules do not reach
        // through them either.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open_below(root: &Path, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let below = below.strip_prefix("/").unwrap_or(below);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&root, below, flags, Mode::empty(), resolve)
}
