//! What people ask for: `POST /v1/agents/{id}/{restart,stop,forget}`, `POST /v1/{pause,resume}`.
//!
//! The body is JSON or empty: `by` names the person, `for` is the length of a pause. The answer is 202 with what was begun.

use crate::asks::Desk;
use crate::http::api::{AppState, ended, refuse};
use crate::http::auth::{self, Access};
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hbshell::command_line::duration;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::by_hand::{Answer, Ask, AskRefusal, WHO_CHARS_MAX};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// The largest body, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Who asks when the request does not say it.
const UNNAMED: &str = "an unnamed user of the token";

/// The address of a request's client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

/// The routes that act, for requests with access.
pub(crate) fn routes(access: Access) -> Router<AppState> {
    Router::new()
        .route("/v1/agents/{id}/{action}", post(about_agent))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route_layer(from_fn_with_state(access, auth::check))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wish {
    by: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

async fn about_agent(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Body,
) -> Response {
    let Path((id, action)) = match path {
        Ok(path) => path,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let ask = match action.as_str() {
        "restart" => Ask::Restart,
        "stop" => Ask::Stop,
        "forget" => Ask::Forget,
        _ => return refuse(StatusCode::NOT_FOUND, "Not found"),
    };
    let Ok(id) = AgentId::parse(&id) else {
        return refuse(StatusCode::NOT_FOUND, "Agent not found");
    };
    match wish(body).await {
        Ok(wish) => answer(&app.desk, ask(id), wish.by, peer).await,
        Err(refused) => refused,
    }
}

async fn pause(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let wish = match wish(body).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    match wish.lasts.as_deref().map(duration).transpose() {
        Ok(lasts) => answer(&app.desk, Ask::Pause(lasts), wish.by, peer).await,
        Err(why) => refuse(StatusCode::BAD_REQUEST, &format!("for: {why}")),
    }
}

async fn resume(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    match wish(body).await {
        Ok(wish) => answer(&app.desk, Ask::Resume, wish.by, peer).await,
        Err(refused) => refused,
    }
}

async fn wish(body: Body) -> Result<Wish, Response> {
    let read = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let why = format!("the body may have {BODY_MAX} bytes");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &why));
        }
        Err(_) => {
            return Err(refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive",
            ));
        }
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(Wish::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let why = format!("the body must be a JSON object: {error}");
        refuse(StatusCode::BAD_REQUEST, &why)
    })
}

async fn answer(desk: &Desk, ask: Ask, by: String, peer: Peer) -> Response {
    let by = if by.trim().is_empty() {
        UNNAMED.to_owned()
    } else {
        let plain = by.chars().filter(|c| !c.is_control());
        plain.take(WHO_CHARS_MAX).collect()
    };
    let from = peer.0.map_or_else(String::new, |peer| peer.to_string());
    match desk.ask(ask, by, from).await {
        Some(Ok(begun)) => (StatusCode::ACCEPTED, Json(shown(&begun))).into_response(),
        Some(Err(refusal)) => {
            let code = match refusal {
                AskRefusal::NotFound => StatusCode::NOT_FOUND,
                AskRefusal::Blind => StatusCode::SERVICE_UNAVAILABLE,
                AskRefusal::Impossible(_) => StatusCode::CONFLICT,
            };
            refuse(code, &refusal.to_string())
        }
        None => ended(),
    }
}

fn shown(answer: &Answer) -> serde_json::Value {
    match answer {
        Answer::Order(order) => serde_json::json!({"order": order}),
        Answer::Forgotten(agent) => serde_json::json!({"forgotten": agent}),
        Answer::Paused(pause) => serde_json::json!({"paused": pause}),
        Answer::Resumed => serde_json::json!({"resumed": true}),
    }
}
