//! One folder and one name for everything that a test makes.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::cgroup;

/// On the disk, so that it is ext4 wherever the machine's root is; never a tmpfs.
const PARENT: &str = "/var/tmp";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed when this is dropped. Its name is unique on the machine: cgroups and containers bear it.
#[derive(Debug)]
pub struct Workspace {
    name: String,
    path: PathBuf,
}

impl Workspace {
    /// `PREFIX-PID-N`, after removing what dead processes left under the same prefix.
    pub fn new(prefix: &str) -> Result<Self> {
        remove_leftovers(prefix);
        let name = format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(PARENT).join(&name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { name, path })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made where it is missing.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join(name);
        // Whatever the umask: the agent refuses a state folder that its group can write to.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}

/// Folders and cgroups named `PREFIX-PID-…` whose PID is no more. Their containers ended with it: a workload ends
/// when nobody holds its standard input.
fn remove_leftovers(prefix: &str) {
    let dead = |name: &str| owner(name, prefix).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
    for entry in fs::read_dir(PARENT).into_iter().flatten().flatten() {
        if dead(&entry.file_name().to_string_lossy()) {
            // Another test may be removing it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    cgroup::remove_where(dead);
}

fn owner<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (pid, _) = name.strip_prefix(prefix)?.strip_prefix('-')?.split_once('-')?;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("podsweep-test-12-0", "podsweep-test"), Some("12"));
        assert_eq!(owner("podsweep-test-12-0.slice", "podsweep-test"), Some("12"));
        assert_eq!(owner("podsweep-testing-12-0", "podsweep-test"), None);
        assert_eq!(owner("podsweep-test-x-0", "podsweep-test"), None);
        assert_eq!(owner("system.slice", "podsweep-test"), None);
    }
}
