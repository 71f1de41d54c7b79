//! What people ask for: `POST /v1/agents/{id}/{restart,recover,stop,forget,ack,silence}`, `POST /v1/silences`,
//! `DELETE /v1/silences/{id}`, `POST /v1/troubles/{name}/ack`, `POST /v1/{pause,resume}`.
//!
//! The body is JSON or empty: `by` names the person, `for` is the length of a pause or a silence, `rung` and `dryRun` are of
//! `recover`. The answer is 202 with what was begun.

use crate::asks::Desk;
use crate::http::api::{AppState, ended, refuse};
use crate::http::auth::{self, Access};
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use hbshell::command_line::duration;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::by_hand::{Answer, Ask, AskRefusal, Quiet, WHO_CHARS_MAX};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::incident::IncidentId;
use heartbeat::wire::silence::Matcher;
use heartbeat::wire::trouble::TroubleKind;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// What the rung `sidecar` does below a restart; asked for by its own word.
const UNBLOCK: &str = "unblock";
/// The largest body, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The longest silence.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest reason for a silence, in characters.
pub(super) const COMMENT_CHARS_MAX: usize = 500;
/// Who asks when the request does not say it.
const UNNAMED: &str = "an unnamed user of the token";

/// The address of a request's client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

/// The routes that act, for requests with access.
pub(crate) fn routes(access: Access) -> Router<AppState> {
    Router::new()
        .route("/v1/agents/{id}/{action}", post(about_agent))
        .route("/v1/silences", post(silence))
        .route("/v1/silences/{id}", delete(unsilence))
        .route("/v1/troubles/{name}/ack", post(acknowledge))
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
    rung: Option<String>,
    dry_run: bool,
    /// Why, for a silence.
    comment: String,
    /// For what, for a silence.
    matchers: Vec<Matcher>,
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
    let Ok(agent) = AgentId::parse(&id) else {
        return refuse(StatusCode::NOT_FOUND, "Agent not found");
    };
    let wish = match wish(body).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    let ask = match action.as_str() {
        "restart" => Ask::Restart(agent),
        "recover" => match recover(agent, &wish) {
            Ok(ask) => ask,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
        },
        "stop" => Ask::Stop(agent),
        "forget" => Ask::Forget(agent),
        "ack" => Ask::Acknowledge(agent),
        "silence" => match quiet(&wish, vec![Matcher::equal("agent", agent.as_str())]) {
            Ok(quiet) => Ask::Silence(quiet),
            Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
        },
        _ => return refuse(StatusCode::NOT_FOUND, "Not found"),
    };
    answer(&app.desk, ask, wish.by, peer).await
}

fn recover(agent: AgentId, wish: &Wish) -> Result<Ask, String> {
    let rung = wish.rung.as_deref();
    if rung == Some(UNBLOCK) {
        return if wish.dry_run {
            Err("rung: what unblock does is the remedy that the agent's verdict names; it has no dry run".to_owned())
        } else {
            Ok(Ask::Unblock(agent))
        };
    }
    let rung = rung.map(|word| match Rung::parse(word) {
        Some(rung) => Ok(rung),
        None => {
            let known = Rung::ALL.map(Rung::as_str).join(", ");
            Err(format!(
                "rung: expected one of {known}, {UNBLOCK}, got {word:?}"
            ))
        }
    });
    Ok(Ask::Recover {
        agent,
        rung: rung.transpose()?,
        dry_run: wish.dry_run,
    })
}

async fn silence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let mut wish = match wish(body).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    let matchers = std::mem::take(&mut wish.matchers);
    match quiet(&wish, matchers) {
        Ok(quiet) => answer(&app.desk, Ask::Silence(quiet), wish.by, peer).await,
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
    }
}

async fn unsilence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let wish = match wish(body).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    match IncidentId::parse(&id) {
        Ok(id) => answer(&app.desk, Ask::Unsilence(id), wish.by, peer).await,
        Err(_) => refuse(StatusCode::NOT_FOUND, "Silence not found"),
    }
}

async fn acknowledge(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body,
) -> Response {
    let wish = match wish(body).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    match trouble(&app, name) {
        Some(kind) => answer(&app.desk, Ask::AcknowledgeTrouble(kind), wish.by, peer).await,
        None => refuse(StatusCode::NOT_FOUND, "Trouble not found"),
    }
}

/// The trouble of hbmonitor itself of this name, while it lasts.
pub(super) fn trouble(app: &AppState, name: String) -> Option<TroubleKind> {
    let kind = TroubleKind::try_from(name).ok()?;
    let shown = app.alerts.borrow();
    let mut lasting = shown.troubles.iter();
    lasting.any(|trouble| trouble.name == kind).then_some(kind)
}

/// A silence always has an end.
fn quiet(wish: &Wish, matchers: Vec<Matcher>) -> Result<Quiet, String> {
    let why = |why: &str| format!("for: {why}");
    let lasts = wish
        .lasts
        .as_deref()
        .ok_or_else(|| why("a silence needs a time, as in 1h"))?;
    let lasts = match lasts {
        "0" => Duration::ZERO,
        lasts => duration(lasts).map_err(|error| why(&error))?,
    };
    if lasts > SILENCE_MAX {
        return Err(why("a silence lasts 30 days at most"));
    }
    let comment = wish.comment.chars().filter(|c| !c.is_control());
    Ok(Quiet {
        matchers,
        lasts,
        comment: comment.take(COMMENT_CHARS_MAX).collect(),
    })
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
                AskRefusal::NotFound | AskRefusal::NoSilence => StatusCode::NOT_FOUND,
                AskRefusal::Blind | AskRefusal::Follows(_) => StatusCode::SERVICE_UNAVAILABLE,
                AskRefusal::Impossible(_) => StatusCode::CONFLICT,
            };
            refuse(code, &refusal.to_string())
        }
        None => ended(),
    }
}

fn shown(answer: &Answer) -> serde_json::Value {
    match answer {
        Answer::Incident(incident) => serde_json::json!({"incident": incident}),
        Answer::Plan(plan) => {
            let rungs = plan.iter().map(|planned| {
                let rung = planned.rung.as_str();
                serde_json::json!({"rung": rung, "when": planned.when, "detail": planned.detail})
            });
            serde_json::json!({"plan": rungs.collect::<Vec<_>>()})
        }
        Answer::Order(order) => serde_json::json!({"order": order}),
        Answer::Forgotten(agent) => serde_json::json!({"forgotten": agent}),
        Answer::Acknowledged(id) => serde_json::json!({"acknowledged": id}),
        Answer::TroubleAcknowledged(kind) => serde_json::json!({"acknowledged": kind.field()}),
        Answer::Silenced(silence) => serde_json::json!({"silenced": silence}),
        Answer::Unsilenced(id) => serde_json::json!({"unsilenced": id}),
        Answer::Paused(pause) => serde_json::json!({"paused": pause}),
        Answer::Resumed => serde_json::json!({"resumed": true}),
    }
}
