//! The connection that brings the beats: a socket of its own, read by the hub itself, nothing in between.
//!
//! A message of the channel has one head; what stands behind it is the payload, handed out where it was read. Any other frame
//! goes to a real parser. The link answers pings, so that a quiet one and a dead one differ.

use anyhow::Context;
use hbshell::store::{ConnectError, Target};
use heartbeat::base::moment::Moment;
use heartbeat::wire::beat::BEAT_BYTES_MAX;
use heartbeat::wire::keys::Channels;
use redis::{ConnectionAddr, ConnectionInfo};
use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What one read takes at most.
const BUFFER: usize = 1 << 20;
/// After so long without a byte the store is pinged.
const PING_AFTER: Duration = Duration::from_secs(5);
/// After so long without a byte the link counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(12);

/// A connection that is subscribed.
#[derive(Debug)]
pub(crate) struct Push {
    socket: Socket,
    heads: Heads,
    buffer: Box<[u8]>,
    /// What was read and not taken yet.
    start: usize,
    end: usize,
    /// Bytes of a message that is too large, still to come.
    skip: usize,
    last_byte: Moment,
    pinged: Option<Moment>,
}

/// What the channel brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A payload from the channel of this database.
    Beat(&'a [u8]),
    /// A payload from the channel that all databases share.
    Shared(&'a [u8]),
    /// A payload of so many bytes: more than a beat has.
    TooLarge(usize),
    /// The number of a canary that came back.
    Canary(u64),
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What precedes the length of a payload: of this database's channel, and of the shared one.
#[derive(Debug)]
struct Heads {
    own: Vec<u8>,
    shared: Option<Vec<u8>>,
}

/// Where a payload stands in what was read.
struct Found {
    is_shared: bool,
    start: usize,
    length: usize,
}

impl Push {
    /// Connects and subscribes; blocks for at most `within` a step.
    ///
    /// # Errors
    /// The store cannot be reached, or it refuses; the text has no password.
    pub(crate) fn connect(
        target: &Target,
        channels: Channels,
        canary: &str,
        within: Duration,
        now: Moment,
    ) -> anyhow::Result<Self> {
        let info = &target.info;
        let mut push = Self {
            socket: Socket::connect(target, within)?,
            heads: Heads::of(channels),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            skip: 0,
            last_byte: now,
            pinged: None,
        };
        push.socket.timeout(Some(within))?;
        push.socket.write_all(&command(&hello(info)))?;
        push.answer().context("HELLO")?;
        let shared = channels.shared().map(str::to_owned);
        let names = [Some(channels.beats()), shared, Some(canary.to_owned())];
        let names: Vec<String> = names.into_iter().flatten().collect();
        let words = ["SUBSCRIBE"]
            .into_iter()
            .chain(names.iter().map(String::as_str));
        push.socket
            .write_all(&command(&words.collect::<Vec<_>>()))?;
        for _ in &names {
            push.answer().context("SUBSCRIBE")?;
        }
        push.socket.nonblocking()?;
        Ok(push)
    }

    /// Reads once what has arrived. True when more may be waiting.
    ///
    /// # Errors
    /// The connection is closed or broken.
    pub(crate) fn read(&mut self, now: Moment) -> anyhow::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.socket.read(&mut self.buffer[self.end..]) {
            Ok(0) => anyhow::bail!("the store closed the connection"),
            Ok(count) => {
                (self.last_byte, self.pinged) = (now, None);
                self.end += count;
                // What TLS hands out is one record: the socket may hold more.
                Ok(self.end == self.buffer.len() || self.socket.is_encrypted())
            }
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message that has arrived whole.
    ///
    /// # Errors
    /// What arrived is not RESP, or the store refuses something.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Message<'_>>> {
        loop {
            let skipped = self.skip.min(self.end - self.start);
            (self.start, self.skip) = (self.start + skipped, self.skip - skipped);
            let rest = &self.buffer[self.start..self.end];
            if rest.is_empty() {
                return Ok(None);
            }
            if let Some(found) = self.heads.find(rest) {
                let whole = found.start + found.length + 2;
                if found.length > BEAT_BYTES_MAX {
                    self.skip = whole;
                    return Ok(Some(Message::TooLarge(found.length)));
                }
                if rest.len() < whole {
                    return Ok(None);
                }
                let at = self.start + found.start;
                self.start += whole;
                let payload = &self.buffer[at..at + found.length];
                return Ok(Some(if found.is_shared {
                    Message::Shared(payload)
                } else {
                    Message::Beat(payload)
                }));
            }
            let Some((frame, used)) = decode(rest)? else {
                anyhow::ensure!(rest.len() < BUFFER, "an answer of the store is too large");
                return Ok(None);
            };
            self.start += used;
            if let Some(number) = canary(&frame) {
                return Ok(Some(Message::Canary(number)));
            }
            refused(frame)?;
        }
    }

    /// Pings a store that was silent for a while.
    ///
    /// # Errors
    /// The link is dead.
    pub(crate) fn keep_alive(&mut self, now: Moment) -> anyhow::Result<()> {
        let silent = now.since(self.last_byte);
        anyhow::ensure!(
            silent < DEAD_AFTER || self.pinged.is_none(),
            "the store has not answered for {} s",
            silent.as_secs()
        );
        if silent >= PING_AFTER && self.pinged.is_none() {
            self.pinged = Some(now);
            match self.socket.write(&command(&["PING"])) {
                Ok(_) => {}
                Err(error) if is_nothing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One answer to a command of the beginning.
    fn answer(&mut self) -> anyhow::Result<()> {
        loop {
            let rest = &self.buffer[self.start..self.end];
            if let Some((frame, used)) = decode(rest)? {
                self.start += used;
                return refused(frame);
            }
            anyhow::ensure!(
                self.end < self.buffer.len(),
                "an answer of the store is too large"
            );
            let count = self.socket.read(&mut self.buffer[self.end..])?;
            anyhow::ensure!(count > 0, "the store closed the connection");
            self.end += count;
        }
    }
}

impl AsFd for Push {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tls(socket) => socket.sock.as_fd(),
        }
    }
}

impl Socket {
    fn connect(target: &Target, within: Duration) -> anyhow::Result<Self> {
        match (target.info.addr(), &target.tls) {
            (ConnectionAddr::Tcp(host, port), None) => Ok(Self::Tcp(tcp(host, *port, within)?)),
            (ConnectionAddr::Tcp(host, port), Some(tls)) => {
                let name = ServerName::try_from(host.clone())?;
                let client = ClientConnection::new(tls.clone(), name)?;
                let mut stream = StreamOwned::new(client, tcp(host, *port, within)?);
                stream.sock.set_read_timeout(Some(within))?;
                let shaken = stream.conn.complete_io(&mut stream.sock);
                shaken.map_err(ConnectError::Tls)?;
                Ok(Self::Tls(Box::new(stream)))
            }
            (ConnectionAddr::Unix(path), _) => Ok(Self::Unix(UnixStream::connect(path)?)),
            (other, _) => anyhow::bail!("{other} is no address that can be connected to"),
        }
    }

    fn is_encrypted(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(_) => true,
        }
    }

    fn timeout(&self, within: Option<Duration>) -> std::io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(within),
            Self::Unix(socket) => socket.set_read_timeout(within),
            Self::Tls(socket) => socket.sock.set_read_timeout(within),
        }
    }

    fn nonblocking(&self) -> std::io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
            Self::Tls(socket) => socket.sock.set_nonblocking(true),
        }
    }
}

