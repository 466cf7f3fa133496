//! The observation window: compares a container's vitals with those before its sweep. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PodSigns;
use crate::kernel::Psi;
use crate::report::Health;

/// Pressure counts as high only where it rose by more than this, percentage points of "some avg10". Less is within
/// what a healthy service shows from one minute to the next.
pub const PRESSURE_RISE: f64 = 20.0;
/// … and only where it is more than this many times what it was: a service that always waits is not harmed by it.
pub const PRESSURE_FACTOR: f64 = 2.0;
/// … and only above this, percent: below it a service still runs two thirds of the time unhindered.
pub const PRESSURE_FLOOR: f64 = 30.0;
/// … and only when this many ticks in a row show it: avg10 decays over ten seconds, so one short stall would
/// otherwise be counted as several.
pub const PRESSURE_TICKS: u32 = 3;
/// Longest time between two ticks. avg10 covers ten seconds, so within this gap no stall goes unseen; a longer one
/// (the agent was starved or stopped) leaves part of the window unwatched, and that is unknown, not healthy.
pub const MAX_TICK_GAP: Duration = Duration::from_secs(10);

/// What can be read of a container at one moment. `None`: this signal could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vitals {
    /// The first process is the one it was (pid and start time) and is not a zombie.
    pub same_process: Option<bool>,
    /// Its cgroup has processes.
    pub populated: Option<bool>,
    /// Kills by the OOM killer since the cgroup was made.
    pub oom_kills: Option<u64>,
    /// Frozen at this moment.
    pub frozen: Option<bool>,
    /// Pressure of its cgroup.
    pub psi: Option<Psi>,
    /// What the Kubernetes API shows of it.
    pub pod: Option<PodSigns>,
}

/// What a finding rests on. `as_str` is the record's `healthReason`: stable words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    /// The whole window passed and nothing was wrong.
    Well,
    /// The first process is another one.
    Restarted,
    /// No process is left.
    Gone,
    /// The OOM killer killed in it, this many times.
    OomKilled(u64),
    /// It is frozen and was not.
    Frozen,
    /// Pressure far above what it was.
    PressureHigh,
    /// It was ready and is not any more.
    NotReady,
    /// The kubelet evicted its pod.
    Evicted,
    /// Its pod was deleted: whether the container was well can no longer be known.
    PodDeleted,
    /// A signal that was readable is not any more.
    SignalMissing,
    /// Part of the window went by unwatched.
    NotWatched,
}

impl Sign {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "Well",
            Self::Restarted => "Restarted",
            Self::Gone => "Gone",
            Self::OomKilled(_) => "OomKilled",
            Self::Frozen => "Frozen",
            Self::PressureHigh => "PressureHigh",
            Self::NotReady => "NotReady",
            Self::Evicted => "Evicted",
            Self::PodDeleted => "PodDeleted",
            Self::SignalMissing => "SignalMissing",
            Self::NotWatched => "NotWatched",
        }
    }

    /// What the sign means.
    pub const fn health(self) -> Health {
        match self {
            Self::Well => Health::Healthy,
            Self::Restarted
            | Self::Gone
            | Self::OomKilled(_)
            | Self::Frozen
            | Self::PressureHigh
            | Self::NotReady
            | Self::Evicted => Health::Harmed,
            Self::PodDeleted | Self::SignalMissing | Self::NotWatched => Health::Unknown,
        }
    }
}

/// The verdict of one observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Continue, stop or pause.
    pub health: Health,
    /// What it rests on.
    pub sign: Sign,
    /// A sentence for people.
    pub message: String,
}

impl Finding {
    /// A finding from its sign.
    pub fn new(sign: Sign, message: impl Into<String>) -> Self {
        Self { health: sign.health(), sign, message: message.into() }
    }

    /// The stable word, as the record and the metrics carry it.
    pub const fn reason(&self) -> &'static str {
        self.sign.as_str()
    }
}

/// How to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSettings {
    /// The policy's `rollout.observe`.
    pub window: Duration,
}

