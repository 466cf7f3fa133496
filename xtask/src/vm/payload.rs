//! What a guest gets besides its root: a command, and files that stand at the same absolute path as on the host.
//!
//! In: paths of the host. Out: a folder, and a disk image of it. Copies of programs are stripped (debug information
//! is nine tenths of them), and kept for the next run as long as the program is the same.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::disk;
use crate::command::{program, run};

/// Below it, everything stands as it does on the host.
const TREE: &str = "tree";
/// Room for what tests and nextest write beside their programs.
const SPARE: u64 = 256 << 20;

/// A payload in the making.
#[derive(Debug)]
pub(crate) struct Payload {
    folder: PathBuf,
    shown: BTreeSet<PathBuf>,
    kept: BTreeSet<PathBuf>,
}

impl Payload {
    /// An empty one in `folder`, where copies of an earlier one may lie.
    pub(crate) fn in_folder(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join(TREE)).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, shown: BTreeSet::new(), kept: BTreeSet::new() })
    }

    /// The guest shall see `folder` of the host (with what is added of it) at its own place.
    pub(crate) fn show(&mut self, folder: &Path) -> Result<()> {
        fs::create_dir_all(self.place(folder))?;
        self.shown.insert(folder.to_owned());
        Ok(())
    }

    /// Adds an empty folder.
    pub(crate) fn add_folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(self.place(folder)).with_context(|| format!("cannot copy {}", folder.display()))
    }

    /// Adds a program of the host, stripped.
    pub(crate) fn add_program(&mut self, file: &Path) -> Result<()> {
        let place = self.place(file);
        if !is_newer(&place, file) {
            make_parent(&place)?;
            run(program("strip").arg("-o").arg(&place).arg(file))?;
        }
        self.kept.insert(place);
        Ok(())
    }

    /// Adds a file of the host.
    pub(crate) fn add_file(&mut self, file: &Path) -> Result<()> {
        let place = self.place(file);
        make_parent(&place)?;
        fs::copy(file, &place).with_context(|| format!("cannot copy {}", file.display()))?;
        self.kept.insert(place);
        Ok(())
    }

    /// Adds a file below the payload's own folder, `/payload` in the guest.
    pub(crate) fn add_text(&mut self, name: &str, text: &str) -> Result<()> {
        let place = self.folder.join(name);
        fs::write(&place, text).with_context(|| format!("cannot write {}", place.display()))?;
        self.kept.insert(place);
        Ok(())
    }

    /// Sets the command, a shell script.
    pub(crate) fn set_command(&mut self, script: &str) -> Result<()> {
        self.add_text("run", &format!("#!/bin/sh\n{script}\n"))?;
        Ok(fs::set_permissions(self.folder.join("run"), fs::Permissions::from_mode(0o755))?)
    }

    /// Makes the disk image.
    pub(crate) fn image(mut self) -> Result<PathBuf> {
        let folders: Vec<_> = self.shown.iter().map(|folder| folder.display().to_string()).collect();
        self.add_text("folders", &(folders.join("\n") + "\n"))?;
        let bytes = sweep_out(&self.folder, &self.kept)
            .with_context(|| format!("cannot tidy {}", self.folder.display()))?;
        let image = self.folder.with_extension("ext4");
        disk::ext4(&image, &self.folder, bytes + bytes / 8 + SPARE)?;
        Ok(image)
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.folder.join(TREE).join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn make_parent(file: &Path) -> Result<()> {
    let Some(parent) = file.parent() else { return Ok(()) };
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Whether `copy` was made after `file` was written last.
fn is_newer(copy: &Path, file: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    matches!((modified(copy), modified(file)), (Ok(copy), Ok(file)) if copy > file)
}

/// Removes the files that are not among `kept`; how many bytes the others have.
fn sweep_out(folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += sweep_out(&entry.path(), kept)?;
        } else if kept.contains(&entry.path()) {
            bytes += entry.metadata()?.len();
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(bytes)
}

/// A command's words as a shell script.
pub(crate) fn script(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("podsweep-payload-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_command_reaches_the_guest_word_by_word() {
        let words = ["printf", "%s|", "two words", "it's", "$HOME"].map(str::to_owned);
        let printed = std::process::Command::new("sh").args(["-c", &script(&words)]).output().unwrap();
        assert_eq!(printed.stdout, b"two words|it's|$HOME|");
    }

    #[test]
    fn what_an_earlier_run_left_is_not_taken_along() {
        let folder = folder("left");
        let mut first = Payload::in_folder(folder.clone()).unwrap();
        first.add_file("/proc/self/cmdline".as_ref()).unwrap();
        let mut second = Payload::in_folder(folder.clone()).unwrap();
        second.add_text("run", "12345").unwrap();
        assert_eq!(sweep_out(&folder, &second.kept).unwrap(), 5);
        assert!(!folder.join("tree/proc/self/cmdline").exists());
        assert!(folder.join("run").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
