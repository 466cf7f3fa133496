//! `keepNewest`: of the files of one directory that a rule would remove, the newest N stay. Pure.
//!
//! In: candidates of one directory, in any order. Out: at once each candidate that N newer ones have outlived; at
//! the end the number that stay. Holds N candidates, however large the directory is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Candidate, Identity, Kept};

/// Candidates held at a time, all rules of a directory together: 100,000 of about 200 bytes are 20 MB, which the
/// default memory limit of a scan bears. Beyond it nothing can be said, so nothing is removed.
pub(super) const MAX_HELD: usize = 100_000;

/// When a file was last touched: the later of mtime and ctime.
fn touched(identity: &Identity) -> (i64, i64) {
    identity.mtime.max(identity.ctime)
}

#[derive(Debug, PartialEq, Eq)]
struct Held {
    candidate: Box<Candidate>,
}

impl Ord for Held {
    // The path decides between equal times, so that two scans of one directory keep the same files.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |held: &Self| touched(&held.candidate.identity);
        key(self).cmp(&key(other)).then_with(|| self.candidate.path.cmp(&other.candidate.path))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What to do with a candidate now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Newest {
    /// It is held back: among the newest so far.
    Held,
    /// This one (perhaps an earlier one) is not among the newest.
    Falls(Candidate),
    /// The bound is reached: this one stays.
    Stays(Kept),
}

/// The newest of one directory, per rule.
#[derive(Debug, Default)]
pub(super) struct NewestOfDirectory {
    rules: BTreeMap<u16, BinaryHeap<Reverse<Held>>>,
    held: usize,
}

impl NewestOfDirectory {
    /// Takes one candidate of a rule that keeps the newest `keep` (at least 1).
    pub(super) fn offer(&mut self, candidate: Candidate, keep: u32) -> Newest {
        let heap = self.rules.entry(candidate.rule).or_default();
        let full = heap.len() >= keep as usize;
        if !full && self.held >= MAX_HELD {
            return Newest::Stays(Kept::TooManyInDirectory);
        }
        heap.push(Reverse(Held { candidate: Box::new(candidate) }));
        if !full {
            self.held += 1;
            return Newest::Held;
        }
        match heap.pop() {
            Some(Reverse(oldest)) => Newest::Falls(*oldest.candidate),
            None => Newest::Held,
        }
    }

    /// How many stay, at the end of the directory.
    pub(super) fn finish(self) -> u64 {
        self.held as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Action;

    fn candidate(rule: u16, name: usize, mtime: i64, ctime: i64) -> Candidate {
        let identity = Identity {
            device: 1,
            inode: 1,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            mtime: (mtime, 0),
            ctime: (ctime, 0),
        };
        let path = format!("tmp/{name:06}").into_bytes();
        Candidate { root: 0, path, rule, action: Action::Delete, identity, allocated: 0 }
    }

    proptest! {
        #[test]
        fn exactly_the_newest_stay(times in prop::collection::vec((0i64..50, 0i64..50), 0..60), keep in 1u32..20) {
            let all: Vec<_> =
                times.iter().enumerate().map(|(i, &(m, c))| candidate(0, i, m, c)).collect();
            let mut newest = NewestOfDirectory::default();
            let mut fell = Vec::new();
            for one in &all {
                match newest.offer(one.clone(), keep) {
                    Newest::Falls(candidate) => fell.push(candidate.path),
                    Newest::Held => {}
                    Newest::Stays(reason) => prop_assert!(false, "{reason:?}"),
                }
            }
            let mut sorted = all;
            sorted.sort_by(|a, b| {
                touched(&b.identity).cmp(&touched(&a.identity)).then_with(|| b.path.cmp(&a.path))
            });
            let mut expected: Vec<_> = sorted.into_iter().skip(keep as usize).map(|c| c.path).collect();
            expected.sort();
            fell.sort();
            prop_assert_eq!(newest.finish(), (times.len() - fell.len()) as u64);
            prop_assert_eq!(fell, expected);
        }
    }

    #[test]
    fn rules_keep_their_own_newest() {
        let mut newest = NewestOfDirectory::default();
        assert_eq!(newest.offer(candidate(0, 1, 5, 5), 1), Newest::Held);
        assert_eq!(newest.offer(candidate(1, 2, 1, 1), 1), Newest::Held);
        assert_eq!(newest.offer(candidate(1, 3, 0, 0), 1), Newest::Falls(candidate(1, 3, 0, 0)));
        assert_eq!(newest.finish(), 2);
    }

    #[test]
    fn beyond_the_bound_everything_stays() {
        let mut newest = NewestOfDirectory::default();
        for name in 0..MAX_HELD {
            assert_eq!(newest.offer(candidate(0, name, 1, 1), u32::MAX), Newest::Held);
        }
        let more = candidate(0, MAX_HELD, 0, 0);
        assert_eq!(newest.offer(more, u32::MAX), Newest::Stays(Kept::TooManyInDirectory));
        assert_eq!(newest.finish(), MAX_HELD as u64);
    }
}
