//! The inventory: containers kept up to date.
//!
//! In: the cgroup tree (walked at start and slowly after), the kernel's events of cgroups made and removed, the
//! passing of time. Out: the [`Container`]s and what changed of them. Must never: change anything on the host; call a
//! container known before the kernel shows a process in it.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::book::{Book, Changes};
use super::cgroup_name::{ancestors, is_within, recognise};
use super::find::find;
use super::fresh::Fresh;
use super::look::{self, Surroundings};
use super::processes;
use super::root::{HostRoots, inode_number};
use super::survey::{Holder, Survey, Surveyor};
use super::tree::{MAX_BELOW_ONE, MAX_CGROUPS};
use super::{CgroupEvent, CgroupId, Container, NameSource, Runtime, Target, TargetError};
use crate::kernel::{self, Cgroups};

/// Containers whose first process is asked after at each [`Inventory::settle`]: with four calls a second, up to 64
/// containers are checked four times a second, 4,096 once in 16 s. 19 µs each (measured, debug build).
const CHECKS_PER_SETTLE: usize = 64;

/// How the inventory is set up.
#[derive(Debug, Clone)]
pub struct InventorySettings {
    /// Most containers and units that are watched; more are counted by [`Inventory::loss`].
    pub max_containers: usize,
    /// Directories of the host that policies may name where containers mount them.
    pub host_paths: Vec<PathBuf>,
    /// Whether systemd services and scopes are listed, too.
    pub units: bool,
}

impl Default for InventorySettings {
    fn default() -> Self {
        Self { max_containers: 4096, host_paths: Vec::new(), units: true }
    }
}

/// What the inventory's limits have left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InventoryLoss {
    /// Containers over [`InventorySettings::max_containers`] now.
    pub containers_skipped: u64,
    /// Walks of the tree that ended at their limit of cgroups, since the start.
    pub walks_cut: u64,
    /// Fresh cgroups left to the next rescan, since the start.
    pub fresh_turned_away: u64,
    /// Nested cgroups whose counts are not rolled up, since the start.
    pub nested_left_out: u64,
}

/// The containers of this node.
pub struct Inventory {
    cgroups: Cgroups,
    names: Box<dyn NameSource>,
    settings: InventorySettings,
    /// The agent's own cgroup.
    own: String,
    book: Book,
    fresh: Fresh,
    started: Instant,
    walks_cut: u64,
    /// Where the last round of checks ended.
    checked: CgroupId,
}

impl Inventory {
    /// Empty until the first [`Self::rescan`]. `host_paths` that exist are taken with their symlinks resolved.
    pub fn new(cgroups: Cgroups, names: Box<dyn NameSource>, mut settings: InventorySettings) -> Self {
        for path in &mut settings.host_paths {
            *path = path.canonicalize().unwrap_or_else(|_| path.clone());
        }
        // Unreadable: then nothing is taken for the agent, whose own root is the host's and no layer anyway.
        let own = kernel::cgroup_of("self")
            .inspect_err(|error| tracing::warn!(%error, "own cgroup unknown"))
            .unwrap_or_else(|_| "/".to_owned());
        let book = Book::new(settings.max_containers);
        let (fresh, started) = (Fresh::default(), Instant::now());
        Self { cgroups, names, settings, own, book, fresh, started, walks_cut: 0, checked: CgroupId(0) }
    }

    /// Walks the whole tree and looks at every container. Blocking: 0.3 ms a container (measured,
    /// 100 containers, debug build, busy machine).
    pub fn rescan(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.book.begin_round();
        let cut_before = self.walks_cut;
        let seen = self.visit("/", MAX_CGROUPS, &mut changes);
        let cut = self.walks_cut > cut_before;
        if cut {
            tracing::warn!(
                limit = MAX_CGROUPS,
                "more cgroups than the limit: containers made unseen may be missing"
            );
        }
        // Where the walk did not get everywhere, not to be seen is not to be gone.
        let is_there = |known: &Container| {
            seen.contains(&known.cgroup) || (cut && self.is_at(known.cgroup, &known.cgroup_path))
        };
        let gone: Vec<_> =
            self.book.all().filter(|known| !is_there(known)).map(|known| known.cgroup).collect();
        for id in gone {
            self.book.remove(id, &mut changes);
        }
        changes
    }

    /// Takes in one event of the kernel.
    pub fn apply(&mut self, event: &CgroupEvent) -> Changes {
        let mut changes = Changes::default();
        match event {
            CgroupEvent::Made { id, path } => self.made(*id, path, &mut changes),
            CgroupEvent::Removed { id } => {
                self.fresh.remove(*id);
                self.book.remove(*id, &mut changes);
            }
        }
        changes
    }

    /// Looks at cgroups made a moment ago, and whether containers still run. Call four times a second.
    pub fn settle(&mut self) -> Changes {
        let now = self.started.elapsed();
        let mut changes = Changes::default();
        for entry in self.fresh.take_due(now) {
            if !self.is_at(entry.id, &entry.path) {
                self.book.remove(entry.id, &mut changes);
                continue;
            }
            self.revisit(entry.id, &entry.path, &mut changes);
            let complete = self.book.get(entry.id).is_some_and(|found| is_complete(found));
            self.fresh.put_back(entry, complete, now);
        }
        self.check_some(now, &mut changes);
        changes
    }

