//! Until when a permit holds.

use std::time::Instant;

use tokio::sync::watch;

/// The time by which a permit's holder must have stopped, on its own monotonic clock. A slot of a cluster moves it on
/// with each renewal, up to the time that the permit was asked for.
#[derive(Debug, Clone)]
pub struct Until {
    latest: Instant,
    renewed: Option<watch::Receiver<Instant>>,
}

impl Until {
    /// A time that stays.
    pub fn at(latest: Instant) -> Self {
        Self { latest, renewed: None }
    }

    /// Not later than a slot that is renewed says.
    #[must_use]
    pub fn within(self, renewed: Option<watch::Receiver<Instant>>) -> Self {
        Self { renewed, ..self }
    }

    /// As it stands now.
    pub fn now_at(&self) -> Instant {
        self.renewed.as_ref().map_or(self.latest, |renewed| self.latest.min(*renewed.borrow()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_renewal_moves_it_on_and_never_past_what_was_asked_for() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let (renew, renewed) = watch::channel(at(10));
        let until = Until::at(at(15)).within(Some(renewed));
        assert_eq!(until.now_at(), at(10));
        renew.send(at(12)).unwrap();
        assert_eq!(until.now_at(), at(12));
        renew.send(at(99)).unwrap();
        assert_eq!(until.now_at(), at(15));
    }
}
