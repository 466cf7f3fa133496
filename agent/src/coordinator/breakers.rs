//! Breakers over a unix socket, as an agent has them: `podsweep breakers` lists a cluster's, and closes one. Any replica
//! answers, whether it leads or not: it asks the API server.
//!
//! In: `GET /v1/breakers`, `POST /v1/breakers/NAME/reset` from whoever the socket's mode lets in. Out: the same JSON as
//! an agent's; the deletion of a Breaker object. Must never: be served over TCP, or delete another object than the one
//! that was just read.

use std::path::Path;

use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router, extract, middleware};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::breaker::{NoSuchBreaker, WORKLOAD_PREFIX};
use crate::control::view::{self, BreakerList, BreakerView};
use crate::control::{Endpoints, ListenError, Listeners, Problem, router, serve_socket};
use crate::kubernetes::client::{RequestError, request};
use crate::kubernetes::resources::{Breaker, BreakerLevel, BreakerState};
use crate::rollout::GLOBAL;

/// Breakers that are shown: more than a coordinator makes (`rollout::circuits::MAX_OPEN`).
const MAX_SHOWN: u32 = 5_000;

/// A bound socket, not yet served.
pub(super) struct Control {
    listeners: Listeners,
    client: Client,
}

impl Control {
    /// Binds it, for its owner alone.
    pub(super) async fn bind(socket: &Path, client: Client) -> Result<Self, ListenError> {
        let endpoints = Endpoints { socket: socket.to_owned(), listen: None, token_file: None };
        Ok(Self { listeners: Listeners::bind(&endpoints).await?, client })
    }

    /// Until `shutdown`.
    pub(super) async fn serve(self, shutdown: CancellationToken) {
        let router = Router::new()
            .route("/v1/breakers", get(list))
            .route("/v1/breakers/{*name_and_reset}", post(reset))
            .fallback(router::no_such_path)
            .method_not_allowed_fallback(router::no_such_method)
            .layer(middleware::from_fn(router::in_time))
            .with_state(self.client);
        serve_socket(self.listeners, router, &shutdown).await;
    }
}

async fn list(State(client): State<Client>) -> Result<Json<BreakerList>, Problem> {
    let all = all(&client).await.map_err(|error| failed(&error))?;
    let mut workloads: Vec<_> =
        all.iter().filter(|breaker| breaker.spec.level == BreakerLevel::Workload).filter_map(shown).collect();
    workloads.sort_by(|one, other| one.name.cmp(&other.name));
    let global = all.iter().find(|breaker| breaker.spec.level == BreakerLevel::Global).and_then(shown);
    let breakers = std::iter::once(global.unwrap_or_else(closed_global)).chain(workloads).collect();
    Ok(Json(BreakerList { breakers }))
}

async fn reset(
    State(client): State<Client>,
    rest: Result<extract::Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let name = router::to_reset(rest).await?;
    let mut found = all(&client).await.map_err(|error| failed(&error))?;
    found.retain(|breaker| name_of(breaker).as_deref() == Some(&name));
    // To close the global one that is closed is no error: whoever asks for it has what he wants.
    if found.is_empty() && name != GLOBAL {
        let no_such = NoSuchBreaker { name };
        return Err(Problem::new(StatusCode::NOT_FOUND, "NoSuchBreaker", no_such.to_string()));
    }
    for breaker in &found {
        delete(&client, breaker).await?;
        tracing::info!(breaker = name, "breaker closed by a person");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// All that can be read.
async fn all(client: &Client) -> Result<Vec<Breaker>, RequestError> {
    let api: Api<DeserializeGuard<Breaker>> = Api::all(client.clone());
    let params = ListParams::default().limit(MAX_SHOWN);
    let listed = request(|| "list Breakers".into(), api.list(&params)).await?;
    Ok(listed.items.into_iter().filter_map(|breaker| breaker.0.ok()).collect())
}

async fn delete(client: &Client, breaker: &Breaker) -> Result<(), Problem> {
    let (object, uid) = (breaker.name_any(), breaker.uid());
    let api: Api<Breaker> = Api::all(client.clone());
    let this_one = Preconditions { uid, resource_version: None };
    let params = DeleteParams::default().preconditions(this_one);
    match request(|| format!("delete Breaker {object}"), api.delete(&object, &params)).await {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) if error.is_conflict() => {
            let detail = "it has opened anew meanwhile; look at its cause, then ask again";
            Err(Problem::new(StatusCode::CONFLICT, "BreakerChanged", detail))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &RequestError) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "ApiFailed", error.to_string())
}

/// As an agent would call it; `None`: an object that stops nothing.
fn name_of(breaker: &Breaker) -> Option<String> {
    match (breaker.spec.level, &breaker.spec.workload) {
        (BreakerLevel::Global, _) => Some(GLOBAL.to_owned()),
        (BreakerLevel::Workload, Some(workload)) => Some(format!("{WORKLOAD_PREFIX}{workload}")),
        (BreakerLevel::Workload, None) => None,
    }
}

fn shown(breaker: &Breaker) -> Option<BreakerView> {
    let status = breaker.status.clone().unwrap_or_default();
    let state = match status.state {
        BreakerState::HalfOpen => view::BreakerState::HalfOpen,
        // One that is there and says that it is closed is taken for open: `rollout` does.
        BreakerState::Open | BreakerState::Closed => view::BreakerState::Open,
    };
    Some(BreakerView { name: name_of(breaker)?, state, reason: status.cause, until: status.half_open_at })
}

fn closed_global() -> BreakerView {
    BreakerView { name: GLOBAL.to_owned(), state: view::BreakerState::Closed, reason: None, until: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::resources::{BreakerSpec, BreakerStatus};

    fn breaker(level: BreakerLevel, workload: Option<&str>, state: BreakerState) -> Breaker {
        let mut breaker = Breaker::new("b", BreakerSpec { level, workload: workload.map(str::to_owned) });
        breaker.status = Some(BreakerStatus {
            state,
            cause: Some("Restarted".into()),
            since: None,
            half_open_at: Some("2026-01-01T00:00:00Z".into()),
        });
        breaker
    }

    #[test]
    fn an_object_is_shown_as_an_agent_shows_its_own() {
        let workload = breaker(BreakerLevel::Workload, Some("shop/Deployment/cart"), BreakerState::HalfOpen);
        let view = shown(&workload).unwrap();
        assert_eq!(view.name, "workload/shop/Deployment/cart");
        assert_eq!((view.state, view.reason.as_deref()), (view::BreakerState::HalfOpen, Some("Restarted")));
        assert_eq!(view.until.as_deref(), Some("2026-01-01T00:00:00Z"));
        let global = shown(&breaker(BreakerLevel::Global, None, BreakerState::Open)).unwrap();
        assert_eq!((global.name.as_str(), global.state), ("global", view::BreakerState::Open));
    }

    #[test]
    fn what_is_there_is_never_shown_as_closed_and_what_names_nothing_not_at_all() {
        let closed = shown(&breaker(BreakerLevel::Global, None, BreakerState::Closed)).unwrap();
        assert_eq!(closed.state, view::BreakerState::Open);
        assert_eq!(shown(&breaker(BreakerLevel::Workload, None, BreakerState::Open)), None);
    }
}
