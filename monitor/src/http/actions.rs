//! What people ask for: `POST /v1/agents/{id}/{restart,recover,capture,stop,forget,ack,silence}`, `POST /v1/silences`,
//! `DELETE /v1/silences/{id}`, `POST /v1/troubles/{name}/ack`, `POST /v1/{pause,resume}`.
//!
//! The body is a JSON object or empty: `by` names the person, the rest is of each action ([`wishes`]). The answer is 202 with
//! what was begun.

pub(crate) mod wishes;

use crate::asks::Desk;
use crate::http::api::{AppState, ended, refuse};
use crate::http::auth::{self, Access};
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use axum::{Json, Router};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::by_hand::{Answer, Ask, AskRefusal};
use heartbeat::wire::incident::IncidentId;
use heartbeat::wire::trouble::TroubleKind;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;
use wishes::{Pause, Plain, Recover, Silence, SilenceAgent, Who};

/// The largest body, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The address of a request's client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

type AgentPath = Result<Path<String>, PathRejection>;

/// The routes that act, for requests with access.
pub(crate) fn routes(access: Access) -> Router<AppState> {
    Router::new()
        .route("/v1/agents/{id}/restart", plain(Ask::Restart))
        .route("/v1/agents/{id}/recover", post(recover))
        .route("/v1/agents/{id}/capture", plain(Ask::Capture))
        .route("/v1/agents/{id}/stop", plain(Ask::Stop))
        .route("/v1/agents/{id}/forget", plain(Ask::Forget))
        .route("/v1/agents/{id}/ack", plain(Ask::Acknowledge))
        .route("/v1/agents/{id}/silence", post(silence_agent))
        .route("/v1/silences", post(silence))
        .route("/v1/silences/{id}", delete(unsilence))
        .route("/v1/troubles/{name}/ack", post(acknowledge_trouble))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route_layer(from_fn_with_state(access, auth::check))
}

/// Who asks for what, or the answer to a request that cannot be understood.
type Understood = Result<(Ask, Who), Response>;

/// An action on an agent that needs nothing but who asks.
fn plain(ask: fn(AgentId) -> Ask) -> MethodRouter<AppState> {
    post(
        move |State(app): State<AppState>,
              Extension(peer): Extension<Peer>,
              path: AgentPath,
              body: Body| async move {
            let ask = about(path, body, |agent, wish: Plain| Ok((ask(agent), wish.by)));
            answer(&app.desk, ask.await, peer).await
        },
    )
}

async fn recover(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    path: AgentPath,
    body: Body,
) -> Response {
    let ask = about(path, body, |agent, wish: Recover| {
        Ok((wish.ask(agent)?, wish.by))
    });
    answer(&app.desk, ask.await, peer).await
}

async fn silence_agent(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    path: AgentPath,
    body: Body,
) -> Response {
    let ask = about(path, body, |agent, wish: SilenceAgent| {
        Ok((Ask::Silence(wish.quiet(&agent)?), wish.by))
    });
    answer(&app.desk, ask.await, peer).await
}

async fn silence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let ask = understand(body, |mut wish: Silence| {
        let by = std::mem::take(&mut wish.by);
        Ok((Ask::Silence(wish.quiet()?), by))
    });
    answer(&app.desk, ask.await, peer).await
}

async fn unsilence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    path: AgentPath,
    body: Body,
) -> Response {
    let id = match path.map(|Path(id)| IncidentId::parse(&id)) {
        Ok(Ok(id)) => id,
        Ok(Err(_)) => return refuse(StatusCode::NOT_FOUND, "Silence not found"),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let ask = understand(body, |wish: Plain| Ok((Ask::Unsilence(id), wish.by)));
    answer(&app.desk, ask.await, peer).await
}

async fn acknowledge_trouble(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    path: AgentPath,
    body: Body,
) -> Response {
    let kind = match path.map(|Path(name)| trouble(&app, name)) {
        Ok(kind) => kind,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let ask = match understand(body, |wish: Plain| Ok((kind, wish.by))).await {
        Ok((Some(kind), by)) => Ok((Ask::AcknowledgeTrouble(kind), by)),
        Ok((None, _)) => Err(refuse(StatusCode::NOT_FOUND, "Trouble not found")),
        Err(refused) => Err(refused),
    };
    answer(&app.desk, ask, peer).await
}

/// The trouble of hbmonitor itself of this name, while it lasts.
pub(super) fn trouble(app: &AppState, name: String) -> Option<TroubleKind> {
    let kind = TroubleKind::try_from(name).ok()?;
    let shown = app.alerts.borrow();
    let mut lasting = shown.troubles.iter();
    lasting.any(|trouble| trouble.name == kind).then_some(kind)
}

async fn pause(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let ask = understand(body, |wish: Pause| Ok((Ask::Pause(wish.lasts()?), wish.by)));
    answer(&app.desk, ask.await, peer).await
}

async fn resume(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let ask = understand(body, |wish: Plain| Ok((Ask::Resume, wish.by)));
    answer(&app.desk, ask.await, peer).await
}

/// What a request about an agent asks for.
async fn about<T: DeserializeOwned>(
    path: AgentPath,
    body: Body,
    ask: impl FnOnce(AgentId, T) -> Result<(Ask, Who), String>,
) -> Understood {
    let Path(id) = path.map_err(|error| refuse(StatusCode::BAD_REQUEST, &error.body_text()))?;
    let agent =
        AgentId::parse(&id).map_err(|_| refuse(StatusCode::NOT_FOUND, "Agent not found"))?;
    understand(body, |wish| ask(agent, wish)).await
}

/// What a body asks for.
async fn understand<T: DeserializeOwned, A>(
    body: Body,
    ask: impl FnOnce(T) -> Result<(A, Who), String>,
) -> Result<(A, Who), Response> {
    let body = read(body).await?;
    let ask = wishes::parse(&body).and_then(ask);
    ask.map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))
}

async fn read(body: Body) -> Result<axum::body::Bytes, Response> {
    let read = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let why = format!("the body may have {BODY_MAX} bytes");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &why))
        }
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive",
        )),
    }
}

async fn answer(desk: &Desk, understood: Understood, peer: Peer) -> Response {
    let (ask, Who(by)) = match understood {
        Ok(understood) => understood,
        Err(refused) => return refused,
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
