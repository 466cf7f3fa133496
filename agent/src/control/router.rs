//! Routes: which request calls which method of [`Node`]. Every error leaves as [`Problem`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path as PathParameter, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::node::{Node, Refused};
use super::problem::Problem;
use super::token;
use super::view::{
    Accepted, BreakerList, ContainerList, ExplainRequest, PauseRequest, Status, SweepList, SweepRequest,
    SweepsQuery,
};
use crate::gate::Standing;
use crate::report::SweepRecord;

/// Bytes of a request's body; a policy is a few KiB.
pub const MAX_BODY: usize = 64 << 10;

/// For one request, from its last header line to the first byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls of [`Node`] at a time, given-up ones included: each holds a thread.
const MAX_CALLS: usize = 8;

/// What Prometheus' text format calls itself.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who may come in.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Whoever the unix socket's mode lets connect.
    Socket,
    /// Whoever brings the token in this file.
    Token(Arc<Path>),
}

#[derive(Clone)]
struct Agent {
    node: Arc<dyn Node>,
    calls: Arc<Semaphore>,
}

impl Agent {
    async fn call<T: Send + 'static>(
        &self,
        method: impl FnOnce(&dyn Node) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Problem> {
        let stopped = || {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping", "the agent is about to stop; ask again")
        };
        let place = self.calls.clone().acquire_owned().await.map_err(|_| stopped())?;
        let node = self.node.clone();
        let work = move || {
            let _place = place;
            method(&*node)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| stopped())?.map_err(Problem::from)
    }
}

/// The routes of one socket.
pub(crate) fn new(node: Arc<dyn Node>, access: Access) -> Router {
    let agent = Agent { node, calls: Arc::new(Semaphore::new(MAX_CALLS)) };
    let probes = Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(no_such_method);
    let mut guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/containers", get(containers))
        .route("/v1/sweeps", get(sweeps).post(request_sweep))
        .route("/v1/sweeps/{id}", get(sweep).delete(cancel_sweep))
        // POST because a policy may be in the body; it changes nothing.
        .route("/v1/explain", post(explain))
        .route("/v1/breakers", get(breakers))
        // Names of breakers hold slashes: the wildcard takes them as they are, or percent-encoded.
        .route("/v1/breakers/{*name_and_reset}", post(reset_breaker))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method);
    if let Access::Token(file) = access {
        guarded = guarded.layer(middleware::from_fn_with_state(file, require_token));
    }
    probes.merge(guarded).layer(middleware::from_fn(in_time)).with_state(agent)
}

async fn require_token(State(file): State<Arc<Path>>, request: Request, next: Next) -> Response {
    let expected = match token::read(&file) {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(%error, "TCP client refused");
            let detail = "the agent cannot read its token file; its log says why";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TokenUnavailable", detail).into_response();
        }
    };
    let given = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    if token::accepts(&expected, given) {
        return next.run(request).await;
    }
    let detail = "send the agent's token: Authorization: Bearer TOKEN";
    Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail).into_response()
}

pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let late = || {
        let detail =
            format!("no answer within {} s; the agent may be busy: try again", REQUEST_TIMEOUT.as_secs());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Timeout", detail).into_response()
    };
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| late())
}

pub(crate) async fn no_such_path() -> Problem {
    let detail = "no such path; docs/http.md lists them: /healthz, /readyz, /metrics and /v1/…";
    Problem::new(StatusCode::NOT_FOUND, "NoSuchPath", detail)
}

pub(crate) async fn no_such_method() -> Problem {
    let detail = "this path has other methods; the Allow header names them";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail)
}

// Probes bypass the bounded calls: a stuck disk must not make a healthy agent look dead.
async fn healthy(State(agent): State<Agent>) -> Result<&'static str, Problem> {
    agent.node.healthy().map(|()| "ok\n").map_err(|why| unavailable("NotHealthy", why))
}

async fn ready(State(agent): State<Agent>) -> Result<&'static str, Problem> {
    agent.node.ready().map(|()| "ok\n").map_err(|why| unavailable("NotReady", why))
}

fn unavailable(reason: &str, why: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason, why)
}

async fn metrics(State(agent): State<Agent>) -> Result<impl IntoResponse, Problem> {
    let text = agent.call(Node::metrics).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TEXT)], text))
}

