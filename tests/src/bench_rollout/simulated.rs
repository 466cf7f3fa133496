//! One simulated run: sweeps are asked for within an hour, and the coordinator's real decisions see them through.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use podsweep::kubernetes::resources::SweepPhase;
use podsweep::policy::Spec;
use podsweep::rollout::GLOBAL;
use serde::Serialize;

use super::figures::{Outcomes, Queue, Turns, Writes};
use super::weather::{Lot, PERSON, Weather, draw};
use crate::progress::say;
use crate::simulation::{Course, Effort, World};

/// Workloads that the sweeps are of.
pub(super) const WORKLOADS: u64 = 200;
/// The cap: one container in eighty at a time, one node in twenty.
const SLOTS: usize = 250;
/// How long a sweep of some thousand files takes, with the policy's default of one minute's observation.
const COURSE: Course =
    Course { scan: Duration::from_secs(2), sweep: Duration::from_secs(20), observe: Duration::from_mins(1) };
const SECOND: Duration = Duration::from_secs(1);
/// Of the simulated time, in seconds: how often somebody who watches is told.
const MINUTE: u64 = 60;
/// A run that is not over by then never will be.
const LONGEST: Duration = Duration::from_hours(48);
/// Canary and growth as the policy's defaults are; related by node, and by workload as far as the waves go.
const POLICY: &str = r#"{"mode":"Enforce","select":{"namespaces":["*"]},
    "junk":[{"name":"tmp","paths":["/tmp/x/**"]}],
    "rollout":{"canary":1,"growth":2,"serialBy":["Node"],"maxParallel":1000}}"#;

/// What is simulated.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scenario {
    pub(super) weather: Weather,
    pub(super) nodes: u64,
    pub(super) sweeps: u64,
    /// All are asked for within so many seconds.
    pub(super) asked_within: u64,
}

/// What one run has shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Simulated {
    #[serde(flatten)]
    pub(super) scenario: Scenario,
    pub(super) workloads: u64,
    pub(super) slots: usize,
    /// Until the last had ended; then they are forgotten.
    pub(super) seconds: u64,
    pub(super) most_at_once: usize,
    pub(super) cap_violations: u64,
    pub(super) outcomes: Outcomes,
    pub(super) leaders: u64,
    /// Times that somebody reset the global breaker.
    pub(super) resets: u64,
    pub(super) waves: u64,
    pub(super) queue_seconds: Queue,
    pub(super) writes: Writes,
    pub(super) turns: Turns,
    /// Of the whole run, the simulation's own work included.
    pub(super) wall_seconds: f64,
}

impl Scenario {
    pub(super) fn run(self) -> Result<Simulated> {
        let began = Instant::now();
        let mut run = Run::new(self)?;
        while !run.is_over() {
            if run.world.now() > LONGEST {
                bail!("sweeps still wait after {LONGEST:?}: {:?}", run.world.figures);
            }
            run.second();
            if run.world.now().as_secs().is_multiple_of(MINUTE) {
                say(&run.progress());
            }
        }
        say("");
        Ok(run.shown(began.elapsed()))
    }
}

struct Run {
    scenario: Scenario,
    world: World,
    asked: u64,
    leaders: u64,
    led_since: Duration,
    resets: u64,
    stopped_since: Option<Duration>,
    /// When the last had ended, and what decisions had taken by then.
    ended: Option<(Duration, Effort)>,
}

impl Run {
    fn new(scenario: Scenario) -> Result<Self> {
        let mut world = World::new(SLOTS, COURSE);
        let spec: Spec = serde_json::from_str(POLICY).context("the benchmark's policy")?;
        world.policy("p", &spec);
        Ok(Self {
            scenario,
            world,
            asked: 0,
            leaders: 1,
            led_since: Duration::ZERO,
            resets: 0,
            stopped_since: None,
            ended: None,
        })
    }

    /// All are ended and forgotten.
    fn is_over(&self) -> bool {
        self.ended.is_some() && self.world.objects.sweeps().next().is_none()
    }

    fn have_ended(&self) -> bool {
        let figures = &self.world.figures;
        self.asked == self.scenario.sweeps && figures.running == 0 && figures.waiting.is_empty()
    }

