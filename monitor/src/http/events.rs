//! `GET /v1/events`: changes as they happen, as server-sent events (`state`, `notice`, `incident`, `rung`, `gate`).
//!
//! `Last-Event-ID` goes on behind that event; when that is not possible any more `event: reset` comes first and the reader
//! starts over. `?recent=N` begins with the newest N events. What was there before the request is followed by the comment
//! `: live`.

use crate::events::{Event, Events};
use crate::http::api::{AppState, refuse};
use crate::http::listing::Pieces;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// Readers at one time: each takes a connection, and half of them stay free for other requests.
const READERS_MAX: usize = 512;
/// A comment after so long without an event, so that proxies keep the connection and both sides notice its end.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events in one piece.
const BATCH: usize = 100;

/// Places for readers.
#[derive(Clone, Debug)]
pub(crate) struct Readers(Arc<Semaphore>);

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    recent: Option<usize>,
}

struct Reader {
    events: Events,
    /// The number of the last event that was sent.
    last: u64,
    send: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// The client has gone.
struct Gone;

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

impl Readers {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        READERS_MAX - self.0.available_permits()
    }
}

pub(super) async fn stream(
    State(app): State<AppState>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let Ok(place) = Arc::clone(&app.readers.0).try_acquire_owned() else {
        let why = format!("{READERS_MAX} readers follow the events already; try again later");
        let refused = refuse(StatusCode::SERVICE_UNAVAILABLE, &why);
        return ([(header::RETRY_AFTER, "10")], refused).into_response();
    };
    let seen = headers.get("last-event-id").map(|id| {
        let text = id.to_str().unwrap_or_default();
        text.trim().parse().unwrap_or(0) // unknown: the reader starts over
    });
    let (send, pieces) = mpsc::channel(1);
    let reader = Reader {
        last: seen.unwrap_or_else(|| app.events.before_newest(query.recent.unwrap_or(0))),
        events: app.events,
        send,
        _place: place,
    };
    tokio::spawn(reader.run());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::new(Pieces(pieces))).into_response()
}

impl Reader {
    async fn run(mut self) {
        let _ = self.follow().await; // the client has gone, and with it the place
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        let mut newest = self.events.follow();
        self.catch_up().await?;
        self.piece(": live\n\n".to_owned()).await?;
        loop {
            let changed = tokio::select! {
                changed = timeout(KEEP_ALIVE, newest.changed()) => changed,
                () = self.send.closed() => return Err(Gone),
            };
            match changed {
                Ok(Ok(())) => self.catch_up().await?,
                Ok(Err(_)) => return Ok(()), // the program ends
                Err(_) => self.piece(": keep-alive\n\n".to_owned()).await?,
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), Gone> {
        loop {
            let Some(events) = self.events.after(self.last, BATCH) else {
                self.last = self.events.before_newest(0);
                let reset = format!("event: reset\nid: {}\ndata: {{}}\n\n", self.last);
                self.piece(reset).await?;
                continue;
            };
            let Some(last) = events.last() else {
                return Ok(());
            };
            self.last = last.number;
            self.piece(text(&events)).await?;
        }
    }

    /// Waits until the client has taken what was sent before.
    async fn piece(&self, text: String) -> Result<(), Gone> {
        self.send.send(text.into()).await.map_err(|_| Gone)
    }
}

fn text(events: &[Event]) -> String {
    let mut text = String::new();
    for Event { number, kind, data } in events {
        // Into memory; JSON on one line has no line feed.
        let _ = write!(text, "event: {kind}\nid: {number}\ndata: {data}\n\n");
    }
    text
}
