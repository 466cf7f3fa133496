//! Where a long run is: one line on a terminal, written over; nothing anywhere else.

use std::io::{self, IsTerminal as _, Write as _};

/// Shows it in place of what was there; an empty line takes it away.
pub(crate) fn say(what: &str) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        // To the line's beginning, and clear to its end. Nobody is told that the terminal has gone.
        let _ = write!(terminal, "\r\x1b[2K{what}");
    }
}
