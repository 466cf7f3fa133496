//! All breakers of a node, by name: one for each workload that was harmed, and the global one. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::circuit::{Blocked, Change};
use super::{BreakerView, Circuit, Finding};
use crate::policy::{Reason, Refusal, WorkloadBreaker};

/// Name of the breaker that stops everything.
pub const GLOBAL: &str = "global";
/// What the name of a workload's breaker begins with; the rest is its key.
pub const WORKLOAD_PREFIX: &str = "workload/";
/// Breakers remembered at a time. Only workloads that were harmed have one; a node that harmed more than this is
/// stopped as a whole.
pub const MAX_WORKLOADS: usize = 4096;
/// Wait before the next probe where the agent ended while one was out: the default `coolDown` of a policy, since
/// which policy sent the probe is not known any more.
const LOST_PROBE_WAIT: Duration = Duration::from_mins(30);

/// When harm in several places stops everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalBreaker {
    /// Workloads whose breakers opened …
    pub open: u32,
    /// … within this time of one another.
    pub window: Duration,
}

/// The right to begin one sweep, as far as breakers go. Comes back by [`Board::record`] or [`Board::withdraw`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that does not come back blocks its workload until a person resets it"]
pub struct Pass {
    key: String,
    probe: Option<u64>,
}

impl Pass {
    /// The sweep is the one probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// What a finding changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The workload's breaker.
    pub workload: Change,
    /// The global one.
    pub global: Change,
}

/// There is nothing to reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no breaker is named {name:?}; `podsweep breakers` lists them")]
pub struct NoSuchBreaker {
    /// The name asked for.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Opening {
    at: Duration,
    key: String,
}

/// The board as history keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BoardSnapshot {
    workloads: BTreeMap<String, Circuit>,
    openings: Vec<Opening>,
    global: Option<String>,
}

/// The breakers of a node. `now` is wall clock time since 1970 everywhere, so that state outlives a restart.
#[derive(Debug)]
pub struct Board {
    settings: GlobalBreaker,
    // The state that outlives a restart; at most MAX_WORKLOADS workloads, `settings.open` openings.
    kept: BoardSnapshot,
    last_probe: u64,
}

impl Board {
    /// With all breakers closed.
    pub fn new(settings: GlobalBreaker) -> Self {
        Self { settings, kept: BoardSnapshot::default(), last_probe: 0 }
    }

    /// As it was when [`Self::snapshot`] was taken. A probe that was out then counts as unknown.
    pub fn restore(settings: GlobalBreaker, mut snapshot: BoardSnapshot, now: Duration) -> Self {
        for circuit in snapshot.workloads.values_mut() {
            circuit.forget_probe(now, LOST_PROBE_WAIT);
        }
        let mut board = Self { settings, kept: snapshot, last_probe: 0 };
        board.forget_idle(now);
        if board.kept.workloads.len() > MAX_WORKLOADS {
            board.open_global("the kept state holds more breakers than this node may have".into());
        }
        board
    }

    /// What must outlive a restart. Keep it whenever [`Self::allow`] gave a probe, and after each change.
    pub fn snapshot(&self) -> &BoardSnapshot {
        &self.kept
    }

    /// Whether a sweep of this workload could begin now; changes nothing (for `explain`).
    pub fn would_allow(&self, key: &str, now: Duration) -> Result<(), Refusal> {
        self.judge(key, now).map(drop)
    }

    /// Asks for a pass.
    pub fn allow(&mut self, key: &str, now: Duration) -> Result<Pass, Refusal> {
        let only_as_probe = self.judge(key, now)?;
        let probe = match self.kept.workloads.get_mut(key) {
            Some(circuit) if only_as_probe => {
                self.last_probe += 1;
                circuit.send_probe(self.last_probe, now);
                Some(self.last_probe)
            }
            _ => None,
        };
        Ok(Pass { key: key.to_owned(), probe })
    }

    /// Gives a pass back whose sweep changed nothing: refused by a later stage, or it only looked.
    #[expect(clippy::needless_pass_by_value, reason = "a pass comes back once")]
    pub fn withdraw(&mut self, pass: Pass) {
        if let (Some(number), Some(circuit)) = (pass.probe, self.kept.workloads.get_mut(&pass.key)) {
            circuit.withdraw_probe(number);
        }
    }

    /// Takes what the observation after a sweep showed.
    pub fn record(
        &mut self,
        pass: Pass,
        finding: &Finding,
        now: Duration,
        limits: &WorkloadBreaker,
    ) -> Recorded {
        self.forget_idle(now);
        if !self.kept.workloads.contains_key(&pass.key) && self.kept.workloads.len() >= MAX_WORKLOADS {
            return Recorded { workload: Change::None, global: self.record_beyond_bound(finding) };
        }
        let circuit = self.kept.workloads.entry(pass.key.clone()).or_default();
        let workload = circuit.record(finding, pass.probe, now, limits);
        if circuit.is_idle(now) {
            self.kept.workloads.remove(&pass.key);
        }
        let global = if workload == Change::Opened { self.note_opening(pass.key, now) } else { Change::None };
        Recorded { workload, global }
    }

