//! What the watches tell, put into the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::{Resource, ResourceExt};
use tokio::sync::Notify;

use super::policies::{Untold, Verdict};
use crate::kubernetes::Collection;
use crate::kubernetes::resources::{Breaker, PolicyObject, Sweep, SweepRollout};
use crate::kubernetes::slot;
use crate::policy::{Selector, validate};
use crate::rollout::{Index, MAX_SWEEPS, Rules, Settings, SweepKey};

/// Slots, policies and breakers that are taken up; an operator makes them, by the dozen.
const MAX_OBJECTS: usize = 10_000;

/// The index, the clock that it is told the time by, and a bell that rings when it changed.
pub(super) struct Known {
    index: Mutex<Index>,
    epoch: Instant,
    changed: Notify,
    /// Which containers each policy is for. Bounded by the policies.
    selectors: Mutex<BTreeMap<String, Arc<Selector>>>,
    untold: Mutex<Untold>,
}

impl Known {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            index: Mutex::new(Index::new(settings)),
            epoch: Instant::now(),
            changed: Notify::new(),
            selectors: Mutex::default(),
            untold: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A look, or a change that nobody else need hear of.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sweeps and slots that are known.
    pub(super) fn counts(&self) -> (usize, usize) {
        let index = self.index();
        (index.sweeps(), index.slots())
    }

    /// A change.
    pub(super) fn change(&self, change: impl FnOnce(&mut Index, Duration)) {
        // The time is taken last: nothing was seen before it was told.
        let mut index = self.index();
        let now = self.now();
        change(&mut index, now);
        drop(index);
        self.changed.notify_one();
    }

    /// A change that may say nothing new; then nobody hears of it.
    pub(super) fn change_if(&self, change: impl FnOnce(&mut Index) -> bool) {
        if change(&mut self.index()) {
            self.changed.notify_one();
        }
    }

    /// Which containers a policy is for; `None` where there is none that can be used.
    pub(super) fn selector(&self, policy: &str) -> Option<Arc<Selector>> {
        self.selectors.lock().unwrap_or_else(PoisonError::into_inner).get(policy).cloned()
    }

    /// Policies whose status is to be written; the next call brings what has changed since.
    pub(super) fn take_untold(&self) -> Untold {
        std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// To be told at the next turn.
    pub(super) fn to_tell(&self, policy: &str, verdict: Option<Verdict>) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict {
            Some(verdict) => untold.insert(policy.to_owned(), verdict),
            None => untold.remove(policy),
        };
    }

