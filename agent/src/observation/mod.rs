//! Observation: reads a container's signs of life, before its sweep and then once a second after it.
//!
//! In: a container, its vitals before the sweep. Out: a [`Finding`]. `breaker` judges; this stage only reads: the
//! kernel's files, and on a node of a cluster what the agent's watches of the Kubernetes API keep. Must never: write,
//! signal, or count an unreadable file as a good sign.

mod vitals;

pub use vitals::Sources;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::breaker::{Finding, Sign, Vitals, Watch, WatchSettings};
use crate::inventory::Container;

/// Between two looks. A look reads some eight small kernel files.
pub const TICK: Duration = Duration::from_secs(1);

/// Watches a container until harm shows, a signal is lost, the window is over, or `stop`.
pub async fn observe(
    container: Arc<Container>,
    sources: Sources,
    before: Vitals,
    settings: WatchSettings,
    stop: CancellationToken,
) -> Finding {
    watch_every(TICK, container, sources, before, settings, stop).await
}

async fn watch_every(
    period: Duration,
    container: Arc<Container>,
    sources: Sources,
    before: Vitals,
    settings: WatchSettings,
    stop: CancellationToken,
) -> Finding {
    let start = Instant::now();
    let mut watch = Watch::new(before, settings, Duration::ZERO);
    let mut ticks = interval_at(start, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return not_watched("the agent was told to stop before the window was over"),
        }
        let (container, sources) = (Arc::clone(&container), sources.clone());
        // Reading cgroup files can wait for a lock in the kernel.
        let Ok(vitals) = tokio::task::spawn_blocking(move || sources.read(&container)).await else {
            return not_watched("the agent's reader of vitals died");
        };
        if let Some(finding) = watch.tick(start.elapsed(), &vitals) {
            return finding;
        }
    }
}

fn not_watched(why: &str) -> Finding {
    Finding::new(Sign::NotWatched, why)
}

#[cfg(test)]
mod tests;
