//! Timelines as readers ask for them: on a connection of its own, so that no reader delays what the hub asks.

use super::inbox::{Counters, timeline};
use crate::config::Address;
use heartbeat::base::id::AgentId;
use heartbeat::wire::keys;
use heartbeat::wire::timeline::TimelineEntry;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The most entries of one answer: as many as a timeline has.
pub(crate) const PAGE_MAX: usize = keys::TIMELINE_KEPT;
/// How long a reader waits for its turn and for the answer: a person waits.
const WITHIN: Duration = Duration::from_secs(2);

/// The readers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Timelines {
    address: Address,
    counters: Counters,
    /// The connection while it works; readers take turns.
    link: Arc<Mutex<Option<MultiplexedConnection>>>,
}

/// A part of one agent's story, newest first.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Each with its place in the stream.
    pub(crate) entries: Vec<(String, TimelineEntry)>,
    /// There are older ones: before this place.
    pub(crate) older: Option<String>,
}

/// A place in a timeline: the id of an entry, or Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(String);

/// Not a place.
#[derive(Debug, thiserror::Error)]
#[error("before: expected the id of an entry, as in 1764000000000-0, or Unix milliseconds")]
pub(crate) struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
        let read = |digits: &str| digits.parse::<u64>().map_err(|_| PlaceError);
        Ok(Self(format!("{}-{}", read(ms)?, read(number)?)))
    }
}

impl Timelines {
    /// Connects when it is first asked.
    pub(crate) fn new(address: Address, counters: Counters) -> Self {
        Self {
            address,
            counters,
            link: Arc::default(),
        }
    }

    /// At most `limit` entries, those before that place or the newest.
    pub(crate) async fn read(
        &self,
        agent: &AgentId,
        before: Option<&Place>,
        limit: usize,
    ) -> anyhow::Result<Part> {
        let limit = limit.clamp(1, PAGE_MAX);
        // Nothing is before the first place; Redis takes it for no interval.
        if before.is_some_and(|Place(id)| id == "0-0") {
            return Ok(Part::default());
        }
        let mut question = redis::cmd("XREVRANGE");
        let end = before.map_or_else(|| "+".to_owned(), |Place(id)| format!("({id}"));
        let question = question.arg(keys::timeline(agent)).arg(end).arg("-");
        question.arg("COUNT").arg(limit + 1);
        let mut found = timeline::read(timeout(WITHIN, self.ask(question)).await??);
        let mut part = Part::default();
        for (id, entry) in found.by_ref().take(limit) {
            part.older = Some(id.clone());
            match entry {
                Ok(entry) => part.entries.push((id, entry)),
                Err(error) => self.counters.count("timeline", &error),
            }
        }
        if found.next().is_none() {
            part.older = None;
        }
        Ok(part)
    }

    async fn ask(&self, question: &redis::Cmd) -> anyhow::Result<Value> {
        let mut held = self.link.lock().await;
        // Taken out: a question that is given up half way leaves no connection in doubt.
        let mut link = match held.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        let answer = question.query_async(&mut link).await?;
        *held = Some(link);
        Ok(answer)
    }

    async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(WITHIN));
        let target = self.address.locate(WITHIN).await?;
        Ok(hbshell::store::connect(target, config, WITHIN).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_id_or_a_time_and_nothing_else() {
        let place = |text: &str| text.parse::<Place>().ok().map(|Place(id)| id);
        assert_eq!(place("1764-3").as_deref(), Some("1764-3"));
        assert_eq!(place("1764").as_deref(), Some("1764-0"));
        for wrong in [
            "",
            "-",
            "+",
            "1-",
            "-1",
            "1-2-3",
            "(1-0",
            "1 COUNT 9",
            "99999999999999999999",
        ] {
            assert_eq!(place(wrong), None, "{wrong:?}");
        }
    }
}
