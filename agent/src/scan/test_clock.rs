//! Time for tests: a clock that stands still until it is told to go on, one per test thread, and a receiver that takes
//! its time by it.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

pub(super) fn now() -> Instant {
    NOW.get()
}

pub(super) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// Takes everything, after this long.
pub(super) struct SlowReceiver(pub(super) Duration);

impl Write for SlowReceiver {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        pass(self.0);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
