//! Whether what a watch has told is still true. Pure; time is an argument.
//!
//! In: signs of life (a list, an event, a bookmark, a watch that stays open) and failures. Out: [`Stale`], or not. Must
//! never: take the absence of an error for a sign of life.

use std::time::Duration;

/// A watch that failed and could not be made again for this long: what it told may be wrong. Twice kube's longest
/// wait between two tries (30 s), so that one try that fails is not yet the end.
pub const MAX_CUT: Duration = Duration::from_mins(1);

/// A watch that showed no sign of life for this long: the same. The server ends each after
/// [`super::watch::WATCH_SECONDS`], so one that works is heard of within that, also where no bookmarks come; bookmarks
/// come once a minute (`kube-apiserver`, `defaultBookmarkFrequency`).
pub const MAX_SILENCE: Duration = Duration::from_secs(310);

/// What was told may not be true any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Nothing was told yet.
    #[error("not listed yet{}", because(.0.as_deref()))]
    NotListed(Option<String>),
    /// The watch failed and is not there again.
    #[error("cut off for {} s{}", .0.as_secs(), because(Some(.1.as_str())))]
    Cut(Duration, String),
    /// The watch is there and says nothing.
    #[error("nothing heard for {} s", .0.as_secs())]
    Silent(Duration),
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// One watch's signs of life. Every `now` is of one monotonic clock.
#[derive(Debug, Default)]
pub struct Pulse {
    heard: Option<Duration>,
    /// Since when, and why.
    lost: Option<(Duration, String)>,
}

impl Pulse {
    /// A sign of life. Whether the watch had been lost before.
    pub fn heard(&mut self, now: Duration) -> bool {
        self.heard = Some(now);
        self.lost.take().is_some()
    }

    /// It failed, or could not be made again. Whether that is news.
    pub fn lost(&mut self, now: Duration, why: String) -> bool {
        let since = self.lost.as_ref().map(|(since, _)| *since);
        self.lost = Some((since.unwrap_or(now), why));
        since.is_none()
    }

    /// Whether what it told holds.
    pub fn current(&self, now: Duration) -> Result<(), Stale> {
        let why = || self.lost.as_ref().map(|(_, why)| why.clone());
        let heard = self.heard.ok_or_else(|| Stale::NotListed(why()))?;
        if let Some((since, why)) = &self.lost {
            let cut = now.saturating_sub(*since);
            if cut > MAX_CUT {
                return Err(Stale::Cut(cut, why.clone()));
            }
        }
        let silent = now.saturating_sub(heard);
        if silent > MAX_SILENCE { Err(Stale::Silent(silent)) } else { Ok(()) }
    }

    /// Time since the last sign of life; `None` before the first.
    pub fn silence(&self, now: Duration) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_sub(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_true_before_the_first_list() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.current(SECOND), Err(Stale::NotListed(None)));
        pulse.lost(SECOND, "refused".into());
        assert_eq!(pulse.current(SECOND).unwrap_err().to_string(), "not listed yet: refused");
    }

    #[test]
    fn a_short_cut_is_forgiven_and_a_long_one_is_counted_from_its_beginning() {
        let mut pulse = Pulse::default();
        pulse.heard(SECOND);
        assert!(pulse.lost(2 * SECOND, "first".into()));
        assert!(!pulse.lost(40 * SECOND, "second".into()));
        assert_eq!(pulse.current(2 * SECOND + MAX_CUT), Ok(()));
        let stale = pulse.current(3 * SECOND + MAX_CUT).unwrap_err();
        assert_eq!(stale.to_string(), "cut off for 61 s: second");
        assert!(pulse.heard(100 * SECOND));
        assert_eq!(pulse.current(100 * SECOND), Ok(()));
    }

    #[test]
    fn silence_is_no_sign_of_life() {
        let mut pulse = Pulse::default();
        pulse.heard(SECOND);
        assert_eq!(pulse.current(SECOND + MAX_SILENCE), Ok(()));
        assert!(matches!(pulse.current(2 * SECOND + MAX_SILENCE), Err(Stale::Silent(_))));
    }
}
