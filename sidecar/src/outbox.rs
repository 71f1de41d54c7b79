//! The way to the store: registration, the latest beat, lifecycle events. Reconnects indefinitely; the hub never waits for it.
//!
//! Beats are never queued: a slot holds the latest. Events are queued up to 64 and stay until stored. After each
//! reconnection the first act is to register again; the hub gets an event and beats at once.

mod connect;
mod deliver;
mod plain;
mod pushes;
mod refusal;
mod register;

use crate::clock;
use crate::config::Store;
use deliver::Delivered;
use hbshell::left_exits;
use hbshell::store::{Link, ReplicaWatch, causes, remedy};
use heartbeat::base::backoff::Backoff;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::supervise::exclusive::Terms;
use heartbeat::wire::beat::Beat;
use heartbeat::wire::event::{Event, EventKind};
use heartbeat::wire::keys;
use heartbeat::wire::keys::Channels;
use heartbeat::wire::lease::{Holder, Lease};
use heartbeat::wire::order::Order;
use heartbeat::wire::roster::RosterEntry;
use pushes::Push;
use redis::Script;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Events that wait for the store; beyond it the oldest stay and the newest is dropped and logged.
const EVENTS_MAX: usize = 64;
/// Events that wait for the hub.
const STORE_EVENTS_MAX: usize = 16;
/// The first wait between two tries, and the longest on a network: a fleet must not return as one herd.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// The longest wait where retries disturb only this machine, for so many attempts: a store that does not come back soon
/// is retried less often.
const RETRY_MAX_LOCAL: Duration = Duration::from_secs(1);
const TRIES_LOCAL: u32 = 60;

/// What is fixed for one sidecar process.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) id: AgentId,
    pub(crate) entry: RosterEntry,
    pub(crate) registered_ms: u64,
    /// This sidecar, as the store names it and as its machine does.
    pub(crate) instance: String,
    pub(crate) holder: Holder,
    /// Whether the id is taken from a living holder.
    pub(crate) takeover: bool,
    /// At most one agent of this id runs: the times of its lease.
    pub(crate) exclusive: Option<Terms>,
    /// The instance that ran on this boot of this machine and left its record behind.
    pub(crate) left_here: Option<String>,
}

/// What the session with the store reports to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreEvent {
    /// Registered (again) with this epoch: beat at once.
    Connected(u64),
    /// The store is unreachable; reported once until it is reachable.
    Unreachable,
    /// Another sidecar holds the id with this higher epoch: the store refuses our beats.
    Fenced(u64),
    /// Another holder has the id and may be dead: finding out takes up to 2 s.
    LeaseContested,
    /// A living sidecar holds the id; reported once until it releases it.
    LeaseHeld(Lease),
    /// The id is another's for as long as its exclusive lease lasts, or until it has ended its agent.
    LeaseAwaited(Lease),
    /// An order of the monitor.
    Order(Order),
}

/// A beat is in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) at: Moment,
    pub(crate) sequence: u64,
}

/// What the hub offers: a beat, and whether it is the sidecar's last.
#[derive(Clone, Debug)]
struct Offer {
    beat: Arc<Beat>,
    last: bool,
}

/// The hub's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    latest: watch::Sender<Option<Offer>>,
    entry: watch::Sender<Option<RosterEntry>>,
    events: mpsc::Sender<Queued>,
    pub(crate) store_events: mpsc::Receiver<StoreEvent>,
    /// The last beat that was stored.
    pub(crate) stored: watch::Receiver<Option<Stored>>,
    /// When the last grant or renewal of an exclusive lease was sent that the store confirmed.
    pub(crate) leased: watch::Receiver<Option<Moment>>,
    /// Events are being dropped, and that was logged.
    full: bool,
    session: JoinHandle<()>,
}

struct StoreSession {
    store: Store,
    /// Of the last attempt, for the log.
    address: String,
    registration: Registration,
    /// Of the database that the connection is in.
    channels: Channels,
    epoch: u64,
    /// The epoch that was lost to a higher one, while the id is not ours.
    fenced: Option<u64>,
    sent: u64,
    /// Since when the agent runs without the id, beside its holder's.
    beside_since: Option<Moment>,
    outage_logged: bool,
    /// The session that ended last had registered.
    was_registered: bool,
    /// Failed tries since the last registration.
    tries: u32,
    /// When a store that had been away was there again: events from before have waited for it.
    away_until: Option<Moment>,
    latest: watch::Receiver<Option<Offer>>,
    entry: watch::Receiver<Option<RosterEntry>>,
    /// What the roster holds.
    roster_written: Option<RosterEntry>,
    /// The store refuses something: shown on beats until it takes one whole.
    refused: bool,
    /// A refusal was logged, and no script was carried out since.
    refusal_logged: bool,
    replica: ReplicaWatch,
    events: mpsc::Receiver<Queued>,
    waiting: VecDeque<Queued>,
    store_events: mpsc::Sender<StoreEvent>,
    stored: watch::Sender<Option<Stored>>,
    leased: watch::Sender<Option<Moment>>,
    register: Script,
    lease: Script,
    beat: Script,
    roster: Script,
}

