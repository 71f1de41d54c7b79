//! Processes outside the tree: which of them are at work, and whether one was a client of the tree.

use crate::base::moment::Moment;
use crate::verdict::sample::{Sample, SocketKind, TICKS_PER_SECOND, TcpState};
use crate::verdict::thresholds;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Processes outside the tree over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<(u32, u64), Peer>,
    busy: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    ticks: u64,
    written: u64,
    /// When it was last at work.
    busy_at: Option<Moment>,
}

impl Peers {
    /// Takes a deep sample, the last of which was `elapsed` ago. One that was at work no longer than `recent` ago still is.
    pub(super) fn observe(&mut self, sample: &Sample, elapsed: Duration, recent: Duration) {
        let before = std::mem::take(&mut self.known);
        self.busy.clear();
        for outsider in &sample.outsiders {
            let key = (outsider.pid, outsider.started);
            let (ticks, written) = (outsider.cpu_ticks, outsider.written);
            let then = before.get(&key);
            let works = then.is_some_and(|then| {
                let used = ticks.saturating_sub(then.ticks) as f64 / TICKS_PER_SECOND as f64;
                let share = used / elapsed.as_secs_f64().max(0.001);
                // It writes: a job need not compute to get on.
                share >= thresholds::CPU_PEER || written > then.written
            });
            let busy_at = if works {
                Some(sample.at)
            } else {
                then.and_then(|then| then.busy_at)
            };
            if busy_at.is_some_and(|at| sample.at.since(at) <= recent) {
                self.busy.insert(outsider.pid);
            }
            let peer = Peer {
                ticks,
                written,
                busy_at,
            };
            self.known.insert(key, peer);
        }
    }

    /// Those that were at work not long ago.
    pub(super) fn busy(&self) -> &BTreeSet<u32> {
        &self.busy
    }
}

/// Whether a client from outside the tree is connected to a socket that the tree accepts clients on.
pub(super) fn is_served(sample: &Sample) -> bool {
    let tcp = |of: fn(&TcpState) -> bool| {
        sample.sockets.iter().filter_map(move |s| match &s.kind {
            SocketKind::Tcp(tcp) if of(&tcp.state) => Some(tcp),
            SocketKind::Tcp(_)
            | SocketKind::Unix { .. }
            | SocketKind::Other
            | SocketKind::Unreadable(_) => None,
        })
    };
    let ports: BTreeSet<u16> = tcp(|s| *s == TcpState::Listen)
        .map(|t| t.local_port)
        .collect();
    // The other side of a connection inside the tree is one of its sockets too.
    let inside: BTreeSet<&str> = tcp(|s| *s != TcpState::Listen)
        .map(|t| t.local.as_str())
        .collect();
    let over_tcp = tcp(|s| *s != TcpState::Listen)
        .any(|t| ports.contains(&t.local_port) && !inside.contains(t.remote.as_str()));
    let over_unix = sample.sockets.iter().any(|socket| match socket.kind {
        SocketKind::Unix {
            listens: false,
            named: true,
            peer: Some(peer),
            ..
        } => sample.process(peer).is_none() && sample.outsider(peer).is_none_or(|o| !o.own),
        SocketKind::Unix { .. }
        | SocketKind::Tcp(_)
        | SocketKind::Other
        | SocketKind::Unreadable(_) => false,
    });
    over_tcp || over_unix
}
