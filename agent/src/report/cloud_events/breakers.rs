//! What changed among the breakers since the last look. Pure.

use std::collections::BTreeMap;

use crate::breaker::BreakerView;

/// What a breaker is that nobody has heard of.
const CLOSED: &str = "Closed";

/// Every breaker that was not closed at the last look; as many as the board holds.
#[derive(Debug, Default)]
pub(super) struct LastStates {
    not_closed: BTreeMap<String, String>,
    /// What was so when the agent started is no change.
    began: bool,
}

/// A breaker that is in another state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: String,
    pub(super) now: BreakerView,
}

impl LastStates {
    /// Looks again.
    pub(super) fn take_in(&mut self, views: &[BreakerView]) -> Vec<Change> {
        let now: BTreeMap<_, _> = views
            .iter()
            .filter(|view| view.state != CLOSED)
            .map(|view| (view.name.clone(), view.state.clone()))
            .collect();
        let before = std::mem::replace(&mut self.not_closed, now);
        if !std::mem::replace(&mut self.began, true) {
            return Vec::new();
        }
        let state_before = |name: &str| before.get(name).map_or(CLOSED, String::as_str);
        let changed = views.iter().filter(|view| view.state != state_before(&view.name));
        // A workload's breaker that closes is forgotten by the board, and in no view.
        let forgotten = before.keys().filter(|name| views.iter().all(|view| view.name != **name));
        changed
            .cloned()
            .chain(forgotten.map(|name| BreakerView {
                name: name.clone(),
                state: CLOSED.into(),
                reason: None,
                until: None,
            }))
            .map(|now| Change { before: state_before(&now.name).to_owned(), now })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, state: &str) -> BreakerView {
        BreakerView { name: name.into(), state: state.into(), reason: None, until: None }
    }

    fn told(last: &mut LastStates, views: &[(&str, &str)]) -> Vec<(String, String, String)> {
        let views: Vec<_> = views.iter().map(|(name, state)| view(name, state)).collect();
        let changes = last.take_in(&views).into_iter();
        changes.map(|change| (change.now.name, change.before, change.now.state)).collect()
    }

    fn one(name: &str, before: &str, now: &str) -> Vec<(String, String, String)> {
        vec![(name.into(), before.into(), now.into())]
    }

    #[test]
    fn each_change_is_told_once_and_none_at_the_start() {
        let mut last = LastStates::default();
        assert_eq!(told(&mut last, &[("global", "Closed"), ("workload/a", "Open")]), []);
        assert_eq!(told(&mut last, &[("global", "Closed"), ("workload/a", "Open")]), []);
        let half = told(&mut last, &[("global", "Closed"), ("workload/a", "HalfOpen")]);
        assert_eq!(half, one("workload/a", "Open", "HalfOpen"));
        assert_eq!(told(&mut last, &[("global", "Closed")]), one("workload/a", "HalfOpen", "Closed"));
        assert_eq!(told(&mut last, &[("global", "Open")]), one("global", "Closed", "Open"));
        assert_eq!(told(&mut last, &[("global", "Closed")]), one("global", "Open", "Closed"));
        assert_eq!(told(&mut last, &[("global", "Closed"), ("workload/b", "Closed")]), []);
    }
}
