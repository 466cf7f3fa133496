//! Events in structured mode, as JSON: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.
//! Pure but for the clock and the id.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::breakers::Change;
use crate::report::SweepRecord;
use crate::text::harmless_json;

/// What the request's content is.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// A sweep ended. `data`: its record, as `GET /v1/sweeps/ID` has it.
const SWEEP_ENDED: &str = "io.podsweep.sweep.ended";

/// A breaker is in another state. `data`: which, its state before and now.
const BREAKER_CHANGED: &str = "io.podsweep.breaker.changed";

/// Longest event, bytes: what everybody who forwards one must take (CloudEvents 1.0.2, "Size Limits").
pub(super) const MAX_EVENT: usize = 64 << 10;

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// `id`: the same at every try.
    pub(super) id: String,
    /// The whole event.
    pub(super) body: String,
}

/// `source`: a URI-reference that names this node's agent.
pub(super) fn source(node: &str) -> String {
    // Names of nodes are DNS names; whatever else a host calls itself is encoded (RFC 3986).
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let encoded: String = node
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("/podsweep/nodes/{encoded}")
}

/// Of an ended sweep; its id is the sweep's, so that whoever gets it twice can tell.
pub(super) fn sweep_ended(source: &str, record: &SweepRecord) -> Envelope {
    let time = record.ended_at.clone().unwrap_or_else(|| Timestamp::now().to_string());
    let event = |record: &SweepRecord| {
        envelope(source, SWEEP_ENDED, &record.id, &time, &record.container.name, &json!(record))
    };
    let whole = event(record);
    if whole.body.len() <= MAX_EVENT {
        return whole;
    }
    // Notes, and names of directories, are what a container may make long; history has them all.
    let note = "Shortened: the record in history has all notes and directories".to_owned();
    let short = SweepRecord { notes: vec![note], top_directories: Vec::new(), ..record.clone() };
    event(&short)
}

/// Of a breaker.
pub(super) fn breaker_changed(source: &str, change: &Change) -> Envelope {
    let now = &change.now;
    let until = now.until.and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    let data = json!({
        "breaker": now.name,
        "before": change.before,
        "state": now.state,
        "reason": now.reason,
        "until": until.map(|until| until.to_string()),
    });
    let (id, time) = (ulid::Ulid::new().to_string(), Timestamp::now().to_string());
    envelope(source, BREAKER_CHANGED, &id, &time, &now.name, &data)
}

fn envelope(source: &str, kind: &str, id: &str, time: &str, subject: &str, data: &Value) -> Envelope {
    let event = json!({
        "specversion": "1.0",
        "type": kind,
        "source": source,
        "id": id,
        "time": time,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    });
    Envelope { id: id.to_owned(), body: harmless_json(&event.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerView;

    #[test]
    fn a_source_is_a_uri_reference_whatever_the_node_is_called() {
        assert_eq!(source("node-1.example"), "/podsweep/nodes/node-1.example");
        assert_eq!(source("a b/ü"), "/podsweep/nodes/a%20b%2F%C3%BC");
    }

    #[test]
    fn a_breakers_event_has_what_the_format_asks_for() {
        let now = BreakerView {
            name: "workload/a".into(),
            state: "Open".into(),
            reason: Some("Restarted\u{1b}".into()),
            until: Some(1_700_000_000),
        };
        let sent = breaker_changed("/podsweep/nodes/n", &Change { before: "Closed".into(), now });
        assert!(sent.body.is_ascii());
        let event: Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(
            (event["specversion"].as_str(), event["id"].as_str()),
            (Some("1.0"), Some(sent.id.as_str()))
        );
        assert_eq!(event["type"], BREAKER_CHANGED);
        assert!(event["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        let data = &event["data"];
        assert_eq!((&data["before"], &data["state"]), (&json!("Closed"), &json!("Open")));
        assert_eq!(
            (&data["reason"], &data["until"]),
            (&json!("Restarted\u{1b}"), &json!("2023-11-14T22:13:20Z"))
        );
    }
}
