//! The timetable of one run: when every container creates how fast. Pure.
//!
//! In: when it begins, how long it measures. Out: phases, bursts, each container's [`Order`]. Must never: ask a clock.
//!
//! ```text
//! settle │ steady          │ bursts                  │ peer
//!        │ CPU of the agent│ detection, CPU with them│ agent and peer side by side
//! ```

use serde::{Deserialize, Serialize};

/// Containers: as many pods as a large node runs (the kubelet's default limit is 110).
pub(super) const CONTAINERS: u32 = 250;
/// Creates a second of a container that does not burst: 10,000 of all.
const QUIET_RATE: u32 = 40;
/// Creates a second of one that does: half as much again as the policy's limit, so that no jitter of the load takes a
/// second of it below the limit.
const BURST_RATE: u32 = 300;
/// `createsPerSecond` of the policy.
pub(super) const LIMIT: u32 = 200;
/// `for` of the policy: the shortest that there is, and the hardest to keep, as the rate's own window is as long.
pub(super) const FOR: u64 = SECOND;
/// How long a burst goes on after that: later than this it is not decided in time by any measure.
const GRACE: u64 = 3 * SECOND / 2;
/// Between the starts of two bursts, on average: five of 250 containers burst at a time.
const SPACING: u64 = SECOND / 2;
/// Fractions of multiples of the golden ratio lie evenly in [0, 1) however many are taken: every phase against the
/// agent's tick is met, and the same in each run.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// The agent looks at fresh containers for ten seconds after it has found them; that is no steady state.
const SETTLE: u64 = 15 * SECOND;
/// Between two wakes of a container: [`QUIET_RATE`] gives 4 files each, [`BURST_RATE`] 6.
const QUIET_SLICE: u64 = SECOND / 10;
const BURST_SLICE: u64 = SECOND / 50;

const SECOND: u64 = 1_000_000;

/// A stretch of time, microseconds since 1970: all processes are on one machine and one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The phases that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Phases {
    pub(super) steady: Span,
    pub(super) bursts: Span,
    pub(super) peer: Span,
}

/// One burst of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) container: u32,
    pub(super) span: Span,
}

/// The whole run.
#[derive(Debug)]
pub(super) struct Schedule {
    begin: u64,
    pub(super) phases: Phases,
}

/// What one container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its first wake: the containers take turns within a slice, or all would create at the same instant.
    begin: u64,
    pub(super) phases: Phases,
    /// In order, and apart.
    pub(super) bursts: Vec<Span>,
}

impl Span {
    fn new(from: u64, length: u64) -> Self {
        Self { from, to: from + length }
    }

    pub(super) fn contains(self, moment: u64) -> bool {
        (self.from..self.to).contains(&moment)
    }

    /// How much of it lies within another.
    fn within(self, other: Self) -> u64 {
        self.to.min(other.to).saturating_sub(self.from.max(other.from))
    }

    pub(super) fn seconds(self) -> f64 {
        (self.to - self.from) as f64 / SECOND as f64
    }
}

impl Phases {
    pub(super) fn all(&self) -> [Span; 3] {
        [self.steady, self.bursts, self.peer]
    }
}

impl Schedule {
    /// `seconds` are measured: a third at rest, half with bursts, a sixth beside the peer.
    pub(super) fn new(begin: u64, seconds: u32) -> Self {
        let measured = u64::from(seconds) * SECOND;
        let steady = Span::new(begin + SETTLE, measured / 3);
        let bursts = Span::new(steady.to, measured / 2);
        // The last burst is over by then.
        let peer = Span::new(bursts.to + FOR + GRACE + SECOND, measured / 6);
        Self { begin, phases: Phases { steady, bursts, peer } }
    }

    /// Of all containers; they take turns.
    pub(super) fn bursts(&self) -> impl Iterator<Item = Burst> {
        let (from, number) =
            (self.phases.bursts.from, (self.phases.bursts.to - self.phases.bursts.from) / SPACING);
        (0..u32::try_from(number).unwrap_or(u32::MAX)).map(move |index| {
            let into = (f64::from(index) + (f64::from(index) * GOLDEN).fract()) * SPACING as f64;
            Burst { container: index % CONTAINERS, span: Span::new(from + whole(into), FOR + GRACE) }
        })
    }

