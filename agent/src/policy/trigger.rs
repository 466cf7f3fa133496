//! When a policy asks for a sweep of one container. Pure; time is an argument.
//!
//! In: the container's totals and the free space of its filesystem, about four times a second. Out: [`Fired`], once
//! for each time that a condition begins to hold. Must never: fire earlier than by the fraction of a second that the
//! files before a burst make it seem older (`rate.rs`; 0.09 s measured), or again while the same condition lasts (the
//! caller says [`Triggers::rearm`] when the sweep that it asked for is over).

mod rate;
mod ring;

use std::time::Duration;

use jiff::Zoned;
use serde::{Deserialize, Serialize};

use self::rate::Rate;
use super::{Fired, Schedule, ScheduleError, Trigger};
use crate::kernel::Free;
use crate::observe::Counts;

/// Creates of a burst are averaged over this.
const SECOND: Duration = Duration::from_secs(1);
/// Samples of the last second: ten and a few, if it is asked that often.
const BURST_SPACING: Duration = Duration::from_millis(100);
/// Net growth is averaged over this.
const MINUTE: Duration = Duration::from_mins(1);
/// Samples of the last minute: sixty and a few.
const GROWTH_SPACING: Duration = Duration::from_secs(1);

/// The triggers of one policy for one container.
#[derive(Debug, Clone)]
pub struct Triggers {
    states: Vec<State>,
    /// As of the last tick.
    counts: Counts,
}

#[derive(Debug, Clone)]
enum State {
    Burst(Rate),
    Growth(Rate),
    Inodes(Floor),
    Bytes(Floor),
    /// Boxed: two calendars are thrice the size of a ring.
    Schedule(Box<Clock>),
}

#[derive(Debug, Clone)]
struct Floor {
    below: f64,
    free: Option<f64>,
    fired: bool,
}

#[derive(Debug, Clone)]
struct Clock {
    schedule: Schedule,
    next: Option<Zoned>,
    last: Zoned,
}

/// A trigger as it stands now, for showing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// As the policy writes it: `burst`, `growth`, `nodeInodesFree`, …
    pub trigger: String,
    /// The figure now: creates a second, files a minute, percent free. `None`: not known.
    pub now: Option<f64>,
    /// The policy's limit for it.
    pub limit: f64,
    /// For how long the condition has held; `None` while it does not.
    pub held: Option<Duration>,
}

impl Triggers {
    /// The triggers of a policy. `wall` is in the node's time zone: schedules count from it. Rates count from the first
    /// tick: what was created before is no burst.
    pub fn new(triggers: &[Trigger], wall: &Zoned) -> Result<Self, ScheduleError> {
        let states = triggers.iter().filter_map(|trigger| State::new(trigger, wall).transpose());
        Ok(Self { states: states.collect::<Result<_, _>>()?, counts: Counts::default() })
    }

    /// The figures at `now`. Some, if a condition has held long enough; if several have, the first as the policy
    /// orders them, and the others count as having fired with it.
    pub fn tick(
        &mut self,
        now: Duration,
        wall: &Zoned,
        counts: &Counts,
        free: Option<Free>,
    ) -> Option<Fired> {
        let began_anew =
            counts.creates() < self.counts.creates() || counts.removals() < self.counts.removals();
        if began_anew {
            self.states.iter_mut().for_each(State::reset);
        }
        self.counts = *counts;
        let mut first = None;
        for state in &mut self.states {
            let fired = state.tick(now, wall, counts, free);
            first = first.or(fired);
        }
        first
    }

    /// The sweep that was asked for is over: a condition that still holds may ask again, once it has held for its
    /// whole time from `now` on.
    pub fn rearm(&mut self, now: Duration) {
        for state in &mut self.states {
            match state {
                State::Burst(rate) | State::Growth(rate) => rate.rearm(now),
                State::Inodes(floor) | State::Bytes(floor) => floor.fired = false,
                State::Schedule(_) => {}
            }
        }
    }

    /// Whether the next tick needs the free space of the filesystem: reading it costs a system call.
    pub fn wants_free(&self) -> bool {
        self.states.iter().any(|state| matches!(state, State::Inodes(_) | State::Bytes(_)))
    }

    /// How each trigger with a figure stands.
    pub fn held(&self) -> Vec<Held> {
        self.states.iter().filter_map(State::held).collect()
    }
}

