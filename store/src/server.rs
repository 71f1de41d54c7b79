//! The embedded store's server: one task owns the keys and the clients, one small task serves each connection.
//!
//! HELLO AUTH CLIENT SELECT INFO COMMAND CONFIG QUIT RESET, (P)SUBSCRIBE (P)UNSUBSCRIBE PUBSUB, XREAD BLOCK are answered in
//! `commands`: they belong to a client. Everything is bounded: clients (`places`), bytes that wait for a slow one, memory,
//! commands. What is to be kept is handed to the `keeper` in batches.

mod client;
mod commands;
mod places;
mod xread;

use super::commands::{Context, read_streams};
use super::disk::Kept;
use super::keeper::{Keeper, Outcome};
use super::keyspace::{Keyspace, Now};
use super::resp::Reply;
use bytes::Bytes;
use client::{Client, FromClient};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use xread::Blocked;

/// Commands of all clients together that may wait.
const COMMANDS_MAX: usize = 1024;
/// How long changes are collected before they are written; while the thread writes, the next ones collect by themselves.
const WRITE_AFTER: Duration = Duration::from_millis(2);
/// How long a reply waits for the disk. A disk that is slower gets no second chance until it has written: the fleet's
/// sidecars wait a quarter of their interval, a quarter of a second at the least.
const REPLY_WITHIN: Duration = Duration::from_millis(100);
/// After a write that failed.
const WRITE_RETRY: Duration = Duration::from_secs(5);
/// How long the end waits for the last write.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// What the store bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub clients: usize,
    /// Bytes that wait for one client before it is cut off.
    pub output_bytes: usize,
    /// Bytes of all keys, roughly, before commands that grow them are refused.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 1024,
            output_bytes: 8 << 20,
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

async fn outcome(keeper: &mut Option<Keeper>) -> Outcome {
    match keeper {
        Some(keeper) => keeper.outcome().await,
        None => std::future::pending().await,
    }
}

impl Server {
    fn new(limits: Limits) -> Self {
        let run_id = (0..40).map(|_| fastrand::digit(16)).collect();
        Self {
            limits,
            keys: Keyspace::default(),
            clients: HashMap::new(),
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

    /// Takes back what was kept, and keeps what changes from now on.
    fn keep(&mut self, kept: Kept) -> std::io::Result<()> {
        let (mut misfits, now) = (0_u64, self.now());
        for (key, part, value) in kept.rows {
            misfits += u64::from(!self.keys.restore(&key, part, value, now));
        }
        if misfits > 0 {
            tracing::warn!("the embedded store left {misfits} rows out that do not fit their keys");
        }
        // A file that could be read and not written gets everything once it can be.
        self.keys.keep(!kept.file.is_open());
        self.keeper = Some(Keeper::start(kept.file)?);
        self.plan_write(WRITE_AFTER);
        Ok(())
    }

    /// Changes are collected for a moment before they are written.
    fn plan_write(&mut self, wait: Duration) {
        if self.keeper.is_some() && self.keys.has_writes() {
            self.write_at.get_or_insert(Instant::now() + wait);
        }
    }

    fn write(&mut self) {
        self.write_at = None;
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_writing()) {
            keeper.write(self.keys.take_writes());
            self.batch += 1;
        }
    }

    fn written(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Written => {
                self.disk_fails = false;
                self.disk_lags = false;
                self.release(self.batch - 1);
                self.plan_write(WRITE_AFTER);
            }
            Outcome::Failed => {
                self.disk_fails = true;
                self.release(u64::MAX);
                self.keys.rewrite();
                self.write_at = Some(Instant::now() + WRITE_RETRY);
            }
        }
    }

    /// Sends the replies that waited for this batch; the others get as long again.
    fn release(&mut self, written: u64) {
        let mut others = false;
        for client in self.clients.values_mut() {
            others |= client.release(written);
        }
        self.reply_at = others.then(|| Instant::now() + REPLY_WITHIN);
    }