    /// Closes a breaker, by a person's wish.
    pub fn reset(&mut self, name: &str) -> Result<(), NoSuchBreaker> {
        if name == GLOBAL {
            self.kept.global = None;
            self.kept.openings.clear();
            return Ok(());
        }
        let key = name.strip_prefix(WORKLOAD_PREFIX);
        match key.and_then(|key| self.kept.workloads.remove(key)) {
            Some(_) => Ok(()),
            None => Err(NoSuchBreaker { name: name.to_owned() }),
        }
    }

    /// Every breaker that is remembered, the global one first.
    pub fn views(&self) -> Vec<BreakerView> {
        let workloads = self.kept.workloads.iter();
        std::iter::once(BreakerView::global(self.kept.global.as_deref()))
            .chain(workloads.map(|(key, circuit)| BreakerView::workload(key, circuit.state())))
            .collect()
    }

    // Ok(true): only as the probe.
    fn judge(&self, key: &str, now: Duration) -> Result<bool, Refusal> {
        if let Some(reason) = &self.kept.global {
            let message = format!(
                "the global breaker is open ({reason}); a person closes it: podsweep breakers reset {GLOBAL}"
            );
            return Err(Refusal::new(Reason::GlobalBreakerOpen, message));
        }
        self.kept.workloads.get(key).map_or(Ok(false), |circuit| circuit.may_pass(now)).map_err(|blocked| {
            match blocked {
                Blocked::Until(until, reason) => {
                    let wait = until.saturating_sub(now).as_secs();
                    Refusal::new(
                        Reason::BreakerOpen,
                        format!("breaker {WORKLOAD_PREFIX}{key} is open for another {wait} s ({reason})"),
                    )
                }
                Blocked::Probing(reason) => Refusal::new(
                    Reason::BreakerHalfOpen,
                    format!(
                        "breaker {WORKLOAD_PREFIX}{key} is half-open ({reason}) and its one probe is out"
                    ),
                ),
            }
        })
    }

    fn note_opening(&mut self, key: String, now: Duration) -> Change {
        let window = self.settings.window;
        self.kept.openings.retain(|opening| opening.key != key && now.saturating_sub(opening.at) < window);
        self.kept.openings.push(Opening { at: now, key });
        let (opened, needed) =
            (self.kept.openings.len(), (self.settings.open as usize).clamp(1, MAX_WORKLOADS));
        if opened < needed {
            return Change::None;
        }
        self.open_global(format!("{opened} workloads were harmed within {window:?}"))
    }

    fn record_beyond_bound(&mut self, finding: &Finding) -> Change {
        if finding.health != crate::report::Health::Harmed {
            return Change::None;
        }
        self.open_global(format!("more than {MAX_WORKLOADS} workloads were harmed"))
    }

    fn open_global(&mut self, reason: String) -> Change {
        if self.kept.global.is_some() {
            return Change::None;
        }
        self.kept.global = Some(reason);
        Change::Opened
    }

