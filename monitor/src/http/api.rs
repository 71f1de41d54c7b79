//! HTTP over snapshots:
//!
//! - `GET /health/agents` (`?state= type= host= activity= q= limit= cursor=`), `GET /health/agents/{id}`
//! - `GET /metrics`
//! - `GET /-/healthy` `/-/ready` `/livez` `/readyz`: of hbmonitor itself
//!
//! Nothing here can touch the fleet. Only requests for a name of this server are answered ([`hosts`]).

use crate::bus::inbox::Counters;
use crate::clock;
use crate::http::hosts::{self, Hosts};
use crate::http::metrics;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::{Filter, FleetStatus, HealthStatus, ViewTime};
use serde::Deserialize;
use tokio::sync::watch;

/// What the handlers read.
#[derive(Clone, Debug)]
pub(crate) struct AppState {
    pub(crate) snapshots: watch::Receiver<Snapshot>,
    pub(crate) counters: Counters,
}

/// All routes, for requests to these hosts.
pub(crate) fn routes(app: AppState, hosts: Hosts) -> Router {
    Router::new()
        .route("/health/agents", get(fleet))
        .route("/health/agents/{id}", get(one))
        .route("/metrics", get(prometheus))
        .route("/-/healthy", get(healthy))
        .route("/livez", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .route_layer(from_fn_with_state(hosts, hosts::check))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "Not found") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(app)
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    state: Option<agent::State>,
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
    let filter = Filter {
        state: query.state,
        agent_type: query.agent_type,
        host: query.host,
        activity: query.activity,
        text: query.q,
        limit: query.limit,
        after: query.cursor,
    };
    let snapshot = app.snapshots.borrow().clone();
    Json(FleetStatus::of(&snapshot, &filter, reading())).into_response()
}

async fn one(State(app): State<AppState>, id: Result<Path<String>, PathRejection>) -> Response {
    let Path(id) = match id {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let snapshot = app.snapshots.borrow().clone();
    let found = AgentId::parse(&id)
        .ok()
        .and_then(|id| snapshot.agents.get_key_value(&id));
    match found {
        Some((id, agent)) => Json(HealthStatus::of(id, agent, reading())).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "Agent not found"),
    }
}

async fn prometheus(State(app): State<AppState>) -> Response {
    let snapshot = app.snapshots.borrow().clone();
    let text = metrics::text(&snapshot, &app.counters.read());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

async fn healthy() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

async fn ready(State(app): State<AppState>) -> Response {
    if app.snapshots.borrow().link_up {
        Json(serde_json::json!({"status": "ok"})).into_response()
    } else {
        refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "not connected to the store",
        )
    }
}

fn reading() -> ViewTime {
    ViewTime {
        now: clock::now(),
        wall_ms: clock::wall_ms(),
    }
}

pub(crate) fn refuse(code: StatusCode, why: &str) -> Response {
    (code, Json(serde_json::json!({"error": why}))).into_response()
}
