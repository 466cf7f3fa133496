//! The cgroup below which a node's pods are. In: a name of its own. Out: the cgroup in every hierarchy that this
//! machine has, removed with all that is nested in it when it is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use anyhow::{Context as _, Result};
use podsweep::kernel::Cgroups;

use crate::cgroup::Cgroup;

/// Empty in a new cgroup v1 cpuset, and no process can be moved into one like that.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Makes it.
pub(super) fn make(name: &str) -> Result<Cgroup> {
    let cgroup = Cgroup::make(name)?;
    let mounts: BTreeSet<_> = Cgroups::find()?.v1.into_values().collect();
    for mount in mounts {
        let directory = mount.join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
        for file in CPUSET {
            let copied = fs::read(mount.join(file)).and_then(|value| fs::write(directory.join(file), value));
            if let Err(error) = copied
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("cannot write {file} of {}", directory.display()));
            }
        }
    }
    Ok(cgroup)
}