    fn forget_idle(&mut self, now: Duration) {
        self.kept.workloads.retain(|_, circuit| !circuit.is_idle(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::breaker::Sign;
    use crate::units::Span;

    const SETTINGS: GlobalBreaker = GlobalBreaker { open: 3, window: Duration::from_mins(10) };

    fn limits() -> WorkloadBreaker {
        WorkloadBreaker { cool_down: Span::from_secs(100), ..WorkloadBreaker::default() }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn sweep(board: &mut Board, key: &str, sign: Sign, second: u64) -> Recorded {
        let pass = board.allow(key, at(second)).unwrap();
        board.record(pass, &Finding::new(sign, "test"), at(second), &limits())
    }

    fn refused(board: &Board, key: &str, second: u64) -> Option<String> {
        board.would_allow(key, at(second)).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn harm_stops_its_own_workload_only() {
        let mut board = Board::new(SETTINGS);
        let recorded = sweep(&mut board, "a", Sign::Gone, 0);
        assert_eq!(recorded, Recorded { workload: Change::Opened, global: Change::None });
        assert_eq!(refused(&board, "a", 1).as_deref(), Some("BreakerOpen"));
        assert_eq!(refused(&board, "b", 1), None);
    }

    #[test]
    fn harm_in_several_workloads_stops_everything_until_a_person_says_otherwise() {
        let mut board = Board::new(SETTINGS);
        sweep(&mut board, "a", Sign::Gone, 0);
        sweep(&mut board, "b", Sign::Gone, 1);
        assert_eq!(sweep(&mut board, "c", Sign::Gone, 599).global, Change::Opened);
        assert_eq!(refused(&board, "d", 1_000_000).as_deref(), Some("GlobalBreakerOpen"));
        board.reset(GLOBAL).unwrap();
        assert_eq!(refused(&board, "d", 1_000_000), None);
    }

    #[test]
    fn openings_further_apart_than_the_window_do_not_add_up() {
        let mut board = Board::new(SETTINGS);
        sweep(&mut board, "a", Sign::Gone, 0);
        sweep(&mut board, "b", Sign::Gone, 1);
        assert_eq!(sweep(&mut board, "c", Sign::Gone, 600).global, Change::None);
    }

    #[test]
    fn one_workload_that_opens_again_and_again_is_one_place() {
        let mut board = Board::new(SETTINGS);
        for second in [0, 100, 200, 300] {
            assert_eq!(sweep(&mut board, "a", Sign::Gone, second).workload, Change::Opened);
        }
        assert_eq!(refused(&board, "b", 301), None);
    }

    #[test]
    fn a_half_open_breaker_lets_exactly_one_probe_through() {
        let mut board = Board::new(SETTINGS);
        sweep(&mut board, "a", Sign::Gone, 0);
        let probe = board.allow("a", at(100)).unwrap();
        assert!(probe.is_probe());
        assert_eq!(refused(&board, "a", 101).as_deref(), Some("BreakerHalfOpen"));
        board.withdraw(probe);
        assert_eq!(sweep(&mut board, "a", Sign::Well, 102).workload, Change::Closed);
        assert_eq!(board.views().len(), 1, "a closed breaker is forgotten");
    }

    #[test]
    fn state_outlives_a_restart_and_a_lost_probe_is_unknown() {
        let mut board = Board::new(SETTINGS);
        sweep(&mut board, "a", Sign::Gone, 0);
        sweep(&mut board, "b", Sign::Gone, 0);
        let _lost = board.allow("b", at(100)).unwrap();
        let json = serde_json::to_string(board.snapshot()).unwrap();
        let restored = Board::restore(SETTINGS, serde_json::from_str(&json).unwrap(), at(50));
        assert_eq!(refused(&restored, "a", 50).as_deref(), Some("BreakerOpen"));
        assert_eq!(refused(&restored, "b", 101).as_deref(), Some("BreakerOpen"));
        assert_eq!(refused(&restored, "b", 50 + LOST_PROBE_WAIT.as_secs()), None);
    }

    #[test]
    fn a_reset_names_what_it_did_not_find() {
        let mut board = Board::new(SETTINGS);
        sweep(&mut board, "a", Sign::Gone, 0);
        assert!(board.reset("a").unwrap_err().to_string().contains("podsweep breakers"));
        board.reset("workload/a").unwrap();
        assert_eq!(refused(&board, "a", 1), None);
    }

    #[test]
    fn more_workloads_than_the_bound_stop_everything() {
        let mut board = Board::new(GlobalBreaker { open: 2, window: Duration::ZERO });
        for number in 0..MAX_WORKLOADS {
            sweep(&mut board, &number.to_string(), Sign::Gone, 0);
        }
        assert_eq!(sweep(&mut board, "well", Sign::Well, 1).global, Change::None);
        assert_eq!(sweep(&mut board, "one more", Sign::Gone, 1).global, Change::Opened);
        assert_eq!(board.snapshot().workloads.len(), MAX_WORKLOADS);
    }

    proptest! {
        #[test]
        fn whatever_the_order_nothing_flows_before_the_cool_down_and_unknown_never_closes(
            steps in prop::collection::vec((0u64..60, 0usize..4), 1..80),
        ) {
            let mut board = Board::new(SETTINGS);
            let (mut now, mut shut_until, mut out) = (0, 0, Vec::new());
            for (pause, step) in steps {
                now += pause;
                let sign = [None, Some(Sign::Well), Some(Sign::Gone), Some(Sign::SignalMissing)][step];
                match (sign, out.pop()) {
                    (Some(sign), Some(pass)) => {
                        let open_before = board.views().len() > 1;
                        let recorded = board.record(pass, &Finding::new(sign, "test"), at(now), &limits());
                        let open_after = board.views().len() > 1;
                        prop_assert!(sign == Sign::Well || open_before <= open_after);
                        prop_assert!(recorded.workload != Change::Closed || sign == Sign::Well);
                        if sign == Sign::Gone {
                            shut_until = now + 100;
                        }
                    }
                    (_, pass) => {
                        out.extend(pass);
                        let asked = board.allow("a", at(now));
                        prop_assert!(asked.is_err() || now >= shut_until);
                        out.extend(asked);
                    }
                }
            }
        }
    }
}
