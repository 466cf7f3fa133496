//! The worker's outgoing side: messages gathered into few writes, and the clock that stops while the receiver is
//! not reading.
//!
//! In: [`ScanMessage`]s. Out: frames on stdout. Must never: hold more than one write's worth.

use std::io::Write;
use std::time::{Duration, Instant};

use super::ScanMessage;
use super::wire::{self, MAX_FRAME, WireError};

/// Longest time a candidate waits in the buffer while the walk goes on, and the shortest between two
/// [`ScanMessage::Progress`].
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Buffered output of one scan.
#[derive(Debug)]
pub(super) struct Stream<W> {
    output: W,
    clock: fn() -> Instant,
    buffer: Vec<u8>,
    progressed: Instant,
    /// Time spent in writes: the receiver paces the sweep by not reading, and that is no fault of the walk.
    blocked: Duration,
    started: Instant,
}

impl<W: Write> Stream<W> {
    /// `clock` is [`Instant::now`], save in tests.
    pub(super) fn new(output: W, clock: fn() -> Instant) -> Self {
        let (buffer, now) = (Vec::with_capacity(2 * MAX_FRAME), clock());
        Self { output, clock, buffer, progressed: now, blocked: Duration::ZERO, started: now }
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Time since the start, less the time spent waiting for the receiver.
    pub(super) fn own_time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started).saturating_sub(self.blocked)
    }

    /// Whether [`Stream::progress`] is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progressed) >= PROGRESS_EVERY
    }

    /// True: the buffer went out, for which the receiver may have kept us waiting.
    pub(super) fn send(&mut self, message: &ScanMessage) -> Result<bool, WireError> {
        wire::append(message, &mut self.buffer)?;
        let full = self.buffer.len() >= MAX_FRAME;
        if full {
            self.flush()?;
        }
        Ok(full)
    }

    /// Says where the walk is and sends everything gathered so far.
    pub(super) fn progress(&mut self, entries: u64, candidates: u64) -> Result<(), WireError> {
        wire::append(&ScanMessage::Progress { entries, candidates }, &mut self.buffer)?;
        self.flush()?;
        self.progressed = self.now();
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), WireError> {
        let before = self.now();
        self.output.write_all(&self.buffer)?;
        self.output.flush()?;
        self.buffer.clear();
        self.blocked += self.now().saturating_duration_since(before);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_clock::{self as clock, SlowReceiver};
    use super::*;

    #[test]
    fn waiting_for_the_receiver_is_not_the_walk_s_time() {
        let mut stream = Stream::new(SlowReceiver(Duration::from_secs(50)), clock::now);
        let start = stream.now();
        clock::pass(Duration::from_secs(1));
        stream.progress(1, 0).unwrap();
        let now = stream.now();
        assert_eq!(now - start, Duration::from_secs(51));
        assert_eq!(stream.own_time(now), Duration::from_secs(1));
        assert!(!stream.is_due(now));
    }

    #[test]
    fn candidates_wait_for_company() {
        let mut stream = Stream::new(Vec::new(), clock::now);
        let message = ScanMessage::Progress { entries: 1, candidates: 0 };
        assert!(!stream.send(&message).unwrap());
        assert_eq!(stream.output, b"");
        stream.flush().unwrap();
        let mut expected = Vec::new();
        wire::append(&message, &mut expected).unwrap();
        assert_eq!(stream.output, expected);
    }
}
