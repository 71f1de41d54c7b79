//! What a person asks for on a page: forms that work without the script. A form is answered with the way back to its page.

use super::{answer_page, layout, shown};
use crate::http::actions::{self, Peer, wishes};
use crate::http::api::{AppState, ended, refuse};
use crate::http::auth::{self, Access};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use form_urlencoded::parse;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::by_hand::{Ask, Quiet};
use heartbeat::fleet::word::Tone;
use heartbeat::wire::incident::IncidentId;
use heartbeat::wire::silence::Matcher;
use maud::html;
use std::collections::HashMap;
use std::time::Duration;

/// The largest form, in bytes, and how long it may take to arrive.
const FORM_MAX: usize = 8 * 1024;
const FORM_WITHIN: Duration = Duration::from_secs(10);
/// The silence that an agent's page offers.
const HOLD: Duration = Duration::from_secs(3600);
/// Who asks on a page; the session belongs to the token.
const BY: &str = "a person at the dashboard";

/// Whether this browser may act, and why not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Acting {
    Allowed,
    Refused(&'static str),
    /// It has to show the token first.
    SignedOut,
}

impl Acting {
    /// What this request may do.
    pub(super) fn of(access: &Access, headers: &HeaderMap) -> Self {
        match access {
            Access::ReadOnly => Self::Refused("This monitor is read-only."),
            Access::NoToken => Self::Refused("This monitor has no token; its log says why."),
            Access::Token(session) if session.has(headers) => Self::Allowed,
            Access::Token(_) => Self::SignedOut,
        }
    }
}

/// The routes, for requests with access.
pub(super) fn routes(access: Access) -> Router<AppState> {
    let acting = Router::new()
        .route("/agents/{id}/{action}", post(about_agent))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/troubles/{name}/ack", post(acknowledge))
        .route("/silences", post(silence))
        .route("/silences/{id}/delete", post(unsilence))
        .route_layer(from_fn_with_state(access, auth::check));
    acting.route("/session", post(sign_in))
}

async fn about_agent(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    Path((id, action)): Path<(String, String)>,
) -> Response {
    let Ok(id) = AgentId::parse(&id) else {
        return refuse(StatusCode::NOT_FOUND, "Agent not found");
    };
    let back = format!("../{id}");
    match action.as_str() {
        "restart" => perform(&app, Ask::Restart(id), peer, &back, "../../").await,
        "capture" => perform(&app, Ask::Capture(id), peer, &back, "../../").await,
        "stop" => perform(&app, Ask::Stop(id), peer, &back, "../../").await,
        "forget" => perform(&app, Ask::Forget(id), peer, "../../", "../../").await,
        "ack" => perform(&app, Ask::Acknowledge(id), peer, &back, "../../").await,
        "silence" => {
            let quiet = Quiet {
                matchers: vec![Matcher::equal("agent", id.as_str())],
                lasts: HOLD,
                comment: String::new(),
            };
            perform(&app, Ask::Silence(quiet), peer, &back, "../../").await
        }
        _ => refuse(StatusCode::NOT_FOUND, "Not found"),
    }
}

async fn silence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    match quiet(&fields(body).await) {
        Ok(quiet) => perform(&app, Ask::Silence(quiet), peer, "silences", "").await,
        Err(why) => {
            let why = format!("{why}.");
            problem(
                &app,
                StatusCode::BAD_REQUEST,
                "Nothing was silenced",
                &why,
                "",
            )
            .await
        }
    }
}

/// What a form asks to be quiet about: at least one condition, and an end.
fn quiet(fields: &HashMap<String, String>) -> Result<Quiet, String> {
    let field = |name: &str| fields.get(name).map_or("", |value| value.trim());
    let mut matchers = Vec::new();
    for (name, label) in [("id", "agent"), ("type", "type"), ("host", "host")] {
        if !field(name).is_empty() {
            let matcher = match name {
                "id" => Matcher::like(label, field(name)).map_err(|error| error.to_string())?,
                _ => Matcher::equal(label, field(name)),
            };
            matchers.push(matcher);
        }
    }
    if matchers.is_empty() {
        return Err("A silence needs an agent id, a type or a host".to_owned());
    }
    Ok(Quiet {
        matchers,
        lasts: wishes::silence_time(Some(field("for")))?,
        comment: wishes::comment(field("comment")),
    })
}

