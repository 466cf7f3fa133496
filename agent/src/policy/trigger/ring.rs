//! The last samples of a running total, over a window of time. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples of a total that are at least `spacing` apart and reach back over `window`: at most `window / spacing` and a
/// few more.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    window: Duration,
    spacing: Duration,
    /// Time and total, oldest first.
    samples: VecDeque<(Duration, i64)>,
}

impl Ring {
    pub(super) fn new(window: Duration, spacing: Duration) -> Self {
        Self { window, spacing, samples: VecDeque::new() }
    }

    /// Adds the total at `now`, and drops what the window no longer needs.
    pub(super) fn push(&mut self, now: Duration, total: i64) {
        // The newest sample always stays; the one before it goes if it is too close to its own predecessor.
        let count = self.samples.len();
        if count >= 2 && self.newest_gap() < self.spacing {
            self.samples.pop_back();
        }
        self.samples.push_back((now, total));
        // One sample at or before the window's start stays: the total there lies between it and the next.
        let start = now.saturating_sub(self.window);
        while self.samples.get(1).is_some_and(|(time, _)| *time <= start) {
            self.samples.pop_front();
        }
    }

    /// Forgets everything: the total began anew.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// The newest total.
    pub(super) fn newest(&self) -> Option<(Duration, i64)> {
        self.samples.back().copied()
    }

    /// Time between the newest sample and the one before it; zero where there is none.
    pub(super) fn newest_gap(&self) -> Duration {
        let times = self.samples.iter().rev().map(|(time, _)| *time);
        times
            .clone()
            .zip(times.skip(1))
            .next()
            .map_or(Duration::ZERO, |(newest, before)| newest.saturating_sub(before))
    }

    /// How much the total grew within `span` before the newest sample. What was not sampled did not grow.
    pub(super) fn growth_over(&self, span: Duration) -> f64 {
        let Some((now, total)) = self.newest() else { return 0.0 };
        total as f64 - self.total_at(now.saturating_sub(span))
    }

    /// The total at a moment, on the straight line between the samples around it.
    pub(super) fn total_at(&self, moment: Duration) -> f64 {
        let after = self.samples.partition_point(|(time, _)| *time <= moment);
        let value =
            |index: usize| self.samples.get(index).map(|(time, total)| (time.as_secs_f64(), *total as f64));
        match (after.checked_sub(1).and_then(value), value(after)) {
            (Some((from, low)), Some((to, high))) => {
                low + (high - low) * (moment.as_secs_f64() - from) / (to - from)
            }
            (Some((_, total)), None) | (None, Some((_, total))) => total,
            (None, None) => 0.0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn growth_is_read_off_the_line_between_samples() {
        let mut ring = Ring::new(ms(1000), ms(100));
        for (time, total) in [(0, 0), (250, 100), (500, 200), (1100, 200), (1350, 300)] {
            ring.push(ms(time), total);
        }
        // At 350 ms the total was 140.
        assert!((ring.growth_over(ms(1000)) - 160.0).abs() < 1e-9);
        assert!((ring.growth_over(ms(250)) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_sampled_did_not_grow() {
        let mut ring = Ring::new(ms(1000), ms(100));
        ring.push(ms(5000), 70);
        assert!(ring.growth_over(ms(1000)).abs() < 1e-9);
        ring.push(ms(5250), 75);
        assert!((ring.growth_over(ms(1000)) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn memory_is_bounded_however_often_it_is_asked() {
        let mut ring = Ring::new(ms(1000), ms(100));
        for time in 0..100_000 {
            ring.push(ms(time), i64::try_from(time).unwrap());
        }
        assert!(ring.len() <= 13, "{}", ring.len());
        assert!((ring.growth_over(ms(1000)) - 1000.0).abs() < 1e-6);
    }
}
