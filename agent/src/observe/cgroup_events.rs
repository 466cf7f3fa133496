//! Cgroups made and removed, as the kernel tells of them.

use agent_common::{CgroupEventKind, CgroupRecord};
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::readiness;
use crate::inventory::{CgroupEvent, CgroupId};

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
        self.0 = match std::mem::replace(&mut self.0, State::Failed) {
            State::Idle(ring) => readiness::register(ring).map_or_else(
                |error| {
                    tracing::error!(%error, "cannot wait for cgroup events; the slow rescan goes on");
                    State::Failed
                },
                State::Registered,
            ),
            other => other,
        };
        match &mut self.0 {
            State::Registered(ring) => Some(ring),
            State::Idle(_) | State::Failed => None,
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
