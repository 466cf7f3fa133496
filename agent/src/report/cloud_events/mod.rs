//! CloudEvents 1.0 to a collector outside (docs/cloud-events.md): sweeps that ended, breakers that changed.
//!
//! ```text
//! sweep_ended, breakers -> event (JSON) -> queue (bounded, never waited for) -> deliver (tries, backoff) -> POST
//! ```
//!
//! In: records of ended sweeps, the breakers as they are. Out: HTTP requests. Must never: hold up a stage, keep more than
//! [`QUEUE`] events, be taken for a record (that is history and the audit journal).

mod backoff;
mod breakers;
mod collector;
mod deliver;
mod event;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::breakers::LastStates;
use self::collector::Collector;
pub use self::collector::CollectorError;
use self::event::Envelope;
use super::metrics::{GivenUp, Metrics};
use super::record::SweepRecord;
use crate::breaker::BreakerView;
use crate::http_client::HttpUrl;
use crate::units::Span;

/// Events that wait: at a node's `sweepsPerMinute` of 6, more than half an hour of them. Each is at most 64 KiB.
const QUEUE: usize = 256;

/// What the rest may take when the agent ends.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// Where events go, and how long a try may take: `cloudEvents` in the node's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The collector.
    pub url: HttpUrl,
    /// One try, from the name's resolution to the end of the answer.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

const fn default_timeout() -> Span {
    Span::from_secs(5)
}

/// Sends events.
#[derive(Debug)]
pub struct CloudEvents {
    /// `source` of every event.
    source: String,
    queue: mpsc::Sender<Envelope>,
    metrics: Arc<Metrics>,
    last: Mutex<LastStates>,
    ending: CancellationToken,
    delivering: TaskTracker,
}

impl CloudEvents {
    /// Starts the task that sends. `node`: this node's name.
    pub fn start(settings: &Settings, node: &str, metrics: Arc<Metrics>) -> Result<Self, CollectorError> {
        let collector = Collector::new(settings)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let ending = CancellationToken::new();
        let delivering = TaskTracker::new();
        delivering.spawn(deliver::run(collector, waiting, Arc::clone(&metrics), ending.clone()));
        let (source, last) = (event::source(node), Mutex::default());
        Ok(Self { source, queue, metrics, last, ending, delivering })
    }

    /// A sweep ended. Never waits.
    pub fn sweep_ended(&self, record: &SweepRecord) {
        self.send(event::sweep_ended(&self.source, record));
    }

    /// All breakers as they are now; what differs from the last time is told. Never waits.
    pub fn breakers(&self, views: &[BreakerView]) {
        let changes = self.last.lock().unwrap_or_else(PoisonError::into_inner).take_in(views);
        for change in changes {
            self.send(event::breaker_changed(&self.source, &change));
        }
    }

    /// The agent ends: what waits is tried once, for a few seconds at most.
    pub async fn end(&self) {
        self.ending.cancel();
        self.delivering.close();
        if tokio::time::timeout(LAST_WAIT, self.delivering.wait()).await.is_err() {
            tracing::warn!(seconds = LAST_WAIT.as_secs(), "CloudEvents still waiting at the end are lost");
        }
    }

    fn send(&self, envelope: Envelope) {
        if self.queue.try_send(envelope).is_err() {
            self.metrics.cloud_event_given_up(GivenUp::QueueFull);
        }
    }
}

#[cfg(test)]
mod tests;
