//! The demo: the main job on a real container, told as it happens, checked by an independent count and listing.
//!
//! In: nothing but this machine. Out: [`Figures`]. Must never use podsweep's own matching to judge podsweep.

pub mod cluster;
mod narrator;
mod oracle;
mod result;
mod timeline;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podsweep::report::{Phase, SweepRecord};
use serde_json::json;

use self::narrator::Narrator;
use self::oracle::{Findings, Known};
use self::result::{Heartbeats, Percentiles, Scan, Sweep};
use self::timeline::Timeline;
use crate::agent::Agent;
use crate::container::Container;
use crate::listing::{self, Listing};
use crate::wait;
use crate::workload::{Plan, Said};

pub use self::result::Figures;

const PREFIX: &str = "podsweep-demo";
/// The policy that the demo's agent runs with.
pub(crate) const POLICY: &str = include_str!("../../policies/demo.yaml");
/// Heartbeats before the storm and after the sweep: 500 of them, so that p99 is one of five.
const CALM: Duration = Duration::from_secs(5);
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// The storm takes some seconds on an idle machine, its trickle 36 s.
const STORM_WITHIN: Duration = Duration::from_mins(4);
/// The policy's 30 s, from the storm's beginning.
const DECIDED_WITHIN: Duration = Duration::from_mins(2);
const SWEPT_WITHIN: Duration = Duration::from_mins(5);

/// Runs the demo. `silent`: say nothing as it happens.
pub fn run(silent: bool) -> Result<Figures> {
    let narrator = Narrator::new(silent);
    // One sweep is the story: no second one of the same container.
    let agent = Agent::start_with(PREFIX, &[("demo", POLICY)], &json!({"coolDown": "10m"}))?;
    let tier = agent.api().status()?.tier;
    narrator
        .say(&format!("podsweep agent runs, counting by {tier}; its folder: {}", agent.path("").display()));
    let container = Container::start(PREFIX)?;
    let demo = Demo { narrator, agent, container };
    demo.tell(tier)
}

struct Demo {
    narrator: Narrator,
    agent: Agent,
    container: Container,
}

/// What the storm looked like before podsweep did anything.
struct Storm {
    began: u64,
    before: Listing,
    known: Known,
}

impl Demo {
    fn tell(mut self, tier: String) -> Result<Figures> {
        let id = self.container.cgroup_id()?;
        let seen = self.agent.knows(id, KNOWN_WITHIN)?;
        self.narrator.say(&format!(
            "container {} runs (pid {}), policy {:?}",
            self.container.name(),
            seen.pid,
            seen.policy
        ));
        let first = self.container.process()?;
        sleep(CALM);
        let baseline = self.counted()?;

        let mut storm = self.storm()?;
        let (record, timeline) = self.watch_sweep(id, storm.began)?;
        let created = self.end_of_storm(&mut storm)?;
        sleep(CALM);

        let counted = self.counted()? - baseline;
        let after = listing::list_all(&self.container.root()?)?;
        let findings = oracle::judge(&storm.before, &after, &storm.known, timeline.sweep());
        self.show(&findings);
        let is_same = self.container.is_running() && self.container.process()? == first;
        let figures = Figures {
            kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
            tier,
            created,
            counted,
            detected_after_ms: timeline.detected_after_ms(),
            candidates: record.scan.as_ref().map_or(0, |scan| scan.candidates),
            removed: record.sweep.removed,
            kept: by_name(&record)?,
            wrongly_removed: findings.wrongly_removed.len() as u64,
            missed: findings.missed.len() as u64,
            container_restarts: u64::from(!is_same),
            heartbeat_us: self.heartbeats(&timeline)?,
            scan: Scan::of(&record),
            sweep: Sweep { batches: record.sweep.batches, wall_ms: record.sweep.wall_ms },
            outcome: record.outcome,
        };
        self.narrator.summary(&figures);
        if !figures.failures().is_empty() {
            eprintln!("the end of the agent's log:\n{}", self.agent.log_end());
        }
        Ok(figures)
    }

