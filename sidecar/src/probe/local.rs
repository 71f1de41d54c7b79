//! Who on this machine listens on a port: a client of a local queue or database rests where a client of a model waits.
//! The kernel has no list of that by port, so an answer is kept for a long time.

use super::diag;
use super::process::stat_line;
use super::read::{Reader, link, numbers};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Socket, SocketKind, TcpState};
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
        let wanted: BTreeSet<u16> = sockets
            .iter()
            .filter_map(port)
            .filter(|p| !self.known.contains_key(p))
            .collect();
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
        let fds = numbers(&format!("/proc/{pid}/fd"), DESCRIPTORS_MAX)
            .unwrap_or_default()
            .0;
        for fd in fds {
            let target = link(&format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|t| t.strip_suffix(']'));
            let port = inode
                .and_then(|i| i.parse().ok())
                .and_then(|i: u64| inodes.remove(&i));
            if let Some(port) = port {
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

    #[test]
    fn the_program_behind_a_local_port_is_known_by_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = look_up(&mut Reader::default(), &BTreeSet::from([port]));
        let own = name(&mut Reader::default(), std::process::id());
        assert_eq!(found.get(&port), Some(&own));
    }
}
