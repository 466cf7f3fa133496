//! Which plain directories (`dir:PATH`) may be swept: none of the system's, and none that a container lives in.
//!
//! In: a directory with its symlinks resolved. Out: yes, or why not. A scan may look anywhere; this is asked before a
//! sweep. Must never: open what it judges.

use std::path::{Path, PathBuf};

use crate::inventory::Inventory;

/// Never as a whole, though a directory below may be: a person who names one of these has most likely forgotten the
/// rest of the path.
const TOO_WIDE: [&str; 10] =
    ["/", "/var", "/var/lib", "/var/log", "/home", "/root", "/run", "/opt", "/srv", "/mnt"];

/// Nor anything below: programs, their configuration, and what the kernel shows as files.
const SYSTEM: [&str; 11] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr"];

/// Why a directory is not swept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DirectoryError {
    /// One of the host's own.
    #[error(
        "dir:{0:?} is not swept: it is a directory of the system; name the directory that holds the junk"
    )]
    System(PathBuf),
    /// Part of what a container is made of.
    #[error(
        "dir:{path:?} is not swept: it is part of container {container} ({part:?}), and the kernel forbids changing \
         that from outside; name the container"
    )]
    OfContainer {
        /// The directory.
        path: PathBuf,
        /// Whose.
        container: String,
        /// Layer or volume.
        part: PathBuf,
    },
    /// podsweep's own records.
    #[error("dir:{path:?} is not swept: podsweep keeps its history in {state:?}; name another directory")]
    State {
        /// The directory.
        path: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
}

/// Whether a sweep may remove files in this directory. `path` and `state` as the host names them.
pub(super) fn may_be_swept(path: &Path, state: &Path, inventory: &Inventory) -> Result<(), DirectoryError> {
    must_not_be_the_systems(path)?;
    let state = state.canonicalize().unwrap_or_else(|_| state.to_path_buf());
    if overlap(path, &state) {
        return Err(DirectoryError::State { path: path.to_path_buf(), state });
    }
    for container in inventory.containers() {
        let layers =
            container.layer.iter().flat_map(|layer| std::iter::once(&layer.upper).chain(&layer.lower));
        let parts = layers.chain(container.volumes.iter().map(|volume| &volume.host_path));
        must_not_overlap(path, &container.short(), parts)?;
    }
    Ok(())
}

fn must_not_be_the_systems(path: &Path) -> Result<(), DirectoryError> {
    let too_wide = TOO_WIDE.iter().any(|wide| path == Path::new(wide));
    if too_wide || SYSTEM.iter().any(|system| path.starts_with(system)) {
        return Err(DirectoryError::System(path.to_path_buf()));
    }
    Ok(())
}

fn must_not_overlap<'a>(
    path: &Path,
    container: &str,
    parts: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), DirectoryError> {
    for part in parts {
        // Docker's short names of layers are symlinks.
        let part = part.canonicalize().unwrap_or_else(|_| part.clone());
        if overlap(path, &part) {
            let (path, container) = (path.to_path_buf(), container.to_owned());
            return Err(DirectoryError::OfContainer { path, container, part });
        }
    }
    Ok(())
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_directories_are_refused_and_ordinary_ones_are_not() {
        for path in ["/", "/etc", "/etc/app", "/usr/lib", "/proc/1", "/dev/shm", "/var", "/home", "/root"] {
            let refused = must_not_be_the_systems(Path::new(path));
            assert_eq!(refused, Err(DirectoryError::System(path.into())));
        }
        for path in ["/var/tmp/try", "/home/ann/scratch", "/tmp", "/etcetera", "/srv/data"] {
            assert_eq!(must_not_be_the_systems(Path::new(path)), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_holds_a_layer_or_lies_in_one_is_the_containers() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let upper = home.join("overlay/7/diff");
        std::fs::create_dir_all(upper.join("tmp")).unwrap();
        std::os::unix::fs::symlink(&upper, home.join("short")).unwrap();
        let refused = |path: &Path| must_not_overlap(path, "c", [home.join("short")].iter()).is_err();
        assert!(refused(&upper) && refused(&upper.join("tmp")) && refused(&home.join("overlay")));
        assert!(!refused(&home.join("overlay/70")));
    }
}
