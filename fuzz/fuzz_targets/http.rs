//! Raw bytes on a connection to the control endpoint's real router.
//!
//! Input: `s` for a connection as over the unix socket, or `t` as over TCP, where a token is asked for; then what the
//! client sends. The client never hangs up: the endpoint must end the connection by itself. Time is tokio's own and
//! jumps to the next timer when nothing else is left to do, so its minutes take no time here.

#![no_main]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podsweep::control::{
    BreakerView, ContainerView, ExplainRequest, Node, Refused, RefusedKind, Status, SweepRequest, SweepsQuery,
};
use podsweep::gate::Standing;
use podsweep::inventory::Target;
use podsweep::report::SweepRecord;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// `CONNECTION_LIFE` and `DRAIN` of control/serve.rs, and a second.
const LONGEST: Duration = Duration::from_secs(10 * 60 + 5 + 1);

/// Of the pipe between client and endpoint, bytes: a reader that is slow makes the endpoint wait.
const PIPE: usize = 4096;

static TOKEN_FILE: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(TOKEN.as_bytes()).expect("a token in it");
    file.as_file().set_permissions(PermissionsExt::from_mode(0o600)).expect("for its owner alone");
    file
});

fuzz_target!(|input: &[u8]| {
    let (token_file, sent) = match input.split_first() {
        Some((b's', sent)) => (None, sent),
        Some((b't', sent)) => (Some(TOKEN_FILE.path()), sent),
        _ => return,
    };
    let node = Arc::new(Willing::default());
    let answer = podsweep_fuzz::block_on(converse(Arc::clone(&node), token_file, sent));
    is_http(&answer);
    let brings_token = sent.windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes());
    if token_file.is_some() && !brings_token {
        assert_eq!(node.calls.load(Ordering::Relaxed), 0, "without a token nothing reaches the agent");
    }
});

async fn converse(node: Arc<Willing>, token_file: Option<&Path>, sent: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(PIPE);
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut answer = Vec::new();
    let conversation = async {
        tokio::join!(
            podsweep::fuzzing::serve_connection(server, node, token_file),
            // The endpoint may answer and close before it has read all.
            async { writer.write_all(sent).await.ok() },
            async { reader.read_to_end(&mut answer).await.ok() },
        )
    };
    tokio::time::timeout(LONGEST, conversation).await.expect("the endpoint ends the connection by itself");
    answer
}

/// Nothing at all, or an HTTP answer that no willing agent gives as 500.
fn is_http(answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).expect("an HTTP answer");
    assert!(parsed.is_complete(), "{}", answer.escape_ascii());
    assert_ne!(response.code, Some(500), "{}", answer.escape_ascii());
}

/// Says yes to all, and counts what it was asked.
#[derive(Default)]
struct Willing {
    calls: AtomicUsize,
}

impl Willing {
    fn yes<T: Default>(&self) -> Result<T, Refused> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(T::default())
    }
}

impl Node for Willing {
    fn status(&self) -> Result<Status, Refused> {
        self.yes()
    }
    fn containers(&self) -> Result<Vec<ContainerView>, Refused> {
        self.yes()
    }
    fn sweeps(&self, query: &SweepsQuery) -> Result<Vec<SweepRecord>, Refused> {
        assert!((1..=SweepsQuery::MAX_LIMIT).contains(&query.limit()), "{query:?}");
        self.yes()
    }
    fn sweep(&self, id: &str) -> Result<SweepRecord, Refused> {
        self.yes::<()>()?;
        Err(Refused::new(RefusedKind::NotFound, "NoSuchSweep", format!("no sweep has the id {id:?}")))
    }
    fn request_sweep(&self, request: SweepRequest) -> Result<String, Refused> {
        let target: Result<Target, _> = request.target.parse();
        target.map_err(|error| Refused::new(RefusedKind::Invalid, "BadTarget", error.to_string()))?;
        self.yes()
    }
    fn explain(&self, _: ExplainRequest) -> Result<Standing, Refused> {
        self.yes()
    }
    fn cancel_sweep(&self, _: &str) -> Result<(), Refused> {
        self.yes()
    }
    fn breakers(&self) -> Result<Vec<BreakerView>, Refused> {
        self.yes()
    }
    fn reset_breaker(&self, _: &str) -> Result<(), Refused> {
        self.yes()
    }
    fn pause(&self, _: &str) -> Result<(), Refused> {
        self.yes()
    }
    fn resume(&self) -> Result<(), Refused> {
        self.yes()
    }
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn metrics(&self) -> Result<String, Refused> {
        self.yes()
    }
}
