//! Cgroups made and removed, as the kernel tells of them.

use agent_common::{CgroupEventKind, CgroupRecord};
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::readiness;
use crate::inventory::CgroupId;

/// A change of the cgroup2 tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupEvent {
    /// A cgroup was made; it has no process yet.
    Made {
        /// Its id.
        id: CgroupId,
        /// Its path below the hierarchy's root, as in `/proc/PID/cgroup`.
        path: String,
    },
    /// A cgroup was removed.
    Removed {
        /// Its id.
        id: CgroupId,
    },
}

/// The stream of changes. The kernel holds 496 of them until they are read; those that find no room are counted in
/// [`super::Loss::cgroup_events`].
pub struct CgroupEvents(State);

enum State {
    /// Not yet known to a runtime.
    Idle(RingBuf<MapData>),
    Registered(AsyncFd<RingBuf<MapData>>),
    Failed,
}

impl CgroupEvents {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(State::Idle(ring))
    }

    /// The next change; `None` when no more will come (the runtime cannot wait for the ring buffer, which is logged).
    /// Must run on a tokio runtime with I/O enabled. Safe to cancel: no change is lost.
    pub async fn next(&mut self) -> Option<CgroupEvent> {
        let ring = self.registered()?;
        loop {
            let mut ready = match ring.readable_mut().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for cgroup events; the slow rescan goes on");
                    self.0 = State::Failed;
                    return None;
                }
            };
            let Some(event) = ready.get_inner_mut().next().map(|record| decode(&record)) else {
                ready.clear_ready();
                continue;
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn registered(&mut self) -> Option<&mut AsyncFd<RingBuf<MapData>>> {
        if let State::Idle(ring) = std::mem::replace(&mut self.0, State::Failed) {
            match readiness::register(ring) {
                Ok(ring) => self.0 = State::Registered(ring),
                Err(error) => {
                    tracing::error!(%error, "cannot wait for cgroup events; the slow rescan goes on");
                }
            }
        }
        match &mut self.0 {
            State::Registered(ring) => Some(ring),
            _ => None,
        }
    }
}

fn decode(record: &[u8]) -> Option<CgroupEvent> {
    let (kind, id, path) = CgroupRecord::from_bytes(record)?;
    let id = CgroupId(id);
    Some(match kind {
        CgroupEventKind::Made => CgroupEvent::Made { id, path: String::from_utf8_lossy(path).into_owned() },
        CgroupEventKind::Removed => CgroupEvent::Removed { id },
    })
}
