//! The endpoint as its clients meet it: a real unix socket and real TCP, with a recorded agent behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::view::{
    BreakerState, BreakerView, ContainerView, ExplainRequest, Status, SweepRequest, SweepsQuery,
};
use super::*;
use crate::gate::Standing;
use crate::report::SweepRecord;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Says yes to everything but a few known names, and remembers what it was asked.
#[derive(Default)]
struct Recorded {
    asked: Mutex<Vec<String>>,
}

impl Recorded {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Node for Recorded {
    fn status(&self) -> Result<Status, Refused> {
        Ok(Status { version: "1.2.3".into(), tier: "fexit".into(), ..Status::default() })
    }
    fn containers(&self) -> Result<Vec<ContainerView>, Refused> {
        Ok(Vec::new())
    }
    fn sweeps(&self, query: &SweepsQuery) -> Result<Vec<SweepRecord>, Refused> {
        self.note(format!("sweeps {} {:?} {:?}", query.limit(), query.container, query.before));
        Ok(Vec::new())
    }
    fn sweep(&self, id: &str) -> Result<SweepRecord, Refused> {
        Err(Refused::new(RefusedKind::NotFound, "NoSuchSweep", format!("no sweep has the id {id:?}")))
    }
    fn request_sweep(&self, request: SweepRequest) -> Result<String, Refused> {
        self.note(format!("sweep {}", request.target));
        match request.target.as_str() {
            "cooling" => Err(Refused::new(RefusedKind::Conflict, "CoolDown", "swept 10 s ago")),
            _ => Ok("01ABC".into()),
        }
    }
    fn explain(&self, request: ExplainRequest) -> Result<Standing, Refused> {
        self.note(format!("explain {} {:?}", request.target, request.policy));
        Ok(Standing { never: vec!["/data/**".into()], ..Standing::default() })
    }
    fn cancel_sweep(&self, id: &str) -> Result<(), Refused> {
        self.note(format!("cancel {id}"));
        Ok(())
    }
    fn breakers(&self) -> Result<Vec<BreakerView>, Refused> {
        Ok(vec![BreakerView {
            name: "global".into(),
            state: BreakerState::HalfOpen,
            reason: None,
            until: None,
        }])
    }
    fn reset_breaker(&self, name: &str) -> Result<(), Refused> {
        self.note(format!("reset {name}"));
        Ok(())
    }
    fn pause(&self, reason: &str) -> Result<(), Refused> {
        self.note(format!("pause {reason:?}"));
        Ok(())
    }
    fn resume(&self) -> Result<(), Refused> {
        self.note("resume");
        Ok(())
    }
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        Err("no policy folder read yet".into())
    }
    fn metrics(&self) -> Result<String, Refused> {
        Ok("podsweep_containers 0\n".into())
    }
}

struct Served {
    folder: tempfile::TempDir,
    node: Arc<Recorded>,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_token(&folder.path().join("token"), TOKEN);
        let endpoints = Endpoints {
            socket: folder.path().join("podsweep.sock"),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            token_file: Some(folder.path().join("token")),
        };
        let listeners = Listeners::bind(&endpoints).await.unwrap();
        let address = listeners.address().unwrap();
        let (node, stop) = (Arc::new(Recorded::default()), CancellationToken::new());
        let task = tokio::spawn(serve(node.clone(), listeners, stop.clone()));
        Self { folder, node, address, stop, task }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("podsweep.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    async fn over_socket(&self, request: &str) -> Answer {
        Answer::read(UnixStream::connect(self.socket()).await.unwrap(), request).await
    }

    async fn over_tcp(&self, request: &str) -> Answer {
        Answer::read(TcpStream::connect(self.address).await.unwrap(), request).await
    }
}

fn write_token(path: &Path, token: &str) {
    std::fs::write(path, token).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> Self {
        // The server may answer and close before it has read all of a request that is too large.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.into() }
    }

    /// Asserts problem details in full, and returns their reason.
    fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem: Problem = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        assert!(
            problem.r#type.ends_with(&problem.reason)
                && !problem.title.is_empty()
                && !problem.detail.is_empty()
        );
        problem.reason
    }
}

