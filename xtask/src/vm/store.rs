//! The guests' part of the cache. In: which kernel is wanted. Out: the catalogue and kernels, fetched where they are
//! missing; with everything there, no network is asked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::catalogue::{Catalogue, Entry};
use super::kernel::{Kernel, PACKAGE};
use crate::command::cache;
use crate::lock::alone_in;
use crate::private_apt::{PrivateApt, Suites};

/// From oldstable's 6.1 to whatever is newest today.
const SUITES: Suites = Suites {
    wanted: "kernels",
    archive: &["bookworm", "trixie", "trixie-backports", "sid"],
    security: &["bookworm-security", "trixie-security"],
    source: &[],
};

/// The folder that holds it all.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing.
    pub(crate) fn open() -> Result<Self> {
        let folder = cache().join("vm");
        let kernels = folder.join("kernels");
        fs::create_dir_all(&kernels).with_context(|| format!("cannot make {}", kernels.display()))?;
        Ok(Self { folder })
    }

    /// Which kernels there are. Asks the mirrors where nothing is known yet, or where they are to be asked again.
    pub(crate) fn catalogue(&self, update: bool) -> Result<Catalogue> {
        let file = self.catalogue_file();
        if update || !file.exists() {
            return self.update();
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("cannot read {}: remove it, and it is made again", file.display()))
    }

    fn update(&self) -> Result<Catalogue> {
        let _alone = alone_in(&self.folder)?;
        let apt = PrivateApt::update(&self.apt(), &SUITES)?;
        let catalogue = Catalogue::from_madison(&apt.versions(PACKAGE)?)?;
        let file = self.catalogue_file();
        fs::write(&file, serde_json::to_string_pretty(&catalogue)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        self.remove_superseded(&catalogue)?;
        Ok(catalogue)
    }

    /// The kernel of this entry, if it is cached.
    pub(crate) fn cached(&self, entry: &Entry) -> Option<Kernel> {
        Kernel::cached(&self.kernels(), &entry.version)
    }

    /// The kernel of this entry.
    pub(crate) fn kernel(&self, entry: &Entry) -> Result<Kernel> {
        match self.cached(entry) {
            Some(kernel) => Ok(kernel),
            None => Kernel::fetch(&PrivateApt::open(&self.apt(), &SUITES)?, &self.kernels(), entry),
        }
    }

    /// Where it all is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the choice of an accelerator is remembered.
    pub(crate) fn accelerator_file(&self) -> PathBuf {
        self.folder.join("accelerator")
    }

    /// A kernel that no catalogue names is never booted again.
    fn remove_superseded(&self, catalogue: &Catalogue) -> Result<()> {
        for folder in fs::read_dir(self.kernels())?.flatten() {
            let name = folder.file_name();
            if catalogue.entries().iter().all(|entry| name != *entry.version) {
                fs::remove_dir_all(folder.path())
                    .with_context(|| format!("cannot remove {}", folder.path().display()))?;
            }
        }
        Ok(())
    }

    fn apt(&self) -> PathBuf {
        self.folder.join("apt")
    }

    fn kernels(&self) -> PathBuf {
        self.folder.join("kernels")
    }

    fn catalogue_file(&self) -> PathBuf {
        self.folder.join("catalogue.json")
    }
}