impl State {
    /// `None` for a trigger of the format that this version cannot ask; validation refuses it with a remedy.
    fn new(trigger: &Trigger, wall: &Zoned) -> Result<Option<Self>, ScheduleError> {
        Ok(Some(match trigger {
            Trigger::Burst { creates_per_second, r#for } => {
                Self::Burst(Rate::new(*creates_per_second, SECOND, r#for.0, BURST_SPACING))
            }
            Trigger::Growth { files_per_minute, r#for } => {
                Self::Growth(Rate::new(*files_per_minute, MINUTE, r#for.0, GROWTH_SPACING))
            }
            Trigger::NodeInodesFree(floor) => Self::Inodes(Floor::new(floor.below.0)),
            Trigger::NodeBytesFree(floor) => Self::Bytes(Floor::new(floor.below.0)),
            Trigger::Schedule(text) => Self::Schedule(Box::new(Clock::new(Schedule::parse(text)?, wall))),
            Trigger::Exhaustion(_) => return Ok(None),
        }))
    }

    fn tick(&mut self, now: Duration, wall: &Zoned, counts: &Counts, free: Option<Free>) -> Option<Fired> {
        match self {
            Self::Burst(rate) => rate.tick(now, signed(counts.creates())).map(|fired| Fired::Burst {
                creates_per_second: fired.rate,
                limit: rate.limit(),
                held_seconds: fired.held.as_secs_f64(),
            }),
            Self::Growth(rate) => {
                let net = signed(counts.creates()) - signed(counts.removals());
                rate.tick(now, net).map(|fired| Fired::Growth {
                    files_per_minute: fired.rate,
                    limit: rate.limit(),
                    held_seconds: fired.held.as_secs_f64(),
                })
            }
            Self::Inodes(floor) => floor
                .tick(free.map(|free| free.inodes_percent))
                .map(|free_percent| Fired::NodeInodesFree { free_percent, below: floor.below }),
            Self::Bytes(floor) => floor
                .tick(free.map(|free| free.bytes_percent))
                .map(|free_percent| Fired::NodeBytesFree { free_percent, below: floor.below }),
            Self::Schedule(clock) => {
                clock.tick(wall).then(|| Fired::Schedule { expression: clock.schedule.to_string() })
            }
        }
    }

    /// The kernel's totals began anew: what they were says nothing about what they are.
    fn reset(&mut self) {
        if let Self::Burst(rate) | Self::Growth(rate) = self {
            rate.reset();
        }
    }

    fn held(&self) -> Option<Held> {
        let (trigger, now, limit, held) = match self {
            Self::Burst(rate) => ("burst", Some(rate.rate()), rate.limit() as f64, rate.held_for()),
            Self::Growth(rate) => ("growth", Some(rate.rate()), rate.limit() as f64, rate.held_for()),
            Self::Inodes(floor) => ("nodeInodesFree", floor.free, floor.below, None),
            Self::Bytes(floor) => ("nodeBytesFree", floor.free, floor.below, None),
            Self::Schedule(_) => return None,
        };
        Some(Held { trigger: trigger.to_owned(), now, limit, held })
    }
}

/// Totals stay far below 2^63: at a million creates a second it takes 290,000 years.
fn signed(total: u64) -> i64 {
    i64::try_from(total).unwrap_or(i64::MAX)
}

impl Floor {
    fn new(below: f64) -> Self {
        Self { below, free: None, fired: false }
    }

    /// The free share, once for each time that it falls below the floor. Not known: nothing is concluded.
    fn tick(&mut self, free: Option<f64>) -> Option<f64> {
        self.free = free;
        let free = free?;
        let is_below = free < self.below;
        let fires = is_below && !self.fired;
        self.fired = is_below;
        fires.then_some(free)
    }
}

impl Clock {
    fn new(schedule: Schedule, wall: &Zoned) -> Self {
        Self { next: schedule.next_after(wall), schedule, last: wall.clone() }
    }

    /// Whether an occurrence has come since the last tick. Several that were missed count once.
    fn tick(&mut self, wall: &Zoned) -> bool {
        let went_back = *wall < self.last;
        self.last = wall.clone();
        let due = self.next.as_ref().is_some_and(|next| next <= wall);
        if due || went_back {
            self.next = self.schedule.next_after(wall);
        }
        due && !went_back
    }
}

#[cfg(test)]
mod tests;