fn get(path: &str, extra: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn the_client_reaches_every_method() {
    let served = Served::start().await;
    let client = served.client();
    assert_eq!(client.status().await.unwrap().version, "1.2.3");
    assert!(client.containers().await.unwrap().is_empty());
    assert_eq!(client.breakers().await.unwrap()[0].state, BreakerState::HalfOpen);
    assert_eq!(client.metrics().await.unwrap(), "podsweep_containers 0\n");
    let query =
        SweepsQuery { limit: Some(7), container: Some("shop/cart 1&x=y".into()), before: Some("01A".into()) };
    client.sweeps(&query).await.unwrap();
    let request =
        SweepRequest { target: "pid:1".into(), policy: Some("p".into()), ..SweepRequest::default() };
    assert_eq!(client.request_sweep(&request).await.unwrap(), "01ABC");
    let request = ExplainRequest { target: "pid:1".into(), ..ExplainRequest::default() };
    assert_eq!(client.explain(&request).await.unwrap().never, ["/data/**"]);
    client.cancel_sweep("01ABC").await.unwrap();
    client.reset_breaker("workload/docker.io/library/app:1%").await.unwrap();
    client.pause("maintenance \"now\"").await.unwrap();
    client.resume().await.unwrap();
    assert_eq!(
        served.node.asked(),
        [
            "sweeps 7 Some(\"shop/cart 1&x=y\") Some(\"01A\")",
            "sweep pid:1",
            "explain pid:1 None",
            "cancel 01ABC",
            "reset workload/docker.io/library/app:1%",
            "pause \"maintenance \\\"now\\\"\"",
            "resume",
        ]
    );
}

#[tokio::test]
async fn the_agents_no_reaches_the_caller_with_word_and_sentence() {
    let served = Served::start().await;
    let request =
        SweepRequest { target: "cooling".into(), policy: Some("p".into()), ..SweepRequest::default() };
    let error = served.client().request_sweep(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "swept 10 s ago (CoolDown)");
    let ClientError::Problem(problem) = error else { panic!("{error:?}") };
    assert_eq!((problem.status, problem.reason.as_str()), (409, "CoolDown"));
    let missing = served.client().sweep("01XYZ").await.unwrap_err();
    assert!(missing.to_string().contains("01XYZ"), "{missing}");
}

#[tokio::test]
async fn an_accepted_sweep_says_where_it_is() {
    let served = Served::start().await;
    let answer = served.over_socket(&post("/v1/sweeps", r#"{"target":"pid:1","policy":"p"}"#)).await;
    assert_eq!(answer.status, 202);
    assert!(answer.head.contains("location: /v1/sweeps/01abc"), "{}", answer.head);
    assert_eq!(answer.body, r#"{"id":"01ABC"}"#);
}

#[tokio::test]
async fn a_breakers_slashes_may_be_encoded_or_not() {
    let served = Served::start().await;
    assert_eq!(served.over_socket(&post("/v1/breakers/workload/a/b/reset", "")).await.status, 204);
    assert_eq!(served.over_socket(&post("/v1/breakers/workload%2Fa%2Fb/reset", "")).await.status, 204);
    assert_eq!(served.node.asked(), ["reset workload/a/b", "reset workload/a/b"]);
    assert_eq!(served.over_socket(&post("/v1/breakers/workload/a/b", "")).await.problem(), "NoSuchPath");
}

#[tokio::test]
async fn every_bad_request_is_answered_with_problem_details() {
    let served = Served::start().await;
    let too_large = format!(r#"{{"target":"{}"}}"#, "x".repeat(MAX_BODY));
    let long_reason = format!(r#"{{"reason":"{}"}}"#, "x".repeat(513));
    let not_json = "POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    for (request, status, reason) in [
        (get("/", ""), 404, "NoSuchPath"),
        (get("/v2/status", ""), 404, "NoSuchPath"),
        (post("/v1/status", "{}"), 405, "MethodNotAllowed"),
        (post("/healthz", "{}"), 405, "MethodNotAllowed"),
        (get("/readyz", ""), 503, "NotReady"),
        (get("/v1/sweeps/01XYZ", ""), 404, "NoSuchSweep"),
        (get("/v1/sweeps/%FF", ""), 400, "BadPath"),
        (get("/v1/sweeps?limit=x", ""), 400, "BadQuery"),
        (get("/v1/sweeps?limit=0", ""), 400, "BadQuery"),
        (get("/v1/sweeps?limt=3", ""), 400, "BadQuery"),
        (not_json.to_owned(), 415, "NotJson"),
        (post("/v1/sweeps", "{"), 400, "BadBody"),
        (post("/v1/sweeps", r#"{"target":"x","polcy":"p"}"#), 400, "BadBody"),
        (post("/v1/sweeps", r#"{"target":"x"}"#), 422, "BadBody"),
        (post("/v1/sweeps", &too_large), 413, "BodyTooLarge"),
        (post("/v1/sweeps", r#"{"target":"cooling","policy":"p"}"#), 409, "CoolDown"),
        (post("/v1/pause", &long_reason), 422, "BadBody"),
    ] {
        let shown: String = request.chars().take(60).collect();
        let answer = served.over_socket(&request).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, reason), "{shown:?}");
    }
    assert!(served.over_socket(&post("/v1/status", "{}")).await.head.contains("allow: get"));
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let served = Served::start().await;
    let answer =
        served.over_socket(&get("/healthz", &format!("X-Long: {}\r\n", "x".repeat(128 << 10)))).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn tcp_asks_for_the_token_everywhere_but_at_the_probes() {
    let served = Served::start().await;
    assert_eq!(served.over_tcp(&get("/healthz", "")).await.status, 200);
    assert_eq!(served.over_tcp(&get("/readyz", "")).await.problem(), "NotReady");
    for path in ["/metrics", "/v1/status", "/v1/breakers/global/reset", "/nowhere"] {
        for extra in ["", "Authorization: Bearer wrong-wrong-wrong-wrong-wrong-wr\r\n"] {
            let answer = served.over_tcp(&get(path, extra)).await;
            assert_eq!((answer.status, answer.problem().as_str()), (401, "Unauthorized"), "{path}");
            assert!(answer.head.contains("www-authenticate: bearer"));
        }
    }
    assert_eq!(served.over_tcp(&post("/v1/pause", "{}")).await.status, 401);
    assert!(served.node.asked().is_empty(), "nothing reached the agent");
    let metrics = served.over_tcp(&get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"))).await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
}

#[tokio::test]
async fn a_changed_token_holds_at_once_and_a_lost_one_lets_nobody_in() {
    let served = Served::start().await;
    let (file, old) = (served.folder.path().join("token"), format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(served.over_tcp(&get("/v1/status", &old)).await.status, 200);
    write_token(&file, "another-token-another-token");
    assert_eq!(served.over_tcp(&get("/v1/status", &old)).await.status, 401);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(served.over_tcp(&get("/v1/status", &old)).await.problem(), "TokenUnavailable");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_takes_the_socket_away() {
    let served = Served::start().await;
    let _idle = UnixStream::connect(served.socket()).await.unwrap();
    served.stop.cancel();
    tokio::time::timeout(std::time::Duration::from_secs(30), served.task).await.unwrap().unwrap();
    assert!(!served.folder.path().join("podsweep.sock").exists());
}

#[tokio::test]
async fn without_an_agent_the_error_names_the_socket_and_the_remedy() {
    let error = Client::new("/nonexistent/podsweep.sock").status().await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/podsweep.sock"), "{error}");
    assert!(error.contains("podsweep agent") && error.contains("--socket"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_podsweep_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example.org ESMTP\r\n").await.unwrap();
    });
    let error = Client::new(path).status().await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}
