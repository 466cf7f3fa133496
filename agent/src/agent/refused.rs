//! Refused wishes, on record: once for each answer, since a trigger that goes on firing asks again every ten seconds.
//!
//! In: a wish and who said no. Out: a metric, a record in history. Must never: hold up the loop for a disk, or fill
//! history with one container's repeated wish.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use super::admit::{Wish, operation};
use super::shared::lock;
use crate::inventory::CgroupId;
use crate::operation;
use crate::policy::{Reason, Refusal};

/// Containers whose last answer is remembered: as many as the inventory holds. Past it, all are forgotten: the next
/// answer of each goes on record once more.
const MAX_REMEMBERED: usize = 4096;

/// The last answer to each container's wishes, as policy and word.
#[derive(Debug, Default)]
pub(super) struct LastRefusals(BTreeMap<CgroupId, (String, String)>);

impl LastRefusals {
    /// Whether this answer is another than the last.
    fn is_new(&mut self, container: CgroupId, policy: &str, reason: &str) -> bool {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&container) {
            self.0.clear();
        }
        let answer = (policy.to_owned(), reason.to_owned());
        self.0.insert(container, answer.clone()).is_none_or(|last| last != answer)
    }

    /// A sweep of this container began: the next no is news.
    pub(super) fn forget(&mut self, container: CgroupId) {
        self.0.remove(&container);
    }
}

/// Counts the refusal, puts it on record where it is news, and hands it on.
pub(super) fn on_record(shared: &Arc<Shared>, id: &str, wish: &Wish, refusal: Refusal) -> Refusal {
    shared.stores.metrics.refused(&refusal);
    let policy = &wish.policy.metadata.name;
    let is_news = lock(&shared.refusals).is_new(wish.container.cgroup, policy, &refusal.reason);
    // Without history there is no record of that.
    if is_news {
        shared.outside.refused(&wish.container, policy, &refusal);
    }
    if is_news && refusal.reason != Reason::HistoryUnavailable.as_str() {
        let mut record = operation(shared, id, wish.clone()).record(jiff::Timestamp::now());
        operation::refuse(&mut record, refusal.clone());
        let stores = Arc::clone(&shared.stores);
        tokio::task::spawn_blocking(move || operation::keep_refused(&stores, &record));
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_news_once_until_it_changes_or_a_sweep_begins() {
        let mut last = LastRefusals::default();
        let mut news = |container, reason| last.is_new(CgroupId(container), "p", reason);
        assert!(news(1, "CoolDown"));
        assert!(!news(1, "CoolDown"));
        assert!(news(2, "CoolDown"));
        assert!(news(1, "NoSlot"));
        assert!(news(1, "CoolDown"));
        last.forget(CgroupId(1));
        assert!(last.is_new(CgroupId(1), "p", "CoolDown"));
        assert!(last.is_new(CgroupId(1), "another", "CoolDown"));
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let mut last = LastRefusals::default();
        for container in 0..3 * MAX_REMEMBERED as u64 {
            last.is_new(CgroupId(container), "p", "CoolDown");
            assert!(last.0.len() <= MAX_REMEMBERED);
        }
    }
}