    fn select(&self, policy: &str, selector: Option<Selector>) {
        let mut selectors = self.selectors.lock().unwrap_or_else(PoisonError::into_inner);
        match selector {
            Some(selector) => selectors.insert(policy.to_owned(), Arc::new(selector)),
            None => selectors.remove(policy),
        };
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Sweeps. One that cannot be read is taken for gone: nobody could decide on it.
pub(super) struct Sweeps(pub(super) Arc<Known>);

impl Collection for Sweeps {
    type Object = DeserializeGuard<Sweep>;
    const RESOURCE: &'static str = "sweeps";
    const LIMIT: &'static str = "sweeps";

    fn replace(&mut self, all: Vec<Self::Object>) {
        let there: BTreeSet<_> = all.iter().filter_map(|sweep| key(sweep.meta())).collect();
        self.0.change(|index, now| {
            index.forget_sweeps_but(&there);
            for DeserializeGuard(sweep) in all {
                observe_sweep(index, sweep, now);
            }
        });
    }

    fn put(&mut self, object: Self::Object) {
        self.0.change(|index, now| observe_sweep(index, object.0, now));
    }

    fn remove(&mut self, object: &Self::Object) {
        if let Some(key) = key(object.meta()) {
            self.0.change(|index, _| index.forget_sweep(&key, object.meta().uid.as_deref()));
        }
    }

    fn count(&self) -> usize {
        self.0.index().sweeps()
    }

    fn left_out(&self) -> usize {
        usize::try_from(self.0.index().dropped()).unwrap_or(usize::MAX)
    }

    fn has_room(&self) -> bool {
        self.count() < MAX_SWEEPS
    }
}

fn key(meta: &ObjectMeta) -> Option<SweepKey> {
    Some(SweepKey { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
}

fn observe_sweep(
    index: &mut Index,
    sweep: Result<Sweep, kube::core::error_boundary::InvalidObject>,
    now: Duration,
) {
    match sweep {
        Ok(sweep) => index.observe_sweep(&sweep, now),
        Err(invalid) => {
            let (namespace, name) = (invalid.metadata.namespace.as_deref(), invalid.metadata.name.as_deref());
            tracing::warn!(
                namespace,
                name,
                error = invalid.error,
                "this Sweep cannot be read; nobody acts on it"
            );
            if let Some(key) = key(&invalid.metadata) {
                index.forget_sweep(&key, invalid.metadata.uid.as_deref());
            }
        }
    }
}

/// A watch's part of the index whose objects have plain names: slots, policies, breakers.
pub(super) struct Named<K> {
    known: Arc<Known>,
    names: BTreeSet<String>,
    left_out: usize,
    kind: std::marker::PhantomData<fn(K)>,
}

/// How one kind of object goes into the index.
pub(super) trait Indexed: kube::Resource<DynamicType = ()> + Sized {
    const NAME: &'static str;
    fn put(self, known: &Known);
    fn gone(name: &str, known: &Known);
    /// It is there and cannot be read. What was known of it stays: a breaker is not reset by that, nor a slot freed.
    fn unreadable(_name: &str, _known: &Known) {}
}

impl<K> Named<K> {
    pub(super) fn new(known: &Arc<Known>) -> Self {
        let kind = std::marker::PhantomData;
        Self { known: Arc::clone(known), names: BTreeSet::new(), left_out: 0, kind }
    }
}

impl<K: Indexed> Named<K> {
    fn forget(&mut self, name: &str) {
        if self.names.remove(name) {
            K::gone(name, &self.known);
        }
    }
}

impl<K: Indexed> Collection for Named<K> {
    type Object = DeserializeGuard<K>;
    const RESOURCE: &'static str = K::NAME;
    const LIMIT: &'static str = K::NAME;

    fn replace(&mut self, all: Vec<Self::Object>) {
        let there: BTreeSet<_> = all.iter().map(kube::ResourceExt::name_any).collect();
        let gone: Vec<_> = self.names.difference(&there).cloned().collect();
        for name in gone {
            self.forget(&name);
        }
        self.left_out = 0;
        for object in all {
            self.put(object);
        }
    }

    fn put(&mut self, object: Self::Object) {
        let name = object.name_any();
        match object.0 {
            Err(invalid) => {
                tracing::warn!(kind = K::NAME, name, error = invalid.error, "this object cannot be read");
                K::unreadable(&name, &self.known);
            }
            Ok(_) if self.names.len() >= MAX_OBJECTS && !self.names.contains(&name) => self.left_out += 1,
            Ok(object) => {
                self.names.insert(name);
                object.put(&self.known);
            }
        }
    }

    fn remove(&mut self, object: &Self::Object) {
        self.forget(&object.name_any());
    }

    fn count(&self) -> usize {
        self.names.len()
    }

    fn left_out(&self) -> usize {
        self.left_out
    }

    fn has_room(&self) -> bool {
        self.names.len() < MAX_OBJECTS
    }
}

impl Indexed for Lease {
    const NAME: &'static str = "slots";

    fn put(self, known: &Known) {
        known.change(|index, now| index.observe_slot(&self.name_any(), slot::seen(&self), now));
    }

    fn gone(name: &str, known: &Known) {
        known.change(|index, _| index.forget_slot(name));
    }
}

impl Indexed for PolicyObject {
    const NAME: &'static str = "sweeppolicies";

    fn put(self, known: &Known) {
        let name = self.name_any();
        let policy = self.policy();
        let invalid =
            validate(&policy).first().map(|problem| format!("{}: {}", problem.field, problem.message));
        known.to_tell(&name, Verdict::of(&self, invalid.as_deref()));
        known.select(&name, Selector::new(&policy.spec.select).ok().filter(|_| invalid.is_none()));
        let rules = Rules::of(&policy.spec, self.metadata.generation.unwrap_or_default(), invalid);
        known.change(|index, _| index.observe_policy(&name, Some(rules)));
    }

    fn gone(name: &str, known: &Known) {
        known.select(name, None);
        known.to_tell(name, None);
        known.change(|index, _| index.observe_policy(name, None));
    }

    fn unreadable(name: &str, known: &Known) {
        Self::gone(name, known);
    }
}

impl Indexed for SweepRollout {
    const NAME: &'static str = "sweeprollouts";

    fn put(self, known: &Known) {
        known.change(|index, _| index.observe_rollout(&self.name_any(), Some(&self)));
    }

    fn gone(name: &str, known: &Known) {
        known.change(|index, _| index.observe_rollout(name, None));
    }
}

impl Indexed for Breaker {
    const NAME: &'static str = "breakers";

    fn put(self, known: &Known) {
        known.change(|index, now| index.observe_breaker(&self, now, Timestamp::now()));
    }

    fn gone(name: &str, known: &Known) {
        known.change(|index, _| index.forget_breaker(name, Timestamp::now()));
    }
}
