//! Batches that hang in the kernel, past their sweep's time: counted, so that hostile containers cannot tie up one
//! thread of the agent after another.
//!
//! In: work on a thread of its own. Out: its result, or that it hangs. Must never: wait for it without a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};

use super::end::End;

/// Threads that may hang at a time; with as many, no sweep begins. The runtime has 512 for blocking work.
const MAX_STUCK: usize = 8;

/// How many hang now.
#[derive(Debug, Clone, Default)]
pub struct Stuck(Arc<AtomicUsize>);

impl Stuck {
    /// Whether one more sweep may begin.
    pub(super) fn let_one_begin(&self) -> Result<(), End> {
        match self.0.load(Ordering::Relaxed) {
            hanging if hanging >= MAX_STUCK => Err(End::TooManyStuck(hanging)),
            _ => Ok(()),
        }
    }

    /// Does `work` on a thread of its own and waits for as long as `limit`. Work that hangs is counted until it ends.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, End> {
        let mut working = spawn_blocking(work);
        if let Ok(done) = tokio::time::timeout(limit, &mut working).await {
            return done.map_err(|error| End::Internal(error.to_string()));
        }
        self.count_until_it_ends(working);
        Err(End::Stuck(limit))
    }

    fn count_until_it_ends<T: Send + 'static>(&self, working: JoinHandle<T>) {
        let hanging = Arc::clone(&self.0);
        let now = hanging.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(
            hanging = now,
            limit = MAX_STUCK,
            "a batch hangs in the kernel; its thread is left to it"
        );
        tokio::spawn(async move {
            // However it ends.
            let _ = working.await;
            hanging.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn hanging_work_is_given_up_and_too_much_of_it_lets_no_sweep_begin() {
        let stuck = Stuck::default();
        let mut releases = Vec::new();
        for _ in 0..MAX_STUCK {
            assert_eq!(stuck.let_one_begin(), Ok(()));
            let (sender, until) = mpsc::channel::<()>();
            releases.push(sender);
            let limit = Duration::from_millis(1);
            let ended = stuck.work(limit, move || until.recv().is_ok()).await;
            assert_eq!(ended, Err(End::Stuck(limit)));
        }
        assert_eq!(stuck.let_one_begin(), Err(End::TooManyStuck(MAX_STUCK)));
        drop(releases);
        while stuck.let_one_begin().is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stuck.work(Duration::from_mins(1), || 7).await, Ok(7));
    }
}
