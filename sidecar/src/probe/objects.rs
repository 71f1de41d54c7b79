//! What each descriptor that a thread waits on leads to, as objects whose holders are still to be found.

use super::borrow::Lender;
use super::descriptors::Descriptors;
use super::diag;
use super::outside::{Id, event_id};
use super::read::{Reader, link};
use super::same;
use crate::process::handle::file::attributes;
use heartbeat::verdict::sample::{
    Channel, End, Kind, NAMED_PIPE, ObjectKind, Sample, Socket, SocketKind, Tcp, TcpState, Until,
    Why,
};
use std::collections::BTreeMap;

/// The most descriptors that one epoll descriptor watches, those of nested ones included.
const WATCHED_MAX: usize = 256;
/// Epoll descriptors may watch each other; the kernel allows a few levels.
const NESTED_MAX: usize = 4;
/// Events that are no events: wakeup, exclusive, one-shot, edge-triggered. With no other the entry is switched off.
const EPOLL_MODES: u64 = 1 << 28 | 1 << 29 | 1 << 30 | 1 << 31;

/// An object and what its holders are found by.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) fd: i32,
    pub(super) kind: ObjectKind,
    pub(super) limit: Until,
    pub(super) held: HeldBy,
}

/// What finds those that can act on an object.
#[derive(Clone, Debug)]
pub(super) enum HeldBy {
    /// Nothing does: the kind alone decides.
    Anybody,
    /// Holders of an end of any of these that matters here.
    Ends(Vec<Id>, Side),
    /// Processes of the tree with a descriptor of this kind, since two of them look the same.
    Alike(&'static str),
    /// These processes.
    Processes(Vec<u32>),
    /// These processes, and holders of any of these.
    Either(Vec<u32>, Vec<Id>),
    /// Those that share or map this memory.
    Memory(Vec<Id>),
}

/// The ends that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Readers,
    Writers,
    Any,
}

impl Draft {
    pub(super) fn new(fd: i32, kind: ObjectKind) -> Self {
        Self {
            fd,
            kind,
            limit: Until::Never,
            held: HeldBy::Anybody,
        }
    }

    pub(super) fn held(self, held: HeldBy) -> Self {
        Self { held, ..self }
    }

    pub(super) fn unreadable(fd: i32, why: Why) -> Self {
        Self::new(fd, ObjectKind::Unreadable(why))
    }
}

/// Looks at the objects of one process of the tree.
pub(super) struct Objects<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) sample: &'a Sample,
    pub(super) pid: u32,
    pub(super) descriptors: &'a Descriptors,
    /// Network namespaces of processes, asked once per sample.
    pub(super) networks: &'a mut BTreeMap<u32, Option<String>>,
}