    /// What the agent has counted for the container, when its count has come to rest.
    fn counted(&self) -> Result<u64> {
        const RESTS_WITHIN: Duration = Duration::from_secs(10);
        let (api, id) = (self.agent.api(), self.container.cgroup_id()?);
        let mut last = None;
        wait::until("the agent's count rests", RESTS_WITHIN, || {
            // Longer than the agent's interval between two readings of the kernel's counters.
            sleep(Duration::from_millis(600));
            let now = api.container(id)?.context("the agent has forgotten the container")?.creates;
            let rested = last == Some(now);
            last = Some(now);
            Ok(rested.then_some(now))
        })
    }

    fn storm(&mut self) -> Result<Storm> {
        self.narrator.say("the storm begins");
        self.container.order(&Plan::DEMO)?;
        let began = self
            .container
            .hear("the storm begins", STORM_WITHIN, |said| matches!(said, Said::StormBegan { .. }))?;
        let bulk = self
            .container
            .hear("the bulk is made", STORM_WITHIN, |said| matches!(said, Said::BulkMade { .. }))?;
        let (Said::StormBegan { at: began }, Said::BulkMade { at, held, touched }) = (began, bulk) else {
            bail!("the workload said something else");
        };
        self.narrator.say(&format!("{} files in {:.1} s", Plan::DEMO.bulk, (at - began) as f64 / 1e6));
        let before = listing::list_all(&self.container.root()?)?;
        self.narrator.say(&format!("listed the container's view: {} files", before.len()));
        let known = Known {
            held: held.into_iter().collect(),
            touched: touched.into_iter().collect(),
            trickled: Vec::new(),
        };
        Ok(Storm { began, before, known })
    }

    fn watch_sweep(&self, cgroup: u64, storm_began: u64) -> Result<(SweepRecord, Timeline)> {
        let api = self.agent.api();
        let decided = wait::until("the agent decides", DECIDED_WITHIN, || {
            Ok(api.sweeps_of(cgroup)?.into_iter().next())
        })
        .with_context(|| format!("the end of the agent's log:\n{}", self.agent.log_end()))?;
        self.narrator.decision(&decided);
        let mut timeline = Timeline::new(storm_began, &decided)?;
        let mut last = decided.clone();
        let ended = wait::until("the sweep ends", SWEPT_WITHIN, || {
            let now = api.sweep(&decided.id)?;
            self.narrator.progress(&last, &now);
            if now.phase != Phase::Sweeping && now.phase != Phase::Waiting {
                timeline.removal_is_over();
            }
            last = now;
            Ok((last.phase == Phase::Ended).then(|| last.clone()))
        })?;
        timeline.sweep_is_over();
        self.narrator.verdict(&ended);
        Ok((ended, timeline))
    }

    /// The workload's own count.
    fn end_of_storm(&self, storm: &mut Storm) -> Result<u64> {
        let ended = self
            .container
            .hear("the storm is over", STORM_WITHIN, |said| matches!(said, Said::StormEnded { .. }))?;
        for said in self.container.said()? {
            if let Said::Trickled(some) = said {
                storm.known.trickled.push(some);
            }
        }
        match ended {
            Said::StormEnded { created, .. } => Ok(created.total()),
            other => bail!("the workload said something else: {other:?}"),
        }
    }

    fn heartbeats(&self, timeline: &Timeline) -> Result<Heartbeats> {
        let beats = self.container.beats()?;
        let of = |(from, to)| Percentiles::of(&beats, from, to);
        let calm = u64::try_from(CALM.as_micros())?;
        Ok(Heartbeats {
            before: of(timeline.before(calm)),
            during: of((timeline.sweep().decided, timeline.sweep().ended)),
            after: of(timeline.after(calm)),
        })
    }

    fn show(&self, findings: &Findings) {
        const SHOWN: usize = 5;
        for path in findings.wrongly_removed.iter().take(SHOWN) {
            self.narrator.say(&format!("wrongly removed: {path}"));
        }
        for path in findings.missed.iter().take(SHOWN) {
            self.narrator.say(&format!("missed: {path}"));
        }
    }
}

/// The reasons as the record spells them.
fn by_name(record: &SweepRecord) -> Result<BTreeMap<String, u64>> {
    Ok(serde_json::from_value(serde_json::to_value(&record.sweep.kept)?)?)
}
