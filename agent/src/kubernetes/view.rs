//! What one watch has told, and whether it still holds. No I/O but for the clock.
//!
//! In: objects as they are listed, made, changed, deleted; signs of life and failures. Out: a look at the collection,
//! and at its [`Pulse`]. Must never: hand out the one without a way to ask for the other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pulse::{Pulse, Stale};

/// A bounded collection of what the API has of one resource.
pub trait Collection: Send {
    /// What the API calls one of them.
    type Object;
    /// Plural name of the resource: a label of metrics.
    const RESOURCE: &'static str;
    /// The word with which its bound is counted in `podsweep_limit_reached_total`.
    const LIMIT: &'static str;

    /// All that there are now, in place of what was.
    fn replace(&mut self, all: Vec<Self::Object>);
    /// One was made or changed.
    fn put(&mut self, object: Self::Object);
    /// One was deleted.
    fn remove(&mut self, object: &Self::Object);
    /// How many are kept.
    fn count(&self) -> usize;
    /// How many found no room.
    fn left_out(&self) -> usize;
    /// Whether those would find room now: then everything is listed again.
    fn has_room(&self) -> bool;
}

/// A collection, kept by a watch.
#[derive(Debug)]
pub struct View<C> {
    kept: Mutex<C>,
    pulse: Mutex<Pulse>,
    epoch: Instant,
}

impl<C: Default> Default for View<C> {
    fn default() -> Self {
        Self::new(C::default())
    }
}

impl<C> View<C> {
    /// Of a collection that nothing was told to yet.
    pub fn new(kept: C) -> Self {
        Self { kept: Mutex::new(kept), pulse: Mutex::default(), epoch: Instant::now() }
    }

    /// The collection, for a look or a change: never across an await.
    pub fn kept(&self) -> MutexGuard<'_, C> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is kept holds.
    pub fn current(&self) -> Result<(), Stale> {
        self.pulse().current(self.now())
    }

    /// Time since the watch last showed a sign of life; `None` before the first list.
    pub fn silence(&self) -> Option<Duration> {
        self.pulse().silence(self.now())
    }

    /// A sign of life. Whether the watch had been lost before.
    pub fn heard(&self) -> bool {
        self.pulse().heard(self.now())
    }

    /// It failed. Whether that is news.
    pub fn lost(&self, why: String) -> bool {
        self.pulse().lost(self.now(), why)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}
