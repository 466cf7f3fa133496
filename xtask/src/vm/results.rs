//! What comes back from a guest. In: the disk that its init wrote a tar onto. Out: a folder with the files, and the
//! command's exit code among them.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::command::program;

/// Written by the guest's init, last.
const EXIT_CODE: &str = "exit-code";
/// Room for what a guest brings back: nextest's JUnit file, logs. Sparse.
pub(crate) const BYTES: u64 = 256 << 20;

/// Unpacks the disk into `folder`, in place of whatever an earlier run left there; the command's exit code.
pub(crate) fn take(disk: &Path, folder: &Path) -> Result<u8> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut unpack = program("tar");
    unpack.arg("-xf").arg(disk).arg("-C").arg(folder).args(["--no-same-owner"]).stderr(Stdio::null());
    // An empty disk is no tar: the missing exit code tells.
    let _ = unpack.status().context("cannot start tar")?;
    exit_code(&fs::read_to_string(folder.join(EXIT_CODE)).unwrap_or_default())
}

fn exit_code(written: &str) -> Result<u8> {
    match written.trim().parse() {
        Ok(code) => Ok(code),
        Err(_) if written.is_empty() => bail!("the guest ended before its command did"),
        Err(_) => bail!("the guest's exit code is {written:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_exit_code_is_the_guests() {
        assert_eq!(exit_code("0\n").unwrap(), 0);
        assert_eq!(exit_code("137\n").unwrap(), 137);
    }

    #[test]
    fn a_guest_without_an_exit_code_has_failed() {
        assert_eq!(exit_code("").unwrap_err().to_string(), "the guest ended before its command did");
        assert!(exit_code("-1").is_err());
    }

    #[test]
    fn a_disk_that_the_guest_never_wrote_to_is_a_failure() {
        let folder = std::env::temp_dir().join(format!("podsweep-results-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let disk = folder.join("disk");
        super::super::disk::empty(&disk, 1 << 20).unwrap();
        let taken = take(&disk, &folder.join("taken"));
        fs::remove_dir_all(folder).unwrap();
        assert!(taken.unwrap_err().to_string().contains("ended before"));
    }
}
