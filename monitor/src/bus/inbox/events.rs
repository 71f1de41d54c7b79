//! The stream of lifecycle events, each passed on once. A bad entry is counted, and the reading goes on behind it.

use super::answers::{Pair, bytes, is_own_fault, list, pairs};
use super::{EVENTS_BLOCK, Output, PAGE};
use hbshell::store::Link;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::wire::event::Event;
use heartbeat::wire::keys;
use redis::{RedisResult, Value};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the stream is read beside the wait for its next entry: one that was emptied has started again.
const READ_EVERY: Duration = Duration::from_secs(5);

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The last event that was passed on.
    last: EventId,
    /// The stream was read once: from then on every event is passed on.
    begun: bool,
}

/// One entry as the store has it.
struct Entry {
    id: EventId,
    fields: Vec<Pair>,
}

impl Events {
    /// Notes where the stream ends, at the first time; passes on what came meanwhile, later.
    pub(super) async fn begin(&mut self, link: &mut Link, output: &Output) -> anyhow::Result<()> {
        if self.begun {
            return self.read(link, output).await;
        }
        self.last = newest(link, output).await?.unwrap_or_default();
        self.begun = true;
        Ok(())
    }

    /// Passes events on until the connection is lost; reads the stream to its end when it is `wanted`.
    pub(super) async fn follow(
        &mut self,
        waiting: Link,
        mut link: Link,
        mut wanted: mpsc::Receiver<()>,
        output: &Output,
    ) -> anyhow::Result<()> {
        let mut again = tokio::time::interval(READ_EVERY);
        let mut next = Box::pin(next_events(waiting, self.last));
        loop {
            tokio::select! {
                (waiting, read) = &mut next => {
                    match read {
                        Ok(found) => self.pass_on(found, output).await,
                        Err(error) if is_own_fault(&error) => {
                            output.count("event", &error);
                            tokio::time::sleep(READ_EVERY).await;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    next = Box::pin(next_events(waiting, self.last));
                }
                Some(()) = wanted.recv() => {
                    self.read(&mut link, output).await?;
                    output.send(FleetInput::EventsRead).await;
                }
                _ = again.tick() => self.read(&mut link, output).await?,
            }
        }
    }

    /// Passes on what the stream holds after the last event. A stream that ends before it has started again: it is read
    /// from its beginning.
    async fn read(&mut self, link: &mut Link, output: &Output) -> anyhow::Result<()> {
        if newest(link, output).await?.unwrap_or_default() < self.last {
            self.last = EventId::default();
        }
        loop {
            let mut question = redis::cmd("XRANGE");
            question
                .arg(keys::EVENTS)
                .arg(format!("({}", self.last))
                .arg("+");
            question.arg("COUNT").arg(PAGE);
            let Some(page) = ask(link, &question, output).await? else {
                return Ok(());
            };
            let found = entries(page);
            let full = found.len() == PAGE;
            self.pass_on(found, output).await;
            if !full {
                return Ok(());
            }
        }
    }

    /// Passes events on, each once: two connections read the stream.
    async fn pass_on(&mut self, entries: Vec<Entry>, output: &Output) {
        for entry in entries {
            if entry.id <= self.last {
                continue;
            }
            self.last = entry.id;
            let text = |name: &str| {
                let field = entry
                    .fields
                    .iter()
                    .find(|(field, _)| field == name.as_bytes());
                // What is no text has no meaning, and is reported as such.
                field.map(|(_, value)| std::str::from_utf8(value).unwrap_or("\u{fffd}"))
            };
            match Event::decode(text) {
                Ok(event) => output.send(FleetInput::Event(Box::new(event))).await,
                Err(error) => output.count("event", &error),
            }
        }
    }
}

/// The place of an event in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct EventId(u64, u64);

impl EventId {
    fn parse(text: &[u8]) -> Option<Self> {
        let (millis, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(millis.parse().ok()?, number.parse().ok()?))
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// The last event of the stream; `None` for an empty one.
async fn newest(link: &mut Link, output: &Output) -> anyhow::Result<Option<EventId>> {
    let mut question = redis::cmd("XREVRANGE");
    question
        .arg(keys::EVENTS)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1);
    let found = ask(link, &question, output).await?.map(entries);
    Ok(found.and_then(|found| found.first().map(|entry| entry.id)))
}

/// `None` when the key is no stream, which is counted.
async fn ask(
    link: &mut Link,
    question: &redis::Cmd,
    output: &Output,
) -> anyhow::Result<Option<Value>> {
    match question.query_async(link).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_own_fault(&error) => {
            output.count("event", &error);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn next_events(mut waiting: Link, after: EventId) -> (Link, RedisResult<Vec<Entry>>) {
    let block = u64::try_from(EVENTS_BLOCK.as_millis()).unwrap_or(u64::MAX);
    let mut question = redis::cmd("XREAD");
    question.arg("COUNT").arg(PAGE).arg("BLOCK").arg(block);
    question
        .arg("STREAMS")
        .arg(keys::EVENTS)
        .arg(after.to_string());
    let read: RedisResult<Value> = question.query_async(&mut waiting).await;
    (waiting, read.map(stream_entries))
}

/// The entries of the one stream that was asked for.
fn stream_entries(value: Value) -> Vec<Entry> {
    let of_key = if let Value::Map(keys) = value {
        keys.into_iter().next().map(|(_, found)| found)
    } else {
        let key = list(value).into_iter().next();
        key.and_then(|key| list(key).into_iter().nth(1))
    };
    of_key.map(entries).unwrap_or_default()
}

fn entries(value: Value) -> Vec<Entry> {
    let entry = |value| {
        let mut parts = list(value).into_iter();
        let id = EventId::parse(&bytes(parts.next()?)?)?;
        let fields = pairs(parts.next()?);
        Some(Entry { id, fields })
    };
    list(value).into_iter().filter_map(entry).collect()
}
