//! One small type per kernel file that several stages read. The path is in every error.
//!
//! Must never: write.

mod cgroup;
mod cgroup_namespace;
mod free;
mod pressure;
mod process;

pub use cgroup::{CgroupSigns, Cgroups};
pub use cgroup_namespace::{cgroup_of, namespace_root};
pub use free::Free;
pub use pressure::Psi;
pub use process::{process, running, start_time};

use std::path::PathBuf;

/// A kernel file that could not be read or did not look as documented.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text is not what the kernel's documentation says.
    #[error("{path}: unexpected content: {what}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

/// The text of a kernel file, with its path in the error.
pub fn read(path: impl Into<PathBuf>) -> Result<String, KernelError> {
    let path = path.into();
    std::fs::read_to_string(&path).map_err(|source| KernelError::Read { path, source })
}
