//! Sweeps, one after another, for as long as an attack lasts; and what they came to.

use std::collections::BTreeMap;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use podsweep::report::SweepRecord;
use serde_json::{Value, json};

use super::attack::Attack;
use crate::agent::Agent;
use crate::container::Container;

const POLICY: &str = "attack";
/// The shortest interval between batches that a policy may have.
const SHORTEST: Duration = Duration::from_millis(10);
/// A sweep of some thousand files and a second of observation, in an unoptimised build on a busy machine.
const SWEPT_WITHIN: Duration = Duration::from_mins(2);
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions to a gate that says no.
const PAUSE: Duration = Duration::from_millis(50);
/// For so long in a row it may.
const REFUSED_FOR: Duration = Duration::from_mins(1);
/// How long each race lasts in CI: five of them in a minute.
const CI_RACE: Duration = Duration::from_secs(12);
/// Sweeps of each race, however slow the machine is.
const FEWEST_SWEEPS: usize = 4;
/// Swaps of a race in the long run, made while a sweep ran.
pub const LONG_SWAPS: u64 = 1_000_000;
/// However many swaps those are: enough sweeps to meet them.
const LONG_RACE: Duration = Duration::from_mins(3);

/// Whether the long run was asked for (`cargo xtask test --long`).
pub fn race_is_long() -> bool {
    std::env::var("PODSWEEP_TEST_LONG").is_ok_and(|value| value == "1")
}

/// How a sweep is divided.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Files of a batch.
    pub batch: u32,
    /// From the start of one to the start of the next.
    pub every: Duration,
    /// Files of a sweep.
    pub files: u32,
}

impl Pace {
    /// Few files a sweep, so that there are many sweeps; small batches, as each opens its directories anew.
    pub const MANY_BATCHES: Self = Self { batch: 40, every: SHORTEST, files: 1000 };
    /// All of a sweep in one batch.
    pub const ONE_BATCH: Self = Self { batch: 1000, every: SHORTEST, files: 1000 };
    /// Time to interfere between two batches.
    pub const SLOW: Self = Self { batch: 20, every: Duration::from_millis(300), files: 100_000 };
}

/// The policy of all attacks: files `*.tmp` below /tmp and below the volume /vol/junk, of one container. No pressure
/// holds it up: the attacker makes some.
fn policy(container: &Container, pace: Pace) -> String {
    let cgroup = container.cgroup().path();
    let Pace { batch, every, files } = pace;
    format!(
        "apiVersion: podsweep.io/v1alpha1\n\
         kind: SweepPolicy\n\
         metadata: {{name: {POLICY}}}\n\
         spec:\n\
         \x20 mode: Enforce\n\
         \x20 select: {{cgroups: [\"{cgroup}\"]}}\n\
         \x20 triggers: []\n\
         \x20 junk:\n\
         \x20 - {{name: tmp, paths: [\"/tmp/**/*.tmp\"], olderThan: 10s, emptyDirectories: true}}\n\
         \x20 - {{name: volume, paths: [\"/vol/junk/**/*.tmp\"], volumes: [HostPath], olderThan: 10s}}\n\
         \x20 scan: {{cpu: 100%, readBytesPerSecond: 1Gi, readIOPS: 100000}}\n\
         \x20 sweep: {{batchSize: {batch}, batchInterval: {}ms, maxFiles: {files}, \
         maxPressure: {{cpu: 100, io: 100, memory: 100}}}}\n\
         \x20 rollout: {{observe: 1s}}\n\
         \x20 breakers: {{workload: {{coolDown: 1s}}}}\n",
        every.as_millis()
    )
}

/// Sweeps of one container by one policy.
#[derive(Debug)]
pub struct Siege<'a> {
    agent: &'a Agent,
    container: &'a Container,
}

/// What was swept during an attack.
#[derive(Debug, Default)]
pub struct Fought {
    /// Every sweep that began, as recorded.
    pub sweeps: Vec<SweepRecord>,
    /// Swaps that were made between the beginning and the end of a sweep.
    pub swaps: u64,
    /// Breakers that the attack had opened and that were reset, so that the next sweep could begin.
    pub resets: u32,
}

