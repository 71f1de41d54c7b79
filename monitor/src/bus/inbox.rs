//! What the store holds and publishes, as inputs for the hub: beats, events, the roster, hashes. Bytes become types here.
//!
//! One connection subscribes: the hub reads it itself, and it is handed over here. Another one looks up, a third one blocks
//! on the stream of events. Malformed payloads are dropped and counted; the first of each kind is logged. A lost or silent
//! connection is reported to the hub at once, and the reader reconnects indefinitely.

mod answers;
mod events;
mod lead;
mod load;
mod questions;
mod recovery;
mod requests;
mod shared;
pub(super) mod timeline;

use crate::bus::find_store::Origin;
use crate::bus::push::Push;
use crate::clock;
use crate::config::Address;
use crate::wake::{self, Sleeper, Wake};
use events::Events;
use hbshell::left_exits;
use hbshell::store::{Link, Located, ReplicaWatch, Within, causes, remedy};
use heartbeat::base::backoff::Backoff;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::Ticket;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::story::Line;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::audit::AuditEntry;
use heartbeat::wire::beat::view::Owned;
use heartbeat::wire::incident::{Incident, IncidentId};
use heartbeat::wire::keys;
use heartbeat::wire::keys::Channels;
use heartbeat::wire::notice::Notice;
use heartbeat::wire::notification::Notification;
use heartbeat::wire::order::Order;
use heartbeat::wire::pause::Pause;
use heartbeat::wire::roster::RosterEntry;
use heartbeat::wire::silence::Silence;
use heartbeat::wire::trouble::{Trouble, TroubleKind};
pub(crate) use lead::{give_up, myself};
use load::load;
pub(crate) use questions::Question;
use questions::Questions;
use requests::{Requests, is_kept, leave};
use shared::Shared;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timeline::Timelines;
use tokio::sync::{mpsc, watch};

/// What waits for the hub: a burst of a whole large fleet.
const INPUTS_MAX: usize = 65_536;
/// What waits for the store.
const REQUESTS_MAX: usize = 65_536;
/// How long an answer may take. A link that is dead is given up earlier, by the hub: it knows how long answers take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may take at first; twice as long after each failure, up to [`ANSWER_WITHIN`].
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one wait on the stream of events lasts.
const EVENTS_BLOCK: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Entries per question: as many as keep an answer below some megabytes.
const PAGE: usize = 500;

/// The kind of a beat that was dropped because a queue was full.
pub(crate) const OVERRUN: &str = "overrun";

/// What the hub wants written to the store, and read of what it wrote.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// How many records the store holds, and whether it can write to its disk.
    Count,
    /// The records that a leader keeps: outbox, silences, pause and, last, the incidents.
    ReadRecords,
    /// An incident is written.
    StoreIncident(Arc<Incident>),
    /// An incident is removed.
    RemoveIncident(IncidentId),
    /// A notice is written.
    StoreNotice(Arc<Notice>),
    /// A notice is removed.
    RemoveNotice(IncidentId),
    /// A trouble of hbmonitor itself is written.
    StoreTrouble(Box<Trouble>),
    /// One is removed.
    RemoveTrouble(TroubleKind),
    /// A record of the outbox is written, and that is confirmed.
    StoreNotification(Box<Notification>),
    /// A record of the outbox is removed.
    RemoveNotification(String),
    /// The agent's roster entry is removed.
    Leave(AgentId),
    /// The agent's roster entry is written, unless the roster has a later registration.
    Enlist(AgentId, Box<RosterEntry>),
    /// What else is held of the agent is removed too.
    Forget(AgentId),
    /// An order for the agent's sidecar.
    Order(AgentId, Order),
    /// The pause is written or removed.
    StorePause(Option<Pause>),
    /// A silence is written.
    StoreSilence(Box<Silence>),
    /// A silence is removed.
    RemoveSilence(IncidentId),
    /// An entry of the audit.
    Audit(AuditEntry),
    /// The intent of a rung, with this value.
    Claim(Ticket, String),
    /// An incident that shows a rung which begins.
    Begin(Ticket, Arc<Incident>),
    /// Intents are removed.
    Release(Vec<Ticket>),
    /// Entries of timelines are added, those that the store does not hold yet.
    Timeline(Vec<Line>),
}

/// What the hub receives.
#[derive(Debug)]
pub(crate) enum Input {
    /// For the watch over the fleet.
    Watch(WatchInput),
    /// What the store holds of notifications, before the link counts as up: the outbox and the troubles.
    Outbox(Vec<Notification>, Vec<Trouble>),
    /// Whether the store reports that it cannot write to its disk.
    DiskFails(bool),
    /// The record of this notification is written.
    NotificationStored(String),
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
    /// For inputs from elsewhere.
    pub(crate) sender: mpsc::WeakSender<Input>,
    /// Woken when there are inputs.
    pub(crate) sleeper: Sleeper,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) questions: mpsc::Sender<Question>,
    /// Another connection is wanted: the present one is dead. Not one of the requests, which wait for answers.
    pub(crate) reconnect: watch::Sender<()>,
    pub(crate) counters: Counters,
}

