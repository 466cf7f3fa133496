//! List once, watch for ever: keeps a [`View`] as the API server has it.
//!
//! In: the API of one resource, as narrow as it can be asked for. Out: objects and signs of life into the view, counts
//! into metrics. Must never: hammer the server (kube's backoff, with jitter), or let a watch that is dead look alive.
//!
//! Not kube-runtime's `watcher`: that keeps bookmarks to itself, and whether it has come through again after an error.
//! On a quiet node these are the only signs that what was told last still holds, and an agent needs them to say no.
//!
//! ```text
//!          ┌── the server ended it at its time; the connection broke: after a wait, from where it was ──┐
//!   list ──┴─► watch ─── event, bookmark, open for 5 s: a sign of life ──────────────────────────────────┘
//!    ▲           │
//!    └───────────┴── version too old, unreadable, refused; room again for what was left out
//! ```

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::DefaultBackoff;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::pulse::MAX_SILENCE;
use super::view::{Collection, View};

/// After this the server ends a watch and it is made again: as kube-runtime has it, just under the five minutes after
/// which many load balancers cut a connection that says nothing.
pub const WATCH_SECONDS: u32 = 290;
/// The least that a watch lasts which follows the start or a failure. Its time is drawn from between this and
/// [`WATCH_SECONDS`]: agents that a new version of theirs, or an API server that came back, made begin together must
/// not come together every five minutes ever after. Later watches last the whole time, and so stay apart.
const FIRST_WATCH_SECONDS: u32 = 30;
/// For a list, which may be megabytes, and for the beginning of a watch.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// A watch that stays open for this long without a word has begun well. A proxy with no server behind it hangs up
/// before.
const SETTLED: Duration = Duration::from_secs(5);
/// Between two lists that are made because there is room again for what was left out.
const ROOM_INTERVAL: Duration = Duration::from_mins(1);
/// Where the backoff gives none: its own longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Who counts what watches do.
pub trait WatchCounts: Send + Sync {
    /// Everything was listed.
    fn listed(&self, resource: &'static str);
    /// One event.
    fn event(&self, resource: &'static str);
    /// A list or a watch failed, for one of a few reasons.
    fn failed(&self, resource: &'static str, reason: &'static str);
    /// More objects than are kept.
    fn limit_reached(&self, limit: &'static str);
}

/// Which of a resource's objects.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Field selector, as `spec.nodeName=node-1`.
    pub fields: Option<String>,
    /// Label selector.
    pub labels: Option<String>,
}

/// Why a list or a watch ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("list: {0}")]
    List(#[source] kube::Error),
    #[error("watch: {0}")]
    Watch(#[source] kube::Error),
    #[error("watch: the server says {} {}: {}", .0.code, .0.reason, .0.message)]
    Told(Box<kube::core::Status>),
    #[error("the server gives no resourceVersion to go on from")]
    NoVersion,
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("nothing heard for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the server ended the watch as soon as it had begun")]
    EndedAtOnce,
}

impl Broken {
    /// One of a few words, a label of metrics.
    fn reason(&self) -> &'static str {
        let of_code = |code| match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            410 => "Expired",
            429 | 500..=599 => "ServerBusy",
            _ => "Refused",
        };
        match self {
            Self::List(kube::Error::Api(status))
            | Self::Watch(kube::Error::Api(status))
            | Self::Told(status) => of_code(status.code),
            Self::List(kube::Error::SerdeError(_))
            | Self::Watch(kube::Error::SerdeError(_))
            | Self::NoVersion => "Unreadable",
            Self::List(_) | Self::Watch(_) | Self::EndedAtOnce => "Connection",
            Self::NoAnswer(_) | Self::Silent(_) => "Timeout",
        }
    }

    /// Whether a server was asked for a list that is newer than it can give: it lags (504, after waiting 3 s), or what
    /// was seen is no more (410, etcd was restored).
    fn is_of_unknown_version(&self) -> bool {
        matches!(self, Self::List(kube::Error::Api(status)) if matches!(status.code, 410 | 504))
    }

    /// Whether the next watch may go on from where this one was: only where nothing was told that could not be taken
    /// in.
    fn goes_on(&self) -> bool {
        matches!(self.reason(), "Connection" | "Timeout" | "ServerBusy" | "Unauthorized")
    }
}

/// How new a list must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Floor {
    /// As new as the server has it in memory; the watch from there makes good what is old. From etcd it would read the
    /// pods of all nodes for each agent.
    #[default]
    Memory,
    /// At least as new as this.
    Seen(String),
    /// The truth, from etcd: the server did not know the version that was seen. Once.
    Truth,
}

impl Floor {
    /// The parameter `resourceVersion`, as `client-go`'s reflector uses it.
    fn parameter(&self) -> Option<String> {
        match self {
            Self::Memory => Some("0".to_owned()),
            Self::Seen(version) => Some(version.clone()),
            Self::Truth => None,
        }
    }
}

/// How a watch ended.
enum Ended {
    /// At its time.
    Well,
    /// There is room again for what was left out.
    WantsList,
}

/// Keeps one view.
pub struct Watch<K, C> {
    api: Api<K>,
    selection: Selection,
    view: Arc<View<C>>,
    counts: Arc<dyn WatchCounts>,
    /// Where the next watch begins; `None`: with a list.
    version: Option<String>,
    /// What the next list must not be older than: an API server that lags behind the others would take back what an
    /// owner has said since.
    floor: Floor,
    listed: Option<Instant>,
    /// Whether the next watch is the first after the start or a failure.
    anew: bool,
}

