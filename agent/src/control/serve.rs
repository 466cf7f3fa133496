//! Connections: HTTP/1.1 on the bound sockets, every one of them bounded in number, size and time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::listen::Listeners;
use super::node::Node;
use super::router::{self, Access};

/// Open connections of one socket; more wait in the kernel's backlog. Each socket has its own, so that TCP clients
/// without a token cannot lock a person out of the unix socket.
const MAX_CONNECTIONS: usize = 32;

/// Bytes of one request's head (and of the read buffer).
const MAX_HEAD: usize = 64 << 10;

/// Header lines of one request.
const MAX_HEADERS: usize = 64;

/// For a whole head to arrive; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a connection is closed between two requests, or cut if it will not end: a reader that takes nothing
/// cannot hold a place for ever.
const CONNECTION_LIFE: Duration = Duration::from_mins(10);

/// For the request in flight when the agent stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, then lets requests in flight finish, at most five seconds. The socket's name is
/// gone when this returns.
pub async fn serve(node: Arc<dyn Node>, listeners: Listeners, shutdown: CancellationToken) {
    let Listeners { unix, socket, tcp } = listeners;
    let connections = TaskTracker::new();
    tracing::info!(socket = ?socket.path(), "control endpoint ready");
    let over_socket = accept(unix, router::new(node.clone(), Access::Socket), &shutdown, &connections);
    let over_tcp = async {
        if let Some((listener, token_file)) = tcp {
            tracing::info!(address = ?listener.local_addr().ok(), "control endpoint ready");
            accept(listener, router::new(node, Access::Token(token_file.into())), &shutdown, &connections)
                .await;
        }
    };
    tokio::join!(over_socket, over_tcp);
    drop(socket);
    connections.close();
    connections.wait().await;
}

/// Serves another router than an agent's on the unix socket, until `shutdown`. Its name is gone when this returns.
pub(crate) async fn serve_socket(listeners: Listeners, router: Router, shutdown: &CancellationToken) {
    let Listeners { unix, socket, tcp: _ } = listeners;
    tracing::info!(socket = ?socket.path(), "control endpoint ready");
    serve_router(unix, router, shutdown).await;
    drop(socket);
}

/// Serves one router on one listener until `shutdown`, as bounded as the control endpoint.
pub(crate) async fn serve_router<L: Listener>(listener: L, router: Router, shutdown: &CancellationToken) {
    let connections = TaskTracker::new();
    accept(listener, router, shutdown, &connections).await;
    connections.close();
    connections.wait().await;
}

async fn accept<L: Listener>(
    mut listener: L,
    router: Router,
    shutdown: &CancellationToken,
    connections: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let next = async |listener: &mut L| {
        let place = places.clone().acquire_owned().await.ok()?;
        Some((listener.accept().await.0, place))
    };
    while let Some(Some((io, place))) = shutdown.run_until_cancelled(next(&mut listener)).await {
        connections.spawn(connection(io, router.clone(), shutdown.clone(), place));
    }
}

pub(crate) async fn connection<I>(
    io: I,
    router: Router,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service =
        hyper::service::service_fn(move |request: hyper::Request<Incoming>| answer(&router, request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        result = connection.as_mut() => {
            // A client that hangs up or is too slow is its own business.
            if let Err(error) = result {
                tracing::debug!(%error, "control connection ended early");
            }
            return;
        }
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(DRAIN, connection).await.is_err() {
        tracing::debug!("control connection cut: its request did not end in time");
    }
}

fn answer(
    router: &Router,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    router.clone().oneshot(request.map(Body::new))
}
