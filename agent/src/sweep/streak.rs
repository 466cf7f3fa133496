//! Refusals of the kernel in a row, and when they are too many (`breakers.sweep.errors`). Pure; agent and deleter
//! count alike.

use serde::{Deserialize, Serialize};

use super::audit::Fate;

/// Refusals in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Streak {
    /// So far.
    pub(super) refusals: u32,
    /// As many as this end the sweep.
    pub(super) limit: u32,
}

impl Streak {
    /// None so far.
    pub(super) fn new(limit: u32) -> Self {
        Self { refusals: 0, limit }
    }

    /// One more fate.
    pub(super) fn count(&mut self, fate: Fate) {
        self.refusals = match fate {
            Fate::Refused(_) => self.refusals.saturating_add(1),
            Fate::Removed | Fate::Truncated | Fate::WouldGo => 0,
            _ => self.refusals, // the kernel was not asked to do anything
        };
    }

    /// Whether the sweep must end.
    pub(super) fn is_broken(self) -> bool {
        self.refusals >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Kept;

    #[test]
    fn only_what_the_kernel_was_asked_for_counts() {
        let mut streak = Streak::new(2);
        let fates = [Fate::Refused(1), Fate::Kept(Kept::Open), Fate::Gone, Fate::Removed, Fate::Refused(1)];
        for fate in fates {
            streak.count(fate);
            assert!(!streak.is_broken(), "{fate:?}");
        }
        streak.count(Fate::Refused(1));
        assert!(streak.is_broken());
    }
}
