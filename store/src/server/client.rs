//! One client of the embedded store: its connection and what the server keeps of it.

use super::places::Standing;
use super::waiting::Waiting;
use super::{Blocked, Limits};
use crate::resp::{Reply, Version, next_command};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

/// Replies of one client that wait for the disk. A client with more is served again once they are sent.
const HELD_MAX: usize = 1024;
/// What one client may have sent that has not been carried out, in units of [`UNIT`]: more than twice the largest command.
/// A connection with more is not read.
const IN_FLIGHT_UNITS: usize = 4096;
/// Bytes of a command; each command counts as one at least.
const UNIT: usize = 1024;
/// Writes of one client that are not on the disk. One that is further ahead waits for the disk, so that a copy of a large
/// data set loses no more than others do when the process is killed.
const AHEAD_MAX: usize = 1024;
/// How long it waits: a disk that stands still costs speed and stops no client.
const AHEAD_WITHIN: Duration = Duration::from_secs(1);
/// What takes the place of the reply to a removal that is not on the disk in time.
const SLOW_DISK: &str =
    "ERR removed, but the disk has not taken it yet: it may come back when hbmonitor is killed now";
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// A message from a connection to the server.
pub(super) enum FromClient {
    Command(Vec<Bytes>),
    /// All clients together have sent more than [`Limits::inputs_bytes`] that was not carried out.
    Crowded,
    Gone,
}

/// A reply that waits for the disk, or for one that does.
struct Held {
    /// The batch of writes that must be there.
    batch: u64,
    /// Until when it is not sent before that; then an error is. `None`: it is sent when the disk takes too long.
    patience: Option<Instant>,
    bytes: Bytes,
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
    pub(super) channels: BTreeSet<Bytes>,
    pub(super) patterns: BTreeSet<Bytes>,
    held: VecDeque<Held>,
    /// Writes since the disk last took all that there was.
    ahead: usize,
    /// Until when its commands wait for the disk.
    ahead_until: Option<Instant>,
    /// `None` once cut off: the connection writes what waits and ends.
    output: Option<mpsc::UnboundedSender<Bytes>>,
    /// The bound of the channel above, and of the replies that are held.
    waiting: Arc<Waiting>,
    waiting_max: usize,
    /// What it has sent that was not carried out, also of a command that is not whole yet.
    input: Arc<Waiting>,
    /// The bound of the backlog: the connection takes units, the server returns them.
    in_flight: Arc<Semaphore>,
    connection: tokio::task::AbortHandle,
}

