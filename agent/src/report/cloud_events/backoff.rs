//! How long to wait before the next try. Pure, but for chance.

use std::time::Duration;

/// Tries of one event. With the waits below and the default timeout of 5 s, all of them take less than a minute.
pub(super) const TRIES: u32 = 6;

/// Longest wait after the first try; doubled after each further one.
const FIRST: Duration = Duration::from_millis(500);

/// Longest wait at all.
const LONGEST: Duration = Duration::from_secs(30);

/// Between a half and the whole of the longest wait after this try (from 0), by `chance` (0 to 1): the agents of a
/// cluster whose collector comes back must not all come at once.
pub(super) fn wait(tried: u32, chance: f64) -> Duration {
    let longest = FIRST.saturating_mul(2u32.saturating_pow(tried)).min(LONGEST);
    longest.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// A number from 0 to 1 that nobody can tell beforehand.
pub(super) fn chance() -> f64 {
    let bits = ulid::Ulid::new().random() & u128::from(u32::MAX);
    bits as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        assert_eq!(wait(0, 0.0), Duration::from_millis(250));
        assert_eq!(wait(0, 1.0), Duration::from_millis(500));
        assert_eq!(wait(3, 1.0), Duration::from_secs(4));
        assert_eq!(wait(u32::MAX, 1.0), LONGEST);
        assert!((0..20).map(|_| chance()).any(|one| (one - chance()).abs() > 1e-6));
    }
}
