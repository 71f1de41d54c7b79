//! The stream of lifecycle events, each passed on once.

use crate::bus::inbox::{EVENTS_BLOCK, PAGE, StoreReader};
use heartbeat::fleet::machine::FleetInput;
use heartbeat::wire::event::Event;
use heartbeat::wire::keys;
use redis::Value;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};

impl StoreReader {
    /// Passes on what the stream holds after the last event. A stream that ends before it has started again: it is read
    /// from its beginning.
    pub(super) async fn read_events(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        if newest_event(connection).await?.unwrap_or_default() < self.last_event {
            self.last_event = EventId::default();
        }
        loop {
            let page: StreamRangeReply = redis::cmd("XRANGE")
                .arg(keys::EVENTS)
                .arg(format!("({}", self.last_event))
                .arg("+")
                .arg("COUNT")
                .arg(PAGE)
                .query_async(connection)
                .await?;
            let full = page.ids.len() == PAGE;
            self.events(page.ids).await;
            if !full {
                return Ok(());
            }
        }
    }

    /// Passes events on, each once: two connections read the stream.
    pub(super) async fn events(&mut self, entries: Vec<StreamId>) {
        for entry in entries {
            let Some(id) = EventId::parse(&entry.id).filter(|id| *id > self.last_event) else {
                continue;
            };
            self.last_event = id;
            let text = |name: &str| match entry.map.get(name) {
                Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
                _ => None,
            };
            match Event::decode(text) {
                Ok(event) => self.send(FleetInput::Event(Box::new(event))).await,
                Err(error) => self.counters.count("event", &error),
            }
        }
    }
}

/// The place of an event in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventId(u64, u64);

impl EventId {
    fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-')?;
        Some(Self(millis.parse().ok()?, number.parse().ok()?))
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// The last event of the stream; `None` for an empty one.
pub(super) async fn newest_event(
    connection: &mut MultiplexedConnection,
) -> anyhow::Result<Option<EventId>> {
    let newest: StreamRangeReply = redis::cmd("XREVRANGE")
        .arg(keys::EVENTS)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(connection)
        .await?;
    Ok(newest
        .ids
        .first()
        .and_then(|entry| EventId::parse(&entry.id)))
}

pub(super) async fn next_events(
    mut connection: MultiplexedConnection,
    after: EventId,
) -> anyhow::Result<(MultiplexedConnection, Vec<StreamId>)> {
    let block = u64::try_from(EVENTS_BLOCK.as_millis()).unwrap_or(u64::MAX);
    let reply: Option<StreamReadReply> = redis::cmd("XREAD")
        .arg("COUNT")
        .arg(PAGE)
        .arg("BLOCK")
        .arg(block)
        .arg("STREAMS")
        .arg(keys::EVENTS)
        .arg(after.to_string())
        .query_async(&mut connection)
        .await?;
    let keys = reply.map(|reply| reply.keys).unwrap_or_default();
    Ok((
        connection,
        keys.into_iter().flat_map(|key| key.ids).collect(),
    ))
}
