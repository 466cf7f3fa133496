//! Where the programs of a cluster are. In: `KUBEBUILDER_ASSETS`, or what xtask has built. Out: commands. Must never
//! build: a test that cannot find them fails with the command that makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// A folder with ready programs, as envtest of controller-runtime and others look for it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Where xtask keeps what is made once; the same variable and default as in xtask/src/command.rs.
const CACHE: &str = "PODSWEEP_CACHE";

/// A folder of them.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The folder that is named, else xtask's.
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os(ASSETS).map_or_else(built, PathBuf::from);
        let programs = Self { folder };
        programs.path("kube-apiserver")?;
        Ok(programs)
    }

    /// A program, as a command.
    pub fn command(&self, name: &str) -> Result<Command> {
        Ok(Command::new(self.path(name)?))
    }

    /// A program or folder of them.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if !path.exists() {
            bail!("no {}: run `cargo xtask setup --level cluster`, or set {ASSETS}", path.display());
        }
        Ok(path)
    }

    /// All of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn built() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cache = std::env::var_os(CACHE).map_or_else(|| home().join(".cache/podsweep"), PathBuf::from);
    cache.join("kubernetes/current")
}
