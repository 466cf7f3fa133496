//! What becomes of each sweep of a simulated run: fair weather, or some harm, some doubt, some dead agents, and leaders
//! that come and go. The same for each run: what is drawn is drawn from the sweep's number.

use std::time::Duration;

use podsweep::report::Health;
use serde::Serialize;

/// Of so many sweeps one comes to harm, of one nobody knows how it fared, of one the agent is killed.
const HARMED: u64 = 1_000;
const UNKNOWN: u64 = 400;
const KILLED: u64 = 400;
/// In the middle of its batches.
const KILLED_AFTER: Duration = Duration::from_secs(15);
/// So long one coordinator leads, and so long nobody does: a leader's lease of 15 s, and some.
const LEADS: Duration = Duration::from_mins(30);
const NOBODY_LEADS: Duration = Duration::from_secs(17);
/// A person looks what opened the global breaker, and resets it.
pub(super) const PERSON: Duration = Duration::from_mins(10);

/// How it is out there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weather {
    /// Every container stays well, nobody dies.
    Fair,
    /// It does not.
    Rough,
}

/// What will become of one sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lot {
    /// Its container stays well.
    Well,
    /// It does not, or nobody knows.
    Fares(Health, &'static str),
    /// Its agent is killed so long after it has begun.
    Dies(Duration),
}

impl Weather {
    pub(super) fn lot(self, number: u64) -> Lot {
        if self == Self::Fair {
            return Lot::Well;
        }
        let drawn = draw(number, 1);
        if drawn.is_multiple_of(HARMED) {
            Lot::Fares(Health::Harmed, "Restarted")
        } else if drawn % UNKNOWN == 1 {
            Lot::Fares(Health::Unknown, "SignalMissing")
        } else if drawn % KILLED == 2 {
            Lot::Dies(KILLED_AFTER)
        } else {
            Lot::Well
        }
    }

    /// How long a coordinator leads, and how long nobody does after it; `None`: one leads all the time.
    pub(super) fn terms(self) -> Option<(Duration, Duration)> {
        (self == Self::Rough).then_some((LEADS, NOBODY_LEADS))
    }
}

/// A number that looks random (SplitMix64), one for each `number` and `what`.
pub(super) fn draw(number: u64, what: u64) -> u64 {
    let mut drawn = number.wrapping_mul(4).wrapping_add(what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    drawn ^ (drawn >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rough_weather_is_rough_and_the_same_each_time() {
        let lots: Vec<_> = (0..20_000).map(|number| Weather::Rough.lot(number)).collect();
        let count = |wanted: &dyn Fn(&Lot) -> bool| lots.iter().filter(|lot| wanted(lot)).count();
        let harmed = count(&|lot| matches!(lot, Lot::Fares(Health::Harmed, _)));
        let unknown = count(&|lot| matches!(lot, Lot::Fares(Health::Unknown, _)));
        let killed = count(&|lot| matches!(lot, Lot::Dies(_)));
        assert!((10..40).contains(&harmed), "{harmed}");
        assert!((25..80).contains(&unknown) && (25..80).contains(&killed), "{unknown}, {killed}");
        assert_eq!(lots[7], Weather::Rough.lot(7));
        assert!((0..20_000).all(|number| Weather::Fair.lot(number) == Lot::Well));
    }
}
