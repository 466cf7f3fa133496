//! The real Kubernetes that the tests of the level `cluster` run on.
//!
//! In: nothing but Debian's mirrors, or `KUBEBUILDER_ASSETS`. Out: one folder with kube-apiserver, etcd, kubelet and
//! what else a cluster of one node is made of, kept in the cache. No package that can be reached holds a
//! kube-apiserver, so it is built from Debian's source package with Debian's Go, once: some nine minutes on two cores.
//! Must never install anything: Debian's packages are unpacked (etcd-server and containerd would start daemons).

mod build;
mod downloads;
mod openapi;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::build::Workshop;
use self::downloads::Downloads;
use crate::command::{cache, step, which};
use crate::lock::alone_in;

/// A folder with ready programs, as envtest of controller-runtime and others look for it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Without these, [`ASSETS`] is of no use.
const CONTROL_PLANE: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// With these as well, a node can be had.
const NODE: [&str; 7] = [
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "cni",
];
/// The link to the newest finished folder: where the tests look. tests/src/cluster/programs.rs has the same name.
const CURRENT: &str = "current";

/// What tests can be run with the Kubernetes that there is, or that will be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those of an API server only.
    ControlPlane,
    /// All.
    Node,
}

/// Why there can be no Kubernetes here, if there can be none.
pub(crate) fn obstacle() -> Option<String> {
    match assets() {
        Err(error) => Some(format!("{error:#}")),
        Ok(Some(_)) => None,
        Ok(None) if is_finished(&store().join(CURRENT)) => None,
        Ok(None) => which("apt-get").is_none().then(|| {
            format!("needs Debian's apt-get, whose Kubernetes is built; or {ASSETS}, a folder with {CONTROL_PLANE:?}")
        }),
    }
}

/// What tests it will be good for.
pub(crate) fn extent() -> Extent {
    match assets() {
        Ok(Some(folder)) if !holds(&folder, &NODE) => Extent::ControlPlane,
        _ => Extent::Node,
    }
}

/// Makes it, where it is missing.
pub(crate) fn install() -> Result<()> {
    if assets()?.is_some() || is_finished(&store().join(CURRENT)) {
        return Ok(());
    }
    let store = store();
    fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
    let _alone = alone_in(&store)?;
    if is_finished(&store.join(CURRENT)) {
        return Ok(()); // by whoever was waited for
    }
    step("kubernetes: none in the cache: it is built from Debian's source package (once, some nine minutes)");
    let downloads = Downloads::fetch(&store.join("downloads"))?;
    let key = downloads.key()?;
    if !is_finished(&store.join(&key)) {
        make(&downloads, &store, &key)?;
    }
    make_current(&store, &key)?;
    tidy(&store, &key)
}

/// What an earlier run has finished of it is not made again.
fn make(downloads: &Downloads, store: &Path, key: &str) -> Result<()> {
    let folder = store.join(format!(".{key}"));
    let workshop = Workshop::open(&folder, downloads)?;
    let made = workshop.make()?;
    if !is_finished(&made) {
        bail!(
            "{}: not all of {CONTROL_PLANE:?} and {NODE:?} are there, though all was built",
            made.display()
        );
    }
    let place = store.join(key);
    remove(&place)?;
    fs::rename(&made, &place).with_context(|| format!("cannot make {}", place.display()))
}

fn store() -> PathBuf {
    cache().join("kubernetes")
}

/// The folder that somebody has named, if it is of use.
fn assets() -> Result<Option<PathBuf>> {
    let Some(folder) = std::env::var_os(ASSETS).map(PathBuf::from) else { return Ok(None) };
    if !holds(&folder, &CONTROL_PLANE) {
        bail!(
            "{ASSETS}={}: not all of {CONTROL_PLANE:?} are there; name another folder, or unset {ASSETS}",
            folder.display()
        );
    }
    Ok(Some(folder))
}

fn is_finished(folder: &Path) -> bool {
    holds(folder, &CONTROL_PLANE) && holds(folder, &NODE)
}

fn holds(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| folder.join(name).exists())
}

/// By renaming: tests may be looking for it.
fn make_current(store: &Path, key: &str) -> Result<()> {
    let link = store.join(format!(".{CURRENT}"));
    let _ = fs::remove_file(&link);
    symlink(key, &link).with_context(|| format!("cannot make {}", link.display()))?;
    let current = store.join(CURRENT);
    fs::rename(&link, &current).with_context(|| format!("cannot make {}", current.display()))
}

/// Source, toolchain and Go's cache take 3 GB, and are of no use any more.
fn tidy(store: &Path, key: &str) -> Result<()> {
    let kept = [key, CURRENT, "lock"];
    for entry in fs::read_dir(store).with_context(|| format!("cannot read {}", store.display()))?.flatten() {
        if kept.iter().all(|name| entry.file_name() != **name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, programs: &[&str]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("podsweep-kubernetes-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for program in programs {
            fs::write(folder.join(program), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_is_finished_only_with_every_program() {
        let whole = folder("whole", &[&CONTROL_PLANE[..], &NODE].concat());
        assert!(is_finished(&whole));
        fs::remove_file(whole.join("kubelet")).unwrap();
        assert!(!is_finished(&whole), "without a kubelet");
        assert!(holds(&whole, &CONTROL_PLANE));
        fs::remove_dir_all(whole).unwrap();
    }

    #[test]
    fn tidying_leaves_the_folder_that_is_current_and_no_other() {
        let store = folder("store", &["lock"]);
        for name in ["new", "old", ".new"] {
            fs::create_dir_all(store.join(name).join("below")).unwrap();
        }
        make_current(&store, "old").unwrap();
        make_current(&store, "new").unwrap();
        tidy(&store, "new").unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&store).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["current", "lock", "new"]);
        assert_eq!(fs::read_link(store.join(CURRENT)).unwrap(), Path::new("new"));
        fs::remove_dir_all(store).unwrap();
    }
}