/// One observation window.
#[derive(Debug, Clone)]
pub struct Watch {
    before: Vitals,
    settings: WatchSettings,
    started: Duration,
    last_tick: Duration,
    high: [u32; 3],
}

impl Watch {
    /// Opens a window. `before` was read before the sweep began; `now` is any monotonic time, the same one as for
    /// [`Self::tick`].
    pub fn new(before: Vitals, settings: WatchSettings, now: Duration) -> Self {
        Self { before, settings, started: now, last_tick: now, high: [0; 3] }
    }

    /// Looks once. Call about once a second; `Some` ends the window.
    pub fn tick(&mut self, now: Duration, vitals: &Vitals) -> Option<Finding> {
        let gap = now.saturating_sub(self.last_tick);
        self.last_tick = now;
        // Harm first: what it is known to have suffered outweighs what is not known.
        self.killed(vitals)
            .or_else(|| PodSigns::ended(self.before.pod, vitals.pod))
            .or_else(|| gone(vitals))
            .or_else(|| PodSigns::not_ready(self.before.pod, vitals.pod))
            .or_else(|| self.frozen(vitals))
            .or_else(|| self.pressed(vitals))
            .or_else(|| self.missing(vitals))
            .or_else(|| unwatched(gap))
            .or_else(|| self.over(now))
    }

    fn killed(&self, vitals: &Vitals) -> Option<Finding> {
        let kills = vitals.oom_kills?.saturating_sub(self.before.oom_kills?);
        (kills > 0).then(|| {
            Finding::new(
                Sign::OomKilled(kills),
                format!("the OOM killer killed {kills} of its processes since the sweep began"),
            )
        })
    }

    fn frozen(&self, vitals: &Vitals) -> Option<Finding> {
        (vitals.frozen == Some(true) && self.before.frozen == Some(false))
            .then(|| Finding::new(Sign::Frozen, "it is frozen now and was not before the sweep"))
    }

    fn pressed(&mut self, vitals: &Vitals) -> Option<Finding> {
        let (before, now) = (self.before.psi?, vitals.psi?);
        let pairs =
            [("cpu", before.cpu, now.cpu), ("io", before.io, now.io), ("memory", before.memory, now.memory)];
        let mut worst = None;
        for (ticks, (resource, before, now)) in self.high.iter_mut().zip(pairs) {
            *ticks = if far_above(before, now) { *ticks + 1 } else { 0 };
            if *ticks >= PRESSURE_TICKS {
                worst = worst.or(Some((resource, before, now)));
            }
        }
        worst.map(|(resource, before, now)| {
            let message = format!("{resource} pressure is {now:.1}% and was {before:.1}% before the sweep");
            Finding::new(Sign::PressureHigh, message)
        })
    }

    fn missing(&self, vitals: &Vitals) -> Option<Finding> {
        let lost = [
            // Without this one nothing else can be trusted, so it must be there whether or not it was before.
            ("its first process", vitals.same_process.is_none()),
            ("its count of OOM kills", lost(self.before.oom_kills, vitals.oom_kills)),
            ("whether it is frozen", lost(self.before.frozen, vitals.frozen)),
            ("its pressure", lost(self.before.psi, vitals.psi)),
            ("what the Kubernetes API shows of it", lost(self.before.pod, vitals.pod)),
        ];
        let (signal, _) = lost.into_iter().find(|(_, lost)| *lost)?;
        Some(Finding::new(Sign::SignalMissing, format!("{signal} cannot be read any more")))
    }

    fn over(&self, now: Duration) -> Option<Finding> {
        (now.saturating_sub(self.started) >= self.settings.window).then(|| {
            let mut message = format!("no sign of harm in {:?}", self.settings.window);
            let blind = self.blind();
            if !blind.is_empty() {
                message.push_str("; not readable on this host: ");
                message.push_str(&blind.join(", "));
            }
            Finding::new(Sign::Well, message)
        })
    }

