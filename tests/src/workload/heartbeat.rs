//! The service's own work, and how long each piece of it takes: what a user of the container would notice.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::said::{Beat, Said, now};

const EVERY: Duration = Duration::from_millis(10);
const FILE: &str = "/app/data/heartbeat";
/// Rounds of arithmetic a beat: some tens of microseconds of CPU in an unoptimised build.
const ROUNDS: u64 = 2_000;

/// Beats for ever. A beat that is late is not made up for: the next one follows its own schedule.
pub(super) fn beat() -> io::Result<()> {
    let mut next = Instant::now();
    loop {
        let at = now();
        let begun = Instant::now();
        work(Path::new(FILE), at)?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Said::Beat(Beat { at, micros }).tell()?;
        next = (next + EVERY).max(Instant::now());
        sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Writes a small file, reads it back, computes something.
fn work(file: &Path, seed: u64) -> io::Result<()> {
    let written = seed.to_le_bytes().repeat(32);
    fs::write(file, &written)?;
    let read = fs::read(file)?;
    if read != written {
        return Err(io::Error::other(format!("{}: read back something else", file.display())));
    }
    // Mixing after Fowler, Noll and Vo; the result is of no use to anybody.
    let sum = (0..ROUNDS).fold(seed, |sum, round| (sum ^ round).wrapping_mul(0x0100_0000_01b3));
    black_box(sum);
    Ok(())
}
