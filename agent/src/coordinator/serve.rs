//! `/healthz`, `/readyz`, `/metrics`, over plain HTTP: nothing in them is a secret, and nothing can be asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::CoordinatorMetrics;
use crate::control;
use crate::report::metrics::CONTENT_TYPE;

/// A bound endpoint.
pub(super) struct Endpoint(TcpListener);

impl Endpoint {
    pub(super) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self(TcpListener::bind(address).await?))
    }

    /// Until `shutdown`. A replica that does not lead is ready, too: it stands by.
    pub(super) async fn serve(self, metrics: Arc<CoordinatorMetrics>, shutdown: CancellationToken) {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(|| async { "ok\n" }))
            .route("/metrics", get(move || async move { page(&metrics) }));
        control::serve_router(self.0, router, &shutdown).await;
    }
}

fn page(metrics: &CoordinatorMetrics) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
