//! A cluster in memory, in simulated time, around the coordinator's real decisions: objects with versions, writes that
//! are compared and swapped, agents that renew, sweep and report.
//!
//! Nothing is decided here: [`World::turn`] asks `podsweep::rollout` and carries out what that says.

mod agents;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use podsweep::breaker::{GlobalBreaker, PodSigns};
use podsweep::kubernetes::resources::{Asked, PodReference, RequestedBy, Sweep, SweepSpec, SweepStatus};
use podsweep::policy::Spec;
use podsweep::report::Health;
use podsweep::rollout::{
    ASK_EVERY, Answer, Circumstances, Figures, Index, Neighbour, Question, Rules, Settings, Step, SweepKey,
};

use agents::Agents;
pub use agents::Course;
pub use objects::{Fate, Objects};

/// How long a slot's Lease lasts.
pub const LEASE: Duration = Duration::from_mins(2);
/// Where everything is of which nobody says otherwise.
const NAMESPACE: &str = "shop";

/// What decisions took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effort {
    /// How often it was decided.
    pub turns: u64,
    /// CPU time of all.
    pub cpu: Duration,
    /// CPU time of the one that took longest.
    pub longest: Duration,
}

/// Everything.
pub struct World {
    /// What the API server holds.
    pub objects: Objects,
    agents: Agents,
    index: Index,
    settings: Settings,
    slots: usize,
    rules: BTreeMap<String, Rules>,
    /// Where something is swept.
    namespaces: BTreeSet<String>,
    /// Of namespace `shop`; the others have none but those that are swept.
    pods: BTreeMap<String, Neighbour>,
    /// Whether the coordinator can watch pods; else why not.
    pub pods_hold: Result<(), String>,
    /// What guards say, by name; asked every ten seconds. One that is not here is not answered.
    pub guards: BTreeMap<String, Answer>,
    asked: BTreeMap<Question, Duration>,
    now: Duration,
    /// Most slots that agents worked under at one time.
    pub most_running: usize,
    /// Turns after which more agents worked than there are slots, or two under one.
    pub cap_violations: u64,
    /// What the last turn found.
    pub figures: Figures,
    /// What the coordinator's decisions took.
    pub effort: Effort,
    /// Whether sweeps may begin.
    pub hours: Result<(), String>,
}

impl World {
    /// With this many free slots, whose sweeps all go the same `course`.
    pub fn new(slots: usize, course: Course) -> Self {
        let global = GlobalBreaker { open: 3, window: Duration::from_mins(10) };
        let settings = Settings { global, ttl: Duration::from_hours(1) };
        let mut world = Self {
            objects: Objects::default(),
            agents: Agents::new(course),
            index: Index::new(settings),
            settings,
            slots,
            rules: BTreeMap::new(),
            namespaces: BTreeSet::from([NAMESPACE.to_owned()]),
            pods: BTreeMap::new(),
            pods_hold: Ok(()),
            guards: BTreeMap::new(),
            asked: BTreeMap::new(),
            now: Duration::ZERO,
            most_running: 0,
            cap_violations: 0,
            figures: Figures::default(),
            effort: Effort::default(),
            hours: Ok(()),
        };
        for slot in 0..slots {
            world.objects.make_slot(&format!("podsweep-slot-{slot}"));
        }
        world.tell();
        world
    }

    /// Makes a policy, or changes one: its generation is one more.
    pub fn policy(&mut self, name: &str, spec: &Spec) {
        let generation = self.rules.get(name).map_or(1, |rules| rules.generation + 1);
        self.rules.insert(name.to_owned(), Rules::of(spec, generation, None));
        self.tell();
    }

    /// A pod of a Deployment in namespace `shop` that nobody sweeps, well and ready; or how it is from now on.
    pub fn pod(&mut self, name: &str, workload: &str, change: impl FnOnce(&mut Neighbour)) {
        let pod = self.pods.entry(name.to_owned()).or_insert_with(|| {
            let signs = PodSigns { ready: Some(true), ..PodSigns::default() };
            Neighbour {
                uid: format!("uid-of-{name}"),
                name: name.to_owned(),
                workload: format!("Deployment/{workload}"),
                evicted: false,
                leaving: false,
                containers: [("app".to_owned(), signs)].into(),
            }
        });
        change(pod);
        self.tell();
    }

    /// A pod is there no more.
    pub fn pod_gone(&mut self, name: &str) {
        self.pods.remove(name);
        self.tell();
    }

    /// Asks for a sweep of a container of its own, in namespace `shop`.
    pub fn ask(&mut self, workload: &str, node: &str, policy: &str, urgency: u32) -> SweepKey {
        self.ask_in(NAMESPACE, workload, node, policy, urgency)
    }

