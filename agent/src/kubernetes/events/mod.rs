//! Kubernetes Events (events.k8s.io/v1) on the pods of this node: what an owner of a pod wants to know, and little of it.
//!
//! ```text
//! tell -> queue (bounded, never waited for) -> book (at most one write of a kind for a pod in ten minutes) -> API server
//! ```
//!
//! In: what happened to a pod. Out: Events, the repeated ones as a series. Must never: hold up a sweep, be taken for a
//! record (that is history and the audit journal: what finds no room here is dropped and counted).
//!
//! RBAC: `create` and `patch` on events in the group events.k8s.io.

mod book;
mod object;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::report::Metrics;
use crate::report::metrics::Told;

use book::{Book, Write};
pub use object::{Kind, PodEvent, PodReference, is_for_owners};

/// Events on their way to the API server: a burst of ends on a node with 500 pods.
const QUEUE: usize = 256;

/// From one write of a kind for a pod to the next: six an hour, which is how long the API server keeps an Event.
pub const QUIET: Duration = Duration::from_mins(10);

/// Longest wait for one write. An Event is not worth a second try: the next of its series says the same.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Tells of what happened to pods. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PodEvents {
    queue: mpsc::Sender<PodEvent>,
    metrics: Arc<Metrics>,
}

impl PodEvents {
    /// Starts the task that writes, until `shutdown`. `instance`: who says it, the node's name. `quiet`: [`QUIET`].
    pub fn start(
        client: Client,
        instance: String,
        quiet: Duration,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Self {
        let (queue, told) = mpsc::channel(QUEUE);
        let writer = Writer { client, instance, metrics: Arc::clone(&metrics), began: Instant::now() };
        tokio::spawn(writer.run(Book::new(quiet), told, shutdown));
        Self { queue, metrics }
    }

    /// Never waits.
    pub fn tell(&self, event: PodEvent) {
        if self.queue.try_send(event).is_err() {
            self.metrics.pod_event(Told::Dropped);
        }
    }
}

struct Writer {
    client: Client,
    instance: String,
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Writer {
    async fn run(self, mut book: Book, mut told: mpsc::Receiver<PodEvent>, shutdown: CancellationToken) {
        loop {
            let due = book.due_at().map(|at| self.began + at);
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let writes = tokio::select! {
                () = shutdown.cancelled() => return,
                () = wait => book.due(self.began.elapsed()),
                event = told.recv() => match event {
                    None => return,
                    Some(event) => self.enter(&mut book, event).into_iter().collect(),
                },
            };
            for write in writes {
                self.write(&mut book, write).await;
            }
        }
    }

    fn enter(&self, book: &mut Book, event: PodEvent) -> Option<Write> {
        let entered = book.enter(event, self.began.elapsed());
        entered.unwrap_or_else(|book::NoRoom| {
            self.metrics.pod_event(Told::Dropped);
            None
        })
    }

    async fn write(&self, book: &mut Book, write: Write) {
        let written = tokio::time::timeout(WRITE_WITHIN, self.ask(&write)).await;
        match written {
            Ok(Ok(())) => self.metrics.pod_event(Told::Sent),
            // The server keeps Events for an hour: this series' first is gone, so the next is a first one again.
            Ok(Err(Error::Api(status))) if status.code == 404 && write.is_series() => {
                let again = book.begin_anew(&write, self.began.elapsed());
                let written = match &again {
                    Some(write) => {
                        tokio::time::timeout(WRITE_WITHIN, self.ask(write)).await.is_ok_and(|ok| ok.is_ok())
                    }
                    None => false,
                };
                self.metrics.pod_event(if written { Told::Sent } else { Told::Failed });
            }
            Ok(Err(error)) => self.failed(&write, &error),
            Err(late) => self.failed(&write, &late),
        }
    }

    fn failed(&self, write: &Write, error: &dyn std::fmt::Display) {
        self.metrics.pod_event(Told::Failed);
        tracing::warn!(pod = write.event.pod.name, %error, "Kubernetes Event not written");
    }

    async fn ask(&self, write: &Write) -> Result<(), Error> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &write.event.pod.namespace);
        match write.count {
            1 => events.create(&PostParams::default(), &object::first(write, &self.instance)).await.map(drop),
            count => {
                let series = Patch::Merge(object::series(count));
                events.patch(&write.name, &PatchParams::default(), &series).await.map(drop)
            }
        }
    }
}
