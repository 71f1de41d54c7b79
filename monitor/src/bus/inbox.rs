//! What the store holds and publishes, as inputs for the hub: beats, events, the roster, hashes. Bytes become types here.
//!
//! One connection subscribes: the hub reads it itself, and it is handed over here. Another one looks up, a third one blocks
//! on the stream of events. Malformed payloads are dropped and counted; the first of each kind is logged. A lost or silent
//! connection is reported to the hub at once, and the reader reconnects indefinitely.

mod events;
mod shared;

use crate::bus::push::Push;
use crate::clock;
use crate::config::Address;
use crate::wake::{self, Sleeper, Wake};
use events::{EventId, newest_event, next_events};
use heartbeat::base::backoff::Backoff;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::wire::beat::Beat;
use heartbeat::wire::beat::view::Owned;
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::keys::Channels;
use heartbeat::wire::roster::RosterEntry;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use shared::Shared;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// What waits for the hub: a burst of a whole large fleet.
const INPUTS_MAX: usize = 65_536;
const LOOKUPS_MAX: usize = 65_536;
/// How long a connection or an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A quiet channel and a dead connection look alike: the stream is read this often.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long one wait on the stream of events lasts.
const EVENTS_BLOCK: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Keys and events per request while the initial state is loaded.
const PAGE: usize = 500;
/// Hashes that are loaded at the start.
const HASHES_MAX: usize = 200_000;

/// The kind of a beat that was dropped because a queue was full.
pub(crate) const OVERRUN: &str = "overrun";

/// What the hub looks up in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The agent's hash: a silence is verified.
    Verify(AgentId),
    /// The time to live of the agent's hash.
    ReadTtl(AgentId),
    /// The events of the stream that were not passed on yet.
    ReadEvents,
}

/// What the hub receives.
#[derive(Debug)]
pub(crate) enum Input {
    /// For the fleet.
    Fleet(FleetInput),
    /// The connection of the beats, and where to report of it. Its beats wait until the link is up.
    Subscribed(Box<Push>, mpsc::Sender<LinkReport>),
}

/// What the hub reports of the connection of the beats.
#[derive(Debug)]
pub(crate) enum LinkReport {
    /// A beat without hb from the channel that all databases share.
    Shared(Owned),
    /// The connection is lost.
    Lost(anyhow::Error),
}

/// Payloads that were dropped here, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Mutex<BTreeMap<&'static str, u64>>>);

/// The hub's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// Woken when there are inputs.
    pub(crate) sleeper: Sleeper,
    pub(crate) lookups: mpsc::Sender<Lookup>,
    pub(crate) counters: Counters,
}

struct StoreReader {
    address: Address,
    channels: Channels,
    inputs: mpsc::Sender<Input>,
    wake: Wake,
    lookups: mpsc::Receiver<Lookup>,
    counters: Counters,
    /// The last event that was passed on.
    last_event: EventId,
    /// What the store holds was read once: from then on every event is passed on.
    loaded: bool,
    up: bool,
}

impl Inbox {
    /// Starts to read.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn open(address: Address) -> std::io::Result<(Self, Wake)> {
        let (wake, sleeper) = wake::pair()?;
        let (inputs_in, inputs) = mpsc::channel(INPUTS_MAX);
        let (lookups, lookups_out) = mpsc::channel(LOOKUPS_MAX);
        let counters = Counters::default();
        let reader = StoreReader {
            channels: Channels::of(address.database()),
            address,
            inputs: inputs_in,
            wake: wake.clone(),
            lookups: lookups_out,
            counters: counters.clone(),
            last_event: EventId::default(),
            loaded: false,
            up: false,
        };
        tokio::spawn(reader.run());
        let inbox = Self {
            inputs,
            sleeper,
            lookups,
            counters,
        };
        Ok((inbox, wake))
    }
}

