//! The embedded store's server: one task owns the keys and the clients, one small task serves each connection.
//!
//! HELLO AUTH CLIENT SELECT INFO COMMAND CONFIG QUIT RESET, (P)SUBSCRIBE (P)UNSUBSCRIBE PUBSUB, XREAD BLOCK are answered
//! here: they belong to a client. Everything is bounded: clients, bytes that wait for a slow one, memory, commands.

mod client;
mod xread;

use super::commands::{Context, arity, count, glob, read_streams, syntax};
use super::keyspace::{Keyspace, Now};
use super::resp::{Reply, Version};
use bytes::Bytes;
use client::{Client, FromClient};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use xread::{Blocked, Xread};

/// Commands of all clients together that may wait.
const COMMANDS_MAX: usize = 1024;

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
}

/// Serves until `stopped`. Refuses a listener that is reachable from outside this machine.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let bound = listener.local_addr()?;
    if !bound.ip().is_loopback() {
        return Err(ServeError::NotLoopback(bound));
    }
    let (send, mut commands) = mpsc::channel(COMMANDS_MAX);
    let mut server = Server::new(limits);
    let mut stopped = Box::pin(stopped);
    let mut next_id = 0;
    loop {
        let wake = server.next_wake();
        tokio::select! {
            () = &mut stopped => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    next_id += 1;
                    if server.clients.len() >= limits.clients {
                        client::turn_away(stream);
                    } else {
                        let client = Client::serve(next_id, stream, limits.output_bytes, send.clone());
                        server.clients.insert(next_id, client);
                    }
                }
                // Out of descriptors: existing connections matter more.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some((id, message)) = commands.recv() => server.receive(id, message),
            () = tokio::time::sleep_until(wake.into()) => server.wake(),
        }
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

    /// The next expiry or the end of the next blocked read; far away when there is neither.
    fn next_wake(&self) -> Instant {
        let expiry = self
            .keys
            .next_expiry()
            .map(|at| self.started + Duration::from_millis(at));
        let blocked = self
            .clients
            .values()
            .filter_map(|client| client.blocked_until());
        let far = Instant::now() + Duration::from_secs(3600);
        blocked.chain(expiry).min().unwrap_or(far)
    }

    fn wake(&mut self) {
        let now = self.now();
        self.keys.expire(now);
        let over = Instant::now();
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
            if let (Some(reply), Some(client)) = (reply, self.clients.get_mut(&id)) {
                client.send(reply);
            }
            self.clients.retain(|_, client| !client.is_cut_off());
        }
    }

    /// Runs one command. `None`: the reply was sent already, or follows later.
    fn command(&mut self, id: u64, command: &[Bytes]) -> Option<Reply> {
        let name = command[0].to_ascii_uppercase();
        let args = &command[1..];
        let client = self.clients.get_mut(&id)?;
        if client.version == Version::Two
            && client.is_subscriber()
            && !allowed_while_subscribed(&name)
        {
            let name = String::from_utf8_lossy(&name).to_lowercase();
            return Some(Reply::Error(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            )));
        }
        match name.as_slice() {
            b"HELLO" => Some(self.hello(id, args)),
            b"AUTH" => Some(Reply::Error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".to_owned(),
            )),
            b"SELECT" => Some(match args {
                [db] if &db[..] == b"0" => Reply::ok(),
                [_] => Reply::Error("ERR DB index is out of range".to_owned()),
                _ => arity(&name),
            }),
            b"PING" if client.version == Version::Two && client.is_subscriber() => {
                let text = args.first().cloned().unwrap_or_default();
                Some(Reply::Array(vec![Reply::text("pong"), Reply::Bulk(text)]))
            }
            b"QUIT" => {
                client.send(Reply::ok());
                client.cut_off();
                None
            }
            b"RESET" => {
                client.reset();
                Some(Reply::Simple("RESET"))
            }
            b"CLIENT" => Some(client.command(id, args)),
            b"SUBSCRIBE" | b"PSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" => {
                client.subscription(&name, args)
            }
            b"PUBSUB" => Some(self.pubsub(args)),
            b"INFO" => Some(Reply::text(self.info())),
            b"COMMAND" => Some(match args.first().map(|verb| verb.to_ascii_uppercase()).as_deref() {
                Some(b"COUNT") => count(0),
                Some(b"DOCS") => Reply::Map(Vec::new()),
                Some(_) | None => Reply::Array(Vec::new()),
            }),
            b"CONFIG" => Some(match args {
                [verb, _, ..] if verb.eq_ignore_ascii_case(b"GET") => Reply::Map(Vec::new()),
                _ => Reply::Error("ERR the embedded store has no configuration".to_owned()),
            }),
            b"XREAD" => self.xread(id, args),
            _ => Some(self.run(command)),
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
        if command[0].eq_ignore_ascii_case(b"XADD") {
            self.unblock();
        }
        reply
    }

    fn hello(&mut self, id: u64, args: &[Bytes]) -> Reply {
        let Some(client) = self.clients.get_mut(&id) else {
            return Reply::Null;
        };
        let version = match args.first().map(|v| &v[..]) {
            None => client.version,
            Some(b"2") => Version::Two,
            Some(b"3") => Version::Three,
            Some(_) => return Reply::Error("NOPROTO unsupported protocol version".to_owned()),
        };
        let mut options = args.get(1..).unwrap_or_default();
        while let [option, rest @ ..] = options {
            options = match rest {
                [name, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                    client.name = name.clone();
                    rest
                }
                [_, _, ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                    return Reply::Error(
                        "WRONGPASS invalid username-password pair or user is disabled.".to_owned(),
                    );
                }
                _ => return syntax(),
            };
        }
        client.version = version;
        let proto = if version == Version::Three { 3 } else { 2 };
        let pair = |key: &str, value| (Reply::text(key), value);
        Reply::Map(vec![
            pair("server", Reply::text("redis")),
            pair("version", Reply::text(VERSION)),
            pair("proto", Reply::Number(proto)),
            pair("id", Reply::Number(i64::try_from(id).unwrap_or(i64::MAX))),
            pair("mode", Reply::text("standalone")),
            pair("role", Reply::text("master")),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    fn pubsub(&self, args: &[Bytes]) -> Reply {
        let verb = args.first().map(|verb| verb.to_ascii_uppercase());
        match (verb.as_deref(), args.get(1..).unwrap_or_default()) {
            (Some(b"NUMSUB"), channels) => Reply::Array(
                channels
                    .iter()
                    .flat_map(|channel| {
                        let subscribers = self
                            .clients
                            .values()
                            .filter(|c| c.is_subscribed(channel))
                            .count();
                        [Reply::Bulk(channel.clone()), count(subscribers)]
                    })
                    .collect(),
            ),
            (Some(b"NUMPAT"), []) => count(self.clients.values().map(Client::patterns).sum()),
            (Some(b"CHANNELS"), pattern @ ([] | [_])) => {
                let mut channels: Vec<&Bytes> =
                    self.clients.values().flat_map(Client::channels).collect();
                channels.sort_unstable();
                channels.dedup();
                channels.retain(|channel| pattern.first().is_none_or(|p| glob(p, channel)));
                Reply::Array(
                    channels
                        .into_iter()
                        .map(|c| Reply::Bulk(c.clone()))
                        .collect(),
                )
            }
            _ => Reply::Error(
                "ERR unknown PUBSUB subcommand or wrong number of arguments".to_owned(),
            ),
        }
    }

    fn xread(&mut self, id: u64, args: &[Bytes]) -> Option<Reply> {
        let now = self.now();
        self.keys.expire(now);
        let read = match Xread::parse(&self.keys, args) {
            Ok(read) => read,
            Err(wrong) => return Some(wrong),
        };
        match read_streams(&self.keys, &read.wanted, read.most) {
            Err(wrong) => Some(wrong),
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                let Some(block) = read.block else {
                    return Some(Reply::Null);
                };
                // Zero blocks without limit: a year is longer than any connection.
                let wait = if block == 0 {
                    31_536_000_000
                } else {
                    block.min(31_536_000_000)
                };
                let until = Instant::now() + Duration::from_millis(wait);
                self.clients.get_mut(&id)?.blocked = Some(Blocked { read, until });
                None
            }
        }
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

    fn info(&self) -> String {
        format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{}\r\nuptime_in_seconds:{}\r\n\
             # Clients\r\nconnected_clients:{}\r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\
             maxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n",
            self.run_id,
            self.started.elapsed().as_secs(),
            self.clients.len(),
            self.keys.bytes(),
            self.limits.memory_bytes,
        )
    }
}

/// The version that is reported to clients: the one whose commands this store follows.
const VERSION: &str = "7.0.0";

fn allowed_while_subscribed(name: &[u8]) -> bool {
    matches!(
        name,
        b"SUBSCRIBE"
            | b"PSUBSCRIBE"
            | b"UNSUBSCRIBE"
            | b"PUNSUBSCRIBE"
            | b"PING"
            | b"QUIT"
            | b"RESET"
            | b"HELLO"
    )
}
