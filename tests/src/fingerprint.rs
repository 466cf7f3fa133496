//! A tree told from any other, and from itself after a change: what may not be touched is compared with this.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What one file or directory was. Every change of it shows in its ctime, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    inode: u64,
    mode: u32,
    links: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// By path below the tree's top; the top itself is the empty path.
pub type Fingerprints = BTreeMap<PathBuf, Fingerprint>;

/// Of everything in the tree, its top and its directories included. Follows no symlink below the top.
pub fn fingerprints(top: &Path) -> Result<Fingerprints> {
    let mut found = Fingerprints::new();
    let metadata = fs::metadata(top).with_context(|| format!("cannot stat {}", top.display()))?;
    add(top, PathBuf::new(), &metadata, &mut found)?;
    Ok(found)
}

fn add(top: &Path, below: PathBuf, metadata: &Metadata, found: &mut Fingerprints) -> Result<()> {
    let path = top.join(&below);
    if metadata.is_dir() {
        let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let metadata =
                entry.metadata().with_context(|| format!("cannot stat {}", entry.path().display()))?;
            add(top, below.join(entry.file_name()), &metadata, found)?;
        }
    }
    found.insert(below, Fingerprint::from(metadata));
    Ok(())
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            mode: metadata.mode(),
            links: metadata.nlink(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaced_by_its_like_is_another() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a/b");
        fs::create_dir(home.path().join("a")).unwrap();
        fs::write(&file, "x").unwrap();
        let before = fingerprints(home.path()).unwrap();
        assert_eq!(before.len(), 3);
        assert_eq!(fingerprints(home.path()).unwrap(), before);
        fs::write(home.path().join("new"), "x").unwrap();
        fs::rename(home.path().join("new"), &file).unwrap();
        assert_ne!(fingerprints(home.path()).unwrap(), before);
    }
}