impl<'a> Siege<'a> {
    /// An agent with the attacks' policy for this container, and the settings that let it sweep without a pause.
    pub fn agent(prefix: &str, container: &Container, pace: Pace, settings: &Value) -> Result<Agent> {
        let mut all = json!({
            "coolDown": "0s",
            "sweepsPerMinute": 600,
            "nodePressure": {"cpu": 100, "io": 100, "memory": 100},
        });
        if let (Some(all), Some(settings)) = (all.as_object_mut(), settings.as_object()) {
            all.extend(settings.clone());
        }
        Agent::start_with(prefix, &[(POLICY, &policy(container, pace))], &all)
    }

    /// Of an agent from [`Siege::agent`].
    pub fn lay(agent: &'a Agent, container: &'a Container) -> Result<Self> {
        agent.knows(container.cgroup_id()?, KNOWN_WITHIN)?;
        Ok(Self { agent, container })
    }

    /// Sweeps for as long as CI has time; in the long run for three minutes at least, and until `long_swaps` were made
    /// meanwhile.
    pub fn hold(&self, attack: &Attack, long_swaps: u64) -> Result<Fought> {
        let (race, swaps) = if race_is_long() { (LONG_RACE, long_swaps) } else { (CI_RACE, 0) };
        let since = Instant::now();
        let mut fought = Fought::default();
        while since.elapsed() < race || fought.swaps < swaps || fought.sweeps.len() < FEWEST_SWEEPS {
            let before = attack.tally().swaps;
            let sweep = self.sweep(&mut fought.resets)?;
            fought.swaps += attack.tally().swaps - before;
            fought.sweeps.push(sweep);
        }
        Ok(fought)
    }

    /// One sweep, from asking for it to its end.
    pub fn sweep(&self, resets: &mut u32) -> Result<SweepRecord> {
        let id = self.begin(resets)?;
        self.agent.ended(&id, SWEPT_WITHIN)
    }

    /// Begins one. The harm that the attacker does itself must not end the siege.
    pub fn begin(&self, resets: &mut u32) -> Result<String> {
        let body = json!({"target": self.container.cgroup().path(), "policy": POLICY});
        let since = Instant::now();
        loop {
            let answer = self.agent.api().ask("POST", "/v1/sweeps", Some(&body))?;
            let said: Value = serde_json::from_str(&answer.body)?;
            match (answer.status, said["reason"].as_str()) {
                (202, _) => return Ok(said["id"].as_str().context("no id")?.to_owned()),
                (409, Some("BreakerOpen" | "GlobalBreakerOpen")) => *resets += self.reset_breakers()?,
                (409, _) if since.elapsed() < REFUSED_FOR => {}
                _ => bail!("POST /v1/sweeps {body}: {} {}", answer.status, answer.body),
            }
            sleep(PAUSE);
        }
    }

    fn reset_breakers(&self) -> Result<u32> {
        let api = self.agent.api();
        let list: Value = serde_json::from_str(&api.ask("GET", "/v1/breakers", None)?.body)?;
        let mut reset = 0;
        for breaker in list["breakers"].as_array().into_iter().flatten() {
            if breaker["state"] != "Closed" {
                let name = breaker["name"].as_str().unwrap_or_default().replace('/', "%2F");
                api.ask("POST", &format!("/v1/breakers/{name}/reset"), None)?;
                reset += 1;
            }
        }
        Ok(reset)
    }
}

impl Fought {
    /// Files removed.
    pub fn removed(&self) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.sweep.removed).sum()
    }

    /// Sweeps of which a scan ran and reported.
    pub fn scanned(&self) -> u64 {
        self.sweeps.iter().filter(|sweep| sweep.scan.as_ref().is_some_and(|scan| scan.entries > 0)).count()
            as u64
    }
}

impl fmt::Display for Fought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ends = BTreeMap::<&str, u32>::new();
        let mut kept = BTreeMap::<String, u64>::new();
        for sweep in &self.sweeps {
            *ends.entry(sweep.reason.as_deref().unwrap_or("?")).or_default() += 1;
            for (why, count) in &sweep.sweep.kept {
                *kept.entry(format!("{why:?}")).or_default() += count;
            }
        }
        write!(
            f,
            "{} sweeps ({} scanned) {ends:?}, {} swaps meanwhile, {} files removed, kept {kept:?}, {} breakers reset",
            self.sweeps.len(),
            self.scanned(),
            self.swaps,
            self.removed(),
            self.resets
        )
    }
}
