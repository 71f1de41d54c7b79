//! One client of the embedded store: its connection and what the server keeps of it.

use super::Blocked;
use super::places::Standing;
use crate::commands::{arity, glob};
use crate::resp::{Reply, Version, next_command};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Channels and patterns of one client.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// Replies of one client that wait for the disk: memory matters more than a reply that is kept.
const HELD_MAX: usize = 1024;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// A message from a connection to the server.
pub(super) enum FromClient {
    Command(Vec<Bytes>),
    Gone,
}

/// The server's side of a client.
pub(super) struct Client {
    pub(super) version: Version,
    pub(super) name: Bytes,
    pub(super) backlog: VecDeque<Vec<Bytes>>,
    pub(super) blocked: Option<Blocked>,
    pub(super) standing: Standing,
    /// When it connected or sent its last command.
    pub(super) last: Instant,
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    /// Replies that wait for the disk, each with the batch of writes that must be there, and all that follow them.
    held: VecDeque<(u64, Reply)>,
    /// `None` once cut off: the connection writes what waits and ends.
    output: Option<mpsc::UnboundedSender<Bytes>>,
    /// Bytes on their way to the client: the bound of the channel above.
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    connection: tokio::task::AbortHandle,
}

impl Client {
    pub(super) fn serve(
        id: u64,
        stream: TcpStream,
        waiting_max: usize,
        commands: mpsc::Sender<(u64, FromClient)>,
    ) -> Self {
        let (output, lines) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let connection = Connection {
            id,
            commands,
            lines,
            waiting: Arc::clone(&waiting),
        };
        let task = tokio::spawn(connection.run(stream));
        Self {
            version: Version::Two,
            name: Bytes::new(),
            backlog: VecDeque::new(),
            blocked: None,
            standing: Standing::Silent,
            last: Instant::now(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            held: VecDeque::new(),
            output: Some(output),
            waiting,
            waiting_max,
            connection: task.abort_handle(),
        }
    }

    /// Sends a reply behind those before it, or a message.
    pub(super) fn send(&mut self, reply: Reply) {
        match self.held.back() {
            Some((batch, _)) => self.send_after(*batch, reply),
            None => self.output(reply),
        }
    }

    /// Holds a reply back until this batch is on the disk.
    pub(super) fn send_after(&mut self, batch: u64, reply: Reply) {
        self.held.push_back((batch, reply));
        if self.held.len() > HELD_MAX {
            self.release(u64::MAX);
        }
    }

    /// Sends the replies that waited for this batch or one before it. Returns whether others wait.
    pub(super) fn release(&mut self, written: u64) -> bool {
        while let Some((_, reply)) = self.held.pop_front_if(|(batch, _)| *batch <= written) {
            self.output(reply);
        }
        !self.held.is_empty()
    }

    fn output(&mut self, reply: Reply) {
        let Some(output) = &self.output else { return };
        let bytes = reply.encode(self.version);
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting > self.waiting_max {
            // It does not read its replies; memory is kept for clients that do.
            self.connection.abort();
            self.output = None;
        } else if output.send(bytes).is_err() {
            self.output = None;
        }
    }

    /// Ends the connection once it has written what waits.
    pub(super) fn cut_off(&mut self) {
        self.release(u64::MAX);
        self.output = None;
    }

    /// Ends the connection at once.
    pub(super) fn end(self) {
        self.connection.abort();
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.output.is_none()
    }

    pub(super) fn reset(&mut self) {
        self.version = Version::Two;
        self.name = Bytes::new();
        self.channels.clear();
        self.patterns.clear();
    }

    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.blocked.as_ref().map(|blocked| blocked.until)
    }

    pub(super) fn is_subscriber(&self) -> bool {
        !self.channels.is_empty() || !self.patterns.is_empty()
    }

    /// How often the client receives a message on this channel: once for the channel, once for each pattern.
    pub(super) fn deliveries(&self, channel: &[u8]) -> usize {
        usize::from(self.channels.contains(channel))
            + self
                .patterns
                .iter()
                .filter(|pattern| glob(pattern, channel))
                .count()
    }

    pub(super) fn is_subscribed(&self, channel: &[u8]) -> bool {
        self.channels.contains(channel)
    }

    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Bytes> {
        self.channels.iter()
    }

