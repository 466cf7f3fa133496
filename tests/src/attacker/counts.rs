//! What an attacker counts, and tells as lines of JSON. Plain data; no I/O but the line.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Kinds of failures told; more would be a defect of the attacker.
const MAX_KINDS: usize = 64;

/// Counts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Swaps, moves or mounts that succeeded.
    pub swaps: u64,
    /// Those that failed, by errno.
    pub failed: BTreeMap<String, u64>,
    /// Rounds of a service's own work that went on meanwhile.
    pub rounds: u64,
    /// What went wrong in them, by operation and errno.
    pub bystander: BTreeMap<String, u64>,
    /// Files that were in a directory when it had been moved away, and when it was moved back.
    pub moved: Vec<(u64, u64)>,
    /// Files that were put under the name of another, and were gone when they were to be taken back.
    pub lost: u64,
    /// Set in the last line: everything is back in its place.
    pub last: bool,
}

impl Tally {
    /// Counts a swap.
    pub(super) fn swap(&mut self, result: rustix::io::Result<()>) {
        match result {
            Ok(()) => self.swaps += 1,
            Err(errno) => count(&mut self.failed, name(errno)),
        }
    }

    /// Counts an operation of a service, where it failed.
    pub(super) fn worked(&mut self, operation: &str, result: rustix::io::Result<()>) {
        if let Err(errno) = result {
            count(&mut self.bystander, format!("{operation} {}", name(errno)));
        }
    }

    /// Both threads' counts.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.rounds += other.rounds;
        sum.bystander.extend(other.bystander.clone());
        sum
    }

    /// One line, in one write.
    pub(super) fn tell(&self) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        io::stdout().lock().write_all(line.as_bytes())
    }
}

fn count(counts: &mut BTreeMap<String, u64>, what: String) {
    if counts.len() < MAX_KINDS || counts.contains_key(&what) {
        *counts.entry(what).or_default() += 1;
    }
}

// nix knows the names, rustix has the calls.
fn name(errno: Errno) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_the_kernels_own_names() {
        let mut tally = Tally::default();
        tally.swap(Ok(()));
        tally.swap(Err(Errno::NOENT));
        tally.worked("rmdir", Err(Errno::STALE));
        tally.worked("mkdir", Ok(()));
        assert_eq!((tally.swaps, tally.failed.get("ENOENT")), (1, Some(&1)));
        assert_eq!(tally.bystander.into_iter().collect::<Vec<_>>(), [("rmdir ESTALE".to_owned(), 1)]);
        let tally = Tally::default();
        assert_eq!(tally.with(&Tally { rounds: 3, ..Tally::default() }).rounds, 3);
    }
}
