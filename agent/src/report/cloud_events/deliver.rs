//! Sends what waits, one after the other, each a few times.
//!
//! In: events. Out: requests, counts. Must never: try one for ever.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backoff::{TRIES, chance, wait};
use super::collector::{Answer, Collector};
use super::event::Envelope;
use crate::report::metrics::{GivenUp, Metrics};

/// Runs until nobody is left who could send, or `ending` and nothing waits: from then on each has one try.
pub(super) async fn run(
    collector: Collector,
    mut waiting: mpsc::Receiver<Envelope>,
    metrics: Arc<Metrics>,
    ending: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = waiting.recv() => event,
            () = ending.cancelled() => None,
        };
        let Some(event) = event else { return };
        match deliver(&collector, &event, &metrics, &ending).await {
            Ok(()) => metrics.cloud_event_sent(),
            Err((why, cause)) => {
                metrics.cloud_event_given_up(why);
                tracing::warn!(event = event.id, ?why, cause, "CloudEvent given up");
            }
        }
    }
}

async fn deliver(
    collector: &Collector,
    event: &Envelope,
    metrics: &Metrics,
    ending: &CancellationToken,
) -> Result<(), (GivenUp, String)> {
    let mut last = String::new();
    for tried in 0..TRIES {
        if tried > 0 {
            if ending.is_cancelled() {
                return Err((GivenUp::Ended, last));
            }
            metrics.cloud_event_retried();
        }
        match collector.post(event).await {
            Answer::Taken => return Ok(()),
            Answer::Refused(status) => {
                return Err((GivenUp::Refused, format!("the collector answered {status}")));
            }
            Answer::Later(why) => {
                tracing::debug!(event = event.id, tried, why, "CloudEvent not taken");
                last = why;
            }
        }
        if tried + 1 < TRIES {
            tokio::select! {
                () = ending.cancelled() => {}
                () = tokio::time::sleep(wait(tried, chance())) => {}
            }
        }
    }
    Err((GivenUp::Unreachable, last))
}
