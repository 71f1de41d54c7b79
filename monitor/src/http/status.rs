//! hbmonitor's own state, and its incidents: `GET /v1/status`, `GET /v1/incidents`, `GET /v1/incidents/{id}`.

use crate::http::api::{AppState, ended, refuse};
use crate::http::listing::reading;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heartbeat::alerts::exchange::ReceiverView;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::base::version::Version;
use heartbeat::fleet::gates::Gate;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::watch::WatchView;
use heartbeat::wire::incident::{GateKind, Incident, IncidentId};
use heartbeat::wire::leader::Leader;
use heartbeat::wire::pause::Pause;
use heartbeat::wire::silence::Silence;
use heartbeat::wire::trouble::Trouble;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Incidents on one page, unless `limit` names another number.
const PAGE: usize = 100;
/// Agents whose next step is listed.
const NEXT_MAX: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: &'static str,
    store: Store,
    /// The versions of the sidecars of agents that have not stopped, the newest first.
    sidecars: Vec<Sidecars>,
    /// Whether this monitor leads those of its store: it acts and alerts.
    leader: bool,
    /// Which one leads, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    led_by: Option<Leader>,
    gates: Vec<GateStatus>,
    fleet: Fleet,
    incidents: Counts,
    recovery: RecoveryStatus,
    configuration: Configuration,
    /// Where notifications go, and what waits for them.
    receivers: Vec<Receiver>,
    /// What is the matter with hbmonitor itself.
    troubles: Vec<TroubleStatus>,
    pages: Pages,
    /// Payloads that were dropped, by kind.
    dropped: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Sidecars {
    /// None where it is not reported: by an older sidecar, or a producer without one.
    version: Option<Version>,
    agents: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    up: bool,
    /// The time that answers usually take.
    round_trip_ms: Option<u64>,
    /// The time after which a missing answer means a dead link.
    answer_limit_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GateStatus {
    gate: GateKind,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// Unix milliseconds of the monitor, as the next one.
    since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    sentence: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet {
    agents: usize,
    agents_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Messages of new agents that were refused because the fleet was full.
    refused: u64,
    /// Agents that left because their time was over, or for a newcomer.
    left: u64,
}

#[derive(Serialize)]
struct RecoveryStatus {
    /// Agents that are acted upon, or whose rung is being verified.
    acting: usize,
    /// Nothing is done automatically: since when, until when, who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
    /// What comes next for each agent of an incident, for people; of many, those of the first agents.
    next: Vec<NextStatus>,
}

#[derive(Serialize)]
struct NextStatus {
    agent: AgentId,
    what: String,
    /// Unix milliseconds of the monitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

#[derive(Serialize)]
struct Counts {
    open: usize,
    closed: usize,
}

#[derive(Serialize)]
struct Configuration {
    /// Whether it was taken the last time it was read.
    ok: bool,
    /// When that was, Unix milliseconds.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receiver {
    name: String,
    /// Whether it takes notifications, as far as is known.
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    queued: usize,
    delivered: u64,
    failed: u64,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TroubleStatus {
    /// Names it in `POST /v1/troubles/{name}/ack`.
    name: String,
    /// Unix milliseconds.
    since: u64,
    sentence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    acked_by: Option<String>,
}

#[derive(Serialize)]
struct Pages {
    /// Receivers know of them.
    out: usize,
    /// Grouped, explained by another, acknowledged, flapping or back before they were due.
    held: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    /// Newest first.
    incidents: Vec<Arc<Incident>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct IncidentQuery {
    open: Option<bool>,
    agent: Option<AgentId>,
    limit: Option<usize>,
    cursor: Option<IncidentId>,
}

pub(super) async fn status(State(app): State<AppState>) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let (watch, shown) = (&snapshot.watch, Arc::clone(&app.alerts.borrow()));
    let alerts = &shown.alerts;
    let read = app.reading.borrow().clone();
    let (bounds, at) = (snapshot.bounds, reading());
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        store: Store {
            up: snapshot.link_up,
            round_trip_ms: watch.round_trip.map(millis),
            answer_limit_ms: millis(watch.answer_limit),
        },
        sidecars: sidecars(&snapshot),
        leader: watch.leads,
        led_by: watch.leader.clone(),
        gates: watch
            .gates
            .iter()
            .map(|gate| GateStatus::of(gate, at))
            .collect(),
        fleet: Fleet {
            agents: snapshot.counts.total(),
            agents_max: bounds.agents_max,
            bytes: bounds.bytes,
            bytes_max: bounds.bytes_max,
            refused: snapshot.beats.refused,
            left: bounds.left,
        },
        incidents: Counts {
            open: watch.incidents.open.len(),
            closed: watch.incidents.closed.len(),
        },
        recovery: RecoveryStatus::of(watch, at),
        configuration: Configuration {
            ok: read.error.is_none(),
            at: read.at,
            error: read.error,
        },
        receivers: alerts.receivers.iter().map(Receiver::of).collect(),
        troubles: shown.troubles.iter().map(TroubleStatus::of).collect(),
        pages: Pages {
            out: alerts.pages,
            held: alerts.muted,
        },
        dropped: app.counters.read(),
    })
    .into_response()
}

fn sidecars(snapshot: &Snapshot) -> Vec<Sidecars> {
    let versions = snapshot.versions.listed();
    versions
        .map(|(version, agents)| Sidecars { version, agents })
        .collect()
}

/// Silences in force and to come.
pub(super) async fn silences(State(app): State<AppState>) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let silences: Vec<&Silence> = snapshot.watch.silences.values().collect();
    Json(serde_json::json!({"silences": silences})).into_response()
}

pub(super) async fn incidents(
    State(app): State<AppState>,
    query: Result<Query<IncidentQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if query.limit == Some(0) {
        return refuse(StatusCode::BAD_REQUEST, "limit must be at least 1");
    }
    match app.snapshots.get().await {
        Some(snapshot) => Json(page(&snapshot, &query)).into_response(),
        None => ended(),
    }
}

pub(super) async fn incident(State(app): State<AppState>, Path(id): Path<String>) -> Response {
    let Some(snapshot) = app.snapshots.get().await else {
        return ended();
    };
    let all = &snapshot.watch.incidents;
    let id = IncidentId::parse(&id).ok();
    let found = id.and_then(|id| all.open.get(&id).or_else(|| all.closed.get(&id)));
    match found {
        Some(incident) => Json(incident).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "Incident not found"),
    }
}