    fn progress(&self) -> String {
        let Scenario { weather, nodes, sweeps, .. } = self.scenario;
        let what = format!("{weather:?} weather, {nodes} nodes, {sweeps} sweeps");
        let (minutes, figures) = (self.world.now().as_secs() / MINUTE, &self.world.figures);
        let waiting: u64 = figures.waiting.values().sum();
        format!("{what}: after {minutes} min {waiting} wait and {} run", figures.running)
    }

    fn second(&mut self) {
        let Scenario { sweeps, asked_within, .. } = self.scenario;
        let due = sweeps * (self.world.now().as_secs() + 1) / asked_within;
        while self.asked < due.min(sweeps) {
            self.ask(self.asked);
            self.asked += 1;
        }
        // A leader that comes after the end would begin to count their time anew.
        if let Some((leads, nobody)) = self.scenario.weather.terms()
            && self.ended.is_none()
            && self.world.now() >= self.led_since + leads
        {
            self.world.fail_over(nobody, SECOND);
            self.leaders += 1;
            self.led_since = self.world.now();
        }
        self.world.run(SECOND, SECOND);
        self.be_the_person();
        if self.ended.is_none() && self.have_ended() {
            self.ended = Some((self.world.now(), self.world.effort));
        }
    }

    fn ask(&mut self, number: u64) {
        let Scenario { weather, nodes, .. } = self.scenario;
        let (workload, node) = (number % WORKLOADS, draw(number, 2) % nodes);
        let urgency = u32::try_from(draw(number, 3) % 1000).unwrap_or_default();
        let key = self.world.ask(&format!("w{workload}"), &format!("n{node}"), "p", urgency);
        match weather.lot(number) {
            Lot::Well => {}
            Lot::Fares(health, sign) => self.world.will_be(&key, health, sign),
            Lot::Dies(after) => self.world.will_die(&key, after),
        }
    }

    fn be_the_person(&mut self) {
        let now = self.world.now();
        let is_open = self.world.objects.breakers().contains_key(GLOBAL);
        let since = is_open.then(|| self.stopped_since.unwrap_or(now));
        self.stopped_since = since;
        if since.is_some_and(|since| now >= since + PERSON) {
            self.world.reset(GLOBAL);
            self.resets += 1;
        }
    }

    fn shown(self, took: Duration) -> Simulated {
        let Self { scenario, world, leaders, resets, ended, .. } = self;
        let (over, effort) = ended.unwrap_or((world.now(), world.effort));
        let fates = &world.objects.fates;
        let waited = fates.values().filter_map(|fate| Some(fate.admitted?.saturating_sub(fate.asked)));
        let ended =
            |wanted: &[SweepPhase]| fates.values().filter(|fate| wanted.contains(&fate.phase)).count();
        Simulated {
            scenario,
            workloads: WORKLOADS,
            slots: SLOTS,
            seconds: over.as_secs(),
            most_at_once: world.most_running,
            cap_violations: world.cap_violations,
            outcomes: Outcomes {
                succeeded: ended(&[SweepPhase::Succeeded]),
                failed: ended(&[SweepPhase::Failed]),
                aborted: ended(&[SweepPhase::Aborted]),
                other: fates.values().filter(|fate| !is_well_known(fate.phase)).count(),
            },
            leaders,
            resets,
            waves: world.objects.waves,
            queue_seconds: Queue::of(waited),
            writes: Writes::of(
                fates.values().map(|fate| u64::from(fate.writes)),
                world.objects.all_writes(),
                &world.objects.writes,
            ),
            turns: Turns::of(effort, scenario.sweeps, over),
            wall_seconds: took.as_secs_f64(),
        }
    }
}

fn is_well_known(phase: SweepPhase) -> bool {
    matches!(phase, SweepPhase::Succeeded | SweepPhase::Failed | SweepPhase::Aborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the 203rd the agent is killed; the lots are the same each time.
    const SWEEPS: u64 = 210;

    #[test]
    fn a_small_run_in_rough_weather_ends_within_the_cap() {
        let scenario = Scenario { weather: Weather::Rough, nodes: 50, sweeps: SWEEPS, asked_within: 60 };
        let shown = scenario.run().unwrap();
        assert_eq!((shown.cap_violations, shown.outcomes.other), (0, 0), "{shown:?}");
        let Outcomes { succeeded, failed, aborted, .. } = shown.outcomes;
        assert_eq!((succeeded + failed + aborted) as u64, SWEEPS);
        assert!(failed + aborted > 0, "it was fair: {shown:?}");
        assert!(shown.waves >= WORKLOADS && shown.most_at_once > 0);
    }
}
