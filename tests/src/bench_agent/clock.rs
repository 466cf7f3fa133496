//! The one clock that all processes of a run share: microseconds since 1970.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Sleeps until then; not at all where that is over.
pub(super) fn sleep_until(moment: u64) {
    sleep(Duration::from_micros(moment.saturating_sub(now())));
}
