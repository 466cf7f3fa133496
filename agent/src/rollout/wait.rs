//! Why a Sweep waits: the word, and a sentence for people.
//!
//! In: what a judge found. Out: a [`Reason`], and the sentence once somebody is told. Must never: make the sentence for
//! nobody. In a storm twenty thousand Sweeps wait at every turn, and of few of them that is news.

use std::fmt;
use std::time::Duration;

use super::circuits::GLOBAL;
use crate::kubernetes::resources::Wave;
use crate::policy::{Reason, SerialBy};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait<'a> {
    GlobalBreaker {
        cause: &'a str,
    },
    Breaker {
        cause: &'a str,
        rest: Duration,
    },
    /// Half-open, and its probe runs.
    Probe {
        cause: &'a str,
    },
    /// Why these are not the hours.
    Hours(&'a str),
    MaxParallel {
        running: u32,
        most: u32,
    },
    Serial(SerialBy),
    /// So many of this wave must be observed first.
    Wave {
        wave: Wave,
        of: u32,
    },
    /// How the last one fared is unknown.
    Paused {
        rest: Duration,
    },
    NoSlot,
    /// Why the other pods cannot be watched.
    Neighbours(String),
    /// Which, and why.
    GuardFails(String, String),
    GuardUnknown(String, String),
}

impl Wait<'_> {
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::GlobalBreaker { .. } => Reason::GlobalBreakerOpen,
            Self::Breaker { .. } => Reason::BreakerOpen,
            Self::Probe { .. } => Reason::BreakerHalfOpen,
            Self::Hours(_) => Reason::OutsideHours,
            Self::MaxParallel { .. } => Reason::MaxParallel,
            Self::Serial(SerialBy::Workload) => Reason::SerialWorkload,
            Self::Serial(SerialBy::Node) => Reason::SerialNode,
            Self::Serial(SerialBy::Namespace) => Reason::SerialNamespace,
            Self::Serial(SerialBy::Zone) => Reason::SerialZone,
            Self::Wave { .. } => Reason::WaveObserved,
            Self::Paused { .. } => Reason::WorkloadPaused,
            Self::NoSlot => Reason::NoSlot,
            Self::Neighbours(_) => Reason::NeighboursUnknown,
            Self::GuardFails(..) => Reason::GuardFails,
            Self::GuardUnknown(..) => Reason::GuardUnknown,
        }
    }
}

impl fmt::Display for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GlobalBreaker { cause } => write!(
                f,
                "the global breaker is open ({cause}); a person closes it: kubectl delete breaker {GLOBAL}"
            ),
            Self::Breaker { cause, rest } => {
                write!(f, "its workload's breaker is open for another {} s ({cause})", rest.as_secs())
            }
            Self::Probe { cause } => {
                write!(f, "its workload's breaker is half-open ({cause}) and its one probe is out")
            }
            Self::Hours(why) => f.write_str(why),
            Self::MaxParallel { running, most } => {
                write!(f, "{running} sweeps of its policy run and the policy's maxParallel is {most}")
            }
            Self::Serial(dimension) => {
                write!(f, "a sweep of the same {} runs (serialBy)", word(*dimension))
            }
            Self::Wave { wave: Wave { number, size, .. }, of } => {
                let may = format_args!("wave {number} of this workload may have {size} containers");
                write!(f, "{may}, and {of} must be observed first")
            }
            Self::Paused { rest } => write!(
                f,
                "how the last sweep of this workload ended is unknown; a canary may try in {} s",
                rest.as_secs().max(1)
            ),
            Self::NoSlot => {
                f.write_str("all slots of the cluster are taken, or wait for their holder's time to be over")
            }
            Self::Neighbours(why) => write!(f, "the other pods of its workload cannot be watched: {why}"),
            Self::GuardFails(guard, why) => write!(f, "{guard} does not hold: {why}"),
            Self::GuardUnknown(guard, why) => write!(f, "whether {guard} holds is not known: {why}"),
        }
    }
}

const fn word(dimension: SerialBy) -> &'static str {
    match dimension {
        SerialBy::Workload => "workload",
        SerialBy::Node => "node",
        SerialBy::Namespace => "namespace",
        SerialBy::Zone => "zone",
    }
}
