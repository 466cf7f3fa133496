//! A Sweep object's status, written as the sweep goes: few writes, the end without fail.
//!
//! In: the sweep's record at each phase. Out: at most one write in five seconds, and the end, tried again until it is
//! taken or its time is over. Must never: hold up the sweep, or write over what others have said of the object since it
//! was read: a Sweep that the coordinator has closed stays as that closed it.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::shared::lock;
use crate::kubernetes::client::{RequestError, request};
use crate::kubernetes::resources::{Figures, Sweep, SweepPhase};
use crate::operation::Follow;
use crate::report::{Outcome, Phase, SweepRecord};
use crate::rollout::SweepKey;
use crate::sweep::Event;

/// Between two writes of one Sweep: its phases are for people.
const APART: Duration = Duration::from_secs(5);
/// First wait before the end is written again; doubled up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// For the end to be taken. After that the coordinator finds the slot free and the Sweep without one, and closes it
/// as lost.
const END_TRIES: u32 = 20;
/// Times that one write is begun anew at once because somebody else changed the object meanwhile: a coordinator that
/// asks it to stop, a person that edits it. Whoever is faster five times in a row is no person.
const CONFLICTS: u32 = 5;

/// What is to be written next.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    phase: Option<SweepPhase>,
    record: Option<String>,
}

/// Follows a sweep for its object.
pub(super) struct Told<F> {
    inner: F,
    wanted: watch::Sender<Wanted>,
    removing: Mutex<bool>,
}

impl<F> Told<F> {
    pub(super) fn new(inner: F) -> (Self, watch::Receiver<Wanted>) {
        let (wanted, receiver) = watch::channel(Wanted::default());
        (Self { inner, wanted, removing: Mutex::new(false) }, receiver)
    }

    fn want(&self, phase: SweepPhase, record: &str) {
        let _ = self.wanted.send(Wanted { phase: Some(phase), record: Some(record.to_owned()) });
    }
}

impl<F: Follow> Follow for Told<F> {
    fn phase(&self, record: &SweepRecord) {
        self.inner.phase(record);
        match record.phase {
            Phase::Sweeping => self.want(SweepPhase::Scanning, &record.id),
            Phase::Observing => self.want(SweepPhase::Observing, &record.id),
            Phase::Waiting | Phase::Ended => {}
        }
    }

    fn event(&self, id: &str, event: &Event) {
        self.inner.event(id, event);
        if matches!(event, Event::Batch { .. }) && !std::mem::replace(&mut *lock(&self.removing), true) {
            self.want(SweepPhase::Sweeping, id);
        }
    }
}

/// Writes one Sweep's status.
pub(super) struct StatusWriter {
    api: Api<Sweep>,
    key: SweepKey,
    uid: Option<String>,
    /// At which the object was last read, or written by us.
    version: Mutex<String>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// The object says so now.
    Done,
    /// The object has ended, by somebody else's word.
    Closed,
    /// The object is gone, or another one under its name.
    Gone,
}

impl StatusWriter {
    /// For the Sweep as it was read.
    pub(super) fn new(client: Client, key: &SweepKey, sweep: &Sweep) -> Self {
        Self {
            api: Api::namespaced(client, &key.namespace),
            key: key.clone(),
            uid: sweep.uid(),
            version: Mutex::new(sweep.resource_version().unwrap_or_default()),
        }
    }

    /// Writes phases as they are wanted, until `done`. One that cannot be written is not: the next one is.
    pub(super) async fn follow(&self, mut wanted: watch::Receiver<Wanted>, done: CancellationToken) {
        while let Some(Ok(())) = done.run_until_cancelled(wanted.changed()).await {
            let now = wanted.borrow_and_update().clone();
            if let Some(phase) = now.phase {
                let status = json!({ "phase": phase, "record": now.record, "reason": null, "message": null });
                if let Err(error) = self.write(&status).await {
                    tracing::warn!(sweep = %self.key, %error, "phase not told");
                }
            }
            let _ = done.run_until_cancelled(tokio::time::sleep(APART)).await;
        }
    }

