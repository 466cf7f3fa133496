//! The containers known now, by cgroup and by path. Pure.
//!
//! In: containers that were looked at, ids of cgroups that are gone. Out: what that changed. Must never: hold more
//! than its limit; lose a nested cgroup's way to its container while both are there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::cgroup_name::ancestors;
use super::survey::MAX_NESTED;
use super::{CgroupId, Container};

/// What one step changed, for the stages that keep something for each container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Containers that were not known before.
    pub added: Vec<Arc<Container>>,
    /// Containers of which something is different: the first process, the layer, a nested cgroup, names. As now.
    pub changed: Vec<Arc<Container>>,
    /// Containers that are gone. As last known.
    pub removed: Vec<Arc<Container>>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// The containers known now.
#[derive(Debug)]
pub(super) struct Book {
    containers: BTreeMap<CgroupId, Arc<Container>>,
    /// Nested cgroup to container.
    nested: HashMap<CgroupId, CgroupId>,
    paths: HashMap<String, CgroupId>,
    limit: usize,
    skipped: HashSet<CgroupId>,
    /// Whether the log says that there are some.
    warned: bool,
    /// Nested cgroups that were not taken in since the start, over [`MAX_NESTED`].
    pub(super) nested_left_out: u64,
}

impl Book {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            containers: BTreeMap::new(),
            nested: HashMap::new(),
            paths: HashMap::new(),
            limit,
            skipped: HashSet::new(),
            warned: false,
            nested_left_out: 0,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.containers.values()
    }

    pub(super) fn get(&self, id: CgroupId) -> Option<&Arc<Container>> {
        self.containers.get(&id)
    }

    /// The container that is or holds this cgroup.
    pub(super) fn resolve(&self, id: CgroupId) -> Option<&Arc<Container>> {
        self.get(id).or_else(|| self.get(*self.nested.get(&id)?))
    }

    /// The container at this very path.
    pub(super) fn at(&self, path: &str) -> Option<&Arc<Container>> {
        self.get(*self.paths.get(path)?)
    }

    /// The container at this path or nearest above it.
    pub(super) fn at_or_above(&self, path: &str) -> Option<&Arc<Container>> {
        std::iter::once(path).chain(ancestors(path)).find_map(|path| self.at(path))
    }

    /// Containers after `id` in the order of ids, then from the beginning again, each once.
    pub(super) fn round_from(&self, id: CgroupId) -> impl Iterator<Item = &Arc<Container>> {
        let after = self.containers.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded));
        after.chain(self.containers.range(..=id)).map(|(_, container)| container)
    }

    /// Whether a container with this id may be put; counts it as skipped where not.
    pub(super) fn has_room_for(&mut self, id: CgroupId) -> bool {
        let room = self.containers.contains_key(&id) || self.containers.len() < self.limit;
        if !room && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(limit = self.limit, "more containers than the limit: the rest is not watched");
        }
        if !room && self.skipped.len() < super::tree::MAX_CGROUPS {
            self.skipped.insert(id);
        }
        room
    }

    /// Containers over the limit, as of the last [`Self::begin_round`] and what was seen since.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.len() as u64
    }

    /// Before a walk of the whole tree: what is over the limit is counted anew.
    pub(super) fn begin_round(&mut self) {
        self.skipped.clear();
    }

    /// Takes a container in, or in place of what was known of it. Ask [`Self::has_room_for`] first.
    pub(super) fn put(&mut self, container: Container, changes: &mut Changes) {
        let id = container.cgroup;
        if self.get(id).is_some_and(|before| **before == container) {
            return;
        }
        self.unnest(id, changes);
        let container = Arc::new(container);
        let before = self.containers.insert(id, Arc::clone(&container));
        self.let_go(id, before.as_deref());
        self.nested.extend(container.nested.iter().map(|nested| (*nested, id)));
        self.paths.insert(container.cgroup_path.clone(), id);
        if before.is_some() { changes.changed.push(container) } else { changes.added.push(container) }
    }

    /// Takes a new cgroup into the container that holds it.
    pub(super) fn nest(&mut self, id: CgroupId, holder: CgroupId, changes: &mut Changes) {
        let Some(before) = self.get(holder) else { return };
        if before.nested.contains(&id) {
            return;
        }
        if before.nested.len() >= MAX_NESTED {
            self.nested_left_out += 1;
            return;
        }
        let mut container = Container::clone(before);
        container.nested.push(id);
        self.put(container, changes);
    }

    /// A cgroup is gone, be it a container's or one nested in it.
    pub(super) fn remove(&mut self, id: CgroupId, changes: &mut Changes) {
        self.skipped.remove(&id);
        if let Some(container) = self.containers.remove(&id) {
            self.let_go(id, Some(&container));
            if self.paths.get(&container.cgroup_path) == Some(&id) {
                self.paths.remove(&container.cgroup_path);
            }
            changes.removed.push(container);
        } else {
            self.unnest(id, changes);
        }
    }

    // Nested in a unit, and now gone or a container of its own.
    fn unnest(&mut self, id: CgroupId, changes: &mut Changes) {
        if let Some(holder) = self.nested.remove(&id).and_then(|holder| self.get(holder)) {
            let mut container = Container::clone(holder);
            container.nested.retain(|nested| *nested != id);
            self.put(container, changes);
        }
    }

    // Not those that another container has taken in since.
    fn let_go(&mut self, id: CgroupId, container: Option<&Container>) {
        for nested in container.into_iter().flat_map(|container| &container.nested) {
            if self.nested.get(nested) == Some(&id) {
                self.nested.remove(nested);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Names, Process, Runtime};
    use super::*;

    fn container(id: u64, path: &str, nested: &[u64]) -> Container {
        Container {
            cgroup: CgroupId(id),
            cgroup_path: path.into(),
            nested: nested.iter().copied().map(CgroupId).collect(),
            runtime: Runtime::Docker,
            id: format!("id-{id}"),
            names: Names::default(),
            first: Process { pid: 1, start_time: 1 },
            layer: None,
            volumes: Vec::new(),
            other_mounts: Vec::new(),
        }
    }

    fn put(book: &mut Book, container: Container) -> Changes {
        let mut changes = Changes::default();
        book.put(container, &mut changes);
        changes
    }

    fn remove(book: &mut Book, id: u64) -> Changes {
        let mut changes = Changes::default();
        book.remove(CgroupId(id), &mut changes);
        changes
    }

    fn ids(containers: &[Arc<Container>]) -> Vec<u64> {
        containers.iter().map(|container| container.cgroup.0).collect()
    }

    #[test]
    fn what_is_the_same_is_no_change() {
        let mut book = Book::new(8);
        assert_eq!(ids(&put(&mut book, container(1, "/a", &[])).added), [1]);
        assert!(put(&mut book, container(1, "/a", &[])).is_empty());
        assert_eq!(ids(&put(&mut book, container(1, "/a", &[2])).changed), [1]);
        assert_eq!(ids(&remove(&mut book, 1).removed), [1]);
        assert!(remove(&mut book, 1).is_empty());
    }

    #[test]
    fn a_nested_cgroup_resolves_until_it_or_its_container_goes() {
        let mut book = Book::new(8);
        put(&mut book, container(1, "/a", &[2]));
        let mut changes = Changes::default();
        book.nest(CgroupId(3), CgroupId(1), &mut changes);
        book.nest(CgroupId(3), CgroupId(1), &mut changes);
        assert_eq!(ids(&changes.changed), [1]);
        let resolved = |book: &Book, id| book.resolve(CgroupId(id)).map(|container| container.cgroup.0);
        assert_eq!([1, 2, 3, 4].map(|id| resolved(&book, id)), [Some(1), Some(1), Some(1), None]);
        assert_eq!(ids(&remove(&mut book, 2).changed), [1]);
        assert_eq!([1, 2, 3].map(|id| resolved(&book, id)), [Some(1), None, Some(1)]);
        remove(&mut book, 1);
        assert_eq!([1, 3].map(|id| resolved(&book, id)), [None, None]);
    }

    #[test]
    fn a_nested_cgroup_that_another_container_took_in_stays_there() {
        let mut book = Book::new(8);
        put(&mut book, container(1, "/a", &[3]));
        put(&mut book, container(2, "/a/b", &[3]));
        put(&mut book, container(1, "/a", &[]));
        assert_eq!(book.resolve(CgroupId(3)).map(|container| container.cgroup.0), Some(2));
    }

    #[test]
    fn a_nested_cgroup_that_becomes_a_container_is_its_own() {
        let mut book = Book::new(8);
        put(&mut book, container(1, "/a.service", &[2]));
        let changes = put(&mut book, container(2, "/a.service/b", &[]));
        assert_eq!((ids(&changes.changed), ids(&changes.added)), (vec![1], vec![2]));
        assert!(book.get(CgroupId(1)).is_some_and(|unit| unit.nested.is_empty()));
    }

    #[test]
    fn paths_lead_to_the_nearest_container() {
        let mut book = Book::new(8);
        put(&mut book, container(1, "/a", &[]));
        put(&mut book, container(2, "/a/b/c", &[]));
        let at = |path| book.at_or_above(path).map(|container| container.cgroup.0);
        assert_eq!(
            [at("/a"), at("/a/b"), at("/a/b/c/d"), at("/ab"), at("/")],
            [Some(1), Some(1), Some(2), None, None]
        );
    }

    #[test]
    fn a_cgroup_made_again_keeps_its_path_when_the_old_one_is_removed_late() {
        let mut book = Book::new(8);
        put(&mut book, container(1, "/a", &[]));
        put(&mut book, container(2, "/a", &[]));
        remove(&mut book, 1);
        assert_eq!(book.at_or_above("/a").map(|container| container.cgroup.0), Some(2));
    }

    #[test]
    fn over_the_limit_is_counted_once_for_each() {
        let mut book = Book::new(1);
        assert!(book.has_room_for(CgroupId(1)));
        put(&mut book, container(1, "/a", &[]));
        assert!(book.has_room_for(CgroupId(1)));
        assert!(!book.has_room_for(CgroupId(2)));
        assert!(!book.has_room_for(CgroupId(2)));
        assert_eq!(book.skipped(), 1);
        remove(&mut book, 1);
        assert!(book.has_room_for(CgroupId(2)));
        book.begin_round();
        assert_eq!(book.skipped(), 0);
    }

    #[test]
    fn a_round_reaches_everyone_once() {
        let mut book = Book::new(8);
        for id in 1..=3 {
            put(&mut book, container(id, &format!("/{id}"), &[]));
        }
        let from = |id| book.round_from(CgroupId(id)).map(|container| container.cgroup.0).collect::<Vec<_>>();
        assert_eq!(from(0), [1, 2, 3]);
        assert_eq!(from(2), [3, 1, 2]);
        assert_eq!(from(9), [1, 2, 3]);
    }

    #[test]
    fn nested_cgroups_are_bounded_and_counted() {
        let mut book = Book::new(8);
        let full: Vec<_> = (10..10 + MAX_NESTED as u64).collect();
        put(&mut book, container(1, "/a", &full));
        let mut changes = Changes::default();
        book.nest(CgroupId(2), CgroupId(1), &mut changes);
        assert!(changes.is_empty());
        assert_eq!(book.nested_left_out, 1);
    }
}
