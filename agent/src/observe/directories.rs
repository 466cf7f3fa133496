//! Where a container creates: the kernel's counts by directory, with the names that it told on first sight.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use agent_common::{DirKey, DirSeen};
use aya::maps::{MapData, PerCpuHashMap, RingBuf};

use crate::inventory::CgroupId;

/// Names kept: twice the kernel's map, so that forgetting those that it dropped makes room.
const MAX_NAMES: usize = 16_384;

/// Entries read in one go: the kernel's map, and as many again where entries go away under the reader and it is sent
/// back to the start.
const MAX_READ: usize = 16_384;

/// A directory and how many files a container made in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopDirectory {
    /// From the root of the mount it is in; as the container sees it for its overlayfs root. Begins with `…` where it
    /// lies deeper than the kernel side tells.
    pub path: PathBuf,
    /// Files made by open(2) since the directory was first seen.
    pub creates: u64,
}

/// The two maps and the names told so far.
pub(super) struct Directories {
    counts: PerCpuHashMap<MapData, [u64; DirKey::WORDS], u64>,
    seen: RingBuf<MapData>,
    names: HashMap<DirKey, PathBuf>,
}

impl Directories {
    pub(super) fn new(
        counts: PerCpuHashMap<MapData, [u64; DirKey::WORDS], u64>,
        seen: RingBuf<MapData>,
    ) -> Self {
        Self { counts, seen, names: HashMap::new() }
    }

    /// Takes what the kernel told since last time: must be called often, as the ring buffer holds 264 names.
    pub(super) fn drain(&mut self) {
        while let Some(record) = self.seen.next() {
            if let Some(seen) = DirSeen::from_bytes(&record) {
                self.names.insert(seen.key, path_of(&seen));
            }
        }
        if self.names.len() > MAX_NAMES {
            self.names.retain(|key, _| self.counts.get(&key.to_words(), 0).is_ok());
        }
    }

    /// The directories in which these cgroups made most files.
    pub(super) fn top(&mut self, cgroups: &[CgroupId], limit: usize) -> Vec<TopDirectory> {
        self.drain();
        let counted: HashMap<DirKey, u64> = self
            .counts
            .iter()
            .take(MAX_READ)
            .flatten()
            .map(|(words, by_cpu)| (DirKey::from_words(words), by_cpu.iter().sum()))
            .filter(|(key, _)| cgroups.contains(&CgroupId(key.cgroup)))
            .collect();
        rank(counted.iter().filter_map(|(key, creates)| Some((self.names.get(key)?, *creates))), limit)
    }

    /// A cgroup is gone.
    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        self.drain();
        let gone: Vec<DirKey> = self.names.keys().filter(|key| key.cgroup == cgroup.0).copied().collect();
        for key in gone {
            self.names.remove(&key);
            // The kernel may have dropped it already.
            let _ = self.counts.remove(&key.to_words());
        }
    }
}

/// Sums by path, most first, equal ones by name.
fn rank<'a>(counted: impl Iterator<Item = (&'a PathBuf, u64)>, limit: usize) -> Vec<TopDirectory> {
    let mut by_path: HashMap<&PathBuf, u64> = HashMap::new();
    for (path, creates) in counted {
        *by_path.entry(path).or_default() += creates;
    }
    let mut ranked: Vec<TopDirectory> =
        by_path.into_iter().map(|(path, creates)| TopDirectory { path: path.clone(), creates }).collect();
    ranked.sort_by(|a, b| b.creates.cmp(&a.creates).then_with(|| a.path.cmp(&b.path)));
    ranked.truncate(limit);
    ranked
}

fn path_of(seen: &DirSeen) -> PathBuf {
    let mut path = PathBuf::from(if seen.may_be_deeper() { "…" } else { "/" });
    path.extend(seen.components().map(OsStr::from_bytes));
    path
}

#[cfg(test)]
mod tests {
    use agent_common::{DEPTH, NAME_BYTES};

    use super::*;

    fn seen(components: &[&str]) -> DirSeen {
        let mut names = [[0; NAME_BYTES]; DEPTH];
        for (name, component) in names.iter_mut().zip(components.iter().rev()) {
            name[..component.len()].copy_from_slice(component.as_bytes());
        }
        let key = DirKey { cgroup: 1, inode: 2, device: 3 };
        DirSeen { key, depth: components.len() as u64, names }
    }

    #[test]
    fn a_path_is_put_together_from_the_top() {
        assert_eq!(path_of(&seen(&["app", "cache"])), PathBuf::from("/app/cache"));
        assert_eq!(path_of(&seen(&[])), PathBuf::from("/"));
        assert!(path_of(&seen(&["d"; DEPTH])).starts_with("…"));
    }

    #[test]
    fn the_same_path_counts_once_and_ties_go_by_name() {
        let (a, b, c) = (PathBuf::from("/a"), PathBuf::from("/b"), PathBuf::from("/c"));
        let ranked = rank([(&c, 5), (&b, 3), (&a, 5), (&b, 4)].into_iter(), 2);
        assert_eq!(
            ranked,
            [TopDirectory { path: b.clone(), creates: 7 }, TopDirectory { path: a.clone(), creates: 5 }]
        );
    }
}
