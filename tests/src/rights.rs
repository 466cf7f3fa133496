//! What a running process may do, as the kernel says: capabilities, filter, namespaces, handles, mappings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::image;

/// One thread's rights, from `/proc/PID/task/TID/status`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rights {
    /// `CapEff`, as bits.
    pub effective: u64,
    /// `CapPrm`.
    pub permitted: u64,
    /// `CapBnd`.
    pub bounding: u64,
    /// `CapInh` and `CapAmb` together.
    pub inherited: u64,
    /// `Seccomp`: 2 is a filter.
    pub seccomp: u64,
    /// `NoNewPrivs`.
    pub no_new_privileges: u64,
}

/// Of every thread of a process; one entry where all are alike.
pub fn of_all_threads(pid: i32) -> Result<BTreeSet<Rights>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("no such process")?;
    tasks.map(|task| of(&task?.path())).collect()
}

fn of(task: &Path) -> Result<Rights> {
    let text = fs::read_to_string(task.join("status"))?;
    let fields: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| fields.get(name).map(|value| value.trim()).with_context(|| name.to_owned());
    let bits = |name: &str| Ok::<_, anyhow::Error>(u64::from_str_radix(field(name)?, 16)?);
    Ok(Rights {
        effective: bits("CapEff")?,
        permitted: bits("CapPrm")?,
        bounding: bits("CapBnd")?,
        inherited: bits("CapInh")? | bits("CapAmb")?,
        seccomp: field("Seccomp")?.parse()?,
        no_new_privileges: field("NoNewPrivs")?.parse()?,
    })
}

/// Processes of the program under test that run this subcommand.
pub fn running(subcommand: &str) -> Result<Vec<i32>> {
    let program = image::program("podsweep")?.canonicalize()?;
    let all = fs::read_dir("/proc")?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    Ok(pids.filter(|pid| runs(*pid, &program, subcommand)).collect())
}

fn runs(pid: i32, program: &Path, subcommand: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).nth(1) == Some(subcommand.as_bytes())
        && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
}

/// Its namespaces, by kind.
pub fn namespaces(pid: i32) -> Result<BTreeMap<String, PathBuf>> {
    let all = fs::read_dir(format!("/proc/{pid}/ns"))?;
    all.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), fs::read_link(entry.path())?))
    })
    .collect()
}

/// Its open handles: number, what it refers to, and the flags it was opened with.
pub fn handles(pid: i32) -> Result<Vec<(u32, PathBuf, u32)>> {
    let all = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    // One that was closed since is none.
    Ok(numbers
        .filter_map(|number: u32| {
            let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
            Some((number, target, u32::from_str_radix(flags, 8).ok()?))
        })
        .collect())
}

/// Files that it has mapped.
pub fn mapped(pid: i32) -> Result<BTreeSet<PathBuf>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    Ok(paths.filter(|path| path.starts_with('/')).map(PathBuf::from).collect())
}
