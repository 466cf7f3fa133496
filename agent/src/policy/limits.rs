//! Entry limits, level 5: sweeps per minute on this node, cool-down per container. Pure; time is an argument.
//!
//! In: a container that asks, sweeps as they begin and end. Out: yes, or which limit says no and for how long. Must
//! never: grow past [`MAX_REMEMBERED`] containers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Reason, Refusal};
use crate::inventory::CgroupId;
use crate::units::Span;

/// Containers whose last sweep is remembered: twice what the inventory holds. Past it the oldest is forgotten, which
/// can only shorten that container's cool-down.
pub const MAX_REMEMBERED: usize = 8192;
const MINUTE: Duration = Duration::from_mins(1);

/// The node's entry limits. Every `now` is of one monotonic clock.
#[derive(Debug)]
pub struct EntryLimits {
    sweeps_per_minute: u32,
    cool_down: Duration,
    /// Starts within the last minute, oldest first; at most `sweeps_per_minute`.
    starts: VecDeque<Duration>,
    last: BTreeMap<CgroupId, Duration>,
}

impl EntryLimits {
    /// Limits as the node's configuration gives them.
    pub fn new(sweeps_per_minute: u32, cool_down: Span) -> Self {
        Self { sweeps_per_minute, cool_down: cool_down.0, starts: VecDeque::new(), last: BTreeMap::new() }
    }

    /// Whether a sweep of this container may begin.
    pub fn allow(&self, container: CgroupId, now: Duration) -> Result<(), Refusal> {
        if let Some(last) = self.last.get(&container) {
            let wait = (*last + self.cool_down).saturating_sub(now);
            if !wait.is_zero() {
                let message =
                    format!("its last sweep was less than {} ago; {}", Span(self.cool_down), again_in(wait));
                return refuse(Reason::CoolDown, message);
            }
        }
        let recent = self.starts.iter().filter(|start| **start + MINUTE > now);
        if recent.clone().count() >= self.sweeps_per_minute as usize {
            let wait = recent.min().map_or(MINUTE, |oldest| (*oldest + MINUTE).saturating_sub(now));
            let message =
                format!("{} sweeps began within a minute; {}", self.sweeps_per_minute, again_in(wait));
            return refuse(Reason::RateLimit, message);
        }
        Ok(())
    }

    /// A sweep of this container began now.
    pub fn record(&mut self, container: CgroupId, now: Duration) {
        self.starts.push_back(now);
        while self.starts.len() > self.sweeps_per_minute as usize {
            self.starts.pop_front();
        }
        self.remember(container, now);
    }

    /// A sweep of this container ended now: the cool-down counts from here.
    pub fn ended(&mut self, container: CgroupId, now: Duration) {
        self.remember(container, now);
    }

    /// The container is gone.
    pub fn forget(&mut self, container: CgroupId) {
        self.last.remove(&container);
    }

    fn remember(&mut self, container: CgroupId, now: Duration) {
        if self.last.len() >= MAX_REMEMBERED && !self.last.contains_key(&container) {
            let oldest = self.last.iter().min_by_key(|(_, last)| **last).map(|(id, _)| *id);
            oldest.and_then(|oldest| self.last.remove(&oldest));
        }
        self.last.insert(container, now);
    }
}

fn again_in(wait: Duration) -> String {
    // Rounded up: at the moment the message names, the answer must be yes.
    format!("ask again in {}", Span::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
}

fn refuse(reason: Reason, message: String) -> Result<(), Refusal> {
    Err(Refusal::new(reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn reason(limits: &EntryLimits, id: u64, now: Duration) -> Option<String> {
        limits.allow(CgroupId(id), now).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_container_cools_down_from_the_end_of_its_sweep() {
        let mut limits = EntryLimits::new(100, Span::from_secs(300));
        limits.record(CgroupId(1), at(1000));
        limits.ended(CgroupId(1), at(1100));
        let refusal = limits.allow(CgroupId(1), at(1399)).unwrap_err();
        assert_eq!((refusal.level, refusal.reason.as_str()), (5, "CoolDown"));
        assert!(refusal.message.ends_with("ask again in 1s"), "{}", refusal.message);
        assert_eq!(reason(&limits, 1, at(1400)), None);
        assert_eq!(reason(&limits, 2, at(1100)), None);
    }

    #[test]
    fn the_minute_moves() {
        let mut limits = EntryLimits::new(2, Span::from_secs(0));
        limits.record(CgroupId(1), at(1000));
        limits.record(CgroupId(2), at(1030));
        assert_eq!(reason(&limits, 3, at(1059)).as_deref(), Some("RateLimit"));
        assert_eq!(reason(&limits, 3, at(1060)), None);
        limits.record(CgroupId(3), at(1060));
        assert_eq!(reason(&limits, 4, at(1089)).as_deref(), Some("RateLimit"));
        assert_eq!(reason(&limits, 4, at(1090)), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut limits = EntryLimits::new(1, Span::from_secs(3600));
        for id in 0..=MAX_REMEMBERED as u64 {
            limits.record(CgroupId(id), Duration::from_millis(id));
        }
        assert_eq!(limits.last.len(), MAX_REMEMBERED);
        assert_eq!(limits.starts.len(), 1);
        assert_eq!(reason(&limits, 1, at(100)).as_deref(), Some("CoolDown"));
        assert_eq!(reason(&limits, 0, at(100)), None);
    }
}
