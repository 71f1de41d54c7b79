//! The turn that an agent owes: whether an answer is due, which processes ask for it, and on which connection it can arrive.

use crate::verdict::sample::{Process, Socket, Tcp};
use crate::verdict::tree_view::TreeView;
use std::collections::BTreeSet;

/// Who asks a model, as of the last deep sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    /// An answer is due.
    pub(super) owed: bool,
    /// Work is owed, and the first thread of the root, which owes it, waits for another thread.
    rests: bool,
    /// Known agents that hold connections on which something was requested. What they do beside is housekeeping.
    askers: BTreeSet<u32>,
    /// The connection with the longest request, and its length: a prompt is longer than a question for updates or a
    /// measurement.
    main: Option<(u64, u64)>,
}

impl Turn {
    /// What this deep sample shows. `drawn`: the screen is redrawn as while a turn runs. `longest`: the longest request that was
    /// sent on a connection.
    pub(super) fn of(
        view: &TreeView<'_>,
        drawn: bool,
        longest: impl Fn(&Socket, &Tcp) -> u64,
    ) -> Self {
        let owed = drawn || view.owes_turn();
        let connections = view.request_connections();
        let process = |socket: &Socket| view.sample.process(socket.pid);
        let known = |socket: &Socket| process(socket).is_some_and(|p| p.agent);
        let askers = connections.iter().filter(|(socket, _)| known(socket));
        Self {
            owed,
            rests: view.report.owes_work() && view.main_is_parked(),
            askers: askers.map(|(socket, _)| socket.pid).collect(),
            main: connections
                .iter()
                .map(|(socket, tcp)| (longest(socket, tcp), socket.inode))
                .max(),
        }
    }

    /// Work is owed, and the thread that owes it does nothing for it.
    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    /// An agent asks, and its answer is due.
    pub(super) fn asks(&self) -> bool {
        self.owed && !self.askers.is_empty()
    }

    /// Whether the process of this number asks for the answer that is due.
    pub(super) fn is_asker(&self, pid: u32) -> bool {
        self.owed && self.askers.contains(&pid)
    }

    /// Whether this process was started by one that asks.
    pub(super) fn is_helper(&self, process: &Process) -> bool {
        self.owed && self.askers.contains(&process.parent)
    }

    /// Whether the answer is due on another connection than this one, whose longest request was this long.
    pub(super) fn is_beside(&self, inode: u64, longest: u64) -> bool {
        let main = self.main.filter(|_| self.owed);
        main.is_some_and(|(length, main)| main != inode && longest < length / 2)
    }
}

/// The connection to which the request was sent comes first: one that is unanswered before one that rests, then the one with
/// the longest request.
pub(super) fn by_request(
    connections: &mut [(&Socket, &Tcp)],
    longest: impl Fn(&Socket, &Tcp) -> u64,
) {
    connections.sort_by_key(|(socket, tcp)| {
        let answered = tcp.sent_ago >= tcp.received_ago;
        (answered, std::cmp::Reverse(longest(socket, tcp)))
    });
}
