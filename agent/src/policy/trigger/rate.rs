//! A rate that must hold for some time: burst and growth. Pure.

use std::time::Duration;

use super::ring::Ring;

/// A limit on how fast a total grows, and how long that must last.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Growth within `window`.
    limit: u64,
    window: Duration,
    must_hold: Duration,
    ring: Ring,
    held: Option<Held>,
}

/// Since when the rate has held without a gap.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: Duration,
    /// The total then.
    total: f64,
    fired: bool,
}

/// The rate's figures at the moment it fired.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateFired {
    /// Growth per window, averaged over the time held.
    pub(super) rate: f64,
    pub(super) held: Duration,
}

impl Rate {
    pub(super) fn new(limit: u64, window: Duration, must_hold: Duration, spacing: Duration) -> Self {
        Self { limit, window, must_hold, ring: Ring::new(window + window / 2, spacing), held: None }
    }

    /// The total at `now`. Some, once for each time that the rate has held long enough.
    pub(super) fn tick(&mut self, now: Duration, total: i64) -> Option<RateFired> {
        self.ring.push(now, total);
        if self.rate() < self.limit as f64 {
            self.held = None;
            return None;
        }
        let mut held = self.held.unwrap_or_else(|| self.began(now));
        let lasted = now.saturating_sub(held.since);
        let fires = !held.fired && lasted >= self.must_hold;
        held.fired |= fires;
        self.held = Some(held);
        fires.then(|| RateFired { rate: self.average(held, now, total), held: lasted })
    }

    /// The next time it fires is after the rate has held for the whole time again, from `now` on.
    pub(super) fn rearm(&mut self, now: Duration) {
        if let Some(held) = &mut self.held {
            *held = Held { since: now, total: self.ring.total_at(now), fired: false };
        }
    }

    /// The total began anew.
    pub(super) fn reset(&mut self) {
        self.ring.clear();
        self.held = None;
    }

    /// When a rate that is over the limit since this tick began to be so.
    ///
    /// At the limit itself it takes a whole window to see that; waiting for `must_hold` only from then on would come
    /// a window late. So the start is where the window's growth would have begun, had it always been as fast as in
    /// the newest samples. All of it since the last sample may have come in this instant: then the start is now.
    fn began(&self, now: Duration) -> Held {
        let gap = self.ring.newest_gap();
        let speed = |span: Duration| self.ring.growth_over(span) / span.as_secs_f64();
        let newest_speed = speed(gap).max(speed((gap * 2).min(self.window)));
        // Slightly above the limit, the start lies up to one sample before the window.
        let reach = self.window + gap.min(self.window / 2);
        let seconds = self.ring.growth_over(reach) / newest_speed;
        let taken = Duration::try_from_secs_f64(seconds).unwrap_or_default().min(reach);
        // The little that a quiet container creates is not part of it.
        let is_older_than_a_sample = taken > gap + gap / 8;
        let since = if is_older_than_a_sample { now.saturating_sub(taken) } else { now };
        Held { since, total: self.ring.total_at(since), fired: false }
    }

    /// Growth within the newest window.
    pub(super) fn rate(&self) -> f64 {
        self.ring.growth_over(self.window)
    }

    /// For how long the rate has held, at the newest sample; `None` while it does not.
    pub(super) fn held_for(&self) -> Option<Duration> {
        let (now, _) = self.ring.newest()?;
        self.held.map(|held| now.saturating_sub(held.since))
    }

    /// Growth per window.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn average(&self, held: Held, now: Duration, total: i64) -> f64 {
        let lasted = now.saturating_sub(held.since).as_secs_f64();
        if lasted > 0.0 {
            (total as f64 - held.total) * self.window.as_secs_f64() / lasted
        } else {
            self.rate()
        }
    }
}