/// An event and when it was queued.
#[derive(Clone, Debug)]
struct Queued {
    event: Event,
    at: Moment,
}

/// Why a session with the store ended.
enum SessionEnd {
    /// The hub has nothing more to send, and everything is stored.
    Done,
    /// A higher epoch holds the id.
    Fenced(u64),
    /// The server follows another one: perhaps since a failover, and its master is to be found again.
    Replica,
}

impl Outbox {
    /// Starts the session; nothing is sent before the first registration.
    pub(crate) fn open(store: Store, registration: Registration) -> Self {
        let (latest, latest_out) = watch::channel(None);
        let (entry, entry_out) = watch::channel(None);
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let (events_in, store_events) = mpsc::channel(STORE_EVENTS_MAX);
        let (stored_in, stored) = watch::channel(None);
        let (leased_in, leased) = watch::channel(None);
        let session = StoreSession {
            store,
            address: String::new(),
            registration,
            channels: Channels::default(),
            epoch: 0,
            fenced: None,
            sent: 0,
            beside_since: None,
            outage_logged: false,
            was_registered: false,
            tries: 0,
            away_until: None,
            latest: latest_out,
            entry: entry_out,
            roster_written: None,
            refused: false,
            refusal_logged: false,
            replica: ReplicaWatch::default(),
            events: events_out,
            waiting: VecDeque::new(),
            store_events: events_in,
            stored: stored_in,
            leased: leased_in,
            register: Script::new(keys::REGISTER_SCRIPT),
            lease: Script::new(keys::LEASE_SCRIPT),
            beat: Script::new(keys::BEAT_SCRIPT),
            roster: Script::new(keys::ROSTER_SCRIPT),
        };
        Self {
            latest,
            entry,
            events,
            store_events,
            stored,
            leased,
            full: false,
            session: tokio::spawn(session.run()),
        }
    }

    /// Offers a beat; one that was not sent yet is replaced.
    pub(crate) fn offer(&self, beat: Beat, last: bool) {
        let beat = Arc::new(beat);
        self.latest.send_replace(Some(Offer { beat, last }));
    }

    /// Offers what the roster holds from now on; the store has it before the next beat.
    pub(crate) fn offer_roster_entry(&self, entry: RosterEntry) {
        self.entry.send_replace(Some(entry));
    }

    /// Queues an event.
    pub(crate) fn queue_event(&mut self, event: Event) {
        let event = Queued {
            event,
            at: clock::now(),
        };
        // Closed: the session has ended.
        let full = matches!(
            self.events.try_send(event),
            Err(mpsc::error::TrySendError::Full(_))
        );
        if full && !self.full {
            tracing::error!(
                "{EVENTS_MAX} events wait for the store; dropping newer ones until it is reachable"
            );
        }
        self.full = full;
    }

    /// Nothing more will come: delivers what there is, for at most `within`. True when all of it was stored.
    pub(crate) async fn close(self, within: Duration) -> bool {
        let Self {
            latest,
            entry,
            events,
            store_events,
            stored: _,
            leased: _,
            full: _,
            mut session,
        } = self;
        drop((latest, entry, events, store_events));
        let done = tokio::time::timeout(within, &mut session).await.is_ok();
        session.abort();
        done
    }
}

