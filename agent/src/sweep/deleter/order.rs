//! What goes to the deleter and what comes back. Plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::audit::Fate;
use super::super::executor::{Claimed, Means};
use super::super::streak::Streak;

/// Claims of one order. Leases are held for the length of an order, and who opens a leased file waits for it: short.
pub(super) const MAX_CLAIMS: usize = 16;

/// Bytes of paths in one order; one claim may exceed it, its path is at most `scan`'s `MAX_PATH`, 32 KiB.
pub(super) const MAX_PATHS: usize = 32 << 10;

/// What the agent asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first order: how far this deleter may go.
    Begin(Means),
    /// Handles of the next [`Order::View`], as many as fit beside it in no packet.
    Handles,
    /// The handles so far are a view: the container's first process (pidfd) if `held`, then of each root the
    /// container's side, the host's, and as many layers as `lower` says.
    View {
        /// Whether there is a process.
        held: bool,
        /// Layers of each root.
        lower: Vec<u16>,
    },
    /// Pass these through the door, in order. Handles: one lease for each claim whose [`Tested`](super::super::executor::Tested)
    /// says so.
    Pass(Pass),
    /// The batch is over: the view's handles are to be closed.
    Close,
}

/// Some claims.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pass {
    /// Which.
    pub(super) claims: Vec<Claimed>,
    /// Wall clock, since 1970.
    pub(super) now: Duration,
    /// `CLOCK_MONOTONIC` after which no file is touched.
    pub(super) deadline: Duration,
    /// Refusals in a row so far, and how many are too many.
    pub(super) streak: Streak,
}

/// What the deleter says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The view is taken over, and the deleter confined.
    Ready,
    /// Fates, in the order of the claims. Shorter than these where it stopped before the next.
    Fates(Vec<Fate>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::door::Deed;
    use super::super::super::executor::Tested;
    use super::*;
    use crate::scan::Identity;

    fn identity() -> impl Strategy<Value = Identity> {
        (any::<[u64; 4]>(), any::<[u32; 3]>(), any::<[(i64, i64); 2]>()).prop_map(|(long, short, times)| {
            let [device, inode, links, size] = long;
            let [mode, uid, gid] = short;
            let [mtime, ctime] = times;
            Identity { device, inode, mode, uid, gid, links, size, mtime, ctime }
        })
    }

    proptest! {
        #[test]
        fn a_claim_comes_back_as_it_was_sent(
            root in any::<u16>(),
            directory in any::<Vec<u8>>(),
            name in any::<Vec<u8>>(),
            identity in identity(),
            walked in proptest::option::of(identity()),
        ) {
            let claim = Claimed {
                root, directory, name, identity, deed: Deed::Delete, tested: Tested::Walked(walked),
            };
            let bytes = postcard::to_allocvec(&claim).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Claimed>(&bytes).unwrap(), claim);
        }
    }
}