    /// Creates a second of all containers in each phase, if they do as ordered.
    pub(super) fn rates(&self) -> [f64; 3] {
        let more = f64::from(BURST_RATE - QUIET_RATE);
        let quiet = f64::from(QUIET_RATE * CONTAINERS);
        self.phases.all().map(|phase| {
            let bursting: u64 = self.bursts().map(|burst| burst.span.within(phase)).sum();
            quiet + more * bursting as f64 / SECOND as f64 / phase.seconds()
        })
    }

    pub(super) fn order(&self, container: u32) -> Order {
        let own = self.bursts().filter(|burst| burst.container == container);
        Order {
            begin: self.begin + QUIET_SLICE * u64::from(container) / u64::from(CONTAINERS),
            phases: self.phases,
            bursts: own.map(|burst| burst.span).collect(),
        }
    }
}

impl Order {
    /// The end of the container's work.
    pub(super) fn end(&self) -> u64 {
        self.phases.peer.to
    }

    /// Creates a second at this moment.
    pub(super) fn rate(&self, moment: u64) -> u32 {
        match self.burst_at(moment) {
            Some(_) => BURST_RATE,
            None if moment < self.begin => 0,
            None => QUIET_RATE,
        }
    }

    /// The burst that goes on at this moment.
    pub(super) fn burst_at(&self, moment: u64) -> Option<usize> {
        self.bursts.iter().position(|burst| burst.contains(moment))
    }

    /// When to wake next: at the end of the slice, or where the rate changes.
    pub(super) fn next_wake(&self, moment: u64) -> u64 {
        if moment < self.begin {
            return self.begin;
        }
        let slice = if self.burst_at(moment).is_some() { BURST_SLICE } else { QUIET_SLICE };
        let edges = self.bursts.iter().flat_map(|burst| [burst.from, burst.to]).chain([self.end()]);
        edges.filter(|edge| *edge > moment).fold(moment + slice, u64::min)
    }
}

/// Microseconds of a run are far below 2^52.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, far below 2^52")]
fn whole(micros: f64) -> u64 {
    micros as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent's default interval.
    const TICK: u64 = SECOND / 4;

    fn schedule() -> Schedule {
        Schedule::new(1_000 * SECOND, 600)
    }

    #[test]
    fn quiet_containers_make_ten_thousand_a_second() {
        assert_eq!(QUIET_RATE * CONTAINERS, 10_000);
        const { assert!(BURST_RATE > LIMIT && QUIET_RATE < LIMIT) };
    }

    #[test]
    fn bursts_add_to_the_rate_of_their_phase_alone() {
        let [steady, bursts, peer] = schedule().rates();
        assert!((steady - 10_000.0).abs() < 1e-6 && (peer - 10_000.0).abs() < 1e-6);
        // Five at a time, the last of which reach beyond the phase.
        assert!((11_280.0..=11_300.0).contains(&bursts), "{bursts}");
    }

    #[test]
    fn bursts_begin_in_every_phase_of_the_agents_tick_equally_often() {
        let mut by_tenth = [0u32; 10];
        let all: Vec<_> = schedule().bursts().collect();
        for burst in &all {
            by_tenth[usize::try_from(burst.span.from % TICK * 10 / TICK).unwrap()] += 1;
        }
        assert_eq!(all.len(), 600);
        assert!(by_tenth.iter().all(|count| (55..=65).contains(count)), "{by_tenth:?}");
    }

    #[test]
    fn the_bursts_of_one_container_are_apart_and_over_before_the_peer_runs() {
        let schedule = schedule();
        for container in 0..CONTAINERS {
            let order = schedule.order(container);
            assert!(order.bursts.len() >= 2);
            // A second at the quiet rate ends the condition.
            assert!(order.bursts.windows(2).all(|pair| pair[0].to + SECOND < pair[1].from));
            assert!(order.bursts.iter().all(|burst| burst.to < schedule.phases.peer.from));
        }
    }

    #[test]
    fn a_container_wakes_by_slices_and_where_its_rate_changes() {
        let order = schedule().order(3);
        let burst = order.bursts[0];
        assert_eq!(order.rate(order.begin - 1), 0);
        assert_eq!(order.next_wake(order.begin - 1), order.begin);
        assert_eq!(order.next_wake(order.begin), order.begin + QUIET_SLICE);
        assert_eq!(order.next_wake(burst.from - 1), burst.from);
        assert_eq!((order.rate(burst.from), order.rate(burst.to)), (BURST_RATE, QUIET_RATE));
        assert_eq!(order.next_wake(burst.from), burst.from + BURST_SLICE);
        assert_eq!(order.next_wake(order.end() - 1), order.end());
    }
}
