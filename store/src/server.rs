//! The embedded store's server: one task owns the keys and the clients, one small task serves each connection.
//!
//! HELLO AUTH CLIENT SELECT INFO COMMAND CONFIG QUIT RESET, XREAD BLOCK are answered in `commands`, (P)SUBSCRIBE
//! (P)UNSUBSCRIBE PUBSUB in `subscriptions`: they belong to a client. Everything is bounded: clients (`places`), bytes that wait
//! for a slow one (`waiting`), memory, commands, and what one client's command costs the others, who wait behind it. What is to
//! be kept is handed to the `keeper` in batches (`keeping`).

mod client;
mod commands;
mod keeping;
mod places;
mod subscriptions;
mod waiting;
mod xread;

use super::commands::{Context, read_streams};
use super::disk::Kept;
use super::keeper::Keeper;
use super::keyspace::{Keyspace, Now};
use super::resp::Reply;
use bytes::Bytes;
use client::{Client, FromClient};
use keeping::outcome;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subscriptions::Subscriptions;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use xread::Blocked;

/// Commands of all clients together that may wait.
const COMMANDS_MAX: usize = 1024;
/// How long the end waits for the last write.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// What the store bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub clients: usize,
    /// Bytes that wait for one client before it is cut off; a larger reply is refused.
    pub output_bytes: usize,
    /// Bytes that wait for all clients together before the one with the most is cut off.
    pub outputs_bytes: usize,
    /// Bytes of commands of all clients together that are not whole, or wait, before the client with the most is cut off.
    pub inputs_bytes: usize,
    /// Bytes of all keys, roughly, before commands that grow them are refused.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 1024,
            output_bytes: 8 << 20,
            outputs_bytes: 64 << 20,
            inputs_bytes: 64 << 20,
            memory_bytes: 256 << 20,
        }
    }
}

/// Why the store does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store has no password, so it must not be reachable from other machines.
    #[error(
        "the embedded store serves on loopback only, not on {0}; run Redis to serve other machines"
    )]
    NotLoopback(std::net::SocketAddr),
    /// The listener is broken.
    #[error("the embedded store cannot accept connections: {0}")]
    Listener(#[from] std::io::Error),
}

struct Server {
    limits: Limits,
    keys: Keyspace,
    clients: HashMap<u64, Client>,
    subscriptions: Subscriptions,
    /// Bytes that wait for all clients.
    waiting: Arc<AtomicUsize>,
    /// Bytes that all clients have sent and that were not carried out.
    inputs: Arc<AtomicUsize>,
    /// Clients whose commands can go on.
    ready: VecDeque<u64>,
    started: Instant,
    run_id: String,
    /// `None`: everything is in memory.
    keeper: Option<Keeper>,
    /// The last batch is not on the disk: everything is to be written, and replies do not wait for it.
    disk_fails: bool,
    /// A batch was not there in time: replies do not wait for the disk until it has written.
    disk_lags: bool,
    /// The number of the batch that changes are collected for.
    batch: u64,
    /// When replies that wait are sent all the same.
    reply_at: Option<Instant>,
    /// When changes are next written.
    write_at: Option<Instant>,
}

/// Serves until `stopped`. Refuses a listener that is reachable from outside this machine. With `kept` the store begins
/// with what is there and writes its changes there, at the latest with its end.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    kept: Option<Kept>,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let bound = listener.local_addr()?;
    if !bound.ip().is_loopback() {
        return Err(ServeError::NotLoopback(bound));
    }
    let (send, mut commands) = mpsc::channel(COMMANDS_MAX);
    let mut server = Server::new(limits);
    if let Some(kept) = kept {
        server.keep(kept)?;
    }
    let mut stopped = Box::pin(stopped);
    let mut next_id = 0;
    loop {
        let wake = server.next_wake();
        tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    next_id += 1;
                    server.admit(next_id, stream, &send);
                }
                // Out of descriptors: existing connections matter more.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some((id, message)) = commands.recv() => server.receive(id, message),
            outcome = outcome(&mut server.keeper) => server.written(outcome),
            () = tokio::time::sleep_until(wake.into()) => server.wake(),
        }
    }
    let _ = tokio::time::timeout(LAST_WITHIN, server.write_last()).await; // a disk that hangs: the last changes are lost
    Ok(())
}

