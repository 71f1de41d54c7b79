//! Timelines as readers ask for them: on a connection of its own, so that no reader delays what the hub asks.

use super::inbox::{Counters, timeline};
use crate::config::Address;
use hbshell::store::{Link, Within, causes};
use heartbeat::base::id::AgentId;
use heartbeat::wire::keys;
use heartbeat::wire::timeline::TimelineEntry;
use redis::Value;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// The most entries of one answer: as many as a timeline has.
pub(crate) const PAGE_MAX: usize = keys::TIMELINE_KEPT;
/// How long a question to a slow store may take, however long its reader waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Questions at one time; more readers than that get none.
const QUESTIONS_MAX: usize = 64;

/// The readers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Timelines {
    counters: Counters,
    connection: Connection,
    questions: Arc<Semaphore>,
}

/// The connection while it works; all readers share it.
#[derive(Clone, Debug)]
struct Connection {
    address: Address,
    open: Arc<Mutex<Option<Link>>>,
}

/// Why a timeline is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TimelineUnread {
    /// The store may answer later than the reader waits.
    #[error("the store is slow: it has not answered within {} s", .0.as_secs())]
    Slow(Duration),
    /// It cannot be reached, or answers with an error.
    #[error("the store cannot be asked: {}", causes(.0.as_ref()))]
    OutOfReach(anyhow::Error),
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

impl Place {
    /// As in the store.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

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
            counters,
            connection: Connection {
                address,
                open: Arc::default(),
            },
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// At most `limit` entries, those before that place or the newest. The reader waits for `within`.
    pub(crate) async fn read(
        &self,
        agent: &AgentId,
        before: Option<&Place>,
        limit: usize,
        within: Duration,
    ) -> Result<Part, TimelineUnread> {
        let limit = limit.clamp(1, PAGE_MAX);
        // Nothing is before the first place; Redis takes it for no interval.
        if before.is_some_and(|Place(id)| id == "0-0") {
            return Ok(Part::default());
        }
        let mut question = redis::cmd("XREVRANGE");
        let end = before.map_or_else(|| "+".to_owned(), |Place(id)| format!("({id}"));
        question.arg(keys::timeline(agent)).arg(end).arg("-");
        question.arg("COUNT").arg(limit + 1);
        let Ok(place) = Arc::clone(&self.questions).try_acquire_owned() else {
            return Err(TimelineUnread::Slow(Duration::ZERO));
        };
        let connection = self.connection.clone();
        // A question goes on when its reader has left: so a slow connection is opened once, and not once a reader.
        let asked = tokio::spawn(async move {
            let _place = place;
            connection.ask(&question).await
        });
        let Ok(answered) = timeout(within, asked).await else {
            return Err(TimelineUnread::Slow(within));
        };
        let answer = answered.map_err(anyhow::Error::new).flatten();
        Ok(self.part(answer.map_err(TimelineUnread::OutOfReach)?, limit))
    }

    fn part(&self, answer: Value, limit: usize) -> Part {
        let mut found = timeline::read(answer);
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
        part
    }
}

impl Connection {
    async fn ask(&self, question: &redis::Cmd) -> anyhow::Result<Value> {
        let mut link = self.opened().await?;
        let answer = question.query_async(&mut link).await;
        if answer.is_err() {
            *self.open.lock().await = None;
        }
        Ok(answer?)
    }

    async fn opened(&self) -> anyhow::Result<Link> {
        let mut open = self.open.lock().await;
        if let Some(link) = &*open {
            return Ok(link.clone());
        }
        let store = self.address.locate(ANSWER_WITHIN).await?;
        let within = Within::each(ANSWER_WITHIN);
        let link = Link::to_all(&store, within).await?;
        Ok(open.insert(link).clone())
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