impl Objects<'_> {
    /// What a descriptor of the process leads to. `direct`: the call itself moves the data.
    pub(super) fn object(&mut self, fd: i32, direct: bool) -> Draft {
        let through = self.descriptors.through;
        let Some(kind) = self.descriptors.kind(fd) else {
            return Draft::unreadable(fd, self.descriptors.gap.unwrap_or(Why::Gone));
        };
        match kind {
            Kind::Pipe(inode) if inode & NAMED_PIPE != 0 => Draft::new(fd, ObjectKind::Fifo),
            Kind::Pipe(inode) => self.pipe(fd, *inode),
            Kind::Socket(inode) => self.socket(fd, *inode, direct),
            Kind::Terminal(path) if path.starts_with("/dev/pts/") => {
                self.terminal(fd, path.clone(), direct)
            }
            Kind::Terminal(_) => Draft::new(fd, ObjectKind::Device),
            Kind::File(path) if path.ends_with("/ptmx") => {
                Draft::new(fd, ObjectKind::TerminalMaster)
            }
            Kind::File(path) if path == "/dev/fuse" => Draft::new(fd, ObjectKind::Fuse),
            Kind::File(path) if path.starts_with("/dev/") => Draft::new(fd, ObjectKind::Device),
            Kind::File(_) => Draft::new(fd, ObjectKind::File),
            Kind::Internal(name) => internal(self.reader, through, fd, name),
            Kind::Unreadable(why) => Draft::unreadable(fd, *why),
        }
    }

    fn pipe(&self, fd: i32, inode: u64) -> Draft {
        let mut ends = self.sample.ends.iter();
        let own = |end: &&End| (end.pid, end.fd) == (self.pid, fd);
        let side = match ends.find(own) {
            Some(end) if end.reads && end.writes => Side::Any,
            Some(end) if end.reads => Side::Writers,
            Some(end) if end.writes => Side::Readers,
            Some(_) | None => return Draft::unreadable(fd, Why::Gone),
        };
        let id = Id::Channel(Channel::Pipe(inode));
        Draft::new(fd, ObjectKind::Pipe).held(HeldBy::Ends(vec![id], side))
    }

    fn socket(&mut self, fd: i32, inode: u64, direct: bool) -> Draft {
        let Some(socket) = self.sample.socket(inode) else {
            return Draft::unreadable(fd, Why::Gone);
        };
        let pair = |kind, other| {
            let ids = [inode, other].map(|inode| Id::Channel(Channel::Socket(inode)));
            Draft::new(fd, kind).held(HeldBy::Ends(ids.into(), Side::Any))
        };
        let draft = match &socket.kind {
            SocketKind::Unreadable(why) => return Draft::unreadable(fd, *why),
            SocketKind::Unix { listens: true, .. } => Draft::new(fd, ObjectKind::Listener),
            SocketKind::Unix { .. } => match diag::unix_link(inode) {
                Ok(link) => match link.other {
                    Some(other) if link.exclusive => pair(ObjectKind::SocketPair, other),
                    Some(_) => Draft::new(fd, ObjectKind::Network),
                    // Not connected, not accepted yet, or left by its peer.
                    None => return Draft::unreadable(fd, Why::Gone),
                },
                Err(why) => return Draft::unreadable(fd, why),
            },
            SocketKind::Tcp(tcp) if tcp.state == TcpState::Listen => {
                Draft::new(fd, ObjectKind::Listener)
            }
            SocketKind::Tcp(tcp) => match self.counterpart(socket, tcp) {
                Some(other) => pair(ObjectKind::Loopback, other),
                None => Draft::new(fd, ObjectKind::Network),
            },
            SocketKind::Other => Draft::new(fd, ObjectKind::Network),
        };
        self.limited(draft, socket, direct)
    }

    /// With the socket's own time limit, which applies to calls that move data. A limit on unanswered data applies always.
    fn limited(&self, draft: Draft, socket: &Socket, direct: bool) -> Draft {
        let is_tcp = matches!(socket.kind, SocketKind::Tcp(_));
        if !direct && !is_tcp && draft.kind != ObjectKind::Network {
            return draft;
        }
        let lent = Lender::open(socket.pid).and_then(|l| l.socket_limit(socket.fd, socket.inode));
        match lent {
            Ok((_, true)) => Draft::new(draft.fd, ObjectKind::Netlink),
            Ok((limit, false)) => Draft { limit, ..draft },
            Err(why) => Draft {
                limit: Until::Unreadable(why),
                ..draft
            },
        }
    }

    /// The other side of an established connection, when it is a socket of the tree in the same network.
    fn counterpart(&mut self, socket: &Socket, tcp: &Tcp) -> Option<u64> {
        if tcp.state != TcpState::Established || tcp.remote.is_empty() {
            return None;
        }
        let faces = |other: &&Socket| match &other.kind {
            SocketKind::Tcp(far) => {
                far.state == TcpState::Established
                    && (&far.local, &far.remote) == (&tcp.remote, &tcp.local)
            }
            SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_) => false,
        };
        let mut facing = self.sample.sockets.iter().filter(faces);
        let other = facing.next().filter(|_| facing.next().is_none())?;
        let here = self.network(socket.pid)?;
        (here == self.network(other.pid)?).then_some(other.inode)
    }

    fn network(&mut self, pid: u32) -> Option<String> {
        let ask = || link(&format!("/proc/{pid}/ns/net")).ok();
        self.networks.entry(pid).or_insert_with(ask).clone()
    }

    /// A holder of either side may close it, and the end of the session's leader hangs it up.
    fn terminal(&mut self, fd: i32, path: String, direct: bool) -> Draft {
        let through = self.descriptors.through;
        let limit = if direct {
            Lender::open(through)
                .and_then(|lender| lender.terminal_limit(fd))
                .unwrap_or_else(Until::Unreadable)
        } else {
            Until::Never
        };
        let id = Id::Channel(Channel::Terminal(path));
        // Another mount namespace may have terminals of its own under the same names.
        let mounts = |pid: &str| link(&format!("/proc/{pid}/ns/mnt"));
        if mounts(&through.to_string()) != mounts("self") {
            return Draft::unreadable(fd, Why::OtherSpace);
        }
        let held = match session(self.reader, self.pid) {
            Some(leader) => HeldBy::Either(vec![leader], vec![id]),
            None => return Draft::unreadable(fd, Why::Gone),
        };
        Draft {
            limit,
            ..Draft::new(fd, ObjectKind::Terminal).held(held)
        }
    }

    /// The epoll descriptor itself and everything that it watches. None when that is too much.
    pub(super) fn epoll(&mut self, epoll: i32) -> Option<Vec<Draft>> {
        let mut found = Vec::new();
        self.watched(epoll, 0, &mut found).then_some(found)
    }

    fn watched(&mut self, epoll: i32, depth: usize, found: &mut Vec<Draft>) -> bool {
        let through = self.descriptors.through;
        found.push(internal(self.reader, through, epoll, "eventpoll"));
        let text = match self.reader.text(&format!("/proc/{through}/fdinfo/{epoll}")) {
            Ok(text) => text,
            Err(why) => {
                found.push(Draft::unreadable(epoll, why));
                return true;
            }
        };
        let entries: Vec<Option<Entry>> = text
            .lines()
            .filter(|line| line.starts_with("tfd:"))
            .map(entry)
            .collect();
        let mut seen: BTreeMap<i32, u32> = BTreeMap::new();
        for entry in entries {
            if found.len() > WATCHED_MAX {
                return false;
            }
            let Some(entry) = entry else {
                found.push(Draft::unreadable(-1, Why::Malformed));
                continue;
            };
            let count = seen.entry(entry.fd).or_default();
            let nth = *count;
            *count += 1;
            if entry.events & !EPOLL_MODES == 0 {
                continue;
            }
            if let Err(why) = self.is_still(epoll, &entry, nth) {
                found.push(Draft::unreadable(entry.fd, why));
                continue;
            }
            let nested = matches!(self.descriptors.kind(entry.fd), Some(Kind::Internal(name)) if name == "eventpoll");
            if !nested {
                let object = self.object(entry.fd, false);
                found.push(object);
            } else if depth == NESTED_MAX || !self.watched(entry.fd, depth + 1, found) {
                return false;
            }
        }
        true
    }

    /// Whether the number still leads to what was added under it.
    fn is_still(&self, epoll: i32, entry: &Entry, nth: u32) -> Result<(), Why> {
        let through = self.descriptors.through;
        match same::epoll_target(through, epoll, entry.fd, nth) {
            Some(true) => return Ok(()),
            Some(false) => return Err(Why::Gone),
            None => {}
        }
        // Objects without a name of their own share one inode, so for them it proves nothing.
        if matches!(self.descriptors.kind(entry.fd), Some(Kind::Internal(_))) {
            return Err(Why::Denied);
        }
        let path = format!("/proc/{through}/fd/{}", entry.fd);
        let found = attributes(&path).map_err(super::read::why)?;
        let (major, minor) = found.device;
        let device = u64::from(major) << 20 | u64::from(minor);
        if (found.inode, device) == (entry.inode, entry.device) {
            Ok(())
        } else {
            Err(Why::Gone)
        }
    }
}

