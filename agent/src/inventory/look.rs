//! One look at a container: a cgroup's [`Site`] to a [`Container`].
//!
//! In: the site; `/proc/PID/{stat,root,mountinfo}` of its first process; names. Out: the container, or nothing while
//! the cgroup has no process. Must never: mix what two processes say (one pid, used again in between).

use std::cell::OnceCell;
use std::path::PathBuf;

use super::cgroup_name::last_component;
use super::mounts;
use super::overlay;
use super::processes;
use super::root::{Directory, HostRoots};
use super::survey::{Claim, Site};
use super::volumes::{self, HostMounts, Owner};
use super::{Container, Layer, NameSource, Names, Process, Runtime, Volume, still_the_same};

/// What the host has, as of one round of looks.
pub(super) struct Surroundings<'a> {
    pub(super) roots: &'a HostRoots,
    pub(super) names: &'a dyn NameSource,
    /// Directories of the host that the node's config allows.
    pub(super) allowed: &'a [PathBuf],
    /// Read at the first container that needs it.
    pub(super) host: OnceCell<HostMounts>,
}

#[derive(Default)]
struct Mounts {
    layer: Option<Layer>,
    volumes: Vec<Volume>,
    others: Vec<PathBuf>,
}

impl Surroundings<'_> {
    /// The container at this site. Its first process stays the one known before for as long as that runs there.
    pub(super) fn look(&self, site: &Site, before: Option<&Container>) -> Option<Container> {
        let known = before.filter(|known| still_the_same(known).is_ok()).map(|known| known.first);
        let first = known.or_else(|| processes::first(site.directories()))?;
        let (runtime, id) = identity(site);
        let mounts = match site.claim {
            Claim::Unit => Mounts::default(),
            Claim::Named(_) | Claim::OwnRoot => self.mounts(first, site.pod_uid()).unwrap_or_default(),
        };
        Some(Container {
            cgroup: site.id,
            cgroup_path: site.path.clone(),
            nested: site.nested.iter().map(|(id, _)| *id).collect(),
            runtime,
            names: self.names(site, &id),
            id,
            first,
            layer: mounts.layer,
            volumes: mounts.volumes,
            other_mounts: mounts.others,
        })
    }

    // Nothing while the process is still on the host's root (a runtime's init before it pivots), and nothing where
    // one of its mounts cannot be read: then nothing of it is ever scanned.
    fn mounts(&self, first: Process, pod_uid: Option<&str>) -> Option<Mounts> {
        let root = Directory::root_of(first.pid).ok().filter(|root| !self.roots.contain(root))?;
        let all = mounts::read(&first.pid.to_string())
            .inspect_err(|error| tracing::debug!(pid = first.pid, %error, "container's mounts unreadable"))
            .ok()?;
        let root_mount = all.iter().find(|mount| root.mount_id() == Some(mount.id))?;
        let owner = Owner { pod_uid, allowed: self.allowed };
        let layer = overlay::layer(root_mount, &root);
        let host = self.host.get_or_init(HostMounts::find);
        let (volumes, others) = volumes::split(&all, root_mount.id, &root, host, owner);
        processes::is_running(&first).then_some(Mounts { layer, volumes, others })
    }

    fn names(&self, site: &Site, id: &str) -> Names {
        match site.claim {
            Claim::Unit => Names::default(),
            Claim::Named(_) | Claim::OwnRoot => names(self.names, id, site.pod_uid()),
        }
    }
}

/// The names of a container in this pod, as far as anybody tells.
pub(super) fn names(source: &dyn NameSource, id: &str, pod_uid: Option<&str>) -> Names {
    let unknown = || Names { pod_uid: pod_uid.map(str::to_owned), ..Names::default() };
    source.names(id, pod_uid).unwrap_or_else(unknown)
}

fn identity(site: &Site) -> (Runtime, String) {
    match &site.claim {
        Claim::Named(name) => (name.runtime, name.id.clone()),
        Claim::OwnRoot => (Runtime::Other, last_component(&site.path).to_owned()),
        Claim::Unit => (Runtime::Unit, site.path.clone()),
    }
}
