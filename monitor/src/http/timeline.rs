//! `GET /v1/agents/{id}/timeline` (`?limit= before=`): one agent's story, newest first.

use crate::bus::timelines::{PAGE_MAX, Part, Place, TimelineUnread};
use crate::http::api::{AppState, refuse};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heartbeat::base::id::AgentId;
use heartbeat::wire::timeline::TimelineEntry;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Entries of one answer, unless `limit` names another number.
const PAGE: usize = 100;
/// How long a request waits for a slow store; clients give up after five seconds.
const WITHIN: Duration = Duration::from_secs(4);

#[derive(Debug, Deserialize)]
pub(super) struct TimelineQuery {
    limit: Option<usize>,
    before: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// Newest first.
    timeline: Vec<Entry>,
    /// What `before` is to be for the older ones; left out when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    /// Its place in the timeline.
    id: String,
    #[serde(flatten)]
    entry: TimelineEntry,
}

pub(super) async fn timeline(
    State(app): State<AppState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<TimelineQuery>, QueryRejection>,
) -> Response {
    let (Path(id), Query(query)) = match (id, query) {
        (Ok(id), Ok(query)) => (id, query),
        (Err(error), _) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
        (_, Err(error)) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if query.limit == Some(0) {
        return refuse(StatusCode::BAD_REQUEST, "limit must be at least 1");
    }
    let before = query.before.as_deref().map(str::parse::<Place>).transpose();
    let before = match before {
        Ok(before) => before,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Ok(id) = AgentId::parse(&id) else {
        return refuse(StatusCode::NOT_FOUND, "Agent not found");
    };
    let limit = query.limit.unwrap_or(PAGE).min(PAGE_MAX);
    match app
        .timelines
        .read(&id, before.as_ref(), limit, WITHIN)
        .await
    {
        Ok(part) if part.entries.is_empty() && !is_there(&app, &id).await => {
            refuse(StatusCode::NOT_FOUND, "Agent not found")
        }
        Ok(part) => Json(Answer::of(part)).into_response(),
        Err(error) => {
            tracing::debug!("cannot read the timeline of {id}: {error}");
            let why = match error {
                TimelineUnread::Slow(_) => {
                    "the store, which holds the timelines, is slow to answer; try again"
                }
                TimelineUnread::OutOfReach(_) => {
                    "hb cannot reach the store, which holds the timelines; try again when it is back"
                }
            };
            refuse(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

/// Whether the fleet has this agent. One that has left may have a timeline still.
async fn is_there(app: &AppState, id: &AgentId) -> bool {
    let snapshot = app.snapshots.get().await;
    snapshot.is_some_and(|snapshot| snapshot.agents.get(id).is_some())
}

impl Answer {
    fn of(part: Part) -> Self {
        let entries = part.entries.into_iter();
        Self {
            timeline: entries.map(|(id, entry)| Entry { id, entry }).collect(),
            next_before: part.older,
        }
    }
}