/// One line `tfd: 5 events: 19 data: 5 pos:0 ino:4cea24 sdev:f` of an epoll descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    fd: i32,
    events: u64,
    inode: u64,
    device: u64,
}

fn entry(line: &str) -> Option<Entry> {
    let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let events = hexadecimal(words.nth(1)?)?;
    let mut rest = words.skip(2);
    let mut field = |name: &str| hexadecimal(rest.find_map(|word| word.strip_prefix(name))?);
    Some(Entry {
        fd,
        events,
        inode: field("ino:")?,
        device: field("sdev:")?,
    })
}

/// An object without a name outside the kernel.
fn internal(reader: &mut Reader, through: u32, fd: i32, name: &str) -> Draft {
    let mut info = |field: &str| {
        let text = reader.text(&format!("/proc/{through}/fdinfo/{fd}")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().to_owned())
    };
    match name {
        "eventfd" => match event_id(reader, through, fd) {
            Some(id) => {
                Draft::new(fd, ObjectKind::Event).held(HeldBy::Ends(vec![Id::Event(id)], Side::Any))
            }
            None => Draft::unreadable(fd, Why::Unsupported),
        },
        "timerfd" => {
            let rests = |value: String| value == "(0, 0)";
            let ticks = info("ticks:").map(|ticks| ticks != "0");
            let armed = info("it_value:").map(|value| !rests(value));
            let armed = armed.zip(ticks).map(|(armed, due)| armed || due);
            Draft::new(fd, ObjectKind::Timer { armed }).held(HeldBy::Alike("timerfd"))
        }
        "eventpoll" => Draft::new(fd, ObjectKind::Epoll).held(HeldBy::Alike("eventpoll")),
        "pidfd" => match info("Pid:").and_then(|pid| pid.parse::<i64>().ok()) {
            Some(0) => Draft::unreadable(fd, Why::OtherSpace),
            Some(pid) => match u32::try_from(pid) {
                Ok(pid) => Draft::new(fd, ObjectKind::Process).held(HeldBy::Processes(vec![pid])),
                Err(_) => Draft::unreadable(fd, Why::Gone),
            },
            None => Draft::unreadable(fd, Why::Unsupported),
        },
        "signalfd" => match info("sigmask:").and_then(|mask| u64::from_str_radix(&mask, 16).ok()) {
            Some(mask) => Draft::new(fd, ObjectKind::Signals(mask)),
            None => Draft::unreadable(fd, Why::Unsupported),
        },
        "inotify" | "fanotify" => Draft::new(fd, ObjectKind::FileEvents),
        "userfaultfd" => Draft::new(fd, ObjectKind::UserFault),
        "perf_event" => Draft::new(fd, ObjectKind::Perf),
        "io_uring" => Draft::new(fd, ObjectKind::Ring),
        _ => Draft::new(fd, ObjectKind::Other),
    }
}

/// The leader of a process's session.
fn session(reader: &mut Reader, pid: u32) -> Option<u32> {
    let stat = reader.text(&format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.get(stat.rfind(')')? + 1..)?;
    fields.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_epoll_descriptor_names_what_it_was_added_for() {
        let line = "tfd:        4 events:       1f data:                4  pos:0 ino:4cea24 sdev:f";
        let expected = Entry {
            fd: 4,
            events: 0x1f,
            inode: 0x004c_ea24,
            device: 0xf,
        };
        assert_eq!(entry(line), Some(expected));
        for broken in [
            "tfd:",
            "tfd: x events: 1",
            "tfd: 4 events: 1f data: 4",
            "pos: 0",
        ] {
            assert_eq!(entry(broken), None, "{broken}");
        }
    }
}
