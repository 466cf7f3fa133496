//! When the next batch may start. Pure: time and pressure come in as arguments.
//!
//! A token bucket that holds one batch and is refilled once per interval, so that a sweep that was held up never
//! catches up in a rush; a pressure level stretches the refill or stops it.

use std::time::Duration;

use crate::kernel::Psi;
use crate::policy::Pressure;

/// From one look at the pressure to the next while a sweep waits for it to fall. PSI's avg10 is itself a mean over
/// ten seconds, updated every two (kernel doc accounting/psi.rst): looking more often shows nothing new.
pub(super) const STALLED_RECHECK: Duration = Duration::from_secs(1);

/// How hard the container or the node presses, against the policy's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// At or below the limit: full pace.
    Calm,
    /// Above it: half the pace.
    Pressed,
    /// Above twice the limit: wait.
    Stalled,
}

impl Level {
    /// Of the worst of the three resources. A figure that is no number counts as the worst.
    pub(super) fn of(psi: &Psi, max: &Pressure) -> Self {
        let one = |now: f64, max: f64| match now {
            now if now <= max => Self::Calm,
            now if now <= 2.0 * max => Self::Pressed,
            _ => Self::Stalled,
        };
        one(psi.cpu, max.cpu).max(one(psi.io, max.io)).max(one(psi.memory, max.memory))
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Start a batch.
    Go,
    /// Ask again at this time.
    Later(Duration),
}

/// The bucket.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    interval: Duration,
    last_start: Option<Duration>,
    not_before: Duration,
}

impl Pace {
    /// `interval`: from the start of a batch to the start of the next, at full pace.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last_start: None, not_before: Duration::ZERO }
    }

    /// The earliest time at which asking may be answered by [`Step::Go`].
    pub(super) fn due(&self) -> Duration {
        self.not_before
    }

    /// May a batch start now, under this pressure?
    pub(super) fn ask(&mut self, now: Duration, level: Level) -> Step {
        let halved = self.last_start.map_or(Duration::ZERO, |start| start + 2 * self.interval);
        self.not_before = match level {
            Level::Calm => self.not_before,
            Level::Pressed => self.not_before.max(halved),
            Level::Stalled => self.not_before.max(now + STALLED_RECHECK),
        };
        if now >= self.not_before { Step::Go } else { Step::Later(self.not_before) }
    }

    /// A batch ran. The pause after it is never shorter than the batch was: on a device so slow that a batch takes
    /// longer than the interval, a sweep still leaves half of the time to everybody else.
    pub(super) fn ran(&mut self, start: Duration, end: Duration) {
        self.last_start = Some(start);
        self.not_before = (start + self.interval).max(end + end.saturating_sub(start));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: Pressure = Pressure { cpu: 20.0, io: 20.0, memory: 10.0 };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn after_a_batch() -> Pace {
        let mut pace = Pace::new(ms(1000));
        assert_eq!(pace.ask(ms(0), Level::Calm), Step::Go);
        pace.ran(ms(0), ms(50));
        pace
    }

    #[test]
    fn the_worst_resource_decides() {
        let psi = |cpu, io, memory| Psi { cpu, io, memory };
        assert_eq!(Level::of(&psi(20.0, 0.0, 10.0), &MAX), Level::Calm);
        assert_eq!(Level::of(&psi(0.0, 20.1, 0.0), &MAX), Level::Pressed);
        assert_eq!(Level::of(&psi(0.0, 30.0, 20.1), &MAX), Level::Stalled);
        assert_eq!(Level::of(&psi(f64::NAN, 0.0, 0.0), &MAX), Level::Stalled);
    }

    #[test]
    fn starts_are_an_interval_apart() {
        let mut pace = after_a_batch();
        assert_eq!(pace.ask(ms(999), Level::Calm), Step::Later(ms(1000)));
        assert_eq!(pace.ask(ms(1000), Level::Calm), Step::Go);
    }

    #[test]
    fn pressure_halves_the_pace() {
        let mut pace = after_a_batch();
        assert_eq!(pace.ask(ms(1000), Level::Pressed), Step::Later(ms(2000)));
        assert_eq!(pace.ask(ms(2000), Level::Pressed), Step::Go);
    }

    #[test]
    fn twice_the_pressure_waits_for_as_long_as_it_lasts() {
        let mut pace = after_a_batch();
        for second in 1..600 {
            assert_eq!(pace.ask(ms(second * 1000), Level::Stalled), Step::Later(ms((second + 1) * 1000)));
        }
        assert_eq!(pace.ask(ms(600_000), Level::Calm), Step::Go);
    }

    #[test]
    fn pressure_holds_the_first_batch_too() {
        let mut pace = Pace::new(ms(1000));
        assert_eq!(pace.ask(ms(7), Level::Stalled), Step::Later(ms(1007)));
    }

    #[test]
    fn a_slow_device_gets_half_of_the_time() {
        let mut pace = after_a_batch();
        pace.ran(ms(1000), ms(4000));
        assert_eq!(pace.due(), ms(7000));
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_its_share(
            steps in proptest::collection::vec((0_u64..3000, 0_u64..900, 0_u8..3), 1..200)
        ) {
            let mut pace = Pace::new(ms(1000));
            let (mut now, mut last) = (Duration::ZERO, None::<Duration>);
            for (wait, took, level) in steps {
                now += ms(wait);
                let level = [Level::Calm, Level::Pressed, Level::Stalled][usize::from(level)];
                if pace.ask(now, level) == Step::Go {
                    prop_assert!(level != Level::Stalled);
                    let gap = if level == Level::Pressed { ms(2000) } else { ms(1000) };
                    prop_assert!(last.is_none_or(|last| now >= last + gap));
                    last = Some(now);
                    pace.ran(now, now + ms(took));
                    now += ms(took);
                }
            }
        }
    }
}
