//! The tree's sockets: borrowed where permitted, by netlink where not.

use super::borrow::Lender;
use super::diag::{self, TcpName};
use super::outside::spent;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Gap, GapKind, Socket, SocketKind, Subject, TcpState, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most sockets sampled in one tree.
pub(super) const SOCKETS_MAX: usize = 5000;

/// What a list of the machine's connections costs is spent again after so many times as long.
const LIST_AGAIN_COSTS: u32 = 1000;
/// The same while a socket is there that was not when the last list was made.
const LIST_OTHER_COSTS: u32 = 100;

/// What is remembered of the sockets of one tree.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// The other side of each unix socket, which does not change while it is connected.
    pairs: BTreeMap<u64, Option<u64>>,
    /// Names of connections that cannot be borrowed.
    names: BTreeMap<u64, TcpName>,
    listed: Option<Listed>,
}

/// The last list of the machine's connections.
#[derive(Debug)]
struct Listed {
    at: Moment,
    cost: Duration,
    wanted: BTreeSet<u64>,
}

/// What is known of each socket, and what could not be known.
pub(super) fn describe(
    wanted: &[(u32, i32, u64)],
    remembered: &mut Remembered,
    now: Moment,
) -> (Vec<Socket>, Vec<Gap>) {
    let mut lenders: BTreeMap<u32, Result<Lender, Why>> = BTreeMap::new();
    let mut sockets = Vec::new();
    for &(pid, fd, inode) in wanted.iter().take(SOCKETS_MAX) {
        let lender = lenders.entry(pid).or_insert_with(|| Lender::open(pid));
        let kind = match lender {
            Ok(lender) => lender
                .socket(fd, inode)
                .unwrap_or_else(SocketKind::Unreadable),
            Err(why) => SocketKind::Unreadable(*why),
        };
        // It was closed between two reads.
        if kind != SocketKind::Unreadable(Why::Gone) {
            sockets.push(Socket {
                pid,
                fd,
                inode,
                kind,
            });
        }
    }
    let mut gaps = Vec::new();
    if wanted.len() > SOCKETS_MAX {
        gaps.push(Gap {
            subject: Subject::Tree,
            what: GapKind::Sockets,
            why: Why::TooMany,
        });
    }
    if let Err(why) = by_netlink(&mut sockets, remembered, now) {
        gaps.push(Gap {
            subject: Subject::Tree,
            what: GapKind::Sockets,
            why,
        });
    }
    other_sides(&mut sockets, &mut remembered.pairs);
    name_asked(&mut sockets);
    (sockets, gaps)
}

/// A connection that is still being set up has no peer yet; netlink knows the address that it connects to.
fn name_asked(sockets: &mut [Socket]) {
    let asks = |socket: &Socket| match &socket.kind {
        SocketKind::Tcp(tcp) => tcp.state == TcpState::SynSent && tcp.remote.is_empty(),
        SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_) => false,
    };
    let wanted: BTreeSet<u64> = sockets
        .iter()
        .filter(|s| asks(s))
        .map(|s| s.inode)
        .collect();
    if wanted.is_empty() {
        return;
    }
    let found = diag::connecting(&wanted).unwrap_or_default();
    for socket in sockets.iter_mut().filter(|s| wanted.contains(&s.inode)) {
        if let SocketKind::Tcp(tcp) = &mut socket.kind {
            tcp.remote = match found.get(&socket.inode) {
                Some((_, known)) => known.remote.clone(),
                None => "its peer".to_owned(),
            };
        }
    }
}

/// Which socket is on the other side of a unix socket: asked once.
fn other_sides(sockets: &mut [Socket], pairs: &mut BTreeMap<u64, Option<u64>>) {
    let present: BTreeSet<u64> = sockets.iter().map(|s| s.inode).collect();
    pairs.retain(|inode, _| present.contains(inode));
    for socket in sockets {
        if let SocketKind::Unix {
            listens: false,
            other,
            ..
        } = &mut socket.kind
        {
            let known = pairs.entry(socket.inode).or_insert(*other);
            if known.is_none()
                && let Ok(SocketKind::Unix { other: found, .. }) = diag::unix_socket(socket.inode)
            {
                *known = found;
            }
            *other = *known;
        }
    }
}

/// Each is asked by what the kernel finds it by; all connections are listed for those that have no name yet.
fn by_netlink(sockets: &mut [Socket], remembered: &mut Remembered, now: Moment) -> Result<(), Why> {
    let names = &mut remembered.names;
    let mut nameless = BTreeSet::new();
    let unread = |s: &&mut Socket| matches!(s.kind, SocketKind::Unreadable(_));
    let mut present = BTreeSet::new();
    for socket in sockets.iter_mut().filter(unread) {
        present.insert(socket.inode);
        let named = names.get(&socket.inode).map(diag::tcp_socket);
        if let Some(Ok((inode, tcp))) = named
            && inode == socket.inode
        {
            socket.kind = SocketKind::Tcp(Box::new(tcp));
        } else if let Ok(kind) = diag::unix_socket(socket.inode) {
            socket.kind = kind;
        } else {
            nameless.insert(socket.inode);
        }
    }
    names.retain(|inode, _| present.contains(inode) && !nameless.contains(inode));
    let is_due = |listed: &Listed| listed.is_due(&nameless, now);
    if nameless.is_empty() || !remembered.listed.as_ref().is_none_or(is_due) {
        return Ok(());
    }
    let before = spent();
    let found = diag::tcp_sockets(&nameless);
    remembered.listed = Some(Listed {
        at: now,
        cost: spent().saturating_sub(before),
        wanted: nameless,
    });
    let mut found = found?;
    for socket in sockets.iter_mut().filter(unread) {
        if let Some((name, tcp)) = found.remove(&socket.inode) {
            remembered.names.insert(socket.inode, name);
            socket.kind = SocketKind::Tcp(Box::new(tcp));
        }
    }
    Ok(())
}

impl Listed {
    fn is_due(&self, nameless: &BTreeSet<u64>, now: Moment) -> bool {
        let costs = if nameless.is_subset(&self.wanted) {
            LIST_AGAIN_COSTS
        } else {
            LIST_OTHER_COSTS
        };
        now.since(self.at) >= self.cost * costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn a_connection_is_listed_once_and_asked_by_its_name_from_then_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inodes = [fstat(&client).unwrap(), fstat(&other).unwrap()].map(|stat| stat.st_ino);
        let (mut remembered, start) = (Remembered::default(), Moment::default());
        let mut ask = |now| {
            let mut sockets = inodes.map(|inode| Socket {
                pid: 1,
                fd: 3,
                inode,
                kind: SocketKind::Unreadable(Why::Denied),
            });
            by_netlink(&mut sockets, &mut remembered, now).unwrap();
            let listed = remembered.listed.as_mut().unwrap();
            listed.cost = Duration::from_secs(1);
            let is_tcp = sockets.map(|socket| matches!(socket.kind, SocketKind::Tcp(_)));
            (is_tcp, listed.at)
        };
        assert_eq!(ask(start), ([true, false], start));
        let later = start + Duration::from_secs(60);
        assert_eq!(ask(later), ([true, false], start));
    }
}
