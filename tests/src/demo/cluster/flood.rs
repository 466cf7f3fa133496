//! The flood: what a container does that keeps every temporary file it makes. In: how many inodes are left before the
//! kubelet evicts. Out: a container that fills more than these in two rounds, and nowhere near them in one. Pure.

use std::time::Duration;

use serde_json::{Value, json};

/// Files of the container that no policy names.
pub(super) const KEPT: u64 = 100;
/// After a round's bulk: how long it goes on slowly, seconds, and with how many files in each.
const TRICKLE: (u64, u64) = (35, 60);
/// In so many portions: a container that rests for a whole second has ended its burst.
const PORTIONS: u64 = 5;
/// Between the rounds, seconds.
const PAUSE: u64 = 25;
/// The bulk of each round, at what a shell makes in a second on a busy machine.
const BULK_TAKES: u64 = 5;
const ROUNDS: u64 = 2;
/// Share of the room that a round's bulk takes, percent. Two make more than 100, so that nobody has to count on the
/// slow part; one and all of the slow part stay below it.
const BULK_PERCENT: u64 = 55;

/// One.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flood {
    bulk: u64,
}

impl Flood {
    /// For so many inodes of room.
    pub(super) fn that_fills(room: u64) -> Self {
        Self { bulk: room * BULK_PERCENT / 100 }
    }

    /// How many files it makes in all.
    pub(super) fn files(self) -> u64 {
        ROUNDS * (self.bulk + TRICKLE.0 * TRICKLE.1)
    }

    /// How long it lasts.
    pub(super) fn takes() -> Duration {
        Duration::from_secs(ROUNDS * (BULK_TAKES + TRICKLE.0) + PAUSE)
    }

    /// A container that does it when it starts, and then nothing more.
    pub(super) fn container(self) -> Value {
        let (bulk, portions, each) = (self.bulk, TRICKLE.0 * PORTIONS, TRICKLE.1 / PORTIONS);
        let script = format!(
            "mkdir -p /tmp/junk /srv/keep && cd /tmp/junk\n\
             for i in $(seq {KEPT}); do echo kept > /srv/keep/$i; done\n\
             round() {{\n\
             for i in $(seq {bulk}); do : > $1-$i; done\n\
             for t in $(seq {portions}); do for i in $(seq {each}); do : > $1-$t-$i; done; sleep 0.2; done\n\
             }}\n\
             round a; sleep {PAUSE}; round b\n\
             exec sleep 2147483647\n"
        );
        json!({"command": ["/bin/busybox", "sh", "-c", script]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rounds_are_too_much_and_one_with_all_that_may_be_too_young_to_go_is_not() {
        for room in [10_000, 20_000, 50_000] {
            let flood = Flood::that_fills(room);
            let trickle = TRICKLE.0 * TRICKLE.1;
            assert!(2 * flood.bulk > room, "{room}");
            assert!(flood.bulk + ROUNDS * trickle < room, "{room}");
        }
    }
}
