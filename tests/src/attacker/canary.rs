//! Files that no policy names: what they are before an attack, and what differs afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// What is known of one: any touch changes it, be it by content, by name or by link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    device: u64,
    inode: u64,
    mode: u32,
    links: u64,
    owner: (u32, u32),
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

/// All files and directories of some trees, as they were.
#[derive(Debug)]
pub struct Canaries {
    trees: Vec<PathBuf>,
    known: BTreeMap<PathBuf, Known>,
}

impl Canaries {
    /// Everything in these trees, the trees themselves included.
    pub fn in_trees(trees: &[PathBuf]) -> Result<Self> {
        Ok(Self { trees: trees.to_vec(), known: look(trees)? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Fails with the first that is gone, is new, or is not what it was; in this order, because each of the former two
    /// touches its directory as well.
    pub fn must_be_untouched(&self) -> Result<()> {
        let now = look(&self.trees)?;
        if let Some(gone) = self.known.keys().find(|path| !now.contains_key(*path)) {
            bail!("{} is gone", gone.display());
        }
        if let Some(new) = now.keys().find(|path| !self.known.contains_key(*path)) {
            bail!("{} is new", new.display());
        }
        for (path, before) in &self.known {
            match now.get(path) {
                Some(now) if now != before => {
                    bail!("{} was touched: {} -> {}", path.display(), before.brief(), now.brief())
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Known {
    fn brief(&self) -> String {
        let Self { inode, links, changed, content, .. } = self;
        format!("inode {inode}, {links} links, ctime {}.{:09}, {} bytes", changed.0, changed.1, content.len())
    }
}

fn look(trees: &[PathBuf]) -> Result<BTreeMap<PathBuf, Known>> {
    let mut known = BTreeMap::new();
    for tree in trees {
        walk(tree, &mut known).with_context(|| format!("cannot look at {}", tree.display()))?;
    }
    Ok(known)
}

fn walk(path: &Path, known: &mut BTreeMap<PathBuf, Known>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let content = if metadata.is_file() { fs::read(path)? } else { Vec::new() };
    known.insert(
        path.to_owned(),
        Known {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            links: metadata.nlink(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content,
        },
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), known)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_touch_shows() {
        let top = tempfile::tempdir().unwrap();
        let (one, two) = (top.path().join("a/one"), top.path().join("a/two"));
        fs::create_dir(top.path().join("a")).unwrap();
        fs::write(&one, "1").unwrap();
        let before = || Canaries::in_trees(&[top.path().join("a")]).unwrap();
        let canaries = before();
        assert_eq!(canaries.count(), 2);
        canaries.must_be_untouched().unwrap();

        fs::hard_link(&one, &two).unwrap();
        assert!(canaries.must_be_untouched().unwrap_err().to_string().contains("two is new"));
        // A file of its own: removing a link would touch the other name's, too.
        fs::remove_file(&two).unwrap();
        fs::write(&two, "2").unwrap();
        let canaries = before();
        fs::remove_file(&two).unwrap();
        assert!(canaries.must_be_untouched().unwrap_err().to_string().contains("two is gone"));
        let canaries = before();
        fs::write(&one, "2").unwrap();
        assert!(canaries.must_be_untouched().unwrap_err().to_string().contains("one was touched"));
    }
}