/// Ids sort by time, so the newest incident is the last one of either map.
fn page(snapshot: &Snapshot, query: &IncidentQuery) -> Page {
    let all = &snapshot.watch.incidents;
    let mut sorted: BTreeMap<&IncidentId, &Arc<Incident>> = BTreeMap::new();
    if query.open != Some(false) {
        sorted.extend(&all.open);
    }
    if query.open != Some(true) {
        sorted.extend(&all.closed);
    }
    let fits = |(id, incident): &(&IncidentId, &Arc<Incident>)| {
        let before = query.cursor.as_ref().is_none_or(|cursor| *id < cursor);
        before
            && query
                .agent
                .as_ref()
                .is_none_or(|agent| incident.agents.contains(agent))
    };
    let mut found = sorted.into_iter().rev().filter(fits);
    let limit = query.limit.unwrap_or(PAGE);
    let mut incidents = Vec::new();
    for (_, incident) in found.by_ref() {
        incidents.push(Arc::clone(incident));
        if incidents.len() == limit {
            break;
        }
    }
    let last = incidents.last().map(|incident| incident.id.to_string());
    Page {
        incidents,
        next_cursor: found.next().and(last),
    }
}

/// A moment as Unix milliseconds of the monitor.
fn wall(moment: Moment, at: ViewTime) -> u64 {
    let before = millis(at.now.since(moment));
    at.wall_ms.saturating_sub(before) + millis(moment.since(at.now))
}

impl RecoveryStatus {
    fn of(watch: &WatchView, at: ViewTime) -> Self {
        let next = watch.next.iter().take(NEXT_MAX);
        Self {
            acting: watch.acting,
            paused: watch
                .pause
                .clone()
                .filter(|_| watch.gates.iter().any(|gate| gate.gate == GateKind::Paused)),
            next: next
                .map(|(agent, next)| NextStatus {
                    agent: agent.clone(),
                    what: next.what.clone(),
                    at: next.at.map(|moment| wall(moment, at)),
                })
                .collect(),
        }
    }
}

impl TroubleStatus {
    fn of(trouble: &Trouble) -> Self {
        Self {
            name: trouble.name.field(),
            since: trouble.since,
            sentence: trouble.sentence.clone(),
            acked_by: trouble.acked_by.clone(),
        }
    }
}

impl Receiver {
    fn of(receiver: &ReceiverView) -> Self {
        Self {
            name: receiver.name.to_string(),
            ok: receiver.error.is_none(),
            error: receiver.error.clone(),
            queued: receiver.queued,
            delivered: receiver.delivered,
            failed: receiver.failed,
            delivered_at: receiver.delivered_at,
        }
    }
}

impl GateStatus {
    fn of(gate: &Gate, at: ViewTime) -> Self {
        let wall = |moment: Moment| wall(moment, at);
        Self {
            gate: gate.gate,
            scope: if gate.host.is_some() { "host" } else { "fleet" },
            host: gate.host.clone(),
            since: wall(gate.since),
            until: gate.until.map(wall),
            sentence: gate.sentence.clone(),
        }
    }
}