impl Server {
    fn new(limits: Limits) -> Self {
        let run_id = (0..40).map(|_| fastrand::digit(16)).collect();
        Self {
            limits,
            keys: Keyspace::default(),
            clients: HashMap::new(),
            subscriptions: Subscriptions::default(),
            waiting: Arc::default(),
            inputs: Arc::default(),
            ready: VecDeque::new(),
            started: Instant::now(),
            run_id,
            keeper: None,
            disk_fails: false,
            disk_lags: false,
            batch: 1,
            reply_at: None,
            write_at: None,
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            steady_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// The next expiry, the end of a client's wait or the next write; far away when there is none.
    fn next_wake(&self) -> Instant {
        let expiry = self
            .keys
            .next_expiry()
            .map(|at| self.started + Duration::from_millis(at));
        let waits = self.clients.values().filter_map(Client::waits_until);
        let is_writing = self.keeper.as_ref().is_some_and(Keeper::is_writing);
        let write = self.write_at.filter(|_| !is_writing);
        let far = Instant::now() + Duration::from_secs(3600);
        let due = waits.chain(expiry).chain(write).chain(self.reply_at);
        due.min().unwrap_or(far)
    }

    fn wake(&mut self) {
        let now = self.now();
        self.keys.expire(now);
        let over = Instant::now();
        if self.write_at.is_some_and(|at| at <= over) {
            self.write();
        }
        if self.reply_at.is_some_and(|at| at <= over) {
            self.disk_lags();
        }
        for (id, client) in &mut self.clients {
            if client.end_waits(over) {
                self.ready.push_back(*id);
            }
        }
        self.work_off();
    }

    fn receive(&mut self, id: u64, message: FromClient) {
        match message {
            FromClient::Command(command) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.last = Instant::now();
                    client.backlog.push_back(command);
                    if client.is_full() {
                        client.cut_off(); // it sends commands faster than its own blocked read lets them run
                    }
                }
                self.ready.push_back(id);
                self.work_off();
            }
            FromClient::Crowded => self.make_room_for_input(),
            FromClient::Gone => {
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<Client> {
        self.unsubscribe_all(id);
        self.clients.remove(&id)
    }

    /// Commands of the clients that are ready, of each in order.
    fn work_off(&mut self) {
        while let Some(id) = self.ready.pop_front() {
            let mut has_run = false;
            while let Some(command) = self.clients.get_mut(&id).and_then(Client::next_command) {
                if command.is_empty() {
                    continue;
                }
                has_run = true;
                let reply = self.command(id, &command);
                self.credit(id, &command, matches!(reply, Some(Reply::Error(_))));
                if let Some(reply) = reply {
                    self.reply(id, &command[0], reply);
                }
            }
            if has_run {
                self.part_with_clients();
            }
        }
    }

    /// Clients that were cut off leave. When too much waits for all together, the client with the most is one of them.
    fn part_with_clients(&mut self) {
        let gone: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.is_cut_off())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.remove(id);
        }
        if self.waiting.load(Ordering::Relaxed) > self.limits.outputs_bytes {
            let most = self
                .clients
                .iter()
                .max_by_key(|(_, client)| client.waiting());
            if let Some(mut client) = most.map(|(id, _)| *id).and_then(|id| self.remove(id)) {
                client.drop_connection();
            }
        }
    }

    fn run(&mut self, command: &[Bytes]) -> Reply {
        let now = self.now();
        self.keys.expire(now);
        let subscriptions = &self.subscriptions;
        let subscribers = |channel: &[u8]| subscriptions.deliveries(channel);
        let mut context = Context {
            keys: &mut self.keys,
            now,
            memory_max: self.limits.memory_bytes,
            published: Vec::new(),
            subscribers: &subscribers,
        };
        let reply = context.run(command);
        let published = std::mem::take(&mut context.published);
        for (channel, payload) in published {
            self.deliver(&channel, &payload);
        }
        if let Some(flushed) = self.keys.take_flushed() {
            tokio::task::spawn_blocking(move || drop(flushed)); // of a million keys it takes a while
        }
        self.plan_write();
        if let [name, key, ..] = command
            && name.eq_ignore_ascii_case(b"XADD")
        {
            self.unblock(key);
        }
        reply
    }

    /// Answers blocked readers of a stream that has new entries.
    fn unblock(&mut self, key: &Bytes) {
        for (id, client) in &mut self.clients {
            let is_reader =
                |blocked: &&Blocked| blocked.read.wanted.iter().any(|since| since.key == key);
            let Some(blocked) = client.blocked.as_ref().filter(is_reader) else {
                continue;
            };
            let reply = match read_streams(&self.keys, &blocked.read.wanted, blocked.read.most) {
                Ok(None) => continue,
                Ok(Some(found)) => found,
                Err(wrong) => wrong,
            };
            client.blocked = None;
            client.send(reply);
            self.ready.push_back(*id);
        }
    }
}
