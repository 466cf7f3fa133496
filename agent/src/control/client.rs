//! The command line's side of the control endpoint: one request, one connection to the agent's unix socket.
//!
//! In: the socket's path. Out: the types of [`super::view`], or an error that says what to do. Must never: wait
//! longer than [`REQUEST_TIMEOUT`], read more than [`MAX_ANSWER`].

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::Problem;
use super::view::{
    Accepted, BreakerList, BreakerView, ContainerList, ContainerView, ExplainRequest, PauseRequest, Status,
    SweepList, SweepRequest, SweepsQuery,
};
use crate::gate::Standing;
use crate::http_client::encoded;
use crate::report::SweepRecord;

/// A little longer than the agent's own, so that its explanation arrives.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

/// Bytes of an answer: 4,096 containers or 1,000 sweeps are well below.
const MAX_ANSWER: usize = 32 << 20;

/// The agent did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no agent answers at {socket:?} ({source}); start it with `podsweep agent`, or name its socket with --socket or PODSWEEP_SOCKET"
    )]
    NoAgent {
        /// Where.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The socket is another user's.
    #[error(
        "not allowed to open {socket:?}: it belongs to the user that runs the agent; try again as that user (root)"
    )]
    Denied {
        /// Where.
        socket: PathBuf,
    },
    /// The agent said no.
    #[error("{} ({})", .0.detail, .0.reason)]
    Problem(Problem),
    /// No answer in time.
    #[error("the agent at {socket:?} took the connection and did not answer within {} s; its log may say why", REQUEST_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        socket: PathBuf,
    },
    /// The answer makes no sense: another version, or no podsweep agent at all.
    #[error(
        "what answers at {socket:?} does not speak this program's protocol ({what}); is the agent of the same version?"
    )]
    Protocol {
        /// Where.
        socket: PathBuf,
        /// What was wrong.
        what: String,
    },
}

/// Talks to one agent.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Of the agent at this socket. Does not connect yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The node at a glance.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// All known containers.
    pub async fn containers(&self) -> Result<Vec<ContainerView>, ClientError> {
        self.get("/v1/containers").await.map(|list: ContainerList| list.containers)
    }

    /// Sweeps, newest first.
    pub async fn sweeps(&self, query: &SweepsQuery) -> Result<Vec<SweepRecord>, ClientError> {
        let filters = [("container", &query.container), ("before", &query.before)]
            .into_iter()
            .filter_map(|(key, value)| Some(format!("&{key}={}", encoded(value.as_deref()?))));
        let path = format!("/v1/sweeps?limit={}{}", query.limit(), filters.collect::<String>());
        self.get(&path).await.map(|list: SweepList| list.sweeps)
    }

    /// One sweep.
    pub async fn sweep(&self, id: &str) -> Result<SweepRecord, ClientError> {
        self.get(&format!("/v1/sweeps/{}", encoded(id))).await
    }

    /// Asks for a sweep; its id.
    pub async fn request_sweep(&self, request: &SweepRequest) -> Result<String, ClientError> {
        let body = self.ask(Method::POST, "/v1/sweeps", Some(self.body(request)?)).await?;
        self.parse(&body).map(|accepted: Accepted| accepted.id)
    }

    /// What every level says of a sweep of a container now.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Standing, ClientError> {
        let body = self.ask(Method::POST, "/v1/explain", Some(self.body(request)?)).await?;
        self.parse(&body)
    }

    /// Asks a sweep to stop after its batch.
    pub async fn cancel_sweep(&self, id: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &format!("/v1/sweeps/{}", encoded(id)), None).await.map(drop)
    }

    /// Every breaker.
    pub async fn breakers(&self) -> Result<Vec<BreakerView>, ClientError> {
        self.get("/v1/breakers").await.map(|list: BreakerList| list.breakers)
    }

    /// Closes a breaker.
    pub async fn reset_breaker(&self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::POST, &format!("/v1/breakers/{}/reset", encoded(name)), None).await.map(drop)
    }

    /// No new sweeps.
    pub async fn pause(&self, reason: &str) -> Result<(), ClientError> {
        let body = self.body(&PauseRequest { reason: reason.into() })?;
        self.ask(Method::POST, "/v1/pause", Some(body)).await.map(drop)
    }

    /// Sweeps again.
    pub async fn resume(&self) -> Result<(), ClientError> {
        self.ask(Method::POST, "/v1/resume", None).await.map(drop)
    }

    /// The metrics' text.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let body = self.ask(Method::GET, "/metrics", None).await?;
        String::from_utf8(body.into()).map_err(|error| self.nonsense(&error))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.ask(Method::GET, path, None).await?;
        self.parse(&body)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, ClientError> {
        tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(method, path, body))
            .await
            .unwrap_or_else(|_| Err(ClientError::Timeout { socket: self.socket.clone() }))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.not_connected(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.nonsense(&error))?;
        // Ends when `sender` and the answer are dropped; its error shows as that of the request.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(body.unwrap_or_default())).map_err(|error| self.nonsense(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.nonsense(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| self.nonsense(&error))?
            .to_bytes();
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn not_connected(&self, source: std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
            _ => ClientError::NoAgent { socket, source },
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Problem(problem),
            Err(_) => self.nonsense(&format_args!("status {status} without problem details")),
        }
    }

    fn body(&self, value: &impl Serialize) -> Result<Bytes, ClientError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| self.nonsense(&error))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.nonsense(&error))
    }

    fn nonsense(&self, what: &dyn std::fmt::Display) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), what: what.to_string() }
    }
}
