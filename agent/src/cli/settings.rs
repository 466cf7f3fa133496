//! The configuration and the policies that a command names.

use std::path::Path;

use super::failure::Failure;
use crate::config::Config;
use crate::document::FileError;
use crate::policy::{self, SweepPolicy};

/// Where the configuration is, if nobody says otherwise.
pub(super) const DEFAULT_CONFIG: &str = "/etc/podsweep/podsweep.yaml";

/// The configuration; what is wrong with it is the caller's mistake.
pub(super) fn config(path: &Path) -> Result<Config, Failure> {
    read_config(path).map_err(Failure::input)
}

/// The configuration; all defaults where the default file is not there.
pub(super) fn read_config(path: &Path) -> Result<Config, FileError> {
    if path == Path::new(DEFAULT_CONFIG) && !path.exists() {
        return Ok(Config::default());
    }
    Config::load(path)
}

/// A policy file; what is wrong with it is the caller's mistake.
pub(super) fn policy(path: &Path) -> Result<SweepPolicy, Failure> {
    policy::load_file(path).map_err(Failure::input)
}
