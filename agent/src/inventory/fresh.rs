//! Cgroups made a moment ago: looked at often until there is a container in them, then a few times more. Pure.
//!
//! In: cgroups and the time. Out: which to look at now. Must never: keep one past its time, or more than its limit.

use std::time::Duration;

use super::CgroupId;

/// Most cgroups that wait; what finds no room is left to the next rescan and counted.
const MAX_WAITING: usize = 1024;

/// How long a cgroup is fresh. runc takes 50 to 300 ms from the cgroup to the container's own root.
const LIFETIME: Duration = Duration::from_secs(10);

/// A fresh cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: CgroupId,
    pub(super) path: String,
    since: Duration,
    due: Duration,
}

/// Those that wait for a look.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    waiting: Vec<Entry>,
    /// Turned away since the start.
    pub(super) turned_away: u64,
}

impl Fresh {
    /// A cgroup to look at from now on. `now` is monotonic.
    pub(super) fn push(&mut self, id: CgroupId, path: &str, now: Duration) {
        if self.waiting.iter().any(|entry| entry.id == id) {
            return;
        }
        if self.waiting.len() == MAX_WAITING {
            self.turned_away += 1;
            return;
        }
        self.waiting.push(Entry { id, path: path.to_owned(), since: now, due: now });
    }

    pub(super) fn remove(&mut self, id: CgroupId) {
        self.waiting.retain(|entry| entry.id != id);
    }

    /// Takes out those whose time has come; each goes back by [`Self::put_back`] if it is still there.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Entry> {
        self.waiting.extract_if(.., |entry| entry.due <= now).collect()
    }

    /// After a look. What is complete is looked at again at twice its age (mounts made late), else at the next call.
    pub(super) fn put_back(&mut self, entry: Entry, complete: bool, now: Duration) {
        let age = now.saturating_sub(entry.since);
        let due = if complete { now + age } else { now };
        if age < LIFETIME && due <= entry.since + LIFETIME {
            self.waiting.push(Entry { due, ..entry });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    // How often one entry is looked at over twenty seconds.
    fn looks(complete_at: Option<Duration>) -> Vec<Duration> {
        let mut fresh = Fresh::default();
        fresh.push(CgroupId(1), "/a", Duration::ZERO);
        let mut looks = Vec::new();
        for tick in 0..80 {
            let now = TICK * tick;
            for entry in fresh.take_due(now) {
                looks.push(now);
                fresh.put_back(entry, complete_at.is_some_and(|at| now >= at), now);
            }
        }
        looks
    }

    #[test]
    fn an_empty_cgroup_is_looked_at_every_time_for_ten_seconds() {
        let looks = looks(None);
        assert_eq!(looks.len(), 41);
        assert_eq!(looks.last(), Some(&LIFETIME));
    }

    #[test]
    fn a_complete_container_is_looked_at_ever_less() {
        let at: Vec<_> = looks(Some(TICK * 2)).iter().map(Duration::as_millis).collect();
        assert_eq!(at, [0, 250, 500, 1000, 2000, 4000, 8000]);
    }

    #[test]
    fn there_is_room_for_so_many_and_the_rest_is_counted() {
        let mut fresh = Fresh::default();
        for id in 0..=MAX_WAITING as u64 {
            fresh.push(CgroupId(id), "/a", Duration::ZERO);
            fresh.push(CgroupId(0), "/a", Duration::ZERO);
        }
        assert_eq!((fresh.waiting.len(), fresh.turned_away), (MAX_WAITING, 1));
        fresh.remove(CgroupId(0));
        assert_eq!(fresh.waiting.len(), MAX_WAITING - 1);
    }
}
