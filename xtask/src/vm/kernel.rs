//! One kernel in the cache: its image and its modules, unpacked from Debian's packages, never installed.
//!
//! In: an entry of the catalogue. Out: paths that QEMU and the root image take. A folder appears under its name only
//! when it is complete.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::catalogue::{Entry, parts};
use crate::command::{program, run};
use crate::private_apt::PrivateApt;

/// Small, of the same source as what nodes run, with NVMe and ext4 built in: it boots without an initrd. Its
/// dependency names the package of the day.
pub(crate) const PACKAGE: &str = "linux-image-cloud-amd64";
/// What the name of that package begins with; what follows is the kernel's release.
const IMAGE: &str = "linux-image-";

/// A kernel that is there.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    folder: PathBuf,
    /// `uname -r`.
    pub(crate) release: String,
}

impl Kernel {
    /// The cached one of this version, if there is one.
    pub(crate) fn cached(kernels: &Path, version: &str) -> Option<Self> {
        let folder = kernels.join(version);
        let modules = fs::read_dir(folder.join("lib/modules")).ok()?.flatten().next()?;
        Some(Self { release: modules.file_name().to_string_lossy().into_owned(), folder })
    }

    /// Downloads and unpacks it.
    pub(crate) fn fetch(apt: &PrivateApt, kernels: &Path, entry: &Entry) -> Result<Self> {
        let image = apt.depends(PACKAGE, &entry.version)?;
        let image = image.split([',', ' ']).find(|word| is_image(word));
        let image = image.with_context(|| format!("{PACKAGE} {} names no image", entry.version))?;
        let release = image.trim_start_matches(IMAGE);
        let depends = apt.depends(image, &entry.version)?;
        let mut packages = parts(&depends, release);
        packages.push(image);

        let unfinished = kernels.join(format!(".{}", entry.version));
        let downloads = unfinished.join("packages");
        remove(&unfinished)?;
        fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
        let packages: Vec<_> =
            packages.iter().map(|package| format!("{package}={}", entry.version)).collect();
        apt.download(&packages, &downloads)?;
        unpack(&downloads, &unfinished, release)?;
        remove(&downloads)?;
        let folder = kernels.join(&entry.version);
        fs::rename(&unfinished, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, release: release.to_owned() })
    }

    /// What QEMU starts.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// `/lib/modules/RELEASE` of a guest.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// Where what is made for this kernel is kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// `linux-image-6.12.…`, not another dependency of the metapackage.
fn is_image(word: &str) -> bool {
    word.strip_prefix(IMAGE).is_some_and(|release| release.starts_with(|first: char| first.is_ascii_digit()))
}

fn unpack(packages: &Path, target: &Path, release: &str) -> Result<()> {
    let tree = target.join("tree");
    for package in fs::read_dir(packages)?.flatten() {
        run(program("dpkg-deb").arg("-x").arg(package.path()).arg(&tree))?;
    }
    let modules = first_of(&tree, &[format!("usr/lib/modules/{release}"), format!("lib/modules/{release}")])?;
    let image = first_of(&modules, &["vmlinuz".into()])
        .or_else(|_| first_of(&tree, &[format!("boot/vmlinuz-{release}")]))?;
    fs::create_dir_all(target.join("lib/modules"))?;
    fs::rename(image, target.join("vmlinuz"))?;
    fs::rename(modules, target.join("lib/modules").join(release))?;
    remove(&tree)?;
    run(program("depmod").arg("-b").arg(target).arg(release))
}

fn first_of(folder: &Path, names: &[String]) -> Result<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.with_context(|| format!("the kernel's packages hold none of {names:?}"))
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
    use super::is_image;

    #[test]
    fn the_image_is_told_from_what_else_a_kernel_depends_on() {
        assert!(is_image("linux-image-6.12.117+deb13-cloud-amd64"));
        assert!(!is_image("linux-base-cloud-amd64"));
        assert!(!is_image("linux-image-cloud-amd64"));
    }
}
