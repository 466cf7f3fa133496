//! What Kubernetes is built from: Debian's source package, a Go that builds it, and the programs that Debian has ready.
//! In: Debian's mirrors. Out: files in the cache, checked by apt. Must never unpack or build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::output;
use crate::private_apt::{PrivateApt, Suites};

/// The newest suite with Kubernetes' source, and the Go that it builds with.
const SUITES: Suites =
    Suites { wanted: "Kubernetes", archive: &["bookworm"], security: &[], source: &["bookworm"] };
/// 1.20.2, with every library that it needs in `vendor/`.
const SOURCE: &str = "kubernetes";
/// Unpacked, not installed.
const PACKAGES: [&str; 7] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
    "etcd-server",
    "kubernetes-client",
    "containerd",
    "containernetworking-plugins",
];
/// Of the .dsc's hash; the same many that git shows of a commit in a large repository.
const KEY_LENGTH: usize = 12;

/// Everything, downloaded.
#[derive(Debug)]
pub(crate) struct Downloads {
    folder: PathBuf,
}

impl Downloads {
    /// Downloads into `folder` what is missing there.
    pub(crate) fn fetch(folder: &Path) -> Result<Self> {
        let finished = folder.join("finished");
        if !finished.exists() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let apt = PrivateApt::update(&folder.join("apt"), &SUITES)?;
            apt.download_source(SOURCE, folder)?;
            apt.download(&PACKAGES.map(str::to_owned), folder)?;
            fs::write(&finished, "").with_context(|| format!("cannot write {}", finished.display()))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Another for every other source: the first digits of the SHA-256 of the .dsc, which has the hashes of all else,
    /// and the number of the way in which it is built.
    pub(crate) fn key(&self) -> Result<String> {
        let file = self.only(".dsc")?;
        let sum = output(Command::new("sha256sum").arg(&file)).unwrap_or_default();
        match sum.get(..KEY_LENGTH) {
            Some(key) => Ok(format!("{key}-{}", super::build::WAY)),
            None => bail!("sha256sum {}: no sum", file.display()),
        }
    }

    /// The source as its authors have released it.
    pub(crate) fn source(&self) -> Result<PathBuf> {
        self.only(".orig.tar.gz")
    }

    /// Every binary package.
    pub(crate) fn packages(&self) -> Result<Vec<PathBuf>> {
        let found = self.ending(".deb")?;
        if found.len() != PACKAGES.len() {
            bail!(
                "{}: not the packages {PACKAGES:?}: remove it, and it is made again",
                self.folder.display()
            );
        }
        Ok(found)
    }

    fn only(&self, ending: &str) -> Result<PathBuf> {
        let mut found = self.ending(ending)?;
        match found.pop() {
            Some(file) if found.is_empty() => Ok(file),
            _ => bail!("{}: not one *{ending}: remove it, and it is made again", self.folder.display()),
        }
    }

    fn ending(&self, ending: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder);
        let entries = entries.with_context(|| format!("cannot read {}", self.folder.display()))?;
        let files = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(ending));
        Ok(files.map(|entry| entry.path()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downloads(name: &str, dsc: &str) -> Downloads {
        let folder = std::env::temp_dir().join(format!("podsweep-downloads-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("kubernetes_1.20.dsc"), dsc).unwrap();
        Downloads { folder }
    }

    #[test]
    fn another_source_is_another_key() {
        let (one, other) = (downloads("one", "Files: 1\n"), downloads("other", "Files: 2\n"));
        let key = one.key().unwrap();
        assert_eq!(key.split('-').next().unwrap().len(), KEY_LENGTH);
        assert_eq!(one.key().unwrap(), key);
        assert_ne!(other.key().unwrap(), key);
        fs::write(one.folder.join("another.dsc"), "").unwrap();
        assert!(one.key().is_err(), "two sources are none");
        for downloads in [one, other] {
            fs::remove_dir_all(downloads.folder).unwrap();
        }
    }
}
