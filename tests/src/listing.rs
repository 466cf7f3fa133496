//! A listing of the container's own view: every path with what stat says of it. Never follows a symlink.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Neither directory nor symlink nor anything else.
    pub is_file: bool,
    /// Names it has.
    pub links: u64,
    /// The newest of mtime and ctime, microseconds since 1970.
    pub stamp: u64,
}

/// Paths as the container sees them.
pub type Listing = BTreeMap<String, Seen>;

/// Everything but directories below `folders` of the container whose root is `root`.
pub fn list(root: &Path, folders: &[&str]) -> Result<Listing> {
    let mut listing = Listing::new();
    for folder in folders {
        walk(root, folder, &mut listing).with_context(|| format!("cannot list {folder} in the container"))?;
    }
    Ok(listing)
}

/// The kernel's own filesystems.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Everything that the container sees, but directories and what the kernel shows of itself.
pub fn list_all(root: &Path) -> Result<Listing> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).context("cannot list the container's root")? {
        let path = format!("/{}", entry?.file_name().to_string_lossy());
        if !KERNEL.contains(&path.as_str()) {
            folders.push(path);
        }
    }
    list(root, &folders.iter().map(String::as_str).collect::<Vec<_>>())
}

fn walk(root: &Path, folder: &str, listing: &mut Listing) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder.trim_start_matches('/')))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(root, &path, listing)?,
            Ok(metadata) => {
                listing.insert(path, seen(&metadata));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed since it was read
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn seen(metadata: &fs::Metadata) -> Seen {
    let micros = |seconds: i64, nanos: i64| u64::try_from(seconds * 1_000_000 + nanos / 1000).unwrap_or(0);
    let changed = micros(metadata.ctime(), metadata.ctime_nsec());
    let modified = micros(metadata.mtime(), metadata.mtime_nsec());
    Seen { is_file: metadata.is_file(), links: metadata.nlink(), stamp: changed.max(modified) }
}
