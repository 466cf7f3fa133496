//! Requests that an API server has had: in all by its own metrics; by whom, and how they crowd, by its audit.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::audit::Record;
use crate::cluster::kubectl::Kubectl;
use crate::exposition;

/// Counted where a request was answered: of a watch, when it has ended, which is when the next one is made.
const REQUESTS: &str = "apiserver_request_total";

/// A rate, and how much it crowds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) worst_second: u64,
    pub(super) worst_ten_seconds: u64,
}

/// Requests answered so far.
pub(super) fn answered(kubectl: &Kubectl) -> Result<f64> {
    let text = kubectl.run(&["get", "--raw", "/metrics"])?;
    let samples = exposition::parse(&text).context("the API server's metrics")?;
    Ok(samples.iter().filter(|sample| sample.name == REQUESTS).map(|sample| sample.value).sum())
}

impl Rate {
    /// Of these moments, from `from` for so many seconds.
    fn of(moments: &[Timestamp], from: Timestamp, seconds: u32) -> Self {
        let mut in_second = vec![0_u64; seconds as usize];
        for moment in moments {
            let second = usize::try_from(moment.duration_since(from).as_secs()).ok();
            let is_after = *moment >= from;
            if let Some(count) = second.filter(|_| is_after).and_then(|second| in_second.get_mut(second)) {
                *count += 1;
            }
        }
        let all: u64 = in_second.iter().sum();
        Self {
            per_second: all as f64 / f64::from(seconds.max(1)),
            worst_second: in_second.iter().copied().max().unwrap_or_default(),
            worst_ten_seconds: in_second.windows(10).map(|ten| ten.iter().sum()).max().unwrap_or(all),
        }
    }
}

/// By whom requests came, within so many seconds from `from`; and those of all together. A watch that has not ended
/// is in no audit: end them first.
pub(super) fn by_whom(records: &[Record], from: Timestamp, seconds: u32) -> (BTreeMap<String, Rate>, Rate) {
    let mut moments: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for record in records {
        let of_user = moments.entry(who(&record.user.username)).or_default();
        of_user.push(record.request_received_timestamp);
    }
    let all: Vec<_> = moments.values().flatten().copied().collect();
    let rates = moments.into_iter().map(|(who, moments)| (who, Rate::of(&moments, from, seconds)));
    (rates.collect(), Rate::of(&all, from, seconds))
}

/// The API server has several names for itself.
fn who(user: &str) -> String {
    if user.starts_with("system:") { "the API server itself".to_owned() } else { user.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_seconds_are_found() {
        let from: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_second(from.as_second() + seconds).unwrap();
        let moments = [at(-1), at(0), at(5), at(5), at(9), at(12), at(20)];
        let rate = Rate::of(&moments, from, 20);
        assert_eq!(rate, Rate { per_second: 0.25, worst_second: 2, worst_ten_seconds: 4 });
    }
}
