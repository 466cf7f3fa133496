//! The client's side of HTTP to places outside: a collector of events, a Prometheus.
//!
//! In: an address. Out: a client for it. Must never: follow a redirect, take a certificate whose root this host does not
//! know.

mod url;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub use url::{HttpUrl, UrlError};

/// Makes requests; keeps one idle connection.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What a request says of its sender.
pub(crate) const USER_AGENT: &str = concat!("podsweep/", env!("CARGO_PKG_VERSION"));

/// A client for this address; does not connect yet. The error: https, and this host has no root certificates.
pub(crate) fn client(url: &HttpUrl) -> std::io::Result<HttpClient> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let connector = if url.uri().scheme_str() == Some("https") {
        builder.with_provider_and_native_roots(provider)?.https_only().enable_http1().build()
    } else {
        // No certificate is looked at, so none is needed.
        let nobody = rustls::RootCertStore::empty();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(nobody)
            .with_no_client_auth();
        builder.with_tls_config(tls).https_or_http().enable_http1().build()
    };
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
}

/// An error with its causes: hyper's own words ("client error (Connect)") leave out why.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A value within a URL. RFC 3986: everything but the unreserved characters is percent-encoded.
pub(crate) fn encoded(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}
