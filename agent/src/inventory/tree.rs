//! The walk of the cgroup2 tree.
//!
//! In: a cgroup's path. Out: it and all below it, parents first. Must never: walk without end; cgroups can be made
//! by whoever a subtree was handed to.

use std::collections::VecDeque;
use std::os::unix::fs::DirEntryExt as _;
use std::path::PathBuf;

use super::CgroupId;
use super::root::inode_number;
use crate::kernel::Cgroups;

/// Most cgroups that a walk of the whole tree visits. A busy Kubernetes node has about ten a pod, so some 3,000.
pub(super) const MAX_CGROUPS: usize = 65_536;

/// Most cgroups that a walk of one container's subtree visits; such walks are made up to four times a second.
pub(super) const MAX_BELOW_ONE: usize = 4096;

/// One cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    pub(super) id: CgroupId,
    /// As in `/proc/PID/cgroup`; a name that is no UTF-8 is written with replacement characters.
    pub(super) path: String,
    pub(super) directory: PathBuf,
    /// Index, in the walk, of the cgroup that holds it; `None` for the one that the walk began with.
    pub(super) parent: Option<usize>,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Parents before their children.
    pub(super) cgroups: Vec<Cgroup>,
    /// Whether its limit ended it.
    pub(super) cut: bool,
}

/// `path` and everything below it, at most `limit` cgroups; nothing where it is gone.
pub(super) fn walk(hierarchies: &Cgroups, path: &str, limit: usize) -> Walk {
    let directory = hierarchies.directory(path);
    let mut found = Walk::default();
    let Some(inode) = inode_number(&directory) else { return found };
    found.cgroups.push(Cgroup { id: CgroupId(inode), path: path.to_owned(), directory, parent: None });
    let mut open = VecDeque::from([0]);
    while let Some(parent) = open.pop_front() {
        for child in children(&found.cgroups[parent], parent) {
            if found.cgroups.len() >= limit {
                found.cut = true;
                return found;
            }
            open.push_back(found.cgroups.len());
            found.cgroups.push(child);
        }
    }
    found
}

// A cgroup that is removed while it is read has no children.
fn children(parent: &Cgroup, index: usize) -> impl Iterator<Item = Cgroup> + use<> {
    let above = parent.path.trim_end_matches('/').to_owned();
    let entries = std::fs::read_dir(&parent.directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(move |entry| Cgroup {
        // kernfs's directory entries carry the inode number, which on 64 bits is the cgroup id.
        id: CgroupId(entry.ino()),
        path: format!("{above}/{}", entry.file_name().to_string_lossy()),
        directory: entry.path(),
        parent: Some(index),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn parents_come_first_and_ids_are_inodes() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a/b/c", "a/d"] {
            std::fs::create_dir_all(home.path().join(name)).unwrap();
        }
        std::fs::write(home.path().join("a/cgroup.procs"), "").unwrap();
        let hierarchies = Cgroups { unified: home.path().to_path_buf(), v1: BTreeMap::new() };

        let walk = walk(&hierarchies, "/", 5);
        let mut paths: Vec<_> = walk.cgroups.iter().map(|cgroup| cgroup.path.as_str()).collect();
        assert!(!walk.cut);
        for cgroup in &walk.cgroups[1..] {
            let parent = &walk.cgroups[cgroup.parent.unwrap()];
            assert_eq!(cgroup.path.rsplit_once('/').unwrap().0, parent.path.trim_end_matches('/'));
            assert_eq!(Some(cgroup.id.0), inode_number(&cgroup.directory));
        }
        paths.sort_unstable();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a/d"]);
    }

    #[test]
    fn what_is_gone_is_empty() {
        let home = tempfile::tempdir().unwrap();
        let hierarchies = Cgroups { unified: home.path().to_path_buf(), v1: BTreeMap::new() };
        assert!(walk(&hierarchies, "/gone", MAX_CGROUPS).cgroups.is_empty());
    }

    #[test]
    fn a_walk_ends_at_its_limit_and_says_so() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let hierarchies = Cgroups { unified: home.path().to_path_buf(), v1: BTreeMap::new() };
        let walked = |limit| {
            let walk = walk(&hierarchies, "/", limit);
            (walk.cgroups.len(), walk.cut)
        };
        assert_eq!([walked(3), walked(4)], [(3, true), (4, false)]);
    }
}
