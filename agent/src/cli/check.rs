//! `podsweep check`: policy files and the configuration, without running anything.

use std::path::Path;

use serde::Serialize;

use super::args::CheckArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, json, line};
use crate::config::Config;
use crate::document::FileError;
use crate::policy;

/// One file or folder.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    ok: bool,
    /// `FILE:LINE:COLUMN: FIELD: what is wrong; what to write instead`.
    problems: Vec<String>,
}

/// Checks all, shows all.
pub(super) fn run(args: &CheckArgs) -> Result<Ended, Failure> {
    let policies = args.files.iter().map(|path| Checked::new(path, policy_problems(path)));
    let config = args.config.iter().map(|path| Checked::new(path, config_problems(path)));
    let checked: Vec<_> = policies.chain(config).collect();
    match args.output.output {
        Format::Json => json(&checked)?,
        Format::Table => checked.iter().try_for_each(Checked::print)?,
    }
    let bad = checked.iter().filter(|checked| !checked.ok).count();
    if bad == 0 {
        return Ok(Ended::Well);
    }
    Err(Failure::input(anyhow::anyhow!("{bad} of {} not valid", checked.len())))
}

fn policy_problems(path: &Path) -> Vec<String> {
    if path.is_dir() {
        return policy::load_folder(path).err().unwrap_or_default().iter().flat_map(faults).collect();
    }
    policy::load_file(path).err().iter().flat_map(faults).collect()
}

fn config_problems(path: &Path) -> Vec<String> {
    Config::load(path).err().iter().flat_map(faults).collect()
}

// One line for each fault.
fn faults(error: &FileError) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

impl Checked {
    fn new(path: &Path, problems: Vec<String>) -> Self {
        Self { file: path.display().to_string(), ok: problems.is_empty(), problems }
    }

    fn print(&self) -> std::io::Result<()> {
        if self.ok {
            return line(format_args!("{}: ok", self.file));
        }
        self.problems.iter().try_for_each(line)
    }
}