impl Client {
    pub(super) fn serve(
        id: u64,
        stream: TcpStream,
        limits: &Limits,
        (waiting, input): (Waiting, Waiting),
        commands: mpsc::Sender<(u64, FromClient)>,
    ) -> Self {
        let (output, lines) = mpsc::unbounded_channel();
        let (waiting, input) = (Arc::new(waiting), Arc::new(input));
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_UNITS));
        let connection = Connection {
            id,
            commands,
            lines,
            waiting: Arc::clone(&waiting),
            input: Arc::clone(&input),
            inputs_max: limits.inputs_bytes,
            unfinished: 0,
            in_flight: Arc::clone(&in_flight),
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
            ahead: 0,
            ahead_until: None,
            output: Some(output),
            waiting,
            waiting_max: limits.output_bytes,
            input,
            in_flight,
            connection: task.abort_handle(),
        }
    }

    /// The next command, unless it has to wait.
    pub(super) fn next_command(&mut self) -> Option<Vec<Bytes>> {
        let waits =
            self.blocked.is_some() || self.ahead_until.is_some() || self.held.len() >= HELD_MAX;
        let command = self.backlog.pop_front_if(|_| !waits)?;
        self.in_flight.add_permits(units(&command));
        self.input.remove(bytes(&command));
        Some(command)
    }

    /// Whether it has sent as much as may wait behind its own blocked read: its end would not be noticed any more.
    pub(super) fn is_full(&self) -> bool {
        self.blocked.is_some() && self.in_flight.available_permits() < IN_FLIGHT_UNITS / 2
    }

    /// Sends a reply behind those before it, or a message.
    pub(super) fn send(&mut self, reply: Reply) {
        let bytes = self.encode(reply);
        self.send_bytes(bytes);
    }

    /// As [`Self::send`], of what was encoded for clients of this version.
    pub(super) fn send_bytes(&mut self, bytes: Bytes) {
        match self.held.back() {
            Some(Held { batch, .. }) => self.hold(*batch, None, bytes),
            None => self.output(bytes),
        }
    }

    /// Holds a reply back until this batch is on the disk.
    pub(super) fn send_after(&mut self, batch: u64, patience: Option<Instant>, reply: Reply) {
        let bytes = self.encode(reply);
        self.hold(batch, patience, bytes);
    }

    /// Sends the replies that waited for this batch or one before it. Returns whether others wait.
    pub(super) fn release(&mut self, written: u64) -> bool {
        self.release_while(|held| held.batch <= written)
    }

    /// Sends the replies that do not wait for the disk any longer.
    pub(super) fn release_hasty(&mut self) {
        self.release_while(|held| held.patience.is_none());
    }

    fn release_while(&mut self, is_free: impl Fn(&Held) -> bool) -> bool {
        while let Some(held) = self.held.pop_front_if(|held| is_free(held)) {
            self.pass_on(held.bytes);
        }
        !self.held.is_empty()
    }

    fn hold(&mut self, batch: u64, patience: Option<Instant>, bytes: Bytes) {
        if self.admit(&bytes) {
            self.held.push_back(Held {
                batch,
                patience,
                bytes,
            });
        }
    }

    fn output(&mut self, bytes: Bytes) {
        if self.admit(&bytes) {
            self.pass_on(bytes);
        }
    }

    /// Counts what is to wait. A client that does not read its replies ends: memory is kept for clients that do.
    fn admit(&mut self, bytes: &Bytes) -> bool {
        if self.output.is_some() && self.waiting.add(bytes.len()) > self.waiting_max {
            self.drop_connection();
        }
        self.output.is_some()
    }

    fn pass_on(&mut self, bytes: Bytes) {
        if self
            .output
            .as_ref()
            .is_some_and(|output| output.send(bytes).is_err())
        {
            self.output = None;
        }
    }

    /// A reply that is larger than what may wait for a client is refused before it takes that memory.
    fn encode(&self, reply: Reply) -> Bytes {
        let bytes = reply.bytes();
        if bytes <= self.waiting_max {
            return reply.encode(self.version);
        }
        let most = self.waiting_max;
        Reply::Error(format!(
            "ERR the reply has {bytes} bytes, more than the {most} that may wait for a client; read it in parts (HSCAN, HMGET, COUNT)"
        ))
        .encode(self.version)
    }

    /// It has written something that is not on the disk yet.
    pub(super) fn count_ahead(&mut self) {
        self.ahead += 1;
        if self.ahead >= AHEAD_MAX {
            self.ahead_until
                .get_or_insert_with(|| Instant::now() + AHEAD_WITHIN);
        }
    }

    /// The disk is in step again, or has had its time.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead = 0;
        self.ahead_until = None;
    }

    /// Bytes that wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.own()
    }

    /// Bytes of it that were not carried out.
    pub(super) fn input(&self) -> usize {
        self.input.own()
    }

    /// Ends the connection and says why, unless the client does not read.
    pub(super) fn refuse(&mut self, why: String) {
        if self.waiting() > 0 {
            return self.drop_connection();
        }
        self.send(Reply::Error(why));
        self.cut_off();
    }

    /// Ends the connection once it has written what waits.
    pub(super) fn cut_off(&mut self) {
        self.release(u64::MAX);
        self.output = None;
    }

    /// Ends the connection and drops what waits.
    pub(super) fn drop_connection(&mut self) {
        self.connection.abort();
        self.output = None;
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.output.is_none()
    }

    pub(super) fn reset(&mut self) {
        self.version = Version::Two;
        self.name = Bytes::new();
    }

    /// When it goes on although nothing happened: the end of a blocked read, or of its wait for the disk.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let blocked = self.blocked.as_ref().map(|blocked| blocked.until);
        let patience = self.held.front().and_then(|held| held.patience);
        [blocked, self.ahead_until, patience]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends the waits that are over. Returns whether there was one.
    pub(super) fn end_waits(&mut self, now: Instant) -> bool {
        let is_read_over = self
            .blocked
            .as_ref()
            .is_some_and(|blocked| blocked.until <= now);
        if is_read_over {
            self.blocked = None;
            self.send(Reply::Null);
        }
        let is_ahead_over = self.ahead_until.is_some_and(|until| until <= now);
        if is_ahead_over {
            self.forget_ahead();
        }
        let is_patience_over = |held: &mut Held| held.patience.is_some_and(|until| until <= now);
        let mut is_held_over = false;
        while let Some(held) = self.held.pop_front_if(is_patience_over) {
            self.waiting.remove(held.bytes.len());
            let slow = self.encode(Reply::Error(SLOW_DISK.to_owned()));
            self.output(slow);
            is_held_over = true;
        }
        is_read_over || is_ahead_over || is_held_over
    }

    /// How many channels and patterns it is subscribed to.
    pub(super) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// CLIENT and its subcommands.
    pub(super) fn command(&mut self, id: u64, args: &[Bytes]) -> Reply {
        let verb = args.first().map(|verb| verb.to_ascii_uppercase());
        match (verb.as_deref(), args.get(1..).unwrap_or_default()) {
            (Some(b"SETNAME"), [name]) => {
                self.name = Bytes::copy_from_slice(name);
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
}

/// Refuses a client beyond the limit with Redis' own error.
pub(super) fn turn_away(stream: &TcpStream) {
    // Fits any socket's buffer; the store does not wait for a client that does not read it.
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}

/// What a command takes of [`IN_FLIGHT_UNITS`].
fn units(command: &[Bytes]) -> usize {
    1 + bytes(command) / UNIT
}

/// The memory of a command.
fn bytes(command: &[Bytes]) -> usize {
    let words = command.iter();
    words.map(|word| word.len() + size_of::<Bytes>()).sum()
}

struct Connection {
    id: u64,
    commands: mpsc::Sender<(u64, FromClient)>,
    lines: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<Waiting>,
    input: Arc<Waiting>,
    inputs_max: usize,
    /// What of the input is a command that is not whole yet.
    unfinished: usize,
    in_flight: Arc<Semaphore>,
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
            let next = match next_command(buffer) {
                Ok(next) => next,
                Err(garbage) => {
                    stream
                        .write_all(format!("-ERR {garbage}\r\n").as_bytes())
                        .await?;
                    return stream.shutdown().await;
                }
            };
            let is_over = match next {
                Some(command) => self.hand_over(stream, command).await?,
                None => self.count(buffer.len()).await || self.read(stream, buffer).await?,
            };
            if is_over {
                return Ok(());
            }
        }
    }

    /// Hands a command to the server once there is room for it. Returns whether the connection is over.
    async fn hand_over(
        &mut self,
        stream: &mut TcpStream,
        command: Vec<Bytes>,
    ) -> std::io::Result<bool> {
        let units = u32::try_from(units(&command)).unwrap_or(u32::MAX);
        let in_flight = Arc::clone(&self.in_flight);
        loop {
            tokio::select! {
                line = self.lines.recv() => if self.write(stream, line).await? {
                    return Ok(true);
                },
                room = in_flight.acquire_many(units) => {
                    let Ok(room) = room else { return Ok(true) };
                    room.forget(); // the server gives it back
                    self.input.add(bytes(&command));
                    let command = FromClient::Command(command);
                    return Ok(self.commands.send((self.id, command)).await.is_err());
                }
            }
        }
    }

    /// Counts what is there of a command that is not whole. Returns whether the connection is over.
    async fn count(&mut self, unfinished: usize) -> bool {
        self.input.add(unfinished);
        self.input
            .remove(std::mem::replace(&mut self.unfinished, unfinished));
        let is_much = self.input.all() > self.inputs_max;
        is_much && {
            let crowded = (self.id, FromClient::Crowded);
            self.commands.send(crowded).await.is_err()
        }
    }

    /// Reads more, or writes what waits. Returns whether the connection is over.
    async fn read(
        &mut self,
        stream: &mut TcpStream,
        buffer: &mut BytesMut,
    ) -> std::io::Result<bool> {
        buffer.reserve(READ_BYTES);
        tokio::select! {
            line = self.lines.recv() => self.write(stream, line).await,
            read = stream.read_buf(buffer) => Ok(read? == 0),
        }
    }

    async fn write(&self, stream: &mut TcpStream, line: Option<Bytes>) -> std::io::Result<bool> {
        let Some(line) = line else {
            stream.shutdown().await?;
            return Ok(true);
        };
        stream.write_all(&line).await?;
        self.waiting.remove(line.len());
        Ok(false)
    }
}
