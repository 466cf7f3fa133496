//! A slot of the cluster, held by this agent for one sweep: renewed while the sweep runs, freed when it ends, and given
//! up by this machine's own monotonic clock before it can expire for anybody else.
//!
//! ```text
//! renewal sent ──┬── half of the lease: renew ──┬── three quarters: fenced ──┬── the whole: expired for others
//!                │                              │   the sweep stops after     │   (counted from after the server
//!                │                              │   its batch                 │   took the renewal)
//! ```
//!
//! Must never: take a slot that is not in this sweep's name, or write it without the version that it was read at.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::client::RequestError;
use crate::kubernetes::slot::{self, SlotLeases};
use crate::rollout::Holder;

/// Tries to free a slot at the end; after that it expires.
const FREE_TRIES: u32 = 3;
/// Times that a take or a renewal is tried on what was just read, where somebody else has written the Lease in between
/// and left its holder alone: who adds labels, say. A version read a pause ago would be an old one again.
const CONFLICTS: u32 = 4;
/// Shortest wait between two tries to renew.
const LEAST_RETRY: Duration = Duration::from_millis(200);

/// The slot cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// The Lease says so.
    #[error("Lease {slot} is held by {found:?}, not by {wanted}")]
    Other {
        /// The Lease.
        slot: String,
        /// Its holder.
        found: String,
        /// This sweep.
        wanted: String,
    },
    /// The API server.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// How long the last renewal holds. Pure.
#[derive(Debug, Clone, Copy)]
struct Fence {
    renewed: Instant,
    lease: Duration,
}

impl Fence {
    fn renew_at(self) -> Instant {
        self.renewed + self.lease / 2
    }

    fn ends_at(self) -> Instant {
        self.renewed + self.lease / 4 * 3
    }

    fn retry(self) -> Duration {
        (self.lease / 20).max(LEAST_RETRY)
    }
}

/// A slot that is held.
#[derive(Debug)]
pub struct HeldSlot {
    name: String,
    holder: String,
    version: String,
    fence: Fence,
    until: watch::Sender<Instant>,
}

impl HeldSlot {
    /// Takes over what the coordinator granted: reads it, and renews it at once.
    pub async fn take(slots: &SlotLeases, name: &str, holder: &Holder) -> Result<Self, NotHeld> {
        let holder = holder.to_string();
        let mut tries = 1..CONFLICTS;
        loop {
            let seen = slot::seen(&slots.read(name).await?);
            if seen.holder.as_deref() != Some(holder.as_str()) {
                let found = seen.holder.unwrap_or_default();
                return Err(NotHeld::Other { slot: name.to_owned(), found, wanted: holder });
            }
            let renewed = Instant::now();
            match slots.renew(name, &seen.version).await {
                Ok(lease) => {
                    let version = lease.resource_version().unwrap_or_default();
                    let fence = Fence { renewed, lease: seen.lease };
                    let until = watch::Sender::new(fence.ends_at());
                    return Ok(Self { name: name.to_owned(), holder, version, fence, until });
                }
                Err(error) if error.is_conflict() && tries.next().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When it is lost unless it is renewed: moves on with each renewal.
    pub fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Renews until `done`, then frees the slot. Where it is lost, or cannot be renewed in time, `fenced` is cancelled:
    /// the sweep must stop then.
    pub async fn keep(mut self, slots: &SlotLeases, fenced: &CancellationToken, done: &CancellationToken) {
        let mut next = self.fence.renew_at();
        loop {
            let ends_at = self.fence.ends_at();
            let wake = tokio::time::Instant::from_std(next.min(ends_at));
            if done.run_until_cancelled(tokio::time::sleep_until(wake)).await.is_none() {
                return self.free(slots).await;
            }
            let rest = ends_at.saturating_duration_since(Instant::now());
            let renewal = tokio::time::timeout(rest, self.renew(slots)).await;
            match renewal {
                Ok(Ok(true)) => next = self.fence.renew_at(),
                Ok(Err(error)) => {
                    tracing::warn!(slot = self.name, %error, "slot not renewed; tries again");
                    next = Instant::now() + self.fence.retry();
                }
                Ok(Ok(false)) | Err(_) => break,
            }
        }
        tracing::warn!(slot = self.name, "slot lost: the sweep stops after its batch");
        self.until.send_modify(|until| *until = (*until).min(Instant::now()));
        fenced.cancel();
        done.cancelled().await;
        self.free(slots).await;
    }

    /// `false`: it is somebody else's.
    async fn renew(&mut self, slots: &SlotLeases) -> Result<bool, RequestError> {
        let mut tries = 1..CONFLICTS;
        loop {
            let renewed = Instant::now();
            match slots.renew(&self.name, &self.version).await {
                Ok(lease) => {
                    self.version = lease.resource_version().unwrap_or_default();
                    self.fence.renewed = renewed;
                    self.until.send_replace(self.fence.ends_at());
                    return Ok(true);
                }
                // Our own renewal whose answer was lost, or somebody else's: the Lease says which.
                Err(error) if error.is_conflict() => {
                    let seen = slot::seen(&slots.read(&self.name).await?);
                    self.version = seen.version;
                    if seen.holder.as_deref() != Some(self.holder.as_str()) {
                        return Ok(false);
                    }
                    if tries.next().is_none() {
                        return Err(error);
                    }
                }
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives it back.
    pub async fn free(&self, slots: &SlotLeases) {
        let mut version = self.version.clone();
        for _ in 0..FREE_TRIES {
            match slots.free(&self.name, &version).await {
                Ok(_) => return,
                Err(error) if error.is_conflict() => {
                    match slots.read(&self.name).await.map(|lease| slot::seen(&lease)) {
                        Ok(seen) if seen.holder.as_deref() == Some(self.holder.as_str()) => {
                            version = seen.version;
                        }
                        _ => return,
                    }
                }
                Err(error) => {
                    tracing::warn!(slot = self.name, %error, "slot not freed; it expires otherwise");
                    tokio::time::sleep(self.fence.retry()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_to_renew_before_the_fence_and_to_end_a_batch_after_it() {
        let fence = Fence { renewed: Instant::now(), lease: Duration::from_mins(2) };
        assert_eq!(fence.ends_at() - fence.renew_at(), Duration::from_secs(30));
        assert_eq!(fence.renewed + fence.lease - fence.ends_at(), Duration::from_secs(30));
        assert_eq!(fence.retry(), Duration::from_secs(6));
    }
}