    /// Signals that could not be read before the sweep either, so that this watch says nothing about them.
    pub fn blind(&self) -> Vec<&'static str> {
        // Of the pod nothing is said: a host by itself has none, and a container that the API does not show on a node of
        // a cluster is never swept.
        let Vitals { oom_kills, frozen, psi, .. } = self.before;
        [("OOM kills", oom_kills.is_none()), ("frozen", frozen.is_none()), ("pressure", psi.is_none())]
            .into_iter()
            .filter_map(|(signal, missing)| missing.then_some(signal))
            .collect()
    }
}

fn gone(vitals: &Vitals) -> Option<Finding> {
    match (vitals.same_process, vitals.populated) {
        (Some(false), Some(true)) => {
            Some(Finding::new(Sign::Restarted, "its first process ended; its cgroup has other processes"))
        }
        (Some(false), _) | (_, Some(false)) => Some(Finding::new(Sign::Gone, "its processes ended")),
        _ => None,
    }
}

fn unwatched(gap: Duration) -> Option<Finding> {
    (gap > MAX_TICK_GAP)
        .then(|| Finding::new(Sign::NotWatched, format!("the agent did not look at it for {gap:?}")))
}

fn far_above(before: f64, now: f64) -> bool {
    now > before + PRESSURE_RISE && now > before * PRESSURE_FACTOR && now > PRESSURE_FLOOR
}

