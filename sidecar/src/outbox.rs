//! The way to the store: registration, the latest beat, lifecycle events. Reconnects for ever; the hub never waits for it.
//!
//! Beats are never queued: a slot holds the latest. Events are queued up to 64 and stay until stored. After each
//! reconnection the first act is to register again; the hub, told so, beats at once.

use crate::config::Store;
use heartbeat::backoff::Backoff;
use heartbeat::beat::{Beat, Status};
use heartbeat::event::Event;
use heartbeat::id::AgentId;
use heartbeat::moment::millis;
use heartbeat::roster::RosterEntry;
use heartbeat::{hash, keys};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, Script};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Events that wait for the store; beyond it the oldest stay and the newest is dropped and said.
const EVENTS_MAX: usize = 64;
/// How long a connection or an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The first wait between two tries, and the longest on a network: a fleet must not return as one herd.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// The longest wait where nobody but this machine can be disturbed.
const RETRY_MAX_LOCAL: Duration = Duration::from_secs(1);

/// What is fixed for one sidecar process.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) id: AgentId,
    pub(crate) entry: RosterEntry,
    pub(crate) registered_ms: u64,
}

/// What the store has to say to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Registered (again) with this epoch: beat at once.
    Connected(u64),
    /// The store cannot be reached for now; said once until it can.
    Unreachable,
    /// Another sidecar holds the id with this higher epoch: no beat will be taken any more.
    Fenced(u64),
}

/// The hub's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    latest: watch::Sender<Option<Arc<Beat>>>,
    events: mpsc::Sender<Event>,
    pub(crate) news: mpsc::Receiver<News>,
    courier: JoinHandle<()>,
}

struct Courier {
    store: Store,
    registration: Registration,
    epoch: u64,
    sent: u64,
    said: bool,
    /// Failed tries since the last registration.
    tries: u32,
    latest: watch::Receiver<Option<Arc<Beat>>>,
    events: mpsc::Receiver<Event>,
    waiting: VecDeque<Event>,
    news: mpsc::Sender<News>,
    register: Script,
    beat: Script,
}

/// Why a visit to the store ended.
enum Over {
    /// The hub has nothing more to send, and everything is stored.
    Done,
    /// A higher epoch holds the id.
    Fenced(u64),
}

impl Outbox {
    /// Starts the courier; nothing is sent before the first registration.
    pub(crate) fn open(store: Store, registration: Registration) -> Self {
        let (latest, latest_out) = watch::channel(None);
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let (news_in, news) = mpsc::channel(4);
        let courier = Courier {
            store,
            registration,
            epoch: 0,
            sent: 0,
            said: false,
            tries: 0,
            latest: latest_out,
            events: events_out,
            waiting: VecDeque::new(),
            news: news_in,
            register: Script::new(keys::REGISTER_SCRIPT),
            beat: Script::new(keys::BEAT_SCRIPT),
        };
        Self {
            latest,
            events,
            news,
            courier: tokio::spawn(courier.run()),
        }
    }

    /// Offers a beat; one that was not sent yet is replaced.
    pub(crate) fn offer(&self, beat: Beat) {
        self.latest.send_replace(Some(Arc::new(beat)));
    }

    /// Queues an event.
    pub(crate) fn tell(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            tracing::error!("an event was dropped, {EVENTS_MAX} wait for the store: {error}");
        }
    }

    /// Nothing more will come: delivers what there is, for at most `within`. True when all of it was stored.
    pub(crate) async fn close(self, within: Duration) -> bool {
        let Self {
            latest,
            events,
            news,
            mut courier,
        } = self;
        drop((latest, events, news));
        let done = tokio::time::timeout(within, &mut courier).await.is_ok();
        courier.abort();
        done
    }
}

