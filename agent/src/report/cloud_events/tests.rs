//! Against a real collector on a real socket: one that takes events, that is slow, refuses, hangs, is not there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{CloudEvents, QUEUE, Settings};
use crate::breaker::BreakerView;
use crate::policy::{Fired, Mode};
use crate::report::metrics::{BuildInfo, Metrics};
use crate::report::{Outcome, Phase, Subject, SweepFigures, SweepRecord};
use crate::units::Span;

/// Longest wait for what must come; the machine may be busy, and all tries of an event take up to 16 s by themselves.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was received: content type, event.
type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// A collector. It answers with these, one after the other; the last stands. `None`: it never answers.
struct Collector {
    address: SocketAddr,
    received: Received,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Behaviour {
    received: Received,
    answers: Arc<Vec<Option<StatusCode>>>,
    asked: Arc<AtomicUsize>,
    delay: Duration,
}

impl Collector {
    async fn start(answers: &[Option<StatusCode>], delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Received::default();
        let (answers, asked) = (Arc::new(answers.to_vec()), Arc::default());
        let behaviour = Behaviour { received: Arc::clone(&received), answers, asked, delay };
        let router = Router::new().route("/events", post(take)).with_state(behaviour);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received, serving }
    }

    fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    fn ids(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received.iter().map(|(_, event)| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(behaviour): State<Behaviour>, headers: HeaderMap, body: String) -> StatusCode {
    let kind = headers["content-type"].to_str().unwrap().to_owned();
    behaviour.received.lock().unwrap().push((kind, serde_json::from_str(&body).unwrap()));
    let number = behaviour.asked.fetch_add(1, Ordering::SeqCst).min(behaviour.answers.len() - 1);
    tokio::time::sleep(behaviour.delay).await;
    match behaviour.answers[number] {
        Some(status) => status,
        None => std::future::pending().await,
    }
}

fn record(id: &str) -> SweepRecord {
    SweepRecord {
        id: id.into(),
        container: Subject {
            cgroup: 7,
            cgroup_path: "/a".into(),
            id: "c".into(),
            name: "shop/web-0/app".into(),
            image: None,
            pid: 1,
            start_time: 1,
        },
        policy: "scratch".into(),
        mode: Mode::Enforce,
        fired: Fired::ByHand,
        top_directories: vec![("/tmp".into(), 3)],
        started_at: "2026-01-01T00:00:00Z".into(),
        ended_at: Some("2026-01-01T00:00:09Z".into()),
        phase: Phase::Ended,
        outcome: Some(Outcome::Complete),
        reason: Some("Complete".into()),
        message: None,
        refusal: None,
        scan: None,
        sweep: SweepFigures { removed: 12, ..SweepFigures::default() },
        health: None,
        health_reason: None,
        notes: Vec::new(),
        attempt: 0,
    }
}

struct Sender {
    events: CloudEvents,
    metrics: Arc<Metrics>,
}

impl Sender {
    fn to(url: &str, timeout: Span) -> Self {
        let metrics = Arc::new(Metrics::new(BuildInfo { version: "1", commit: "a" }).unwrap());
        let settings = Settings { url: url.parse().unwrap(), timeout };
        let events = CloudEvents::start(&settings, "node-1", Arc::clone(&metrics)).unwrap();
        Self { events, metrics }
    }

    fn count(&self, series: &str) -> u64 {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn until(&self, series: &str, number: u64) {
        let reached = async {
            while self.count(series) < number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| panic!("{series} is {}, not {number}", self.count(series)));
    }
}

const SENT: &str = "podsweep_cloud_events_sent_total";
const RETRIES: &str = "podsweep_cloud_events_retries_total";

fn dropped(reason: &str) -> String {
    format!("podsweep_cloud_events_dropped_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn an_ended_sweep_and_a_changed_breaker_arrive_as_the_standard_has_them() {
    let collector = Collector::start(&[Some(StatusCode::ACCEPTED)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(5));
    sender.events.sweep_ended(&record("01J"));
    let view = |state: &str| {
        vec![BreakerView { name: "global".into(), state: state.into(), reason: None, until: None }]
    };
    sender.events.breakers(&view("Closed"));
    sender.events.breakers(&view("Open"));
    sender.events.breakers(&view("Open"));
    sender.until(SENT, 2).await;
    let received = collector.received.lock().unwrap().clone();
    assert_eq!(received.len(), 2);
    let (kind, sweep) = &received[0];
    assert_eq!(kind, "application/cloudevents+json; charset=utf-8");
    for (field, value) in [
        ("specversion", "1.0"),
        ("type", "io.podsweep.sweep.ended"),
        ("source", "/podsweep/nodes/node-1"),
        ("id", "01J"),
        ("time", "2026-01-01T00:00:09Z"),
        ("subject", "shop/web-0/app"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(sweep[field], value, "{field}");
    }
    assert_eq!(serde_json::from_value::<SweepRecord>(sweep["data"].clone()).unwrap(), record("01J"));
    assert_eq!(received[1].1["type"], "io.podsweep.breaker.changed");
    assert_eq!(received[1].1["data"]["before"], "Closed");
    assert_eq!(received[1].1["data"]["state"], "Open");
}

#[tokio::test]
async fn a_collector_that_cannot_take_it_now_is_asked_again_with_the_same_event() {
    let busy = Some(StatusCode::SERVICE_UNAVAILABLE);
    let collector = Collector::start(&[busy, busy, Some(StatusCode::OK)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(5));
    sender.events.sweep_ended(&record("01J"));
    sender.until(SENT, 1).await;
    assert_eq!((collector.ids(), sender.count(RETRIES)), (vec!["01J".to_owned(); 3], 2));
}

#[tokio::test]
async fn a_collector_that_refuses_is_not_asked_again() {
    let collector =
        Collector::start(&[Some(StatusCode::BAD_REQUEST), Some(StatusCode::OK)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(5));
    sender.events.sweep_ended(&record("01J"));
    sender.events.sweep_ended(&record("01K"));
    sender.until(SENT, 1).await;
    assert_eq!((collector.ids(), sender.count(&dropped("refused"))), (vec!["01J".into(), "01K".into()], 1));
}

#[tokio::test]
async fn a_slow_collector_gets_all_that_wait_in_their_order() {
    let collector = Collector::start(&[Some(StatusCode::OK)], Duration::from_millis(20)).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(30));
    let ids: Vec<_> = (0..20).map(|number| format!("{number:02}")).collect();
    for id in &ids {
        sender.events.sweep_ended(&record(id));
    }
    sender.until(SENT, 20).await;
    assert_eq!(collector.ids(), ids);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_nobody_up_and_what_finds_no_room_is_counted() {
    let collector = Collector::start(&[None], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(60));
    // The first is on its way.
    sender.events.sweep_ended(&record("first"));
    let arrived = async {
        while collector.ids().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    // Nothing below waits: one thread runs all of this, and the sender's task has no turn.
    for number in 0..QUEUE + 7 {
        sender.events.sweep_ended(&record(&number.to_string()));
    }
    assert_eq!(sender.count(&dropped("queue_full")), 7);
    tokio::time::timeout(PATIENCE, sender.events.end()).await.expect("the end waits for the collector");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_in_time_is_tried_again() {
    let collector = Collector::start(&[None, Some(StatusCode::OK)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_millis(300));
    sender.events.sweep_ended(&record("01J"));
    sender.until(SENT, 1).await;
    assert!(sender.count(RETRIES) >= 1);
}

#[tokio::test]
async fn where_nobody_listens_it_is_given_up_after_some_tries() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sender = Sender::to(&format!("http://{gone}/events"), Span::from_secs(1));
    sender.events.sweep_ended(&record("01J"));
    sender.until(&dropped("unreachable"), 1).await;
    assert_eq!(sender.count(RETRIES), u64::from(super::backoff::TRIES) - 1);
}

#[tokio::test]
async fn at_the_end_what_waits_is_sent() {
    let collector = Collector::start(&[Some(StatusCode::OK)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(5));
    for id in ["a", "b", "c"] {
        sender.events.sweep_ended(&record(id));
    }
    sender.events.end().await;
    assert_eq!((collector.ids().len(), sender.count(SENT)), (3, 3));
}

#[tokio::test]
async fn a_record_that_is_too_long_is_shortened_and_says_so() {
    let collector = Collector::start(&[Some(StatusCode::OK)], Duration::ZERO).await;
    let sender = Sender::to(&collector.url(), Span::from_secs(5));
    let notes = (0..64).map(|number| format!("{number}{}", "x".repeat(4000))).collect();
    sender.events.sweep_ended(&SweepRecord { notes, ..record("01J") });
    sender.until(SENT, 1).await;
    let received = collector.received.lock().unwrap();
    let event = &received[0].1;
    assert!(event.to_string().len() <= super::event::MAX_EVENT);
    assert!(event["data"]["notes"][0].as_str().unwrap().starts_with("Shortened"));
}
