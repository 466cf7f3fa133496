//! The programs of a guest's root: the host's own, with the shared libraries they are loaded with, so that what was
//! built on the host finds the same C library in the guest. In: nothing but the host. Out: the files to copy, each to
//! the same path, and a fingerprint that changes when one of them does.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::{program, which};

/// Where busybox's own would differ from what the tests meet on the host, the real one. All else is busybox's.
const PROGRAMS: [&str; 26] = [
    "bash",
    "bpftool",
    "busybox",
    "cargo-nextest",
    "chattr",
    "chmod",
    "chroot",
    "dash",
    "find",
    "ip",
    "ldd",
    "losetup",
    "lsattr",
    "mkfs.ext4",
    "mkfs.xfs",
    "modprobe",
    "mount",
    "nsenter",
    "runc",
    "setpriv",
    "sleep",
    "stat",
    "sync",
    "touch",
    "umount",
    "unshare",
];
/// Of them, those that a host may lack: nothing that the tests run.
const OPTIONAL: [&str; 2] = ["bpftool", "ip"];
/// What the programs read.
const FILES: [&str; 1] = ["/etc/mke2fs.conf"];

/// Files of the host that a guest's root is made of.
#[derive(Debug)]
pub(crate) struct Programs {
    files: BTreeSet<PathBuf>,
}

impl Programs {
    /// Looks for them on this machine.
    pub(crate) fn find() -> Result<Self> {
        let mut programs = Vec::new();
        for name in PROGRAMS {
            match which(name) {
                Some(path) => programs.push(path),
                None if OPTIONAL.contains(&name) => {}
                None => bail!("no program {name} to put into a guest: `cargo xtask setup` installs it"),
            }
        }
        let mut files = libraries(&programs)?;
        files.extend(programs);
        files.extend(FILES.map(PathBuf::from));
        Ok(Self { files })
    }

    /// Every file, to be copied to the same path.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Changes when a program or a library is another, or was upgraded.
    pub(crate) fn hash(&self, hasher: &mut DefaultHasher) -> Result<()> {
        for file in self.files() {
            let metadata = fs::metadata(file).with_context(|| format!("cannot stat {}", file.display()))?;
            (file, metadata.size(), metadata.mtime()).hash(hasher);
        }
        Ok(())
    }
}

/// The shared libraries of all `programs`, the loader included. ldd fails for those that are static or scripts, and
/// names the others' libraries all the same.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let answer = program("ldd").args(programs).output().context("cannot start ldd")?;
    let libraries = listed(&String::from_utf8_lossy(&answer.stdout))?;
    if libraries.is_empty() {
        bail!("ldd names no library");
    }
    Ok(libraries)
}

/// The paths in ldd's answer: `name => /path (address)`, or `/path (address)` for the loader.
fn listed(answer: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for line in answer.lines().filter(|line| line.starts_with(char::is_whitespace)) {
        if line.ends_with("not found") {
            bail!("ldd: {}", line.trim());
        }
        found.extend(line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_and_the_loader() {
        let answer = "/usr/bin/dash:\n\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 \
             (0x00007f0a)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f0b)\n/usr/bin/ldd:\n\tnot a dynamic executable\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(listed(answer).unwrap(), BTreeSet::from(expected.map(PathBuf::from)));
    }

    #[test]
    fn a_program_that_could_not_start_is_not_taken_along() {
        assert!(listed("/usr/bin/x:\n\tlibgone.so.1 => not found\n").is_err());
    }
}