impl Courier {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_MIN, self.longest_wait());
        loop {
            match self.visit(&mut backoff).await {
                Ok(Over::Done) => return,
                Ok(Over::Fenced(holder)) => {
                    let _ = self.news.send(News::Fenced(holder)).await; // the hub is ending anyway
                    return;
                }
                Err(error) if self.said => tracing::debug!("the store: {error:#}"),
                Err(error) => {
                    self.said = true;
                    tracing::warn!("no store, the agent goes on without: {error:#}");
                    let _ = self.news.try_send(News::Unreachable); // the hub has older news to read
                }
            }
            self.tries = self.tries.wrapping_add(1);
            self.wait(backoff.next(fastrand::f64())).await;
        }
    }

    /// One connection, from registration to its loss.
    async fn visit(&mut self, backoff: &mut Backoff) -> anyhow::Result<Over> {
        let (mut connection, mut lost) = self.connect().await?;
        if self.epoch == 0 {
            self.epoch = self.grant(&mut connection).await?;
        }
        self.enrol(&mut connection, None).await?;
        backoff.reset();
        self.said = false;
        self.tries = 0;
        tracing::info!(
            "registered {} with epoch {}",
            self.registration.id,
            self.epoch
        );
        // A full channel means that the hub has not yet heard of the last connection: it will beat all the same.
        let _ = self.news.try_send(News::Connected(self.epoch));
        loop {
            self.deliver_events(&mut connection).await?;
            if let Some(beat) = self.unsent() {
                if let Some(holder) = self.deliver(&mut connection, &beat).await? {
                    return Ok(Over::Fenced(holder));
                }
                self.sent = beat.sequence;
            }
            tokio::select! {
                biased;
                event = self.events.recv(), if !self.events.is_closed() || !self.events.is_empty() => match event {
                    Some(event) => self.waiting.push_back(event),
                    None => continue,
                },
                changed = self.latest.changed() => if changed.is_err() {
                    return self.finish(&mut connection).await;
                },
                _ = lost.recv() => anyhow::bail!("the connection was lost"),
            }
        }
    }

    fn unsent(&mut self) -> Option<Arc<Beat>> {
        let latest = self.latest.borrow_and_update().clone();
        latest.filter(|beat| beat.epoch() == self.epoch && beat.sequence > self.sent)
    }

    async fn finish(&mut self, connection: &mut MultiplexedConnection) -> anyhow::Result<Over> {
        while let Ok(event) = self.events.try_recv() {
            self.waiting.push_back(event);
        }
        self.deliver_events(connection).await?;
        Ok(Over::Done)
    }

    async fn connect(
        &self,
    ) -> anyhow::Result<(MultiplexedConnection, mpsc::UnboundedReceiver<()>)> {
        let client = Client::open(self.store.address(self.tries)?)?;
        let (gone, lost) = mpsc::unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    let _ = gone.send(()); // nobody waits any more
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok((connection, lost))
    }

    async fn grant(&self, connection: &mut MultiplexedConnection) -> anyhow::Result<u64> {
        let id = &self.registration.id;
        let epoch = self
            .register
            .key(keys::epoch(id))
            .key(keys::agent(id))
            .arg(self.epoch)
            .invoke_async(connection)
            .await?;
        Ok(epoch)
    }

    async fn enrol(
        &self,
        connection: &mut MultiplexedConnection,
        stopped_at: Option<u64>,
    ) -> anyhow::Result<()> {
        let entry = RosterEntry {
            epoch: self.epoch,
            stopped_at,
            ..self.registration.entry.clone()
        };
        redis::cmd("HSET")
            .arg(keys::ROSTER)
            .arg(self.registration.id.as_str())
            .arg(entry.encode())
            .exec_async(connection)
            .await?;
        Ok(())
    }

    /// One beat; the higher epoch comes back when it was refused.
    async fn deliver(
        &self,
        connection: &mut MultiplexedConnection,
        beat: &Beat,
    ) -> anyhow::Result<Option<u64>> {
        let id = &self.registration.id;
        let json = beat.encode();
        let interval = beat.hb.as_ref().map_or(Duration::ZERO, |hb| hb.interval);
        let mut call = self.beat.prepare_invoke();
        call.key(keys::agent(id))
            .key(keys::epoch(id))
            .key(keys::control(id))
            .arg(self.epoch)
            .arg(millis(keys::time_to_live(interval)))
            .arg(keys::BEATS)
            .arg(&json);
        for (field, value) in hash::fields(beat, &json, self.registration.registered_ms) {
            call.arg(field).arg(value);
        }
        let (answer, detail): (String, String) = call.invoke_async(connection).await?;
        if answer == "fenced" {
            return Ok(Some(detail.parse().unwrap_or(self.epoch)));
        }
        if beat.status == Status::Stopped {
            self.enrol(connection, Some(beat.timestamp_ms)).await?;
        }
        Ok(None)
    }

    async fn deliver_events(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        while let Some(event) = self.waiting.front() {
            let mut add = redis::cmd("XADD");
            add.arg(keys::EVENTS)
                .arg("MAXLEN")
                .arg("~")
                .arg(keys::EVENTS_KEPT)
                .arg("*");
            for (field, value) in (Event {
                epoch: self.epoch,
                ..event.clone()
            })
            .encode()
            {
                add.arg(field).arg(value);
            }
            add.exec_async(connection).await?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Waits before the next try; events go on to be taken, an end cuts the wait short.
    async fn wait(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                event = self.events.recv(), if self.waiting.len() < EVENTS_MAX && !self.events.is_closed() => {
                    match event {
                        Some(event) => self.waiting.push_back(event),
                        None => return,
                    }
                }
            }
        }
    }

    /// Never more than a quarter of an interval, so that no beat is lost to waiting alone.
    fn longest_wait(&self) -> Duration {
        let local = match &self.store {
            Store::Nearby { .. } => true,
            Store::Configured(info) => match info.addr() {
                redis::ConnectionAddr::Tcp(host, _) => {
                    host == "localhost"
                        || host
                            .parse()
                            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
                }
                redis::ConnectionAddr::Unix(_) => true,
                redis::ConnectionAddr::TcpTls { .. } | _ => false,
            },
        };
        let longest = if local { RETRY_MAX_LOCAL } else { RETRY_MAX };
        longest
            .min(Duration::from_millis(self.registration.entry.interval_ms) / 4)
            .max(RETRY_MIN)
    }
}
