//! Which cgroups of a subtree are containers, and which only belong to one.
//!
//! In: the cgroup tree; for cgroups whose names say nothing, the root of their first process. Out: [`Site`]s.
//!
//! A cgroup is a container where its name is a runtime's, or where its first process has an overlayfs of its own for
//! a root. What lies below one and has no such name is part of it. Services and scopes of systemd are units.

use std::path::{Path, PathBuf};

use super::book::Book;
use super::cgroup_name::{CgroupName, is_unit, is_within, recognise};
use super::mounts;
use super::processes;
use super::root::{Directory, HostRoots};
use super::tree::{self, Cgroup};
use super::{CgroupId, Runtime, still_the_same};
use crate::kernel::Cgroups;

/// Most cgroups nested in one container whose counts are rolled up to it; systemd in a container has some 50.
pub(super) const MAX_NESTED: usize = 1024;

/// Why a cgroup is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its name is a runtime's.
    Named(CgroupName),
    /// Its first process has an overlayfs for a root that is not the host's.
    OwnRoot,
    /// A systemd service or scope on the host's root.
    Unit,
}

/// A cgroup that is, or is about to be, a container or unit.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) id: CgroupId,
    pub(super) path: String,
    pub(super) directory: PathBuf,
    pub(super) claim: Claim,
    /// Cgroups that are part of it.
    pub(super) nested: Vec<(CgroupId, PathBuf)>,
}

/// What a cgroup lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Neither container nor unit.
    Nothing,
    /// A unit: a container may hide in it.
    Unit,
    /// A container: all below without a runtime's name is part of it.
    Container,
}

/// What was found in a subtree.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) sites: Vec<Site>,
    /// Whether the walk ended at its limit.
    pub(super) cut: bool,
    /// Nested cgroups beyond [`MAX_NESTED`] of their container.
    pub(super) nested_left_out: u64,
}

/// How to judge.
#[derive(Debug)]
pub(super) struct Surveyor<'a> {
    pub(super) hierarchies: &'a Cgroups,
    pub(super) roots: &'a HostRoots,
    /// What is known by now.
    pub(super) book: &'a Book,
    /// The agent's own cgroup: it and what holds it are never containers.
    pub(super) own: &'a str,
    /// Whether units are listed.
    pub(super) units: bool,
    /// Most cgroups to walk.
    pub(super) limit: usize,
}

impl Surveyor<'_> {
    /// Everything at and below `start`, which lies in `holder`.
    pub(super) fn survey(&self, start: &str, holder: Holder) -> Survey {
        let walk = tree::walk(self.hierarchies, start, self.limit);
        let mut found = Survey { cut: walk.cut, ..Survey::default() };
        // Index of the site that holds each cgroup of the walk.
        let mut held_by: Vec<Option<usize>> = Vec::with_capacity(walk.cgroups.len());
        for cgroup in walk.cgroups {
            let above = cgroup.parent.and_then(|parent| held_by[parent]);
            let holder = match above {
                Some(site) => found.sites[site].holds(),
                None if cgroup.parent.is_none() => holder,
                None => Holder::Nothing,
            };
            held_by.push(match self.claim(&cgroup, holder) {
                Some(claim) => Some(found.list(cgroup, claim)),
                None => above.inspect(|site| found.nest(*site, cgroup)),
            });
        }
        found
    }

    fn claim(&self, cgroup: &Cgroup, holder: Holder) -> Option<Claim> {
        if cgroup.path == "/" || is_within(self.own, &cgroup.path) {
            return None;
        }
        if let Some(name) = recognise(&cgroup.path) {
            return Some(Claim::Named(name));
        }
        if holder == Holder::Container {
            return None;
        }
        let first = || processes::first([cgroup.directory.as_path()]);
        if self.is_known_by_its_root(cgroup.id)
            || first().is_some_and(|first| has_overlay_of_its_own(first.pid, self.roots))
        {
            return Some(Claim::OwnRoot);
        }
        (self.units && is_unit(&cgroup.path)).then_some(Claim::Unit)
    }

    // It stays one when its first process moves into a nested cgroup (systemd in a container does).
    fn is_known_by_its_root(&self, id: CgroupId) -> bool {
        let known = self.book.get(id).filter(|known| known.runtime == Runtime::Other);
        known.is_some_and(|known| still_the_same(known).is_ok())
    }
}

impl Survey {
    fn list(&mut self, cgroup: Cgroup, claim: Claim) -> usize {
        let Cgroup { id, path, directory, .. } = cgroup;
        self.sites.push(Site { id, path, directory, claim, nested: Vec::new() });
        self.sites.len() - 1
    }