fn tcp(host: &str, port: u16, within: Duration) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, within) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.into()),
        None => anyhow::bail!("{host} has no address"),
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Unix(socket) => socket.read(into),
            Self::Tls(socket) => socket.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Tls(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(socket) => socket.flush(),
        }
    }
}

impl Heads {
    fn of(channels: Channels) -> Self {
        let head = |name: &str| format!(">3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n$", name.len());
        Self {
            own: head(&channels.beats()).into_bytes(),
            shared: channels.shared().map(|name| head(name).into_bytes()),
        }
    }

    /// A message at the beginning of what was read, whole or not.
    fn find(&self, rest: &[u8]) -> Option<Found> {
        let (head, is_shared) = if rest.starts_with(&self.own) {
            (&self.own, false)
        } else {
            let shared = self.shared.as_ref()?;
            (rest.starts_with(shared).then_some(shared)?, true)
        };
        let number = &rest[head.len()..];
        let digits = number.iter().take(10).position(|b| *b == b'\r')?;
        (number.get(digits + 1) == Some(&b'\n')).then_some(())?;
        let length = std::str::from_utf8(&number[..digits]).ok()?.parse().ok()?;
        Some(Found {
            is_shared,
            start: head.len() + digits + 2,
            length,
        })
    }
}

/// The words that open a connection in RESP3, as its user.
fn hello(info: &ConnectionInfo) -> Vec<&str> {
    let settings = info.redis_settings();
    let mut words = vec!["HELLO", "3"];
    if let Some(password) = settings.password() {
        words.extend(["AUTH", settings.username().unwrap_or("default"), password]);
    }
    words
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// The number in a message of a channel that brings no beats: that is the canary's.
fn canary(frame: &OwnedFrame) -> Option<u64> {
    let OwnedFrame::Push { data, .. } = frame else {
        return None;
    };
    let [kind, _channel, OwnedFrame::BlobString { data, .. }] = data.as_slice() else {
        return None;
    };
    let is_message = matches!(kind, OwnedFrame::BlobString { data, .. } if data == b"message");
    let number = std::str::from_utf8(data).ok()?;
    is_message.then(|| number.parse().ok())?
}

/// An error in the store's answer ends the connection; every other frame confirms something.
fn refused(frame: OwnedFrame) -> anyhow::Result<()> {
    if let OwnedFrame::SimpleError { data, .. } = &frame {
        anyhow::bail!("the store refuses: {data}");
    }
    if let OwnedFrame::BlobError { data, .. } = &frame {
        anyhow::bail!("the store refuses: {}", String::from_utf8_lossy(data));
    }
    Ok(())
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(0);

    /// A connection of database 2, and the store's end of it.
    fn connection() -> (Push, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let push = Push {
            socket: Socket::Unix(near),
            heads: Heads::of(Channels::of(2)),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            skip: 0,
            last_byte: NOW,
            pinged: None,
        };
        (push, far)
    }

    fn message(channel: &str, payload: &str) -> String {
        let (names, bytes) = (channel.len(), payload.len());
        format!(">3\r\n$7\r\nmessage\r\n${names}\r\n{channel}\r\n${bytes}\r\n{payload}\r\n")
    }

    /// What is taken from these bytes, of which so many arrive at a time.
    fn taken(bytes: &[u8], at_a_time: usize) -> anyhow::Result<Vec<String>> {
        let (mut push, mut store) = connection();
        let mut taken = Vec::new();
        for some in bytes.chunks(at_a_time) {
            store.write_all(some)?;
            push.read(NOW)?;
            while let Some(message) = push.next()? {
                taken.push(match message {
                    Message::Beat(payload) => format!("beat {}", String::from_utf8_lossy(payload)),
                    Message::Shared(payload) => {
                        format!("shared {}", String::from_utf8_lossy(payload))
                    }
                    Message::TooLarge(length) => format!("{length} bytes"),
                    Message::Canary(number) => format!("canary {number}"),
                });
            }
        }
        Ok(taken)
    }

    #[test]
    fn messages_are_taken_whole_wherever_they_are_cut() {
        let large = "x".repeat(BEAT_BYTES_MAX + 1);
        let bytes = [
            message("heartbeats:2", "one"),
            "+PONG\r\n".to_owned(),
            message("heartbeats", "two"),
            message("heartbeats:2", &large),
            message("hb:canary:i", "7"),
            message("heartbeats:2", "th\r\nree"),
        ]
        .concat();
        let size = format!("{} bytes", large.len());
        let expected = [
            "beat one",
            "shared two",
            &size,
            "canary 7",
            "beat th\r\nree",
        ];
        for at_a_time in [1, 2, 7, 100, 5000, 100_000] {
            assert_eq!(taken(bytes.as_bytes(), at_a_time).unwrap(), expected);
        }
    }

    #[test]
    fn a_message_larger_than_the_buffer_costs_only_itself() {
        let large = message("heartbeats:2", &"x".repeat(3 * BUFFER));
        let bytes = [large, message("heartbeats:2", "next")].concat();
        let taken = taken(bytes.as_bytes(), 50_000).unwrap();
        assert_eq!(
            taken,
            [format!("{} bytes", 3 * BUFFER), "beat next".to_owned()]
        );
    }

    #[test]
    fn an_error_of_the_store_and_what_is_no_resp_end_the_connection() {
        for bytes in ["-NOPERM no\r\n", "!6\r\nNOAUTH\r\n", "HTTP/1.1 400\r\n\r\n"] {
            assert!(taken(bytes.as_bytes(), 100).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_silent_store_is_pinged_and_then_counts_as_lost() {
        let (mut push, mut store) = connection();
        let after = |wait: Duration| NOW + wait;
        push.keep_alive(after(PING_AFTER)).unwrap();
        let mut ping = [0; 14];
        store.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"*1\r\n$4\r\nPING\r\n");
        assert!(push.keep_alive(after(DEAD_AFTER)).is_err());
        store.write_all(b"+PONG\r\n").unwrap();
        push.read(after(DEAD_AFTER)).unwrap();
        push.keep_alive(after(DEAD_AFTER)).unwrap();
    }
}
