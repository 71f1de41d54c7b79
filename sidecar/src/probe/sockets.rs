//! The tree's sockets: borrowed where permitted, by netlink where not.

use super::borrow::Lender;
use super::diag;
use heartbeat::verdict::sample::{Gap, GapKind, Socket, SocketKind, Subject, TcpState, Why};
use std::collections::{BTreeMap, BTreeSet};

/// The most sockets sampled in one tree.
pub(super) const SOCKETS_MAX: usize = 5000;

/// What is known of each socket, and what could not be known.
pub(super) fn describe(
    wanted: &[(u32, i32, u64)],
    pairs: &mut BTreeMap<u64, Option<u64>>,
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
    if let Err(why) = by_netlink(&mut sockets) {
        gaps.push(Gap {
            subject: Subject::Tree,
            what: GapKind::Sockets,
            why,
        });
    }
    other_sides(&mut sockets, pairs);
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
                Some(SocketKind::Tcp(known)) => known.remote.clone(),
                Some(SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_))
                | None => "its peer".to_owned(),
            };
        }
    }
}

/// Which socket is on the other side of a unix socket: asked once, it does not change while it is connected.
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

fn by_netlink(sockets: &mut [Socket]) -> Result<(), Why> {
    let unread = |s: &&mut Socket| matches!(s.kind, SocketKind::Unreadable(_));
    let wanted: BTreeSet<u64> = sockets.iter_mut().filter(unread).map(|s| s.inode).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut found = diag::tcp_sockets(&wanted)?;
    for socket in sockets.iter_mut().filter(unread) {
        if let Some(kind) = found.remove(&socket.inode) {
            socket.kind = kind;
        } else if let Ok(kind) = diag::unix_socket(socket.inode) {
            socket.kind = kind;
        }
    }
    Ok(())
}
