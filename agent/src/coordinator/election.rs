//! Who leads: the holder of one Lease.
//!
//! Whoever does not lead reads the Lease and takes it when it has not changed for its whole duration, by its own
//! monotonic clock. Whoever leads renews, and lets go by its own clock before that time can be over for anybody else.
//! That two lead at once is possible all the same (a process that was stopped between two lines), and harmless: every
//! write is a compare-and-swap, and the slots are the cap.

use std::future::Future;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::metrics::CoordinatorMetrics;
use super::settings::CoordinatorConfig;
use crate::kubernetes::client::{RequestError, request};

/// Renewals in a lease's duration: more often than anybody looks.
const RENEWALS: u32 = 20;
/// Looks in a lease's duration by whoever does not lead. With a last look right before it is over, another leads at
/// most one of these after that.
const LOOKS: u32 = 15;
/// Part of the duration that a leader leaves unused, for its last write to be over.
const MARGIN: u32 = 5;

/// One candidate.
pub(super) struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
}

/// The Lease as this process last saw it change.
struct Seen {
    version: String,
    changed_at: Instant,
    held: bool,
    duration: Duration,
}

impl Election {
    pub(super) fn new(client: Client, config: &CoordinatorConfig) -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        Self {
            leases: Api::namespaced(client, &config.namespace),
            name: config.leader_lease.clone(),
            // A process that is started anew under the same host name is another candidate.
            identity: format!("{}_{}", host.unwrap_or_default(), ulid::Ulid::new()),
            duration: config.lease_duration.0,
        }
    }

    /// Calls `lead` each time that this process leads; its token ends with the term. Until `shutdown`.
    pub(super) async fn run<F>(
        &self,
        metrics: &CoordinatorMetrics,
        shutdown: &CancellationToken,
        lead: impl Fn(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut seen = None;
        while !shutdown.is_cancelled() {
            match self.candidate(&mut seen).await {
                Ok(Some((lease, since))) => {
                    tracing::info!(identity = self.identity, "leads");
                    metrics.leads(true);
                    let term = shutdown.child_token();
                    let turns = tokio::spawn(lead(term.clone()));
                    let held = self.hold(lease, since, shutdown).await;
                    term.cancel();
                    if turns.await.is_err() {
                        tracing::error!("the leader's turns ended by a panic");
                    }
                    metrics.leads(false);
                    tracing::info!(identity = self.identity, "leads no more");
                    self.let_go(held).await;
                    seen = None;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "election"),
            }
            let wait = self.next_look(seen.as_ref());
            let _ = shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// One look; the Lease and when it was asked for, where it is ours now.
    async fn candidate(&self, seen: &mut Option<Seen>) -> Result<Option<(Lease, Instant)>, RequestError> {
        let lease = match request(|| format!("read Lease {}", self.name), self.leases.get(&self.name)).await {
            Ok(lease) => lease,
            Err(error) if error.is_not_found() => return self.create(Instant::now()).await,
            Err(error) => return Err(error),
        };
        let version = lease.resource_version().unwrap_or_default();
        if seen.as_ref().is_none_or(|seen| seen.version != version) {
            // After the answer, not before the question: the change may have been made in between.
            *seen = Some(Seen::of(&lease, version, Instant::now()));
        }
        let over = seen.as_ref().is_some_and(|seen| seen.is_over(Instant::now()));
        if over { self.write(lease, Some(&self.identity), Instant::now()).await } else { Ok(None) }
    }

    async fn create(&self, started: Instant) -> Result<Option<(Lease, Instant)>, RequestError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(Some(&self.identity))) };
        let params = PostParams::default();
        let created = self.leases.create(&params, &lease);
        match request(|| format!("create Lease {}", self.name), created).await {
            Ok(lease) => Ok(Some((lease, started))),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews until that fails for too long, or `shutdown`. The Lease as it was last written.
    async fn hold(
        &self,
        mut lease: Lease,
        mut renewed: Instant,
        shutdown: &CancellationToken,
    ) -> Option<Lease> {
        let lasts = self.duration / MARGIN * (MARGIN - 1);
        loop {
            let pause = tokio::time::sleep(self.duration / RENEWALS);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return Some(lease);
            }
            let rest = lasts.checked_sub(renewed.elapsed())?;
            let started = Instant::now();
            let renewal = self.write(lease.clone(), Some(&self.identity), started);
            match tokio::time::timeout(rest, renewal).await {
                Ok(Ok(Some((newer, since)))) => (lease, renewed) = (newer, since),
                // Somebody changed it: if that was our own renewal, whose answer was lost, it is still ours.
                Ok(Ok(None)) => lease = self.still_ours().await?,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew"),
                Err(_) => return None,
            }
        }
    }

    async fn still_ours(&self) -> Option<Lease> {
        let lease =
            request(|| format!("read Lease {}", self.name), self.leases.get(&self.name)).await.ok()?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        (holder == Some(self.identity.as_str())).then_some(lease)
    }

    async fn let_go(&self, held: Option<Lease>) {
        if let Some(lease) = held
            && let Err(error) = self.write(lease, None, Instant::now()).await
        {
            tracing::warn!(%error, "the next leader has to wait for the Lease to be over");
        }
    }

    /// Compare and swap. `None`: somebody else was faster.
    async fn write(
        &self,
        mut lease: Lease,
        holder: Option<&str>,
        started: Instant,
    ) -> Result<Option<(Lease, Instant)>, RequestError> {
        lease.spec = Some(self.spec(holder));
        lease.metadata.managed_fields = None;
        let params = PostParams::default();
        let replaced = self.leases.replace(&self.name, &params, &lease);
        match request(|| format!("write Lease {}", self.name), replaced).await {
            Ok(lease) => Ok(Some((lease, started))),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, holder: Option<&str>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }
    }

    /// At the next look, or when the Lease is over, whichever is sooner.
    fn next_look(&self, seen: Option<&Seen>) -> Duration {
        let look = self.duration / LOOKS;
        seen.map_or(look, |seen| look.min(seen.over_in(Instant::now())))
    }
}

impl Seen {
    fn of(lease: &Lease, version: String, changed_at: Instant) -> Self {
        let spec = lease.spec.as_ref();
        let seconds =
            spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        // One that names no duration was not written by us; it is over at once, and the compare-and-swap decides.
        let duration = Duration::from_secs(seconds.unwrap_or_default());
        Self { version, changed_at, held: !holder.is_empty(), duration }
    }

    fn over_in(&self, now: Instant) -> Duration {
        if !self.held {
            return Duration::ZERO;
        }
        self.duration.saturating_sub(now.saturating_duration_since(self.changed_at))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.over_in(now).is_zero()
    }
}
