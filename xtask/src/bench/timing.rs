//! Runs of a program, timed: wall clock, and the CPU time of all processes that it started and waited for.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

/// One program and its runs so far.
pub(super) struct Timed {
    command: Command,
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

/// What its runs came to. Medians: half of the runs were better, half were worse.
#[derive(Serialize)]
pub(super) struct Timing {
    pub(super) command: String,
    pub(super) wall_ms: f64,
    pub(super) wall_ms_best: f64,
    pub(super) cpu_ms: f64,
}

impl Timed {
    /// `command`'s output is thrown away in every run that is timed.
    pub(super) fn new(command: Command) -> Self {
        Self { command, wall: Vec::new(), cpu: Vec::new() }
    }

    /// Runs it once, not timed; what it printed.
    pub(super) fn output(&mut self) -> Result<Vec<u8>> {
        let output = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = output.with_context(|| format!("cannot start {}", self.shown()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}): {said}", self.shown(), output.status);
        }
        Ok(output.stdout)
    }

    /// Runs it once, timed.
    pub(super) fn run(&mut self) -> Result<()> {
        let (start, before) = (Instant::now(), cpu_of_children()?);
        let status = self.command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot start {}", self.shown()))?;
        self.wall.push(start.elapsed());
        self.cpu.push(cpu_of_children()?.saturating_sub(before));
        if !status.success() {
            bail!("{} failed ({status})", self.shown());
        }
        Ok(())
    }

    pub(super) fn timing(&self) -> Timing {
        let best = self.wall.iter().min().copied().unwrap_or_default();
        Timing {
            command: self.shown(),
            wall_ms: milliseconds(median(&self.wall)),
            wall_ms_best: milliseconds(best),
            cpu_ms: milliseconds(median(&self.cpu)),
        }
    }

    /// As a shell takes it.
    fn shown(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words
            .map(|word| match word.to_string_lossy() {
                plain if plain.contains(' ') => format!("'{plain}'"),
                plain => plain.into_owned(),
            })
            .collect();
        words.join(" ")
    }
}

/// A child's own children are in it once the child has waited for them, as podsweep does for its worker.
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds).unwrap_or_default()))
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// To a tenth: the rest is noise.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted() {
        let of = |times: &[u64]| {
            let times: Vec<_> = times.iter().copied().map(Duration::from_millis).collect();
            median(&times).as_millis()
        };
        assert_eq!([of(&[9, 1, 5]), of(&[7]), of(&[])], [5, 7, 0]);
    }

    #[test]
    fn the_time_of_a_grandchild_counts() {
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done'; true"]);
        let mut timed = Timed::new(command);
        timed.run().unwrap();
        assert!(timed.cpu[0] > Duration::from_millis(5), "{:?}", timed.cpu);
    }
}