struct StoreReader {
    address: Address,
    channels: Channels,
    /// The name of this monitor's own channel.
    canary: String,
    output: Output,
    requests: mpsc::Receiver<Request>,
    questions: mpsc::Receiver<Question>,
    reconnect: watch::Receiver<()>,
    events: Events,
    /// Agents whose roster entry is to be removed.
    leaving: Vec<AgentId>,
    /// What people asked for, and the store has not taken yet.
    kept: Vec<Request>,
    /// The name of this monitor among those of its store.
    instance: String,
    origin: Origin,
    /// The store has started with this monitor, and was not connected to yet.
    store_starts: bool,
    /// Failed tries in a row.
    tries: u32,
    up: bool,
    /// The masters, by those that know them, when the store was connected last.
    masters: Vec<String>,
    replica: ReplicaWatch,
}

/// Where inputs go, and what could not become one is counted.
#[derive(Clone, Debug)]
struct Output {
    inputs: mpsc::Sender<Input>,
    wake: Wake,
    counters: Counters,
}

impl Inbox {
    /// Starts to read. `instance` names this monitor among those of its store.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn open(
        address: Address,
        instance: String,
        origin: Origin,
    ) -> std::io::Result<(Self, Wake)> {
        let (wake, sleeper) = wake::pair()?;
        let (inputs_in, inputs) = mpsc::channel(INPUTS_MAX);
        let (requests, requests_out) = mpsc::channel(REQUESTS_MAX);
        let (questions, questions_out) = mpsc::channel(REQUESTS_MAX);
        let (reconnect, reconnect_out) = watch::channel(());
        let sender = inputs_in.downgrade();
        let counters = Counters::default();
        let reader = StoreReader {
            channels: Channels::of(address.database()),
            canary: keys::canary(&format!("{:016x}", fastrand::u64(..))),
            address,
            output: Output {
                inputs: inputs_in,
                wake: wake.clone(),
                counters: counters.clone(),
            },
            requests: requests_out,
            questions: questions_out,
            reconnect: reconnect_out,
            events: Events::default(),
            leaving: Vec::new(),
            kept: Vec::new(),
            instance,
            origin,
            store_starts: origin.starts_with_us(),
            tries: 0,
            up: false,
            masters: Vec::new(),
            replica: ReplicaWatch::default(),
        };
        tokio::spawn(reader.run());
        let inbox = Self {
            inputs,
            sender,
            sleeper,
            requests,
            questions,
            reconnect,
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

impl Output {
    async fn send(&self, input: impl Into<WatchInput>) {
        self.pass(Input::Watch(input.into())).await;
    }

    async fn pass(&self, input: Input) {
        let _ = self.inputs.send(input).await; // the hub has ended: so does the loop
        self.wake.wake();
    }

    fn count(&self, kind: &'static str, why: &dyn std::fmt::Display) {
        self.counters.count(kind, why);
    }
}

impl StoreReader {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let mut logged = false;
        while !self.output.inputs.is_closed() {
            let Err(error) = self.run_session(&mut backoff).await else {
                return;
            };
            logged &= !std::mem::take(&mut self.up);
            self.tries = self.tries.saturating_add(1);
            self.output.send(FleetInput::LinkDown).await;
            if !logged {
                let why = causes(error.as_ref());
                let remedy = remedy(error.as_ref());
                let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
                tracing::error!("lost connection to the store, retrying: {why}{remedy}");
                logged = true;
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    /// One connection, until it is lost. `Ok` only when the hub has ended.
    async fn run_session(&mut self, backoff: &mut Backoff) -> anyhow::Result<()> {
        let connected = self.connect_within();
        // Once for all three: in a failover the next answer may be another server.
        let store = self.address.locate(connected).await?;
        let answered = ANSWER_WITHIN;
        let within = Within {
            connected,
            answered,
        };
        let mut link = Link::to_all(&store, within).await?;
        let within = Within {
            connected,
            answered: EVENTS_BLOCK + answered,
        };
        let waiting = Link::to_any_owner(&store, keys::EVENTS, within).await?;
        let reports = self.subscribe(&store).await?;
        self.drop_questions();
        self.reconnect.mark_unchanged();
        leave(&mut link, &mut self.leaving, &self.output).await?;
        // Before the records are read it is known whether they are this monitor's to go on with.
        self.replica.connected(clock::now());
        lead::ask(&mut link, &self.instance, &self.output).await?;
        if let Some(names) = self.origin.names(&self.address) {
            left_exits::deliver(&mut link, names).await?;
        }
        load(&mut link, &mut self.events, &self.output).await?;
        backoff.reset();
        let was_away = std::mem::take(&mut self.tries) > 0;
        self.up = true;
        self.output.send(FleetInput::LinkUp).await;
        if was_away {
            self.output.send(FleetInput::StoreReturned).await;
        }
        if std::mem::take(&mut self.store_starts) {
            self.output.send(FleetInput::StoreStarted).await;
        }
        self.connected_to(store.masters()).await;
        let (read_events, wanted) = mpsc::channel(1);
        let shared = Shared::new(link.clone(), self.output.counters.clone());
        let questions = Questions {
            queue: &mut self.questions,
            canary: &self.canary,
            instance: &self.instance,
            read_events,
            replica: &mut self.replica,
        };
        let requests = Requests {
            queue: &mut self.requests,
            leaving: &mut self.leaving,
            kept: &mut self.kept,
            channels: self.channels,
            reading: tokio::task::JoinSet::new(),
            timelines: Timelines::default(),
        };
        tokio::select! {
            wanted = self.reconnect.changed() => {
                wanted?;
                Err(anyhow::anyhow!("the store did not answer in time"))
            }
            ended = link.watch_masters() => Err(ended.into()),
            ended = follow_link(reports, shared, &self.output) => ended,
            ended = questions.answer(link.clone(), &self.output) => ended,
            ended = requests.answer(link.clone(), &self.output) => ended,
            ended = self.events.follow(waiting, link.clone(), wanted, &self.output) => ended,
        }
    }

    /// The hub asks again what the connection before did not answer, and writes incidents again once they were read. What
    /// people asked for stays.
    fn drop_questions(&mut self) {
        while self.questions.try_recv().is_ok() {}
        while let Ok(request) = self.requests.try_recv() {
            if let Request::Leave(id) = request {
                requests::keep_leaving(&mut self.leaving, [id]);
            } else if is_kept(&request) {
                self.kept.push(request);
            }
        }
    }

    /// A slow store is not a dead one: each try waits longer.
    fn connect_within(&self) -> Duration {
        (CONNECT_WITHIN * (1 << self.tries.min(3))).min(ANSWER_WITHIN)
    }

    /// Others name these as the masters. After a failover sidecars have to find the new one, too.
    async fn connected_to(&mut self, masters: Vec<String>) {
        if masters.is_empty() {
            tracing::info!("connected to the store");
            return;
        }
        match masters.as_slice() {
            [master] => tracing::info!("connected to the store, its master is {master}"),
            several => tracing::info!(
                "connected to the store, its masters are {}",
                several.join(", ")
            ),
        }
        let before = std::mem::replace(&mut self.masters, masters);
        if !before.is_empty() && before != self.masters {
            self.output.send(FleetInput::StoreMoved).await;
        }
    }

    /// Subscribes, and hands the connection over to the hub.
    async fn subscribe(&self, store: &Located) -> anyhow::Result<mpsc::Receiver<LinkReport>> {
        let (canary, within) = (self.canary.clone(), self.connect_within());
        let (target, channels) = (store.server().clone(), self.channels);
        let connected = tokio::task::spawn_blocking(move || {
            Push::connect(&target, channels, &canary, within, clock::now())
        });
        let push = Box::new(connected.await??);
        let (report, reports) = mpsc::channel(INPUTS_MAX);
        let subscribed = Input::Subscribed(push, report);
        let _ = self.output.inputs.send(subscribed).await; // the hub has ended
        self.output.wake.wake();
        Ok(reports)
    }
}

/// Passes on what the hub reports of the connection of the beats, until that is lost.
async fn follow_link(
    mut reports: mpsc::Receiver<LinkReport>,
    mut shared: Shared,
    output: &Output,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(LinkReport::Shared(beat)) => shared.offer(beat),
                Some(LinkReport::Lost(error)) => return Err(error),
                None => anyhow::bail!("the connection of the beats was given up"),
            },
            own = shared.next() => {
                for (beat, age) in own? {
                    output.send(FleetInput::AgedBeat(beat, age)).await;
                }
            }
        }
    }
}

/// What a kind of dropped payload was meant to be; the kinds are label values of `hb_dropped_total`.
fn payload_of(kind: &str) -> &str {
    match kind {
        "event" => "event",
        "hash" => "agent hash",
        "roster" => "roster entry",
        "incident" => "incident",
        "notification" => "notification",
        "silence" => "silence",
        "timeline" => "entry of a timeline",
        "lead" => "answer to the wish to lead",
        _ => "beat",
    }
}
