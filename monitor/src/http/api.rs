//! HTTP over snapshots:
//!
//! - `GET /health/agents` (`?state= type= host= activity= q= limit= cursor=`; `state=missing,failed`), `GET /health/agents/{id}`
//! - `GET /v1/status`, `GET /v1/incidents` (`?open= agent= limit= cursor=`), `GET /v1/incidents/{id}`
//! - `GET /v1/agents/{id}/timeline` (`?limit= before=`)
//! - `GET /v1/events`: changes as they happen
//! - `POST /v1/agents/{id}/{restart,recover,stop,forget}`, `POST /v1/{pause,resume}` ([`actions`])
//! - `GET /metrics`, `GET /v1/openapi.json`
//! - `GET /-/healthy` `/-/ready` `/livez` `/readyz`: of hbmonitor itself
//! - the dashboard ([`pages`])
//!
//! Nothing here can touch the fleet: what people ask for goes to the hub. Only requests for a name of this server are answered ([`hosts`]).

use crate::asks::Desk;
use crate::bus::inbox::Counters;
use crate::bus::timelines::Timelines;
use crate::events::Events;
use crate::http::auth::Access;
use crate::http::events::{self, Readers};
use crate::http::history::Histories;
use crate::http::hosts::{self, Hosts};
use crate::http::{actions, listing, metrics, pages, status, timeline};
use crate::hub::ShownAlerts;
use crate::reload::Reading;
use crate::snapshots::Snapshots;
use crate::tallies::Tallies;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::asked::{AnyOf, states, verdicts};
use heartbeat::fleet::card::Card;
use heartbeat::fleet::view::{Filter, Listing};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::watch;

/// The API as a document of OpenAPI 3.1; `tests/openapi.rs` compares it with the routes and with real answers.
const OPENAPI: &str = include_str!("assets/openapi.json");

/// What the handlers read.
#[derive(Clone, Debug)]
pub(crate) struct AppState {
    pub(crate) snapshots: Snapshots,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    pub(crate) readers: Readers,
    pub(crate) alerts: ShownAlerts,
    pub(crate) timelines: Timelines,
    pub(crate) histories: Histories,
    pub(crate) tallies: Tallies,
    pub(crate) reading: watch::Receiver<Reading>,
    pub(crate) desk: Desk,
    pub(crate) access: Access,
}

/// All routes, for requests to these hosts.
pub(crate) fn routes(app: AppState, hosts: Hosts) -> Router {
    let access = app.access.clone();
    Router::new()
        .route("/health/agents", get(fleet))
        .route("/health/agents/{id}", get(one))
        .route("/v1/agents/{id}/timeline", get(timeline::timeline))
        .route("/v1/status", get(status::status))
        .route("/v1/silences", get(status::silences))
        .route("/v1/incidents", get(status::incidents))
        .route("/v1/incidents/{id}", get(status::incident))
        .route("/v1/events", get(events::stream))
        .route("/v1/openapi.json", get(openapi))
        .route("/metrics", get(prometheus))
        .route("/-/healthy", get(healthy))
        .route("/livez", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .merge(pages::routes(access.clone()))
        .merge(actions::routes(access))
        .route_layer(from_fn_with_state(hosts, hosts::check))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "Not found") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(app)
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    state: Option<String>,
    #[serde(rename = "type")]
    agent_type: Option<String>,
    host: Option<String>,
    activity: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<AgentId>,
}

async fn fleet(
    State(app): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if query.limit == Some(0) {
        return refuse(StatusCode::BAD_REQUEST, "limit must be at least 1");
    }
    let asked = |text: &Option<String>| text.clone().map(AnyOf);
    let states = query.state.as_deref().map(states).transpose();
    let verdicts = query.activity.as_deref().map(verdicts).transpose();
    let (states, verdicts) = match (states, verdicts) {
        (Ok(states), Ok(verdicts)) => (states, verdicts),
        (Err(why), _) | (_, Err(why)) => return refuse(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let filter = Filter {
        states,
        agent_type: asked(&query.agent_type),
        host: asked(&query.host),
        verdicts,
        text: query.q,
        limit: query.limit,
        after: query.cursor,
    };
    match listing::answer(app.snapshots, Listing::new(filter)).await {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        None => ended(),
    }
}

async fn one(State(app): State<AppState>, id: Result<Path<String>, PathRejection>) -> Response {
    let Path(id) = match id {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let found = AgentId::parse(&id)
        .ok()
        .and_then(|id| snapshot.agents.get(&id).map(|agent| (id, agent)));
    match found {
        Some((id, agent)) => {
            let mut json = Vec::new();
            Card::of(&id, agent, &snapshot, listing::reading())
                .health
                .write(&mut json);
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, "Agent not found"),
    }
}

async fn prometheus(State(app): State<AppState>) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let (alerts, reading) = (
        Arc::clone(&app.alerts.borrow()),
        app.reading.borrow().clone(),
    );
    let (dropped, figures) = (app.counters.read(), app.tallies.read());
    let readers = app.readers.count();
    // Of a large fleet it takes longer than a request should wait for another one.
    let text = tokio::task::spawn_blocking(move || {
        let beside = metrics::Beside {
            dropped: &dropped,
            readers,
            alerts: &alerts.alerts,
            reading: &reading,
            figures: &figures,
            wall_ms: listing::reading().wall_ms,
        };
        metrics::text(&snapshot, &beside)
    });
    let Ok(text) = text.await else {
        return ended();
    };
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn healthy() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

async fn ready(State(app): State<AppState>) -> Response {
    let snapshot = app.snapshots.get().await;
    if snapshot.is_some_and(|snapshot| snapshot.link_up) {
        Json(serde_json::json!({"status": "ok"})).into_response()
    } else {
        refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "not connected to the store",
        )
    }
}

/// The program is ending.
pub(super) fn ended() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "hbmonitor is ending")
}

pub(crate) fn refuse(code: StatusCode, why: &str) -> Response {
    (code, Json(serde_json::json!({"error": why}))).into_response()
}