impl StoreSession {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_MIN, self.longest_wait());
        loop {
            if self.tries <= 1 || self.tries == TRIES_LOCAL {
                backoff = Backoff::new(RETRY_MIN, self.longest_wait());
            }
            match self.run_session(&mut backoff).await {
                Ok(SessionEnd::Done) => return,
                Ok(SessionEnd::Fenced(holder)) => {
                    let _ = self.store_events.send(StoreEvent::Fenced(holder)).await; // the hub is ending anyway
                    // Fenced means that a higher epoch lives: the lease is requested again until that one ends.
                    self.fenced = Some(self.epoch);
                    self.epoch = 0;
                    continue;
                }
                Ok(SessionEnd::Replica) => {
                    self.wait(backoff.next(fastrand::f64())).await;
                    continue;
                }
                Err(error) if self.outage_logged => {
                    tracing::debug!(
                        "store still unreachable, retrying: {}",
                        causes(error.as_ref())
                    )
                }
                // One that is there again at once, as behind a proxy that closes idle connections, is no outage.
                Err(error) if std::mem::take(&mut self.was_registered) => {
                    tracing::debug!(
                        "lost the store at {}, connecting again: {}",
                        self.address,
                        causes(error.as_ref())
                    );
                }
                Err(error) => {
                    self.outage_logged = true;
                    let (address, why) = (&self.address, causes(error.as_ref()));
                    let remedy = remedy(error.as_ref()).unwrap_or("look whether it still runs");
                    tracing::warn!(
                        "store unreachable at {address}; continuing without heartbeats, retrying: {why}; {remedy}"
                    );
                    let _ = self.store_events.try_send(StoreEvent::Unreachable); // the hub has older events to read
                }
            }
            self.tries = self.tries.saturating_add(1);
            self.wait(backoff.next(fastrand::f64())).await;
        }
    }

    /// One connection, from registration to its loss.
    async fn run_session(&mut self, backoff: &mut Backoff) -> anyhow::Result<SessionEnd> {
        let (mut connection, mut pushes) = self.connect().await?;
        self.replica.connected(clock::now());
        if self.epoch == 0 && !self.acquire_lease(&mut connection).await? {
            return Ok(SessionEnd::Done);
        }
        self.subscribe(&mut connection).await?;
        self.roster_written = None; // a store that lost its data gets the roster entry again
        if self.tries > 0 {
            self.away_until = Some(clock::now());
        }
        backoff.reset();
        self.registered();
        left_exits::deliver(&mut connection, vec![self.store.name()]).await?;
        loop {
            if self.until_renewal().is_some_and(|left| left.is_zero())
                && !self.renew_lease(&mut connection).await?
            {
                return Ok(SessionEnd::Fenced(self.epoch));
            }
            self.deliver_events(&mut connection).await?;
            self.write_roster(&mut connection).await?;
            if let Some(offer) = self.unsent() {
                let delivered = self.deliver(&mut connection, &offer).await?;
                if let Delivered::Fenced(holder) = delivered {
                    self.write_fenced(&mut connection, holder).await?;
                    return Ok(SessionEnd::Fenced(holder));
                }
                self.sent = offer.beat.sequence;
                if self.replica.leaves(clock::now()) {
                    return Ok(SessionEnd::Replica);
                }
                if delivered == Delivered::Stored {
                    self.check_roster(&mut connection).await?;
                    self.stored.send_replace(Some(Stored {
                        at: clock::now(),
                        sequence: self.sent,
                    }));
                }
            }
            connection.rest();
            let renewal = due(self.until_renewal());
            tokio::select! {
                biased;
                event = self.events.recv(), if !self.events.is_closed() || !self.events.is_empty() => match event {
                    Some(event) => self.waiting.push_back(event),
                    None => continue,
                },
                changed = self.latest.changed() => if changed.is_err() {
                    return self.finish(&mut connection).await;
                },
                Ok(()) = self.entry.changed() => {}
                () = renewal => {}
                push = pushes.recv() => match push {
                    Some(Push::Order(text)) => self.order(&text),
                    Some(Push::Lost) | None => anyhow::bail!("lost connection to the store"),
                },
            }
        }
    }

    fn registered(&mut self) {
        self.outage_logged = false;
        self.was_registered = true;
        self.tries = 0;
        tracing::info!(
            "registered {} with epoch {}",
            self.registration.id,
            self.epoch
        );
        // A full channel means that the hub has not read the last connection yet: it will beat all the same.
        let _ = self
            .store_events
            .try_send(StoreEvent::Connected(self.epoch));
    }

    fn unsent(&mut self) -> Option<Offer> {
        let newer = self.newer();
        newer.filter(|offer| offer.beat.epoch() == self.epoch)
    }

    /// The latest beat, where it was not sent yet.
    fn newer(&mut self) -> Option<Offer> {
        let latest = self.latest.borrow_and_update().clone();
        latest.filter(|offer| offer.beat.sequence > self.sent)
    }

    /// Passes an order on. The same one comes with every beat until it expires: the hub remembers those it has seen.
    fn order(&self, text: &str) {
        match Order::decode(text) {
            Ok(order) => {
                let _ = self.store_events.try_send(StoreEvent::Order(order)); // it comes again with the next beat
            }
            Err(error) => tracing::warn!("dropped a malformed order: {error}"),
        }
    }

    async fn finish(&mut self, connection: &mut Link) -> anyhow::Result<SessionEnd> {
        while let Ok(event) = self.events.try_recv() {
            self.waiting.push_back(event);
        }
        if self.epoch == 0 {
            self.release_lease(connection).await?;
            // Without a registration only this event is ours to report.
            self.waiting
                .retain(|queued| queued.event.kind == EventKind::Duplicate);
            return self
                .deliver_events(connection)
                .await
                .map(|()| SessionEnd::Done);
        }
        // What the store refuses for now is tried until the hub gives up.
        loop {
            self.deliver_events(connection).await?;
            self.write_roster(connection).await?;
            if self.waiting.is_empty() {
                self.release_lease(connection).await?;
                return Ok(SessionEnd::Done);
            }
            tokio::time::sleep(RETRY_MIN).await;
        }
    }

    /// Waits before the next attempt; events are still queued, an end cuts the wait short.
    async fn wait(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                event = self.events.recv(), if self.waiting.len() < EVENTS_MAX => match event {
                    Some(event) => self.waiting.push_back(event),
                    None => return tokio::time::sleep(wait.min(RETRY_MIN)).await,
                }
            }
        }
    }

    /// Never more than a quarter of an interval, so that no beat is lost to waiting alone.
    fn longest_wait(&self) -> Duration {
        let soon = self.store.is_local() && self.tries < TRIES_LOCAL;
        let longest = if soon { RETRY_MAX_LOCAL } else { RETRY_MAX };
        longest
            .min(Duration::from_millis(self.registration.entry.interval_ms) / 4)
            .max(RETRY_MIN)
    }
}

/// Completes after this time, if there is one.
async fn due(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}
