//! One try: a POST to the collector.
//!
//! In: an event. Out: whether the collector took it. Must never: follow a redirect, read more than [`MAX_ANSWER`], take
//! longer than it was told to.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};

use super::Settings;
use super::event::{CONTENT_TYPE, Envelope};
use crate::http_client::{self, HttpClient, HttpUrl, USER_AGENT, with_cause};

/// Bytes of an answer that are read (and thrown away), so that the connection can be used again.
const MAX_ANSWER: usize = 64 << 10;

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// https, and this host has no certificates to check it by.
    #[error(
        "cloudEvents.url is https and no root certificates are to be had ({0}); install ca-certificates, or name a file with SSL_CERT_FILE"
    )]
    Certificates(#[source] std::io::Error),
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Taken.
    Taken,
    /// It will not be taken at another try either.
    Refused(StatusCode),
    /// Another try may do.
    Later(String),
}

/// The collector.
#[derive(Debug)]
pub(super) struct Collector {
    client: HttpClient,
    url: HttpUrl,
    timeout: Duration,
}

impl Collector {
    /// Does not connect yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, CollectorError> {
        let client = http_client::client(&settings.url).map_err(CollectorError::Certificates)?;
        Ok(Self { client, url: settings.url.clone(), timeout: settings.timeout.0 })
    }

    /// Tries once.
    pub(super) async fn post(&self, event: &Envelope) -> Answer {
        match tokio::time::timeout(self.timeout, self.exchange(event)).await {
            Ok(Ok(status)) => judge(status),
            Ok(Err(error)) => Answer::Later(error),
            Err(_) => Answer::Later(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn exchange(&self, event: &Envelope) -> Result<StatusCode, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.uri().clone())
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::from(event.body.clone()))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| with_cause(&error))?;
        let status = answer.status();
        // An answer that is too long, or breaks off, has its status all the same.
        let _ = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok(status)
    }
}

/// RFC 9110: these may pass; anything else that is no success stays so.
fn judge(status: StatusCode) -> Answer {
    let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    match status {
        _ if status.is_success() => Answer::Taken,
        _ if may_pass => Answer::Later(format!("the collector answered {status}")),
        _ => Answer::Refused(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let judged = |code: u16| judge(StatusCode::from_u16(code).unwrap());
        for code in [200, 202, 204] {
            assert_eq!(judged(code), Answer::Taken);
        }
        for code in [408, 425, 429, 500, 503, 599] {
            assert!(matches!(judged(code), Answer::Later(_)), "{code}");
        }
        for code in [301, 307, 400, 401, 404, 413, 415] {
            assert!(matches!(judged(code), Answer::Refused(_)), "{code}");
        }
    }
}
