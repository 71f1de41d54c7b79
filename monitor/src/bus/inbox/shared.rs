//! The channel that all databases of a Redis share: producers without hb publish there, whatever their database.
//!
//! A beat belongs to this database when its agent's hash stands here. Beats wait while one pipelined batch of lookups
//! runs beside the inbox's loop, so that neither their number nor the round trip delays anything else.

use crate::bus::inbox::{Counters, OVERRUN};
use crate::clock;
use hbshell::store::Link;
use heartbeat::base::moment::Moment;
use heartbeat::wire::beat::Beat;
use heartbeat::wire::beat::view::Owned;
use heartbeat::wire::keys;
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

/// Beats that wait for their lookup: a burst of a whole large fleet.
const WAITING_MAX: usize = 65_536;
/// Beats per batch of lookups.
const BATCH: usize = 1000;

/// Beats of which it is not known yet whether they belong to this database.
pub(super) struct Shared {
    connection: Link,
    counters: Counters,
    waiting: VecDeque<Arrived>,
    pending: Option<PendingQuery>,
}

struct Arrived {
    beat: Box<Beat>,
    at: Moment,
}

type PendingQuery = Pin<Box<dyn Future<Output = redis::RedisResult<Vec<Arrived>>> + Send>>;

impl Shared {
    pub(super) fn new(connection: Link, counters: Counters) -> Self {
        Self {
            connection,
            counters,
            waiting: VecDeque::new(),
            pending: None,
        }
    }

    /// Takes a beat that may be of this database.
    pub(super) fn offer(&mut self, beat: Owned) {
        if self.waiting.len() == WAITING_MAX {
            let why = "the store answers too slowly which database they belong to";
            return self.counters.count(OVERRUN, &why);
        }
        let at = clock::now();
        let beat = beat.into_beat();
        self.waiting.push_back(Arrived { beat, at });
    }

    /// Beats of this database's producers and how long ago they came. Cancel safe: a lookup that was started stays
    /// pending until the next call.
    pub(super) async fn next(&mut self) -> redis::RedisResult<Vec<(Box<Beat>, Duration)>> {
        if self.pending.is_none() && !self.waiting.is_empty() {
            let batch = self.waiting.len().min(BATCH);
            let batch = self.waiting.drain(..batch).collect();
            self.pending = Some(Box::pin(own_beats(self.connection.clone(), batch)));
        }
        let Some(pending) = &mut self.pending else {
            return std::future::pending().await;
        };
        let answer = pending.await;
        self.pending = None;
        let now = clock::now();
        let aged = |arrived: Arrived| (arrived.beat, now.since(arrived.at));
        Ok(answer?.into_iter().map(aged).collect())
    }
}

/// The beats whose agent has a hash in this database.
async fn own_beats(mut connection: Link, batch: Vec<Arrived>) -> redis::RedisResult<Vec<Arrived>> {
    let mut lookups = redis::pipe();
    for arrived in &batch {
        lookups.cmd("EXISTS").arg(keys::agent(&arrived.beat.agent));
    }
    let stands: Vec<bool> = lookups.query_async(&mut connection).await?;
    let answered = batch.into_iter().zip(stands);
    Ok(answered
        .filter_map(|(arrived, stands)| stands.then_some(arrived))
        .collect())
}
