//! What a run of the kernel tests must not do without.
//!
//! Not every kernel has every tier, xfs or io_uring: what is absent is named in a test's output, and passes. A run
//! that is there to show them (the VMs) names them in the environment, and then their absence fails.

use std::env;

use podsweep::observe::{ObserveError, ObserveSettings, Observer, Tier};

use crate::kernel_filesystems::Filesystem;

/// Tiers that must run, with commas between them: `lsm,fexit,sys_exit`.
pub const TIERS: &str = "PODSWEEP_TEST_TIERS";

/// Facilities of the kernel that must be there, with commas between them: `xfs,io_uring`.
pub const FACILITIES: &str = "PODSWEEP_TEST_FACILITIES";

/// The name among [`FACILITIES`].
pub const IO_URING: &str = "io_uring";

/// Files that each tier's storm makes on each filesystem, at least; [`STORM_FILES_DEFAULT`] where it is not set.
pub const STORM_FILES: &str = "PODSWEEP_TEST_STORM_FILES";

/// Enough for 0.1 % of misses, the least that was seen on a preemptible kernel, to be 20 files.
pub const STORM_FILES_DEFAULT: u32 = 20_000;

/// Does `test` with each tier that this kernel takes, best first. One at least.
pub fn with_each_tier(mut test: impl FnMut(Observer)) -> Result<(), String> {
    check_names(TIERS, &Tier::ALL.map(Tier::as_str))?;
    let mut refused = Vec::new();
    for tier in Tier::ALL {
        match Observer::start_tier(tier, &ObserveSettings::default()) {
            Ok(observer) => {
                eprintln!("tier {tier}: runs");
                test(observer);
            }
            Err(error) if demanded(TIERS, tier.as_str()) => {
                return Err(format!("{TIERS} names the tier {tier}: {error}"));
            }
            Err(error) => {
                eprintln!("tier {tier}: not run: {error}");
                refused.push(error);
            }
        }
    }
    if refused.len() < Tier::ALL.len() {
        return Ok(());
    }
    let reasons: Vec<_> = refused.iter().map(ObserveError::to_string).collect();
    Err(format!("counting needs root and a kernel with BTF: {}", reasons.join("; ")))
}

/// The filesystems of this kernel: xfs may be absent, no other.
pub fn filesystems() -> Result<Vec<Filesystem>, String> {
    check_names(FACILITIES, &[Filesystem::Xfs.as_str(), IO_URING])?;
    let mut found = Vec::new();
    for filesystem in Filesystem::ALL {
        let name = filesystem.as_str();
        match filesystem.is_known_here() {
            Ok(true) => found.push(filesystem),
            Ok(false) if filesystem == Filesystem::Xfs => absent(name, "this kernel does not have it")?,
            Ok(false) => return Err(format!("this kernel does not have {name}")),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(found)
}

/// Says that something was not tried, and why: an error where the run is there to show it.
pub fn absent(facility: &str, why: &str) -> Result<(), String> {
    if demanded(FACILITIES, facility) {
        return Err(format!("{FACILITIES} names {facility}: {why}"));
    }
    eprintln!("{facility}: not tried: {why}");
    Ok(())
}

/// How many files a storm is to make.
pub fn storm_files() -> Result<u32, String> {
    match env::var(STORM_FILES) {
        Err(_) => Ok(STORM_FILES_DEFAULT),
        Ok(text) => text.parse().map_err(|error| format!("{STORM_FILES}={text}: {error}")),
    }
}

fn demanded(variable: &str, name: &str) -> bool {
    named_in(&env::var(variable).unwrap_or_default()).any(|demanded| demanded == name)
}

fn named_in(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// A name that nothing has would demand nothing.
fn check_names(variable: &str, known: &[&str]) -> Result<(), String> {
    unknown(&env::var(variable).unwrap_or_default(), known)
        .map_or(Ok(()), |name| Err(format!("{variable} names {name}, there are {}", known.join(", "))))
}

fn unknown(list: &str, known: &[&str]) -> Option<String> {
    named_in(list).find(|name| !known.contains(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_is_found() {
        let known = ["lsm", "fexit"];
        assert_eq!(unknown("lsm, fexit,", &known), None);
        assert_eq!(unknown("lsm,kprobe", &known), Some("kprobe".to_owned()));
    }
}