async fn unsilence(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Response {
    match IncidentId::parse(&id) {
        Ok(id) => perform(&app, Ask::Unsilence(id), peer, "../../silences", "../../").await,
        Err(_) => refuse(StatusCode::NOT_FOUND, "Silence not found"),
    }
}

async fn acknowledge(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Response {
    match actions::trouble(&app, name) {
        Some(kind) => {
            let ask = Ask::AcknowledgeTrouble(kind);
            perform(&app, ask, peer, "../../status", "../../").await
        }
        None => refuse(StatusCode::NOT_FOUND, "Trouble not found"),
    }
}

async fn pause(
    State(app): State<AppState>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let lasts = field(body, "for").await;
    match lasts.as_deref().map(wishes::pause_time).transpose() {
        Ok(lasts) => perform(&app, Ask::Pause(lasts), peer, "status", "").await,
        Err(why) => {
            let why = format!("{why}.");
            problem(
                &app,
                StatusCode::BAD_REQUEST,
                "Recovery was not paused",
                &why,
                "",
            )
            .await
        }
    }
}

async fn resume(State(app): State<AppState>, Extension(peer): Extension<Peer>) -> Response {
    perform(&app, Ask::Resume, peer, "status", "").await
}

/// The token opens the session.
async fn sign_in(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    let Access::Token(session) = &app.access else {
        return refuse(
            StatusCode::FORBIDDEN,
            "not allowed: this monitor takes no token",
        );
    };
    if !auth::is_same_site(&headers) {
        return refuse(StatusCode::FORBIDDEN, auth::ELSEWHERE);
    }
    let given = field(body, "token").await.unwrap_or_default();
    if !session.is_token(given.trim().as_bytes()) {
        let why = "The file token in the state directory holds it; hbmonitor printed an address with a key that works once.";
        return problem(
            &app,
            StatusCode::UNAUTHORIZED,
            "This is not the token of this monitor",
            why,
            "",
        )
        .await;
    }
    let mut answer = back_to("status");
    if let Some(cookie) = session.cookie() {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// Asks, and leads back to `to`; a refusal is a page of its own, below `root`.
async fn perform(app: &AppState, ask: Ask, peer: Peer, to: &str, root: &'static str) -> Response {
    let from = peer.0.map_or_else(String::new, |peer| peer.to_string());
    match app.desk.ask(ask, BY.to_owned(), from).await {
        Some(Ok(_)) => back_to(to),
        Some(Err(refusal)) => {
            let why = format!("hb refuses: {refusal}.");
            problem(app, StatusCode::CONFLICT, "Nothing was done", &why, root).await
        }
        None => ended(),
    }
}

fn back_to(place: &str) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

async fn problem(
    app: &AppState,
    code: StatusCode,
    title: &str,
    why: &str,
    root: &'static str,
) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let shown = shown(&snapshot);
    let frame = layout::Frame {
        here: layout::Here::Fleet,
        root,
        title: format!("{title} · hb"),
        tone: Tone::Warn,
        reloads: false,
        snapshot: &snapshot,
        at: shown.at,
    };
    let home = if root.is_empty() { "./" } else { root };
    let main = html! {
        div.head { h1 { (title) } p.sub { (why) " " a href=(home) { "All agents" } } }
    };
    answer_page(code, layout::page(&frame, &main))
}

/// A field of a form; nothing of one that is too large, too slow or without it.
async fn field(body: Body, name: &str) -> Option<String> {
    fields(body).await.remove(name)
}

/// The fields of a form; none of one that is too large or too slow.
async fn fields(body: Body) -> HashMap<String, String> {
    let bytes = tokio::time::timeout(FORM_WITHIN, to_bytes(body, FORM_MAX)).await;
    let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
    parse(&bytes).into_owned().collect()
}