    fn nest(&mut self, site: usize, cgroup: Cgroup) {
        let nested = &mut self.sites[site].nested;
        if nested.len() < MAX_NESTED {
            nested.push((cgroup.id, cgroup.directory));
        } else {
            self.nested_left_out += 1;
        }
    }
}

impl Site {
    fn holds(&self) -> Holder {
        if self.claim == Claim::Unit { Holder::Unit } else { Holder::Container }
    }

    /// Its own directory and those nested in it.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        let nested = self.nested.iter().map(|(_, directory)| directory.as_path());
        std::iter::once(self.directory.as_path()).chain(nested)
    }

    /// The pod's uid, where the cgroup's path names one.
    pub(super) fn pod_uid(&self) -> Option<&str> {
        match &self.claim {
            Claim::Named(name) => name.pod_uid.as_deref(),
            Claim::OwnRoot | Claim::Unit => None,
        }
    }
}

/// Processes in the root cgroup that live in an overlayfs of their own: containers without a cgroup2 cgroup (a hybrid
/// host, a runtime that uses v1 only), which podsweep cannot tell apart and therefore does not see. For `doctor`.
pub fn containers_without_cgroup(hierarchies: &Cgroups) -> usize {
    let roots = HostRoots::find();
    processes::pids(&hierarchies.unified).filter(|pid| has_overlay_of_its_own(*pid, &roots)).count()
}

fn has_overlay_of_its_own(pid: i32, roots: &HostRoots) -> bool {
    let Ok(root) = Directory::root_of(pid) else { return false };
    if roots.contain(&root) {
        return false;
    }
    let mounts = mounts::read(&pid.to_string()).unwrap_or_default();
    mounts.iter().any(|mount| root.mount_id() == Some(mount.id) && mount.fs_type == "overlay")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    // A tree of plain directories stands for cgroupfs; this process, on the host's root, for every process.
    fn survey(paths: &[&str], own: &str, units: bool) -> Vec<(String, Claim, usize)> {
        let home = tempfile::tempdir().unwrap();
        for path in paths {
            let directory = home.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("cgroup.procs"), format!("{}\n", std::process::id())).unwrap();
        }
        let hierarchies = Cgroups { unified: home.path().to_path_buf(), v1: BTreeMap::new() };
        let roots = HostRoots::find();
        let book = Book::new(1);
        let surveyor = Surveyor {
            hierarchies: &hierarchies,
            roots: &roots,
            book: &book,
            own,
            units,
            limit: tree::MAX_CGROUPS,
        };
        let sites = surveyor.survey("/", Holder::Nothing).sites;
        let mut sites: Vec<_> = sites
            .into_iter()
            .map(|site| (site.path.clone(), site.claim.clone(), site.nested.len()))
            .collect();
        sites.sort_by(|a, b| a.0.cmp(&b.0));
        sites
    }

    fn paths(sites: &[(String, Claim, usize)]) -> Vec<&str> {
        sites.iter().map(|(path, ..)| path.as_str()).collect()
    }

    #[test]
    fn what_lies_below_a_container_is_part_of_it() {
        let container = format!("/machine.slice/libpod-{ID}.scope");
        let inner = format!("{container}/container/system.slice/x.service");
        let sites = survey(&[&inner], "/", true);
        assert_eq!(paths(&sites), [container.as_str()]);
        assert_eq!(sites[0].2, 3);
    }

    #[test]
    fn a_container_in_a_container_is_one_of_its_own() {
        let outer = format!("/docker/{ID}");
        let inner = format!("{outer}/docker/{ID}");
        let sites = survey(&[&format!("{inner}/init.scope")], "/", true);
        assert_eq!(paths(&sites), [outer.as_str(), inner.as_str()]);
        assert_eq!((sites[0].2, sites[1].2), (1, 1));
    }

    #[test]
    fn units_are_listed_when_asked_for_and_slices_are_not() {
        let tree = ["/system.slice/a.service/worker", "/user.slice/user-0.slice/session-1.scope"];
        let sites = survey(&tree, "/", true);
        assert_eq!(paths(&sites), ["/system.slice/a.service", "/user.slice/user-0.slice/session-1.scope"]);
        assert!(sites.iter().all(|(_, claim, _)| *claim == Claim::Unit));
        assert_eq!(sites[0].2, 1);
        assert!(survey(&tree, "/", false).is_empty());
    }

    #[test]
    fn the_agents_own_cgroup_and_what_holds_it_are_none() {
        let own = format!("/docker/{ID}/podsweep.service");
        let sites = survey(&[&own, &format!("/docker/{ID}/other.service")], &own, true);
        assert_eq!(paths(&sites), [format!("/docker/{ID}/other.service")]);
    }
}