impl<K, C> Watch<K, C>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    C: Collection<Object = K>,
{
    /// Nothing is asked before [`Self::run`].
    pub fn new(api: Api<K>, selection: Selection, view: Arc<View<C>>, counts: Arc<dyn WatchCounts>) -> Self {
        Self {
            api,
            selection,
            view,
            counts,
            version: None,
            floor: Floor::default(),
            listed: None,
            anew: true,
        }
    }

    /// Until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = DefaultBackoff::default();
        while let Some(broken) = stop.run_until_cancelled(self.keep_up()).await {
            self.tell(&broken);
            self.anew = true;
            if !broken.goes_on() {
                self.version = None;
            }
            if broken.is_of_unknown_version() {
                self.floor = Floor::Truth;
            }
            // It begins anew by itself after two minutes without a failure.
            let wait = backoff.next().unwrap_or(LONGEST_WAIT);
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Lists where it must, watches, watches again; ends only by a failure.
    async fn keep_up(&mut self) -> Broken {
        loop {
            let ended = match self.version.clone() {
                None => self.list().await.map(|()| Ended::Well),
                Some(version) => self.watch(version).await,
            };
            match ended {
                Ok(Ended::Well) => {}
                Ok(Ended::WantsList) => self.version = None,
                Err(broken) => return broken,
            }
        }
    }

    async fn list(&mut self) -> Result<(), Broken> {
        let params = ListParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            resource_version: self.floor.parameter(),
            ..ListParams::default()
        };
        let listed = timeout(ANSWER_TIME, self.api.list(&params)).await;
        let list = listed.map_err(|_| Broken::NoAnswer(ANSWER_TIME))?.map_err(Broken::List)?;
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        let version = version.ok_or(Broken::NoVersion)?;
        self.take_in(|kept| kept.replace(list.items));
        self.counts.listed(C::RESOURCE);
        self.listed = Some(Instant::now());
        self.seen(version);
        Ok(())
    }

    async fn watch(&mut self, version: String) -> Result<Ended, Broken> {
        let params = WatchParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            timeout: Some(seconds(std::mem::replace(&mut self.anew, false))),
            bookmarks: true,
            ..WatchParams::default()
        };
        let answer = timeout(ANSWER_TIME, self.api.watch(&params, &version)).await;
        let events = answer.map_err(|_| Broken::NoAnswer(ANSWER_TIME))?.map_err(Broken::Watch)?;
        let mut events = std::pin::pin!(events);
        let began = Instant::now();
        let mut patience = SETTLED;
        loop {
            match timeout(patience, events.next()).await {
                Ok(Some(event)) => self.event(event.map_err(Broken::Watch)?)?,
                Ok(None) if began.elapsed() < SETTLED => return Err(Broken::EndedAtOnce),
                Ok(None) => {
                    self.heard();
                    return Ok(Ended::Well);
                }
                Err(_) if patience == SETTLED => self.heard(),
                Err(_) => return Err(Broken::Silent(patience)),
            }
            patience = MAX_SILENCE;
            if self.wants_list() {
                return Ok(Ended::WantsList);
            }
        }
    }

    fn event(&mut self, event: WatchEvent<K>) -> Result<(), Broken> {
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.resource_version();
                self.take_in(|kept| kept.put(object));
                version
            }
            WatchEvent::Deleted(object) => {
                self.take_in(|kept| kept.remove(&object));
                object.resource_version()
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(Broken::Told(status)),
        };
        self.counts.event(C::RESOURCE);
        let version = version.filter(|version| !version.is_empty()).ok_or(Broken::NoVersion)?;
        self.seen(version);
        Ok(())
    }

    fn seen(&mut self, version: String) {
        self.floor = Floor::Seen(version.clone());
        self.version = Some(version);
        self.heard();
    }

    fn take_in(&self, change: impl FnOnce(&mut C)) {
        let mut kept = self.view.kept();
        let before = kept.left_out();
        change(&mut kept);
        let left_out = kept.left_out();
        drop(kept);
        if left_out > before {
            self.counts.limit_reached(C::LIMIT);
            tracing::warn!(resource = C::RESOURCE, left_out, "more than are kept: the rest is unknown");
        }
    }

    fn wants_list(&self) -> bool {
        let long_ago = self.listed.is_none_or(|listed| listed.elapsed() > ROOM_INTERVAL);
        let kept = self.view.kept();
        long_ago && kept.left_out() > 0 && kept.has_room()
    }

    fn heard(&self) {
        if self.view.heard() {
            tracing::info!(resource = C::RESOURCE, "the Kubernetes API answers again");
        }
    }

    fn tell(&self, broken: &Broken) {
        self.counts.failed(C::RESOURCE, broken.reason());
        let (resource, reason) = (C::RESOURCE, broken.reason());
        // A version that is too old is the server's way to ask for a new list.
        if self.view.lost(broken.to_string()) && reason != "Expired" {
            tracing::warn!(resource, reason, error = %broken, "the Kubernetes API cannot be watched; trying on");
        } else {
            tracing::debug!(resource, reason, error = %broken, "the Kubernetes API cannot be watched");
        }
    }
}

/// How long the next watch shall last. `anew`: it is the first after the start or a failure.
fn seconds(anew: bool) -> u32 {
    if anew { fastrand::u32(FIRST_WATCH_SECONDS..=WATCH_SECONDS) } else { WATCH_SECONDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_begin_together_do_not_end_together() {
        let all: Vec<_> = (0..1000).map(|_| seconds(true)).collect();
        assert!(all.iter().all(|seconds| (FIRST_WATCH_SECONDS..=WATCH_SECONDS).contains(seconds)));
        // Evenly spread, ten seconds have 38 of them.
        let most =
            (0..WATCH_SECONDS).map(|from| all.iter().filter(|end| (from..from + 10).contains(*end)).count());
        assert!(most.max() < Some(100), "{all:?}");
        assert_eq!(seconds(false), WATCH_SECONDS);
    }
}
