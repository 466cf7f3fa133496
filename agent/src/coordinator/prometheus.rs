//! Asks a Prometheus whether a guard holds: one instant query, `GET /api/v1/query`.
//!
//! In: PromQL. Out: an [`Answer`]; whatever goes wrong is one, too: unknown. Must never: ask another address than the
//! coordinator's configuration names, follow a redirect, read more than [`MAX_ANSWER`], take longer than
//! [`ANSWER_TIME`].

mod answer;

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};

use crate::http_client::{self, HttpClient, HttpUrl, USER_AGENT, encoded, with_cause};
use crate::rollout::Answer;

/// One question, from the name's resolution to the end of the answer. Half of the time between two.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Bytes of an answer. A guard has a value or a handful; each with its labels is some 200 bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Where questions go, below the address in the configuration.
const PATH: &str = "/api/v1/query";

/// Prometheus, or what speaks like it.
pub(super) struct Prometheus {
    client: HttpClient,
    base: HttpUrl,
}

impl Prometheus {
    /// Does not connect yet. The error: https, and no root certificates.
    pub(super) fn new(base: HttpUrl) -> std::io::Result<Self> {
        Ok(Self { client: http_client::client(&base)?, base })
    }

    /// Whether the query's result says that its guard holds.
    pub(super) async fn ask(&self, query: &str) -> Answer {
        match tokio::time::timeout(ANSWER_TIME, self.exchange(query)).await {
            Ok(Ok((status, body))) => answer::judge(status, &body),
            Ok(Err(why)) => Answer::Unknown(why),
            Err(_) => Answer::Unknown(format!("no answer within {} s", ANSWER_TIME.as_secs())),
        }
    }

    async fn exchange(&self, query: &str) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(question(&self.base, query).map_err(|error| error.to_string())?)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| with_cause(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("its answer broke off or is too long: {error}"))?;
        Ok((status, body.to_bytes()))
    }
}

/// The server is told the time limit, too: it need not go on when nobody waits.
fn question(base: &HttpUrl, query: &str) -> Result<Uri, hyper::http::Error> {
    let uri = base.uri();
    let path = format!(
        "{}{PATH}?query={}&timeout={}s",
        uri.path().trim_end_matches('/'),
        encoded(query),
        ANSWER_TIME.as_secs()
    );
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse()?);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests;