    /// What was written for good is answered once it is on the disk: what a sidecar or a monitor was promised survives the
    /// end of this process.
    fn reply(&mut self, id: u64, reply: Reply) {
        let wrote_kept = self.keys.wrote_kept();
        let waits = wrote_kept && self.keeper.is_some() && !self.disk_fails && !self.disk_lags;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if waits {
            client.send_after(self.batch, reply);
            self.reply_at
                .get_or_insert_with(|| Instant::now() + REPLY_WITHIN);
        } else {
            client.send(reply);
        }
    }

    async fn write_last(&mut self) {
        if self.keeper.as_ref().is_some_and(Keeper::is_writing) {
            let outcome = outcome(&mut self.keeper).await;
            self.written(outcome);
        }
        if self.keeper.is_some() && self.keys.has_writes() {
            self.write();
            let outcome = outcome(&mut self.keeper).await;
            self.written(outcome);
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

    /// The next expiry, the end of the next blocked read or the next write; far away when there is none.
    fn next_wake(&self) -> Instant {
        let expiry = self
            .keys
            .next_expiry()
            .map(|at| self.started + Duration::from_millis(at));
        let blocked = self
            .clients
            .values()
            .filter_map(|client| client.blocked_until());
        let is_writing = self.keeper.as_ref().is_some_and(Keeper::is_writing);
        let write = self.write_at.filter(|_| !is_writing);
        let far = Instant::now() + Duration::from_secs(3600);
        let due = blocked.chain(expiry).chain(write).chain(self.reply_at);
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
            self.disk_lags = true;
            self.release(u64::MAX);
        }
        let ids: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.blocked_until().is_some_and(|until| until <= over))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(client) = self.clients.get_mut(&id) {
                client.blocked = None;
                client.send(Reply::Null);
            }
            self.work_off(id);
        }
    }

    fn receive(&mut self, id: u64, message: FromClient) {
        match message {
            FromClient::Command(command) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.last = Instant::now();
                    client.backlog.push_back(command);
                    if client.backlog.len() > COMMANDS_MAX {
                        client.cut_off(); // it sends commands faster than its own blocked read lets them run
                    }
                }
                self.work_off(id);
            }
            FromClient::Gone => {
                self.clients.remove(&id);
            }
        }
    }

    /// Commands of one client in order; a blocked one keeps the rest waiting.
    fn work_off(&mut self, id: u64) {
        while let Some(client) = self.clients.get_mut(&id).filter(|c| c.blocked.is_none()) {
            let Some(command) = client.backlog.pop_front() else {
                return;
            };
            if command.is_empty() {
                continue;
            }
            let reply = self.command(id, &command);
            self.credit(id, &command, matches!(reply, Some(Reply::Error(_))));
            if let Some(reply) = reply {
                self.reply(id, reply);
            }
            self.clients.retain(|_, client| !client.is_cut_off());
        }
    }

    fn run(&mut self, command: &[Bytes]) -> Reply {
        let now = self.now();
        self.keys.expire(now);
        let clients = &self.clients;
        let subscribers = |channel: &[u8]| clients.values().map(|c| c.deliveries(channel)).sum();
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
            for client in self.clients.values_mut() {
                client.deliver(&channel, &payload);
            }
        }
        self.plan_write(WRITE_AFTER);
        if command[0].eq_ignore_ascii_case(b"XADD") {
            self.unblock();
        }
        reply
    }

    /// Answers blocked readers whose streams have new entries.
    fn unblock(&mut self) {
        let mut freed = Vec::new();
        for (id, client) in &mut self.clients {
            let Some(blocked) = &client.blocked else {
                continue;
            };
            let reply = match read_streams(&self.keys, &blocked.read.wanted, blocked.read.most) {
                Ok(None) => continue,
                Ok(Some(found)) => found,
                Err(wrong) => wrong,
            };
            client.blocked = None;
            client.send(reply);
            freed.push(*id);
        }
        for id in freed {
            self.work_off(id);
        }
    }
}