fn lost<T: Copy>(before: Option<T>, now: Option<T>) -> bool {
    before.is_some() && now.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Vitals {
        Vitals {
            same_process: Some(true),
            populated: Some(true),
            oom_kills: Some(2),
            frozen: Some(false),
            psi: Some(Psi { cpu: 5.0, io: 20.0, memory: 0.0 }),
            pod: Some(PodSigns { restarts: 1, ready: Some(true), ..PodSigns::default() }),
        }
    }

    fn watch() -> Watch {
        Watch::new(fine(), WatchSettings { window: Duration::from_secs(20) }, Duration::ZERO)
    }

    fn at_second(second: u64, vitals: &Vitals) -> Option<Sign> {
        watch().tick(Duration::from_secs(second), vitals).map(|finding| finding.sign)
    }

    #[test]
    fn healthy_only_when_the_whole_window_was_watched() {
        let mut watch = watch();
        for second in 1..20 {
            assert_eq!(watch.tick(Duration::from_secs(second), &fine()), None);
        }
        assert_eq!(
            watch.tick(Duration::from_secs(20), &fine()).map(|found| found.health),
            Some(Health::Healthy)
        );
    }

    #[test]
    fn a_window_that_nobody_watched_is_unknown() {
        assert_eq!(at_second(11, &fine()), Some(Sign::NotWatched));
        assert_eq!(at_second(10, &fine()), None);
    }

    #[test]
    fn each_harm_has_its_sign() {
        let oom = Vitals { oom_kills: Some(5), ..fine() };
        assert_eq!(at_second(1, &oom), Some(Sign::OomKilled(3)));
        let restarted = Vitals { same_process: Some(false), ..fine() };
        assert_eq!(at_second(1, &restarted), Some(Sign::Restarted));
        let frozen = Vitals { frozen: Some(true), ..fine() };
        assert_eq!(at_second(1, &frozen), Some(Sign::Frozen));
    }

    #[test]
    fn a_container_that_is_gone_is_harmed_and_not_a_missing_signal() {
        let gone = Vitals { same_process: Some(false), ..Vitals::default() };
        assert_eq!(at_second(1, &gone), Some(Sign::Gone));
        // The first process may linger as a zombie that was not seen as one.
        let emptied = Vitals { populated: Some(false), ..fine() };
        assert_eq!(at_second(1, &emptied), Some(Sign::Gone));
    }

    #[test]
    fn an_oom_kill_is_told_even_when_it_ended_the_container() {
        let killed = Vitals { same_process: Some(false), oom_kills: Some(3), ..fine() };
        assert_eq!(at_second(1, &killed), Some(Sign::OomKilled(1)));
    }

    #[test]
    fn what_the_api_shows_of_the_pod_is_a_sign_as_well() {
        let pod = |change: fn(&mut PodSigns)| {
            let mut vitals = fine();
            vitals.pod.iter_mut().for_each(change);
            vitals
        };
        assert_eq!(at_second(1, &pod(|pod| pod.restarts = 2)), Some(Sign::Restarted));
        assert_eq!(
            at_second(1, &pod(|pod| (pod.restarts, pod.oom_killed) = (3, true))),
            Some(Sign::OomKilled(2))
        );
        assert_eq!(at_second(1, &pod(|pod| pod.oom_killed = true)), None, "that was before the sweep");
        assert_eq!(at_second(1, &pod(|pod| pod.ready = Some(false))), Some(Sign::NotReady));
        assert_eq!(
            at_second(1, &pod(|pod| (pod.evicted, pod.ready) = (true, Some(false)))),
            Some(Sign::Evicted)
        );
        assert_eq!(at_second(1, &pod(|pod| pod.leaving = true)), Some(Sign::PodDeleted));
        assert_eq!(Sign::PodDeleted.health(), Health::Unknown);
    }

    #[test]
    fn a_container_whose_pod_was_deleted_or_evicted_is_not_merely_gone() {
        let ended = |signs| Vitals { same_process: Some(false), pod: Some(signs), ..Vitals::default() };
        let deleted = PodSigns { leaving: true, ..PodSigns::default() };
        assert_eq!(at_second(1, &ended(deleted)), Some(Sign::PodDeleted));
        let evicted = PodSigns { evicted: true, leaving: true, ..PodSigns::default() };
        assert_eq!(at_second(1, &ended(evicted)), Some(Sign::Evicted));
    }

    #[test]
    fn a_container_that_was_not_ready_before_the_sweep_was_not_harmed_by_it() {
        let signs = |ready| Vitals { pod: Some(PodSigns { ready, ..PodSigns::default() }), ..fine() };
        for before in [Some(false), None] {
            let mut watch =
                Watch::new(signs(before), WatchSettings { window: Duration::from_secs(20) }, Duration::ZERO);
            assert_eq!(watch.tick(Duration::from_secs(1), &signs(Some(false))), None, "{before:?}");
        }
    }

    #[test]
    fn every_lost_signal_is_unknown() {
        for lost in [
            Vitals { same_process: None, ..fine() },
            Vitals { oom_kills: None, ..fine() },
            Vitals { frozen: None, ..fine() },
            Vitals { psi: None, ..fine() },
            Vitals { pod: None, ..fine() },
        ] {
            assert_eq!(at_second(1, &lost), Some(Sign::SignalMissing), "{lost:?}");
        }
        assert_eq!(Sign::SignalMissing.health(), Health::Unknown);
    }

    #[test]
    fn a_signal_that_never_was_is_named_and_does_not_count() {
        let before = Vitals { psi: None, ..fine() };
        let mut watch = Watch::new(before, WatchSettings { window: Duration::from_secs(1) }, Duration::ZERO);
        let found = watch.tick(Duration::from_secs(1), &before).unwrap();
        assert_eq!(found.sign, Sign::Well);
        assert!(found.message.contains("pressure"), "{}", found.message);
    }

    #[test]
    fn pressure_must_be_high_three_times_in_a_row() {
        let high = Vitals { psi: Some(Psi { cpu: 5.0, io: 45.0, memory: 0.0 }), ..fine() };
        let mut watch = watch();
        let mut tick =
            |second, vitals: &Vitals| watch.tick(Duration::from_secs(second), vitals).map(|found| found.sign);
        assert_eq!(tick(1, &high), None);
        assert_eq!(tick(2, &high), None);
        assert_eq!(tick(3, &fine()), None);
        assert_eq!(tick(4, &high), None);
        assert_eq!(tick(5, &high), None);
        assert_eq!(tick(6, &high), Some(Sign::PressureHigh));
    }

    #[test]
    fn pressure_is_judged_against_what_it_was() {
        assert!(far_above(0.0, 31.0));
        assert!(!far_above(0.0, 30.0), "floor");
        assert!(!far_above(15.0, 35.0), "rise");
        assert!(!far_above(40.0, 80.0), "factor");
        assert!(far_above(40.0, 80.1));
    }
}
