//! Who on this machine listens on a port: a client of a local queue or database rests where a client of a model waits.
//! The kernel has no list of that by port, so an answer is kept for a long time.

use super::descriptors::kind;
use super::diag;
use super::process::stat_line;
use super::read::{Reader, numbers};
use super::table::Table;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Kind, Socket, SocketKind, TcpState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Programs keep their ports.
const KEPT: Duration = Duration::from_secs(600);
const PROCESSES_MAX: usize = 8192;
const DESCRIPTORS_MAX: usize = 4096;

/// Remembers who listens where.
#[derive(Debug, Default)]
pub(super) struct Local {
    known: BTreeMap<u16, (Moment, String)>,
}

impl Local {
    /// Names the peers of connections within this machine.
    pub(super) fn name(&mut self, reader: &mut Reader, sockets: &mut [Socket], now: Moment) {
        let port = |socket: &Socket| match &socket.kind {
            SocketKind::Tcp(tcp) => {
                let local = ["127.", "[::1]", "[::ffff:127."]
                    .iter()
                    .any(|p| tcp.remote.starts_with(p));
                (local && tcp.state == TcpState::Established).then_some(tcp.remote_port)
            }
            SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_) => None,
        };
        self.known.retain(|_, (at, _)| now.since(*at) < KEPT);
        let mut wanted: BTreeSet<u16> = sockets
            .iter()
            .filter_map(port)
            .filter(|p| !self.known.contains_key(p))
            .collect();
        // The tree itself is known without a search.
        for (port, pid) in sockets.iter().filter_map(listener) {
            if wanted.remove(&port) {
                self.known.insert(port, (now, name(reader, pid)));
            }
        }
        if !wanted.is_empty() {
            let found = look_up(reader, &wanted);
            for port in wanted {
                let name = found.get(&port).cloned().unwrap_or_default();
                self.known.insert(port, (now, name));
            }
        }
        for socket in sockets {
            let name = port(socket).and_then(|port| self.known.get(&port));
            if let (Some((_, name)), SocketKind::Tcp(tcp)) = (name, &mut socket.kind) {
                tcp.peer.clone_from(name);
            }
        }
    }
}

/// The port on which it listens, and a process that has it.
fn listener(socket: &Socket) -> Option<(u16, u32)> {
    match &socket.kind {
        SocketKind::Tcp(tcp) if tcp.state == TcpState::Listen => Some((tcp.local_port, socket.pid)),
        SocketKind::Tcp(_)
        | SocketKind::Unix { .. }
        | SocketKind::Other
        | SocketKind::Unreadable(_) => None,
    }
}

fn look_up(reader: &mut Reader, ports: &BTreeSet<u16>) -> BTreeMap<u16, String> {
    let Ok(mut inodes) = diag::listeners(ports) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    // No process listens on the ephemeral ports of clients: without a listener there is nothing to search.
    let pids = if inodes.is_empty() {
        Vec::new()
    } else {
        numbers("/proc", PROCESSES_MAX).unwrap_or_default().0
    };
    for pid in pids {
        let Ok(table) = Table::open(pid, DESCRIPTORS_MAX) else {
            continue;
        };
        for (_, target) in table.links() {
            if let Kind::Socket(inode) = kind(target)
                && let Some(port) = inodes.remove(&inode)
            {
                found.insert(port, name(reader, pid));
            }
        }
        if inodes.is_empty() {
            break;
        }
    }
    found
}

fn name(reader: &mut Reader, pid: u32) -> String {
    let stat = reader.text(&format!("/proc/{pid}/stat"));
    stat.ok()
        .and_then(|stat| stat_line(pid, &stat))
        .map(|p| p.name)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat::verdict::sample::Tcp;

    #[test]
    fn the_program_behind_a_local_port_is_known_by_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = look_up(&mut Reader::default(), &BTreeSet::from([port]));
        let own = name(&mut Reader::default(), std::process::id());
        assert_eq!(found.get(&port), Some(&own));
    }

    #[test]
    fn a_listener_of_the_tree_is_named_without_a_search() {
        let pid = std::process::id();
        let socket = |state, local_port, remote_port| Socket {
            pid,
            fd: 3,
            inode: u64::from(local_port),
            kind: SocketKind::Tcp(Box::new(Tcp {
                state,
                local_port,
                remote_port,
                remote: format!("127.0.0.1:{remote_port}"),
                ..Tcp::default()
            })),
        };
        // No process listens on port 1, so a search finds none.
        let listens = socket(TcpState::Listen, 1, 0);
        let mut sockets = [socket(TcpState::Established, 2, 1), listens];
        let mut reader = Reader::default();
        Local::default().name(&mut reader, &mut sockets, Moment::default());
        let SocketKind::Tcp(client) = &sockets[0].kind else {
            panic!("{sockets:?}")
        };
        assert_eq!(client.peer, name(&mut reader, pid));
    }
}
