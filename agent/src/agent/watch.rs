//! The agent's loop: once a tick it reads the counters, settles the inventory and lets each container's policy
//! decide. Between ticks it takes in the kernel's cgroup events and ended sweeps.
//!
//! In: counters, cgroup events, policies, ended sweeps. Out: wishes for sweeps. Must never: scan or remove.

mod containers;
mod policy_source;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::admit::{self, Wish};
use super::shared::{Ended, Policies, lock};
use crate::control::view::PolicyInForce;
use crate::inventory::{CgroupEvent, CgroupId};
use crate::observe::{CgroupEvents, Counts, Observer};
use crate::operation::unix_now;
use crate::policy::{Choice, Fired, Mode, SweepPolicy, choose};
use crate::report::metrics::Store;
use policy_source::PolicySource;
use watched::Watched;

/// How often policies are looked at.
const POLICY_POLL: Duration = Duration::from_secs(2);
/// How often figures that only people and Prometheus read are brought up to date.
const FIGURES: Duration = Duration::from_secs(1);
/// How often history is cut to its age limit.
const PRUNE: Duration = Duration::from_hours(1);
/// Directories named with a burst.
const TOP_DIRECTORIES: usize = 5;

/// The loop and what only it knows.
pub(super) struct Watch {
    shared: Arc<Shared>,
    observer: Observer,
    events: Option<CgroupEvents>,
    ended: Option<mpsc::Receiver<Ended>>,
    policies: PolicySource,
    /// As last read; bounded by the kernel's map.
    last_counts: BTreeMap<CgroupId, Counts>,
    /// Bounded by the inventory's own limit.
    watched: BTreeMap<CgroupId, Watched>,
    next_rescan: Duration,
    next_policies: Duration,
    last_figures: Option<Duration>,
    next_prune: Duration,
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>, mut observer: Observer) -> Self {
        let events = observer.cgroup_events();
        let ended = lock(&shared.ended.1).take();
        let policies = PolicySource::of(&shared);
        let gaps = observer.gaps().iter().map(|gap| gap.id.as_str());
        shared.stores.metrics.tier(observer.tier().as_str(), gaps);
        Self {
            shared,
            observer,
            events,
            ended,
            policies,
            last_counts: BTreeMap::new(),
            watched: BTreeMap::new(),
            next_rescan: Duration::ZERO,
            next_policies: Duration::ZERO,
            last_figures: None,
            next_prune: Duration::ZERO,
        }
    }

    /// Turns until the agent is asked to end.
    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.shared.config.interval.0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut events, mut ended) = (self.events.take(), self.ended.take());
        loop {
            tokio::select! {
                () = self.shared.shutdown.cancelled() => return,
                _ = ticks.tick() => self.tick().await,
                Some(event) = next_event(&mut events) => self.cgroup_event(&event),
                Some(ended) = next_ended(&mut ended) => self.sweep_ended(&ended),
            }
        }
    }

    async fn tick(&mut self) {
        let now = self.shared.now();
        if now >= self.next_policies {
            self.next_policies = now + POLICY_POLL;
            self.read_policies();
        }
        tokio::task::block_in_place(|| self.settle(now));
        if self.count() {
            for wish in self.decide(now) {
                self.ask(wish, now).await;
            }
        }
        let since_figures = self.last_figures.map_or(FIGURES, |last| now.saturating_sub(last));
        if since_figures >= FIGURES {
            self.last_figures = Some(now);
            self.figures(since_figures);
        }
        if now >= self.next_prune {
            self.next_prune = now + PRUNE;
            self.prune();
        }
        self.shared.turned();
    }

    // In the background: a disk that hangs must not keep the loop from turning.
    fn prune(&self) {
        let stores = Arc::clone(&self.shared.stores);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = stores.history.prune(unix_now()) {
                stores.metrics.write_failed(Store::History);
                tracing::warn!(%error, "history not pruned");
            }
        });
    }

    fn read_policies(&mut self) {
        let Some(read) = self.policies.poll() else { return };
        let mut policies = lock(&self.shared.policies);
        policies.read = true;
        match read {
            Ok(set) => {
                tracing::info!(policies = set.len(), "policies in force");
                self.shared.stores.metrics.policies_loaded(set.len());
                *policies = Policies { set: Arc::new(set), read: true, ..Policies::default() };
                drop(policies);
                self.choose_again();
            }
            Err(errors) => {
                policies.errors = errors.iter().map(ToString::to_string).collect();
                for error in &policies.errors {
                    tracing::error!(error, "policies not reloaded; those that were in force stay");
                }
                self.shared.stores.metrics.policies_refused();
            }
        }
    }

    fn choose_again(&mut self) {
        let set = Arc::clone(&lock(&self.shared.policies).set);
        let wall = jiff::Zoned::now();
        for watched in self.watched.values_mut() {
            watched.choose(choose(&set, &watched.container), &wall);
        }
        self.policies_in_force();
    }

    fn policies_in_force(&self) {
        let mut policies = lock(&self.shared.policies);
        let chosen = |policy: &Arc<SweepPolicy>| {
            let chose =
                |watched: &&Watched| matches!(&watched.choice, Choice::One(one) if Arc::ptr_eq(one, policy));
            self.watched.values().filter(chose).count() as u64
        };
        policies.in_force = policies
            .set
            .policies()
            .iter()
            .map(|policy| PolicyInForce {
                name: policy.metadata.name.clone(),
                mode: policy.spec.mode,
                containers: chosen(policy),
            })
            .collect();
    }

    /// Wishes of this tick.
    fn decide(&mut self, now: Duration) -> Vec<Wish> {
        let wall = jiff::Zoned::now();
        let sweeping: BTreeSet<u64> =
            lock(&self.shared.live).values().map(|live| live.record.container.cgroup).collect();
        let mut wishes = Vec::new();
        for (id, watched) in &mut self.watched {
            let Some(fired) = watched.tick(now, &wall, sweeping.contains(&id.0)) else { continue };
            let Choice::One(policy) = &watched.choice else { continue };
            let attempt = if let Fired::Retry { attempt } = &fired { *attempt } else { 0 };
            wishes.push(Wish {
                container: Arc::clone(&watched.container),
                policy: Arc::clone(policy),
                mode: policy.spec.mode,
                fired,
                top_directories: Vec::new(),
                attempt,
            });
        }
        for wish in &mut wishes {
            wish.top_directories = self.top_directories(&wish.container);
        }
        wishes
    }

    async fn ask(&mut self, wish: Wish, now: Duration) {
        let id = wish.container.cgroup;
        self.tell_wish(&wish);
        if wish.mode == Mode::Observe {
            return;
        }
        let fired = wish.fired.clone();
        let answer = admit::start(&self.shared, wish).await;
        let Some(watched) = self.watched.get_mut(&id) else { return };
        match answer {
            Ok(sweep) => {
                watched.refusal = None;
                watched.last_sweep = Some(sweep);
            }
            Err(refusal) => watched.refused(refusal, fired, now),
        }
    }

    fn tell_wish(&self, wish: &Wish) {
        let policy = &wish.policy.metadata.name;
        if matches!(wish.fired, Fired::Burst { .. } | Fired::Growth { .. }) {
            self.shared.stores.metrics.burst(policy);
        }
        tracing::info!(
            container = wish.container.short(),
            cgroup = wish.container.cgroup_path,
            policy,
            mode = ?wish.mode,
            fired = ?wish.fired,
            top_directories = ?wish.top_directories,
            "policy asks for a sweep"
        );
    }

    fn sweep_ended(&mut self, ended: &Ended) {
        let now = self.shared.now();
        if let Some(watched) = self.watched.get_mut(&ended.container) {
            watched.sweep_ended(&ended.record, now);
        }
    }

    fn cgroup_event(&mut self, event: &CgroupEvent) {
        if let CgroupEvent::Removed { id } = event {
            self.nested_ended(*id);
        }
        let changes = lock(&self.shared.inventory).apply(event);
        self.take_in(changes);
    }
}

async fn next_event(events: &mut Option<CgroupEvents>) -> Option<CgroupEvent> {
    events.as_mut()?.next().await
}

async fn next_ended(ended: &mut Option<mpsc::Receiver<Ended>>) -> Option<Ended> {
    ended.as_mut()?.recv().await
}