    pub(super) fn deliver(&mut self, channel: &Bytes, payload: &Bytes) {
        if self.channels.contains(channel) {
            self.send(Reply::Push(vec![
                Reply::text("message"),
                Reply::Bulk(channel.clone()),
                Reply::Bulk(payload.clone()),
            ]));
        }
        let fitting: Vec<Bytes> = self
            .patterns
            .iter()
            .filter(|pattern| glob(pattern, channel))
            .cloned()
            .collect();
        for pattern in fitting {
            self.send(Reply::Push(vec![
                Reply::text("pmessage"),
                Reply::Bulk(pattern),
                Reply::Bulk(channel.clone()),
                Reply::Bulk(payload.clone()),
            ]));
        }
    }

    /// CLIENT and its subcommands.
    pub(super) fn command(&mut self, id: u64, args: &[Bytes]) -> Reply {
        let verb = args.first().map(|verb| verb.to_ascii_uppercase());
        match (verb.as_deref(), args.get(1..).unwrap_or_default()) {
            (Some(b"SETNAME"), [name]) => {
                self.name = name.clone();
                Reply::ok()
            }
            (Some(b"GETNAME"), []) => Reply::Bulk(self.name.clone()),
            (Some(b"ID"), []) => Reply::Number(i64::try_from(id).unwrap_or(i64::MAX)),
            (Some(b"SETINFO"), [_, _]) | (Some(b"NO-EVICT" | b"NO-TOUCH"), [_]) => Reply::ok(),
            _ => Reply::Error(
                "ERR unknown CLIENT subcommand or wrong number of arguments".to_owned(),
            ),
        }
    }

    /// SUBSCRIBE and its three siblings; one confirmation for each name.
    pub(super) fn subscription(&mut self, verb: &[u8], args: &[Bytes]) -> Option<Reply> {
        let pattern = verb.starts_with(b"P");
        let add = !verb.ends_with(b"UNSUBSCRIBE");
        if add && args.is_empty() {
            return Some(arity(verb));
        }
        let all: Vec<Bytes> = if pattern {
            &self.patterns
        } else {
            &self.channels
        }
        .iter()
        .cloned()
        .collect();
        let names = if args.is_empty() {
            all.as_slice()
        } else {
            args
        };
        if names.is_empty() {
            self.confirm(verb, Reply::Null);
        }
        for name in names {
            if add && self.channels.len() + self.patterns.len() >= SUBSCRIPTIONS_MAX {
                return Some(Reply::Error("ERR too many subscriptions".to_owned()));
            }
            let set = if pattern {
                &mut self.patterns
            } else {
                &mut self.channels
            };
            if add {
                set.insert(Bytes::copy_from_slice(name));
            } else {
                set.remove(name);
            }
            self.confirm(verb, Reply::Bulk(name.clone()));
        }
        None
    }

    fn confirm(&mut self, verb: &[u8], name: Reply) {
        let verb = String::from_utf8_lossy(verb).to_lowercase();
        let subscriptions =
            i64::try_from(self.channels.len() + self.patterns.len()).unwrap_or(i64::MAX);
        self.send(Reply::Push(vec![
            Reply::text(verb),
            name,
            Reply::Number(subscriptions),
        ]));
    }
}

/// Refuses a client beyond the limit with Redis' own error.
pub(super) fn turn_away(stream: &TcpStream) {
    // Fits any socket's buffer; the store does not wait for a client that does not read it.
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}

struct Connection {
    id: u64,
    commands: mpsc::Sender<(u64, FromClient)>,
    lines: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Connection {
    async fn run(mut self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true); // slower without, and nothing else
        let mut buffer = BytesMut::new();
        // Any error is the end of the connection, and of nothing else.
        let _ = self.talk(&mut stream, &mut buffer).await;
        let _ = self.commands.send((self.id, FromClient::Gone)).await;
    }

    async fn talk(&mut self, stream: &mut TcpStream, buffer: &mut BytesMut) -> std::io::Result<()> {
        loop {
            buffer.reserve(READ_BYTES);
            tokio::select! {
                line = self.lines.recv() => match line {
                    Some(line) => {
                        stream.write_all(&line).await?;
                        self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    }
                    None => return stream.shutdown().await,
                },
                read = stream.read_buf(buffer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    loop {
                        match next_command(buffer) {
                            Ok(Some(command)) => {
                                if self.commands.send((self.id, FromClient::Command(command))).await.is_err() {
                                    return Ok(());
                                }
                            }
                            Ok(None) => break,
                            Err(garbage) => {
                                stream.write_all(format!("-ERR {garbage}\r\n").as_bytes()).await?;
                                return stream.shutdown().await;
                            }
                        }
                    }
                }
            }
        }
    }
}
