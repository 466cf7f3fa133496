//! Whether a sweep could be put on record, found out in the background: whoever asks whether the agent is ready must
//! not wait for a disk.
//!
//! In: the history. Out: its last answer, in [`Shared`]. Must never: hold up the loop.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::shared::lock;
use crate::report::metrics::Store;

/// Between two writes while history answers well.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two writes while it does not: a node that can write again is soon ready again.
const PERIOD_FAILING: Duration = Duration::from_secs(5);
/// An answer older than this is none: the write hangs.
const STALE: Duration = Duration::from_mins(1);

/// What history last answered.
#[derive(Debug, Default)]
pub(super) struct LastAnswer(Option<(Duration, Result<(), String>)>);

impl LastAnswer {
    fn at(now: Duration, answer: Result<(), String>) -> Self {
        Self(Some((now, answer)))
    }

    /// A sentence where a sweep could not be put on record, as far as known at `now`.
    pub(super) fn ready(&self, now: Duration) -> Result<(), String> {
        match &self.0 {
            None => Err("history has not been written to yet".into()),
            Some((_, Err(error))) => Err(format!("history: {error}")),
            Some((at, Ok(()))) if now.saturating_sub(*at) > STALE => {
                Err(format!("history has not answered for {} s", now.saturating_sub(*at).as_secs()))
            }
            Some((_, Ok(()))) => Ok(()),
        }
    }
}

/// Asks until the agent ends.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let stores = Arc::clone(&shared.stores);
        let written = tokio::task::spawn_blocking(move || stores.history.writable()).await;
        let answer = match written {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &answer {
            shared.stores.metrics.write_failed(Store::History);
            tracing::warn!(error, "history cannot be written: no sweep begins until it can");
        }
        let period = if answer.is_ok() { PERIOD } else { PERIOD_FAILING };
        *lock(&shared.history) = LastAnswer::at(shared.now(), answer);
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_a_good_answer_not_long_ago() {
        let now = Duration::from_secs(1000);
        assert!(LastAnswer::default().ready(now).is_err());
        assert_eq!(LastAnswer::at(now, Ok(())).ready(now + PERIOD), Ok(()));
        assert!(LastAnswer::at(now, Ok(())).ready(now + STALE + Duration::from_secs(1)).is_err());
        let failed = LastAnswer::at(now, Err("disk full".into()));
        assert_eq!(failed.ready(now), Err("history: disk full".into()));
    }
}