    /// Asks for the names again of the containers in pods that `is_touched` says yes to, by the uid of their cgroups.
    pub fn ask_names(&mut self, is_touched: impl Fn(&str) -> bool) -> Changes {
        let mut changes = Changes::default();
        let uid = |container: &Container| container.names.pod_uid.clone().filter(|uid| is_touched(uid));
        let touched: Vec<_> =
            self.book.all().filter_map(|container| Some((Arc::clone(container), uid(container)?))).collect();
        for (before, uid) in touched {
            let names = look::names(self.names.as_ref(), &before.id, Some(&uid));
            self.book.put(Container { names, ..Container::clone(&before) }, &mut changes);
        }
        changes
    }

    /// All containers (and units), in the order of their cgroup ids.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.book.all()
    }

    /// The container with this very cgroup.
    pub fn get(&self, id: CgroupId) -> Option<&Arc<Container>> {
        self.book.get(id)
    }

    /// The container with this cgroup, or with the one that it is nested in.
    pub fn resolve(&self, id: CgroupId) -> Option<&Arc<Container>> {
        self.book.resolve(id)
    }

    /// The container that a person named.
    pub fn find(&self, target: &Target) -> Result<Arc<Container>, TargetError> {
        find(&self.book, target)
    }

    /// Containers over the limit.
    pub fn skipped(&self) -> u64 {
        self.book.skipped()
    }

    /// What the limits have left out, this one's and the others'.
    pub fn loss(&self) -> InventoryLoss {
        InventoryLoss {
            containers_skipped: self.book.skipped(),
            walks_cut: self.walks_cut,
            fresh_turned_away: self.fresh.turned_away,
            nested_left_out: self.book.nested_left_out,
        }
    }

    fn made(&mut self, id: CgroupId, path: &str, changes: &mut Changes) {
        let now = self.started.elapsed();
        // Another hierarchy's, or gone already.
        if !self.is_at(id, path) {
            return;
        }
        let nested_in = recognise(path).is_none().then(|| self.container_above(path)).flatten();
        match nested_in.map(|above| (above, self.book.at(above))) {
            Some((_, Some(holder))) => self.book.nest(id, holder.cgroup, changes),
            // A container by name that had no process when it was looked at: this may be where it gets one.
            Some((above, None)) => {
                if let Some(holder) = inode_number(&self.cgroups.directory(above)) {
                    self.fresh.push(CgroupId(holder), above, now);
                }
            }
            None => {
                self.fresh.push(id, path, now);
                self.revisit(id, path, changes);
            }
        }
    }

    // A container whose first process ended has another one now, or starts again in the same cgroup, or is gone.
    fn check_some(&mut self, now: Duration, changes: &mut Changes) {
        let round: Vec<_> = self.book.round_from(self.checked).take(CHECKS_PER_SETTLE).cloned().collect();
        for container in round {
            self.checked = container.cgroup;
            if processes::is_running(&container.first) {
                continue;
            }
            let path = &container.cgroup_path;
            self.revisit(container.cgroup, path, changes);
            self.fresh.push(container.cgroup, path, now);
        }
    }

    // One cgroup and what is below it. No container (any more): then it is part of the unit it lies in, if any.
    fn revisit(&mut self, id: CgroupId, path: &str, changes: &mut Changes) {
        if self.visit(path, MAX_BELOW_ONE, changes).contains(&id) {
            return;
        }
        if self.book.get(id).is_some() {
            self.book.remove(id, changes);
        }
        if let Some(unit) = self.unit_above(path) {
            self.book.nest(id, unit, changes);
        }
    }

    /// Looks at everything at and below `start`, at most `limit` cgroups; returns the containers found there.
    fn visit(&mut self, start: &str, limit: usize, changes: &mut Changes) -> HashSet<CgroupId> {
        let roots = HostRoots::find();
        let survey = self.survey(start, limit, &roots);
        self.walks_cut += u64::from(survey.cut);
        self.book.nested_left_out += survey.nested_left_out;
        let surroundings = Surroundings {
            roots: &roots,
            names: self.names.as_ref(),
            allowed: &self.settings.host_paths,
            host: OnceCell::new(),
        };
        let mut seen = HashSet::new();
        for site in &survey.sites {
            if !self.book.has_room_for(site.id) {
                continue;
            }
            let before = self.book.get(site.id).map(Arc::as_ref);
            match surroundings.look(site, before) {
                Some(container) => {
                    seen.insert(site.id);
                    self.book.put(container, changes);
                }
                None => self.book.remove(site.id, changes),
            }
        }
        seen
    }

    fn survey(&self, start: &str, limit: usize, roots: &HostRoots) -> Survey {
        let Self { cgroups: hierarchies, book, own, .. } = self;
        let surveyor = Surveyor { hierarchies, roots, book, own, units: self.settings.units, limit };
        surveyor.survey(start, self.holder(start))
    }

    fn holder(&self, path: &str) -> Holder {
        if self.container_above(path).is_some() {
            return Holder::Container;
        }
        if self.unit_above(path).is_some() { Holder::Unit } else { Holder::Nothing }
    }

    fn unit_above(&self, path: &str) -> Option<CgroupId> {
        let above = ancestors(path).find_map(|above| self.book.at(above))?;
        (above.runtime == Runtime::Unit).then_some(above.cgroup)
    }

    // Known by its root, or by its name though there may be no process in it yet.
    fn container_above<'a>(&self, path: &'a str) -> Option<&'a str> {
        ancestors(path).find(|above| {
            let named = recognise(above).is_some() && !is_within(&self.own, above);
            named || self.book.at(above).is_some_and(|known| known.runtime != Runtime::Unit)
        })
    }

    fn is_at(&self, id: CgroupId, path: &str) -> bool {
        inode_number(&self.cgroups.directory(path)) == Some(id.0)
    }
}

fn is_complete(container: &Container) -> bool {
    container.runtime == Runtime::Unit || container.layer.is_some()
}
