//! Asks the guards that the index wants to know of, each again and again for as long as it does.
//!
//! In: questions. Out: answers into the index. Must never: ask one more often than every ten seconds, or more than
//! [`AT_A_TIME`] at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::known::Known;
use super::metrics::CoordinatorMetrics;
use super::prometheus::Prometheus;
use crate::rollout::{ASK_EVERY, Answer, Question};

/// Questions that wait for their answer; further ones wait for one of these.
const AT_A_TIME: usize = 8;

/// Who asks.
pub(super) struct Guards {
    prometheus: Option<Arc<Prometheus>>,
    known: Arc<Known>,
    metrics: Arc<CoordinatorMetrics>,
    tasks: TaskTracker,
    term: CancellationToken,
    /// When each was last asked. Bounded by what is wanted.
    asked: BTreeMap<Question, Duration>,
    places: Arc<Semaphore>,
}

impl Guards {
    /// Asks this Prometheus; without one every guard is unknown. Questions end with `term`, in `tasks`.
    pub(super) fn new(
        prometheus: Option<Arc<Prometheus>>,
        known: Arc<Known>,
        metrics: Arc<CoordinatorMetrics>,
        tasks: TaskTracker,
        term: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        Self { prometheus, known, metrics, tasks, term, asked: BTreeMap::new(), places }
    }

    /// Asks those whose turn it is.
    pub(super) fn ask(&mut self, wanted: &BTreeSet<Question>) {
        let now = self.known.now();
        self.asked.retain(|question, _| wanted.contains(question));
        for question in wanted {
            let due = self.asked.get(question).is_none_or(|at| now >= at.saturating_add(ASK_EVERY));
            if !due {
                continue;
            }
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
            self.asked.insert(question.clone(), now);
            let (prometheus, known) = (self.prometheus.clone(), Arc::clone(&self.known));
            let (metrics, term, question) = (Arc::clone(&self.metrics), self.term.clone(), question.clone());
            self.tasks.spawn(async move {
                let answer = async {
                    match prometheus {
                        Some(prometheus) => prometheus.ask(&question.query).await,
                        None => Answer::Unknown(
                            "the coordinator knows no Prometheus; set prometheusUrl in its configuration"
                                .into(),
                        ),
                    }
                };
                let Some(answer) = term.run_until_cancelled(answer).await else { return };
                drop(place);
                tracing::debug!(policy = question.policy, guard = question.guard, ?answer, "guard");
                metrics.guard_answered(&answer);
                // By when it was asked: an answer tells of no later time.
                known.change(|index, _| index.observe_answer(&question, answer, now));
            });
        }
    }
}
