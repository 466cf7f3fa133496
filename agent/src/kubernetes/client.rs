//! A connection to the API server, its limits and its counts.
//!
//! In: a kubeconfig file, or what a pod finds in its own filesystem. Out: a [`Client`] whose every request is counted.
//! Must never: wait without a limit, or write again by itself what the server may have taken.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::http::{HeaderName, HeaderValue, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use prometheus::IntCounterVec;
use tower::{Layer, Service};

/// To open a connection. A server that takes longer is as good as gone.
const CONNECT: Duration = Duration::from_secs(5);
/// One request that is not a watch: kube-apiserver ends its own after a minute; who waits so long for a Lease has lost
/// it. The server's usual answer takes milliseconds.
pub const REQUEST: Duration = Duration::from_secs(10);

/// No connection can be made from what is there.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig.
    #[error("kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No pod, and no kubeconfig.
    #[error("no Kubernetes found: not in a pod ({0}); name a file with kubernetes.kubeconfig")]
    NotInAPod(#[from] kube::config::InClusterError),
    /// TLS, or a header.
    #[error("Kubernetes client: {0}")]
    Client(#[from] kube::Error),
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server's answer, or none.
    #[error("{operation}: {source}")]
    Answer {
        /// What was asked, and of which object.
        operation: String,
        /// The answer.
        source: kube::Error,
    },
    /// [`REQUEST`] was over.
    #[error("{operation}: no answer within {} s", REQUEST.as_secs())]
    Timeout {
        /// What was asked, and of which object.
        operation: String,
    },
}

impl RequestError {
    /// The HTTP status, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Answer { source: kube::Error::Api(status), .. } => Some(status.code),
            Self::Answer { .. } | Self::Timeout { .. } => None,
        }
    }

    /// Somebody else was faster: the object is another one than was read.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is gone.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }
}

/// One request, with its time limit and its name in the error.
pub async fn request<T>(
    operation: impl FnOnce() -> String,
    asked: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(RequestError::Answer { operation: operation(), source }),
        Err(_) => Err(RequestError::Timeout { operation: operation() }),
    }
}

/// Connects (lazily: the first request does). `requests` counts by `verb` and `code`.
pub async fn connect(kubeconfig: Option<&Path>, requests: IntCounterVec) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::incluster()?,
    };
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(REQUEST);
    // A retry could take a Lease twice; who asked decides.
    config.default_retry = false;
    let agent = concat!("podsweep/", env!("CARGO_PKG_VERSION"));
    config.headers.push((HeaderName::from_static("user-agent"), HeaderValue::from_static(agent)));
    Ok(ClientBuilder::try_from(config)?.with_layer(&Count { requests }).build())
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| wrong(error.into()))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| wrong(error.into()))
}

#[derive(Clone)]
struct Count {
    requests: IntCounterVec,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, requests: self.requests.clone() }
    }
}

/// Counts what passes through it.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    requests: IntCounterVec,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("none", |answer| code(answer.status().as_u16()));
            requests.with_label_values(&[verb, code]).inc();
            answer
        })
    }
}

fn verb(request: &Request<Body>) -> &'static str {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    match request.method().as_str() {
        "GET" if watches => "watch",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

// Few values: each is a series.
const fn code(status: u16) -> &'static str {
    match status {
        100..=299 => "2xx",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        429 => "429",
        300..=499 => "4xx",
        _ => "5xx",
    }
}
