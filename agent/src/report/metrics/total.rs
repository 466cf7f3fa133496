//! Counters whose total is kept elsewhere (in the kernel, in another module).

use std::sync::atomic::{AtomicU64, Ordering};

/// Turns a total into what came on top since the last look.
#[derive(Debug, Default)]
pub(super) struct Total(AtomicU64);

impl Total {
    /// A total lower than the last one began again from zero (the programs were loaded anew).
    pub(super) fn advance(&self, total: u64) -> u64 {
        let last = self.0.swap(total, Ordering::Relaxed);
        total.checked_sub(last).unwrap_or(total)
    }
}