impl Counters {
    /// Every kind and how often.
    pub(crate) fn read(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .map(|counts| counts.clone())
            .unwrap_or_default()
    }

    pub(crate) fn count(&self, kind: &'static str, why: &dyn std::fmt::Display) {
        let Ok(mut counts) = self.0.lock() else {
            return;
        };
        let count = counts.entry(kind).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        if kind == OVERRUN {
            tracing::warn!(
                "dropped beat (further ones are only counted, see hb_dropped_total): {why}"
            );
        } else {
            tracing::warn!(
                "dropped malformed {} (further ones are only counted, see hb_dropped_total{{kind={kind:?}}}): {why}",
                payload_of(kind)
            );
        }
    }
}

impl StoreReader {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let mut logged = false;
        while !self.inputs.is_closed() {
            let Err(error) = self.run_session(&mut backoff).await else {
                return;
            };
            logged &= !std::mem::take(&mut self.up);
            self.send(FleetInput::LinkDown).await;
            if !logged {
                tracing::error!("lost connection to the store, retrying: {error:#}");
                logged = true;
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    /// One connection, until it is lost. `Ok` only when the hub has ended.
    async fn run_session(&mut self, backoff: &mut Backoff) -> anyhow::Result<()> {
        let mut connection = self.connect(ANSWER_WITHIN).await?;
        let waiting = self.connect(EVENTS_BLOCK + ANSWER_WITHIN).await?;
        let mut reports = self.subscribe().await?;
        let mut shared = Shared::new(connection.clone(), self.counters.clone());
        self.load_initial_state(&mut connection).await?;
        backoff.reset();
        self.up = true;
        self.send(FleetInput::LinkUp).await;
        tracing::info!("connected to the store");
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut events = Box::pin(next_events(waiting, self.last_event));
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(LinkReport::Shared(beat)) => shared.offer(beat),
                    Some(LinkReport::Lost(error)) => return Err(error),
                    None => return Ok(()),
                },
                lookup = self.lookups.recv() => match lookup {
                    Some(lookup) => self.answer(&mut connection, lookup).await?,
                    None => return Ok(()),
                },
                own = shared.next() => {
                    for (beat, age) in own? {
                        self.send(FleetInput::AgedBeat(beat, age)).await;
                    }
                }
                read = &mut events => {
                    let (waiting, entries) = read?;
                    self.events(entries).await;
                    events = Box::pin(next_events(waiting, self.last_event));
                }
                // Also seen here: a stream that was emptied, whose numbers start again.
                _ = ping.tick() => self.read_events(&mut connection).await?,
            }
        }
    }

    async fn connect(&self, answer_within: Duration) -> anyhow::Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(answer_within));
        let client = Client::open(self.address.resolve()?)?;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// Subscribes, and hands the connection over to the hub.
    async fn subscribe(&self) -> anyhow::Result<mpsc::Receiver<LinkReport>> {
        let (address, channels) = (self.address.clone(), self.channels);
        let connected = tokio::task::spawn_blocking(move || {
            Push::connect(&address, channels, ANSWER_WITHIN, clock::now())
        });
        let push = Box::new(connected.await??);
        let (report, reports) = mpsc::channel(INPUTS_MAX);
        let _ = self.inputs.send(Input::Subscribed(push, report)).await; // the hub has ended
        self.wake.wake();
        Ok(reports)
    }

    /// Passes on what the store holds. At the start the stream is skipped: roster and hashes hold the present, events the
    /// past. Later the events come first, so that what happened while the store was unreachable is passed on in order.
    /// Hashes come before the roster: an agent that only the roster knows has no fresh beat.
    async fn load_initial_state(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        if self.loaded {
            self.read_events(connection).await?;
        } else {
            self.last_event = newest_event(connection).await?.unwrap_or_default();
        }
        for key in self.hashes(connection).await? {
            if let Ok(id) = AgentId::parse(&key[keys::AGENT_PREFIX.len()..]) {
                self.hash(connection, &id).await?;
            }
        }
        let roster: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(keys::ROSTER)
            .query_async(connection)
            .await?;
        for (id, entry) in &roster {
            match (AgentId::parse(id), RosterEntry::decode(entry)) {
                (Ok(id), Ok(entry)) => {
                    self.send(FleetInput::RosterEntry(id, Box::new(entry)))
                        .await
                }
                (Err(error), _) => self.counters.count("roster", &error),
                (_, Err(error)) => self.counters.count("roster", &error),
            }
        }
        self.loaded = true;
        Ok(())
    }

    async fn hashes(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<HashSet<String>> {
        let mut found = HashSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let (next, page): (String, Vec<String>) = redis::cmd("SCAN")
                .arg(&cursor)
                .arg("MATCH")
                .arg(format!("{}*", keys::AGENT_PREFIX))
                .arg("COUNT")
                .arg(PAGE)
                .query_async(connection)
                .await?;
            found.extend(page);
            if next == "0" || found.len() > HASHES_MAX {
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// Passes on what the hash of an agent holds.
    async fn hash(
        &self,
        connection: &mut MultiplexedConnection,
        id: &AgentId,
    ) -> anyhow::Result<()> {
        let key = keys::agent(id);
        let read: redis::RedisResult<(HashMap<String, String>, i64)> = redis::pipe()
            .cmd("HGETALL")
            .arg(&key)
            .cmd("PTTL")
            .arg(&key)
            .query_async(connection)
            .await;
        let (fields, left) = match read {
            Ok(read) => read,
            Err(error) if error.is_io_error() || error.is_timeout() => return Err(error.into()),
            Err(error) => {
                self.counters.count("hash", &error); // a key of another program with that name
                return Ok(());
            }
        };
        if fields.is_empty() {
            return Ok(());
        }
        match hash::read(id, &fields) {
            Ok(hash::Content::Beat(beat)) => {
                let age = age(&beat, left);
                self.send(FleetInput::AgedBeat(beat, age)).await;
            }
            Ok(hash::Content::Registration(entry)) => {
                self.send(FleetInput::Registered(id.clone(), entry)).await;
            }
            Err(error) => self.counters.count("hash", &error),
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        connection: &mut MultiplexedConnection,
        lookup: Lookup,
    ) -> anyhow::Result<()> {
        match lookup {
            Lookup::Verify(id) => {
                self.hash(connection, &id).await?;
                self.send(FleetInput::Verified(id)).await;
            }
            Lookup::ReadTtl(id) => {
                let left: i64 = redis::cmd("PTTL")
                    .arg(keys::agent(&id))
                    .query_async(connection)
                    .await?;
                if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
                    self.send(FleetInput::TtlRead(id, Duration::from_millis(left)))
                        .await;
                }
            }
            Lookup::ReadEvents => {
                self.read_events(connection).await?;
                self.send(FleetInput::EventsRead).await;
            }
        }
        Ok(())
    }

    pub(super) async fn send(&self, input: FleetInput) {
        let _ = self.inputs.send(Input::Fleet(input)).await; // the hub has ended: so does the loop
        self.wake.wake();
    }
}

/// What a kind of dropped payload was meant to be; the kinds are label values of `hb_dropped_total`.
fn payload_of(kind: &str) -> &str {
    match kind {
        "event" => "event",
        "hash" => "agent hash",
        "roster" => "roster entry",
        _ => "beat",
    }
}

/// How long ago a hash was written: what has passed of its time to live, on the store's own clock.
fn age(beat: &Beat, left_ms: i64) -> Duration {
    let Some(hb) = &beat.hb else {
        return Duration::ZERO;
    };
    let whole = keys::time_to_live(hb.interval);
    match u64::try_from(left_ms) {
        Ok(left) => whole.saturating_sub(Duration::from_millis(left)),
        Err(_) => Duration::ZERO,
    }
}