    /// The same in another namespace.
    pub fn ask_in(
        &mut self,
        namespace: &str,
        workload: &str,
        node: &str,
        policy: &str,
        urgency: u32,
    ) -> SweepKey {
        let number = self.objects.sweeps_made();
        let spec = SweepSpec {
            node: node.into(),
            pod: PodReference { name: format!("pod-{number}"), uid: format!("pod-uid-{number}") },
            container: "app".into(),
            container_id: None,
            workload: format!("Deployment/{workload}"),
            policy: policy.into(),
            mode: None,
            requested_by: RequestedBy::Agent,
            rollout: None,
            asked: Asked { trigger: "Burst".into(), message: String::new(), urgency },
            zone: None,
            attempt: 0,
            ttl: None,
            abort: false,
        };
        let key = self.objects.make_sweep(namespace, &format!("app-{number:06}"), spec, self.now);
        self.namespaces.insert(namespace.to_owned());
        self.tell();
        key
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets time pass, a turn every `step`.
    pub fn run(&mut self, time: Duration, step: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += step;
            self.turn();
        }
    }

    /// As [`Self::run`] by the second.
    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds), Duration::from_secs(1));
    }

    /// The agents act, then the coordinator decides until it has nothing more to say.
    pub fn turn(&mut self) {
        self.act();
        self.tell();
        // Grant and admission are two turns; a coordinator has some of them in a second.
        for _ in 0..4 {
            let wall = Timestamp::UNIX_EPOCH + self.now;
            let circumstances = Circumstances { now: self.now, wall, hours: self.hours.clone() };
            let began = cpu_time();
            let (steps, figures) = self.index.decide(&circumstances);
            let took = cpu_time().saturating_sub(began);
            let Effort { turns, cpu, longest } = self.effort;
            self.effort = Effort { turns: turns + 1, cpu: cpu + took, longest: longest.max(took) };
            self.figures = figures;
            let answered = self.ask_guards();
            if steps.is_empty() && !answered {
                break;
            }
            for step in steps {
                self.carry_out(step);
            }
            self.tell();
        }
    }

    /// Nobody leads for this long; the agents go on. Then another coordinator leads.
    pub fn fail_over(&mut self, gap: Duration, step: Duration) {
        let until = self.now + gap;
        while self.now < until {
            self.now += step;
            self.act();
        }
        self.new_leader();
    }

    fn ask_guards(&mut self) -> bool {
        let wanted = self.index.wants().questions.clone();
        self.asked.retain(|question, _| wanted.contains(question));
        let mut answered = false;
        for question in wanted {
            let due = self.asked.get(&question).is_none_or(|at| self.now >= *at + ASK_EVERY);
            if let (true, Some(answer)) = (due, self.guards.get(&question.guard)) {
                self.index.observe_answer(&question, answer.clone(), self.now);
                self.asked.insert(question, self.now);
                answered = true;
            }
        }
        answered
    }

    /// Another coordinator leads, which knows only what the API server holds.
    pub fn new_leader(&mut self) {
        self.index = Index::new(self.settings);
        self.asked.clear();
        self.objects.all_changed();
        self.tell();
    }

    /// Somebody deletes a breaker.
    pub fn reset(&mut self, breaker: &str) {
        self.objects.delete_breaker(breaker);
        self.tell();
    }

    /// The agent of this sweep says nothing any more, and its deadline passes.
    pub fn kill_agent_of(&mut self, key: &SweepKey) {
        self.agents.kill(key);
    }

    /// The agent of this sweep will be killed so long after it has begun.
    pub fn will_die(&mut self, key: &SweepKey, after: Duration) {
        self.agents.doom(key, after);
    }

    /// How the container of this sweep will fare.
    pub fn will_be(&mut self, key: &SweepKey, health: Health, sign: &str) {
        self.agents.will_be(key, health, sign);
    }

    /// A Sweep's status.
    pub fn status(&self, key: &SweepKey) -> SweepStatus {
        self.objects.sweep(key).and_then(|sweep| sweep.status.clone()).unwrap_or_default()
    }

    /// Its phase, as kubectl shows it.
    pub fn phase(&self, key: &SweepKey) -> String {
        format!("{:?}", self.status(key).phase)
    }

    /// Sweeps that run now.
    pub fn running(&self) -> Vec<SweepKey> {
        let runs = |sweep: &&Sweep| sweep.status.as_ref().is_some_and(|status| status.phase.is_running());
        self.objects.sweeps().filter(runs).map(objects::key).collect()
    }

    fn act(&mut self) {
        self.agents.act(&mut self.objects, self.now);
        let working = self.agents.working();
        self.most_running = self.most_running.max(working);
        if working > self.slots || self.agents.share_a_slot() {
            self.cap_violations += 1;
        }
    }

    fn tell(&mut self) {
        for (name, rules) in &self.rules {
            self.index.observe_policy(name, Some(rules.clone()));
        }
        for namespace in &self.namespaces {
            let pods = self.pods.values().filter(|_| namespace == NAMESPACE);
            self.index.expect_pods(namespace);
            self.index.list_pods(namespace, pods.cloned().map(Some));
            self.index.hold_pods(namespace, self.pods_hold.clone());
        }
        self.objects.tell(&mut self.index, self.now);
    }

    fn carry_out(&mut self, step: Step) {
        self.objects.carry_out(step, LEASE, self.now);
    }
}

/// Of this thread, so that neighbours do not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