    /// Writes the end, and tries again. One that somebody else has written stays.
    pub(super) async fn end(&self, status: &Value) {
        let mut wait = RETRY;
        for _ in 0..END_TRIES {
            match self.write(status).await {
                Ok(Written::Done) => return,
                Ok(Written::Closed) => {
                    tracing::warn!(sweep = %self.key, end = %status, "its object has ended already, and is left so");
                    return;
                }
                Ok(Written::Gone) => {
                    tracing::info!(sweep = %self.key, "the object of this sweep is gone");
                    return;
                }
                Err(error) => tracing::warn!(sweep = %self.key, %error, "end not told; tries again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_RETRY);
        }
        tracing::error!(sweep = %self.key, "its end could not be told; the coordinator will take it for lost");
    }

    /// Compare and swap; where somebody else was faster, on what they have written.
    async fn write(&self, status: &Value) -> Result<Written, RequestError> {
        let mut tries = 1..=CONFLICTS;
        loop {
            match self.write_once(status).await {
                Ok(()) => return Ok(Written::Done),
                Err(error) if error.is_not_found() => return Ok(Written::Gone),
                Err(error) if error.is_conflict() && tries.next().is_some() => {}
                Err(error) => return Err(error),
            }
            match self.read_again().await {
                Ok(None) => {}
                Ok(Some(told)) => return Ok(told),
                Err(error) if error.is_not_found() => return Ok(Written::Gone),
                Err(error) => return Err(error),
            }
        }
    }

    async fn write_once(&self, status: &Value) -> Result<(), RequestError> {
        let version = lock(&self.version).clone();
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = self.api.patch_status(&self.key.name, &params, &patch);
        let sweep = request(|| format!("write status of Sweep {}", self.key), patched).await?;
        *lock(&self.version) = sweep.resource_version().unwrap_or_default();
        Ok(())
    }

    /// `None`: it may be written on what was read now.
    async fn read_again(&self) -> Result<Option<Written>, RequestError> {
        let read = self.api.get(&self.key.name);
        let sweep = request(|| format!("read Sweep {}", self.key), read).await?;
        if sweep.uid() != self.uid {
            return Ok(Some(Written::Gone));
        }
        *lock(&self.version) = sweep.resource_version().unwrap_or_default();
        let has_ended = sweep.status.is_some_and(|status| status.phase.is_ended());
        Ok(has_ended.then_some(Written::Closed))
    }
}

/// What the record of an ended sweep says to a cluster.
pub(super) fn of_record(record: &SweepRecord) -> Value {
    let phase = match (record.outcome, record.health) {
        (Some(Outcome::Refused), _) => SweepPhase::Skipped,
        (_, Some(crate::report::Health::Harmed | crate::report::Health::Unknown)) => SweepPhase::Failed,
        (Some(Outcome::Complete | Outcome::Partial), _) => SweepPhase::Succeeded,
        (Some(Outcome::Stopped), _) => SweepPhase::Aborted,
        _ => SweepPhase::Failed,
    };
    let scan = record.scan.as_ref();
    let kept: u64 = record.sweep.kept.values().sum();
    let figures = Figures {
        entries: scan.map_or(0, |scan| scan.entries),
        candidates: scan.map_or(0, |scan| scan.candidates),
        removed: record.sweep.removed,
        removed_bytes: record.sweep.removed_bytes,
        kept,
    };
    json!({
        "phase": phase,
        "reason": record.reason,
        "message": record.message.as_deref().map(shortened),
        "record": record.id,
        "endedAt": record.ended_at,
        "figures": figures,
        "health": record.health,
        "healthReason": record.health_reason,
    })
}

/// A sweep that did not begin, or whose agent lost sight of it.
pub(super) fn without_record(phase: SweepPhase, reason: &str, message: &str) -> Value {
    json!({
        "phase": phase,
        "reason": reason,
        "message": shortened(message),
        "endedAt": Timestamp::now().to_string(),
    })
}

/// The longest message that the schema takes, and well within an event's.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(1024)]
}
