//! A cgroup of a test's own, below the root of cgroup2.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use podsweep::inventory::CgroupId;
use podsweep::kernel::Cgroups;

/// What each name begins with; the test's process id ends it.
const PREFIX: &str = "podsweep-kernel-";

/// The kernel empties a cgroup a moment after its last process was reaped.
const EMPTIED_WITHIN: Duration = Duration::from_secs(5);

/// A cgroup of our own; removed when dropped, and where its test was killed, by the next one.
#[derive(Debug)]
pub struct TestCgroup {
    /// Its directory.
    pub path: PathBuf,
    /// Its id.
    pub id: CgroupId,
}

impl TestCgroup {
    /// Makes one, with the test's process id in its name.
    pub fn new(name: &str) -> io::Result<Self> {
        let unified = Cgroups::find().map_err(io::Error::other)?.unified;
        remove_left_over(&unified)?;
        let path = unified.join(format!("{PREFIX}{name}-{}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| io::Error::other(format!("{}: {error}; run as root", path.display())))?;
        let id = CgroupId(fs::metadata(&path)?.ino());
        Ok(Self { path, id })
    }

    /// Removes it now.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTIED_WITHIN;
        while let Err(error) = self.remove() {
            if error.kind() == io::ErrorKind::NotFound {
                return;
            }
            if Instant::now() > deadline {
                eprintln!("{} stays behind: {error}", self.path.display());
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// Those whose test has ended. One still in use by a worker that is about to end stays for the next test.
fn remove_left_over(unified: &Path) -> io::Result<()> {
    for entry in fs::read_dir(unified)? {
        let entry = entry?;
        let name = entry.file_name();
        if owner(&name.to_string_lossy()).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

/// The process id in a cgroup's name.
fn owner(name: &str) -> Option<&str> {
    let pid = name.strip_prefix(PREFIX)?.rsplit('-').next()?;
    pid.parse::<u32>().is_ok().then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_cgroups_of_tests_have_an_owner() {
        assert_eq!(owner("podsweep-kernel-storm-lsm-17"), Some("17"));
        assert_eq!(owner("podsweep-kernel-storm"), None);
        assert_eq!(owner("podsweep-node-17"), None);
    }
}
