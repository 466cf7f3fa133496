//! Where the run is: one line on a terminal, written over; nothing anywhere else.

use std::io::{self, IsTerminal as _, Write as _};

use super::clock;

const SECOND: u64 = 1_000_000;

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: io::stderr().is_terminal() }
    }

    /// Shows it.
    pub(super) fn say(&mut self, what: &str) {
        if self.shown {
            // Nobody is told that the terminal has gone.
            let _ = write!(io::stderr(), "\r\x1b[K{what}");
        }
    }

    /// Sleeps until then, and counts down.
    pub(super) fn until(&mut self, what: &str, moment: u64) {
        loop {
            let left = moment.saturating_sub(clock::now());
            if left == 0 {
                return;
            }
            self.say(&format!("{what}: {} s", left.div_ceil(SECOND)));
            clock::sleep_until(moment - left + left.min(SECOND));
        }
    }

    /// Takes the line away.
    pub(super) fn over(&mut self) {
        self.say("");
    }
}
