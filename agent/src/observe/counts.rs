//! Totals of one cgroup, by kind. Pure.

use agent_common::{Counters, KINDS, Kind};

/// Successful operations since the agent started counting, one number for each [`Kind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; KINDS]);

impl Counts {
    /// Operations of one kind.
    pub fn get(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Operations that made an inode or a name for one. A file made by `O_TMPFILE` and then linked counts twice.
    pub fn creates(&self) -> u64 {
        self.sum(&[
            Kind::Create,
            Kind::Tmpfile,
            Kind::Mkdir,
            Kind::Mknod,
            Kind::Symlink,
            Kind::Link,
            Kind::SockBind,
        ])
    }

    /// Operations that removed a name. A `O_TMPFILE` file that was never linked vanishes uncounted.
    pub fn removals(&self) -> u64 {
        self.sum(&[Kind::Unlink, Kind::Rmdir, Kind::RenameOver])
    }

    /// Adds another cgroup's (or CPU's) totals to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// What was added since an earlier reading; 0 where the earlier one is higher (another life of the counter).
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }

    fn sum(&self, kinds: &[Kind]) -> u64 {
        kinds.iter().map(|kind| self.get(*kind)).fold(0, u64::saturating_add)
    }
}

impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        Self(std::array::from_fn(|index| counters[index]))
    }
}

impl FromIterator<(Kind, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (Kind, u64)>>(counts: I) -> Self {
        let mut all = Self::default();
        for (kind, count) in counts {
            all.0[kind as usize] = all.0[kind as usize].saturating_add(count);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use agent_common::{COUNTERS, REMOVED};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_rename_neither_creates_nor_removes() {
        let counts: Counts = [(Kind::Rename, 3)].into_iter().collect();
        assert_eq!((counts.creates(), counts.removals()), (0, 0));
    }

    #[test]
    fn every_other_kind_is_one_or_the_other() {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Rename) {
            let counts: Counts = [(kind, 1)].into_iter().collect();
            assert_eq!(counts.creates() + counts.removals(), 1, "{}", kind.as_str());
        }
    }

    #[test]
    fn the_mark_of_a_removed_cgroup_is_no_count() {
        let mut counters = [0; COUNTERS];
        counters[REMOVED] = 1;
        assert_eq!(Counts::from(&counters), Counts::default());
    }

    proptest! {
        #[test]
        fn since_undoes_add(before: [u32; KINDS], more: [u32; KINDS]) {
            let before = Counts(before.map(u64::from));
            let more = Counts(more.map(u64::from));
            let mut after = before;
            after.add(&more);
            prop_assert_eq!(after.since(&before), more);
            prop_assert_eq!(before.since(&before), Counts::default());
        }
    }
}