async fn status(State(agent): State<Agent>) -> Result<Json<Status>, Problem> {
    agent.call(Node::status).await.map(Json)
}

async fn containers(State(agent): State<Agent>) -> Result<Json<ContainerList>, Problem> {
    let containers = agent.call(Node::containers).await?;
    Ok(Json(ContainerList { containers }))
}

async fn sweeps(
    State(agent): State<Agent>,
    query: Result<Query<SweepsQuery>, QueryRejection>,
) -> Result<Json<SweepList>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_request("BadQuery", rejection.body_text()))?;
    if query.limit.is_some_and(|limit| !(1..=SweepsQuery::MAX_LIMIT).contains(&limit)) {
        let detail = format!("limit: 1 to {}; page on with before=ID", SweepsQuery::MAX_LIMIT);
        return Err(bad_request("BadQuery", detail));
    }
    let sweeps = agent.call(move |node| node.sweeps(&query)).await?;
    Ok(Json(SweepList { sweeps }))
}

async fn sweep(
    State(agent): State<Agent>,
    id: Result<PathParameter<String>, PathRejection>,
) -> Result<Json<SweepRecord>, Problem> {
    let id = parameter(id)?;
    agent.call(move |node| node.sweep(&id)).await.map(Json)
}

async fn request_sweep(
    State(agent): State<Agent>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: SweepRequest = json(&headers, body).await?;
    if request.policy.is_some() == request.policy_spec.is_some() {
        let detail = "give either policy (the name of one in force) or policySpec (a whole SweepPolicy)";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BadBody", detail));
    }
    let id = agent.call(move |node| node.request_sweep(request)).await?;
    let location = format!("/v1/sweeps/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(Accepted { id })).into_response())
}

async fn explain(
    State(agent): State<Agent>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Standing>, Problem> {
    let request: ExplainRequest = json(&headers, body).await?;
    if request.policy.is_some() && request.policy_spec.is_some() {
        let detail =
            "give at most one of policy (the name of one in force) and policySpec (a whole SweepPolicy)";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BadBody", detail));
    }
    agent.call(move |node| node.explain(request)).await.map(Json)
}

async fn cancel_sweep(
    State(agent): State<Agent>,
    id: Result<PathParameter<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let id = parameter(id)?;
    agent.call(move |node| node.cancel_sweep(&id)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn breakers(State(agent): State<Agent>) -> Result<Json<BreakerList>, Problem> {
    let breakers = agent.call(Node::breakers).await?;
    Ok(Json(BreakerList { breakers }))
}

async fn reset_breaker(
    State(agent): State<Agent>,
    rest: Result<PathParameter<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let name = to_reset(rest).await?;
    agent.call(move |node| node.reset_breaker(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The breaker that `POST /v1/breakers/NAME/reset` names.
pub(crate) async fn to_reset(rest: Result<PathParameter<String>, PathRejection>) -> Result<String, Problem> {
    let rest = parameter(rest)?;
    let name = rest.strip_suffix("/reset").filter(|name| !name.is_empty());
    match name {
        Some(name) => Ok(name.to_owned()),
        None => Err(no_such_path().await),
    }
}

async fn pause(State(agent): State<Agent>, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    // A bare `curl -X POST` pauses, too: in a hurry nobody should have to word a reason.
    let request = if body.is_end_stream() { PauseRequest::default() } else { json(&headers, body).await? };
    if request.reason.len() > PauseRequest::MAX_REASON {
        let detail = format!("reason: at most {} bytes", PauseRequest::MAX_REASON);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BadBody", detail));
    }
    agent.call(move |node| node.pause(&request.reason)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(State(agent): State<Agent>) -> Result<StatusCode, Problem> {
    agent.call(Node::resume).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parameter(given: Result<PathParameter<String>, PathRejection>) -> Result<String, Problem> {
    given.map(|PathParameter(value)| value).map_err(|rejection| bad_request("BadPath", rejection.body_text()))
}

fn bad_request(reason: &str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, reason, detail)
}

async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = "send a JSON body with Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", detail));
    }
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|error| {
        let detail = format!("the body did not arrive whole, or is larger than {MAX_BODY} bytes: {error}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", detail)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| bad_request("BadBody", format!("body: {error}")))
}
