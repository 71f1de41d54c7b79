//! The dashboard: `GET /`, `/agents/{id}`, `/incidents`, `/incidents/{id}`, `/silences`, `/status`, their style sheet and their script.
//!
//! A page is a function of a snapshot and is complete without the script, which only keeps it current. What is shown is
//! decided in `heartbeat::fleet` (`word`, `card`, `overview`, `explain`); here it becomes HTML.

mod agent;
mod drawings;
mod empty;
mod fleet;
mod forms;
mod incidents;
mod layout;
mod moves;
mod parts;
mod query;
mod silences;
mod status;
mod timeline;
mod tree;

use crate::bus::timelines::{Place, TimelineUnread};
use crate::http::api::{AppState, ended};
use crate::http::auth::Access;
use crate::http::listing::reading;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use forms::Acting;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::ViewTime;
use heartbeat::wire::incident::IncidentId;
use maud::{Markup, html};
use query::PageQuery;
use std::sync::Arc;
use std::time::Duration;
use timeline::Story;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/app.js");
/// In the addresses of both, so that a browser keeps them for good and takes changed ones at once.
const ASSETS_HASH: u64 = fnv(
    STYLE.as_bytes(),
    fnv(SCRIPT.as_bytes(), 0xcbf2_9ce4_8422_2325),
);

/// Nothing but our own style sheet, script and pages; the icon of the tab stands in the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How long an agent's page waits for its timeline, and how long when its reader asks for it.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What every page is made of.
#[derive(Clone, Copy, Debug)]
struct Shown<'a> {
    snapshot: &'a Snapshot,
    at: ViewTime,
}

/// The routes of the dashboard.
pub(super) fn routes(access: Access) -> Router<AppState> {
    forms::routes(access)
        .route("/", get(fleet))
        .route("/agents/{id}", get(agent))
        .route("/incidents", get(incident_list))
        .route("/incidents/{id}", get(incident))
        .route("/silences", get(silence_list))
        .route("/status", get(status))
        .route(
            "/style.css",
            get(|| async { asset("text/css; charset=utf-8", STYLE) }),
        )
        .route(
            "/app.js",
            get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }),
        )
}

async fn fleet(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let query = PageQuery::read(query.as_deref());
    if let Some(key) = &query.key {
        return enter(&app, key);
    }
    match app.snapshots.get().await {
        Some(snapshot) => answer_page(
            StatusCode::OK,
            fleet::page(&shown(&snapshot), &query, &app.histories),
        ),
        None => ended(),
    }
}

async fn agent(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let reloads = PageQuery::read(query.as_deref()).reloads;
    let acting = Acting::of(&app.access, &headers);
    let id = AgentId::parse(&id).ok();
    match id
        .as_ref()
        .and_then(|id| Some((id, snapshot.agents.get(id)?)))
    {
        Some((id, agent)) => {
            let query = query.as_deref().unwrap_or_default();
            let before = parameter(query, "before");
            let before: Option<Place> = before.and_then(|place| place.parse().ok());
            let story = if snapshot.link_up {
                let waits = parameter(query, "wait").is_some();
                read_story(&app, id, before.as_ref(), waits).await
            } else {
                Story::OutOfReach
            };
            let curve = app.histories.over(&snapshot).of(id);
            let beside = agent::Beside {
                story: &story,
                before: before.as_ref(),
                curve: curve.as_ref(),
            };
            let page = agent::page(&shown(&snapshot), id, agent, reloads, acting, beside);
            answer_page(StatusCode::OK, page)
        }
        None => missing(
            &snapshot,
            "No agent has this id",
            "It may have left the fleet.",
        ),
    }
}

async fn incident_list(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    match app.snapshots.get().await {
        Some(snapshot) => {
            let page = incidents::list(&shown(&snapshot), query.as_deref());
            answer_page(StatusCode::OK, page)
        }
        None => ended(),
    }
}

async fn incident(State(app): State<AppState>, Path(id): Path<String>) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let all = &snapshot.watch.incidents;
    let id = IncidentId::parse(&id).ok();
    let found = id.and_then(|id| all.open.get(&id).or_else(|| all.closed.get(&id)));
    match found {
        Some(incident) => answer_page(StatusCode::OK, incidents::one(&shown(&snapshot), incident)),
        None => missing(
            &snapshot,
            "No incident has this id",
            "Closed incidents are kept for 7 days.",
        ),
    }
}

async fn silence_list(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let acting = Acting::of(&app.access, &headers);
    match app.snapshots.get().await {
        Some(snapshot) => answer_page(StatusCode::OK, silences::page(&shown(&snapshot), acting)),
        None => ended(),
    }
}

async fn status(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let acting = Acting::of(&app.access, &headers);
    match app.snapshots.get().await {
        Some(snapshot) => {
            let alerts = Arc::clone(&app.alerts.borrow());
            let page = status::page(&shown(&snapshot), &app.counters.read(), &alerts, acting);
            answer_page(StatusCode::OK, page)
        }
        None => ended(),
    }
}

/// The timeline. Everything else of the page is there at once, so it waits long only when its reader asks for that.
async fn read_story(app: &AppState, id: &AgentId, before: Option<&Place>, waits: bool) -> Story {
    let within = if waits { WAIT_MAX } else { WAIT };
    let read = app.timelines.read(id, before, timeline::SEARCHED, within);
    match read.await {
        Ok(part) => Story::Part(part),
        Err(TimelineUnread::Slow(waited)) => Story::Slow {
            waited,
            is_last: waits,
        },
        Err(TimelineUnread::OutOfReach(_)) => Story::OutOfReach,
    }
}

/// The first value of a parameter.
fn parameter<'a>(query: &'a str, wanted: &str) -> Option<std::borrow::Cow<'a, str>> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value)
}

/// The key of the printed address becomes a cookie, and leaves the address.
fn enter(app: &AppState, key: &str) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("./"));
    if let Access::Token(session) = &app.access
        && let Some(cookie) = session.exchange(key)
    {
        headers.insert(header::SET_COOKIE, cookie);
    }
    answer
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

fn shown(snapshot: &Snapshot) -> Shown<'_> {
    Shown {
        snapshot,
        at: reading(),
    }
}

/// A moment on the monitor's wall clock, Unix milliseconds.
fn wall(moment: Moment, at: ViewTime) -> u64 {
    at.wall_ms.saturating_sub(millis(at.now.since(moment))) + millis(moment.since(at.now))
}

fn missing(snapshot: &Snapshot, title: &str, why: &str) -> Response {
    let shown = shown(snapshot);
    let frame = layout::Frame {
        here: layout::Here::Fleet,
        root: "../",
        title: format!("{title} · hb"),
        tone: heartbeat::fleet::word::Tone::Off,
        reloads: false,
        snapshot,
        at: shown.at,
    };
    let main = html! {
        div.head { h1 { (title) } p.sub { (why) " " a href="../" { "All agents" } } }
    };
    answer_page(StatusCode::NOT_FOUND, layout::page(&frame, &main))
}

fn answer_page(code: StatusCode, page: Markup) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = (code, page.into_string()).into_response();
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// FNV-1a, at the time of the build.
const fn fnv(bytes: &[u8], from: u64) -> u64 {
    let (mut hash, mut at) = (from, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
