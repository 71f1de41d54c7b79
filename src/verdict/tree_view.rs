//! A deep sample beside the agent's reports, with the questions that rules ask of it.

use crate::verdict::known_programs::{RESTING_PEERS, RESTING_PORTS};
use crate::verdict::sample::{
    End, Kind, Process, RunState, Sample, Socket, SocketKind, Subject, Target, Tcp, TcpState,
    Thread, Until, Wait,
};
use crate::verdict::self_report::SelfReport;
use std::collections::BTreeSet;

/// Signals that common runtimes handle in every program: INT, and the two that the C library reserves.
const COMMON_SIGNALS: u64 = 1 << 1 | 1 << 31 | 1 << 32;

/// One deep sample and the agent's reports.
pub(super) struct TreeView<'a> {
    pub(super) sample: &'a Sample,
    pub(super) report: &'a SelfReport,
    /// Processes outside the tree that are at work.
    pub(super) busy: &'a BTreeSet<u32>,
    /// A client from outside the tree was once connected. A socket that nothing outside ever connected to makes no server.
    pub(super) serves: bool,
    /// It looks for something now and then, has asked its model, or goes on reporting the same: silence may last longer then.
    pub(super) is_patient: bool,
}

impl<'a> TreeView<'a> {
    /// Every thread of every process that has not ended, with what it waits for.
    pub(super) fn waits(&self) -> impl Iterator<Item = (&'a Process, &'a Thread, &'a Wait)> {
        let living = self.living();
        living.flat_map(|p| {
            p.threads
                .iter()
                .filter_map(move |t| Some((p, t, t.wait.as_ref()?)))
        })
    }

    /// Whether a process outside the tree is at work.
    pub(super) fn works(&self, outsider: u32) -> bool {
        self.busy.contains(&outsider)
    }

    /// Processes that have not ended.
    pub(super) fn living(&self) -> impl Iterator<Item = &'a Process> + use<'a> {
        self.sample
            .processes
            .iter()
            .filter(|p| p.state != RunState::Zombie)
    }

    /// Processes that have not ended and were not left behind.
    pub(super) fn own(&self) -> impl Iterator<Item = &'a Process> + use<'a> {
        self.living().filter(|p| !p.orphan)
    }

    /// The ends that can read from this channel, including the process's own when it holds both ends of a pipe.
    pub(super) fn readers(&self, target: &Target) -> Vec<&'a End> {
        self.others(target, |end| end.reads)
    }

    /// The ends of other processes that can write into this channel.
    pub(super) fn writers(&self, pid: u32, target: &Target) -> Vec<&'a End> {
        let mut ends = self.others(target, |end| end.writes);
        ends.retain(|end| end.pid != pid);
        ends
    }

    /// Whether only processes of the tree can write what is read here.
    pub(super) fn is_from_inside(&self, process: &Process, target: &Target) -> bool {
        let writers = self.writers(process.pid, target);
        !writers.is_empty() && writers.iter().all(|end| self.is_inside(end.pid))
    }

    pub(super) fn others(&self, target: &Target, needs: fn(&End) -> bool) -> Vec<&'a End> {
        let Some(channel) = self.sample.channel(&target.kind) else {
            return Vec::new();
        };
        self.sample
            .ends
            .iter()
            .filter(|end| end.of == channel && needs(end))
            .collect()
    }

    /// Whether this process belongs to the tree.
    pub(super) fn is_inside(&self, pid: u32) -> bool {
        self.sample.process(pid).is_some()
    }

    fn is_watcher(&self, pid: u32) -> bool {
        self.sample.outsider(pid).is_some_and(|o| o.own)
    }

    /// TCP sockets of the tree.
    pub(super) fn tcp(&self) -> impl Iterator<Item = (&'a Socket, &'a Tcp)> {
        self.sample
            .sockets
            .iter()
            .filter_map(|socket| match &socket.kind {
                SocketKind::Tcp(tcp) => Some((socket, &**tcp)),
                SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_) => None,
            })
    }

    /// Whether the subject accepts clients.
    pub(super) fn listens(&self, subject: Subject) -> bool {
        let belongs = |s: &&Socket| match subject {
            Subject::Process(pid) => s.pid == pid,
            Subject::Tree | Subject::Machine => true,
        };
        let mut sockets = self.sample.sockets.iter().filter(belongs);
        sockets.any(is_listener)
    }

    /// Whether the first thread of the root waits for another one without a limit. Runtimes that schedule tasks of their own on
    /// threads, as Go and Java do, handle SEGV: there the first thread says nothing.
    pub(super) fn main_is_parked(&self) -> bool {
        const SEGV: u64 = 1 << 10;
        let root = self.sample.root();
        let plain = root.filter(|root| root.caught.is_some_and(|set| set & SEGV == 0));
        let main = plain.and_then(Process::main_wait);
        main.is_some_and(is_parked)
    }

    /// Whether a thread of this process waits for clients.
    pub(super) fn waits_for_clients(&self, process: &Process) -> bool {
        let mut waits = process.waits();
        waits.any(|wait| self.is_for_clients(wait))
    }

    /// Whether this wait ends when a client connects.
    pub(super) fn is_for_clients(&self, wait: &Wait) -> bool {
        let accepts = |target: &Target| {
            let Kind::Socket(inode) = target.kind else {
                return false;
            };
            self.sample.socket(inode).is_some_and(is_listener)
        };
        wait.targets().iter().any(accepts)
    }

    /// Whether a client of the tree made this connection.
    pub(super) fn is_served(&self, tcp: &Tcp) -> bool {
        let ports: BTreeSet<u16> = self
            .tcp()
            .filter(|(_, t)| t.state == TcpState::Listen)
            .map(|(_, t)| t.local_port)
            .collect();
        ports.contains(&tcp.local_port)
    }

    /// Whether some process of the tree was started for one piece of work, which is not reported done.
    pub(super) fn is_headless(&self) -> bool {
        self.own().any(|process| process.headless) && !self.report.declares_no_work()
    }

    /// Whether a program of the tree gives a known agent its turns, and takes none from outside.
    fn is_orchestrated(&self) -> bool {
        let root = self.sample.root;
        let fed = |p: &Process| p.agent && p.pid != root && self.is_fed_inside(p);
        self.own().any(fed) && !self.takes_work() && !self.report.declares_no_work()
    }

    /// Whether an answer is due.
    pub(super) fn owes_turn(&self) -> bool {
        self.is_work_due() || self.is_orchestrated()
    }

    /// Whether a process of the tree holds the writing end of its standard input.
    fn is_fed_inside(&self, process: &Process) -> bool {
        let mut waits = process.waits();
        waits.any(|wait| {
            let mut input = wait.targets().iter().filter(|target| target.fd == 0);
            input.any(|target| self.is_from_inside(process, target))
        })
    }

    /// Whether new work can come from outside: a client, a person, a queue.
    fn takes_work(&self) -> bool {
        let rests = |tcp: &Tcp| !self.is_served(tcp) && is_resting(tcp);
        self.serves
            || self
                .tcp()
                .any(|(_, tcp)| tcp.state == TcpState::Listen || rests(tcp))
            || self.own().any(|process| self.reads_external_input(process))
    }

    /// Whether work is owed, by report or since the tree was started for it.
    pub(super) fn is_work_due(&self) -> bool {
        self.report.owes_work() || self.is_headless()
    }

    /// Whether a process of the tree plays this terminal: no person types there.
    pub(super) fn is_own_terminal(&self, target: &Target) -> bool {
        matches!(target.kind, Kind::Terminal(_))
            && self
                .others(target, |end| end.writes)
                .iter()
                .any(|end| self.is_inside(end.pid))
    }

    /// Connections from the tree on which something was once requested, so that an answer could arrive.
    pub(super) fn request_connections(&self) -> Vec<(&'a Socket, &'a Tcp)> {
        self.tcp()
            .filter(|(_, tcp)| tcp.state == TcpState::Established && !self.is_served(tcp))
            .filter(|(_, tcp)| !is_resting(tcp))
            // The first acknowledged byte is the handshake's: nothing was requested yet.
            .filter(|(_, tcp)| tcp.acked > 1)
            .collect()
    }

    /// Connections on which a request may be unanswered: one was sent after the last answer, or a thread reads only there.
    pub(super) fn pending_requests(&self) -> Vec<(&'a Socket, &'a Tcp)> {
        self.request_connections()
            .into_iter()
            .filter(|(socket, tcp)| is_unanswered(tcp) || self.is_read_alone(socket))
            .collect()
    }

    /// Whether a question is unanswered where an answer may also never be due: to a database or a queue, or by datagrams.
    pub(super) fn asks_elsewhere(&self) -> bool {
        let store = |(socket, tcp): (&Socket, &Tcp)| {
            let open = tcp.state == TcpState::Established && !self.is_served(tcp) && tcp.acked > 1;
            open && is_resting(tcp) && (is_unanswered(tcp) || self.is_read_alone(socket))
        };
        let mut waits = self.waits().filter_map(|(_, _, wait)| awaited_alone(wait));
        let datagram = |target: &Target| {
            let Kind::Socket(inode) = target.kind else {
                return false;
            };
            let socket = self.sample.socket(inode);
            socket.is_some_and(|socket| socket.kind == SocketKind::Other)
        };
        self.tcp().any(store) || waits.any(datagram)
    }

    /// Whether some thread reads from this socket and from nothing else.
    fn is_read_alone(&self, socket: &Socket) -> bool {
        self.waits().any(|(process, _, wait)| {
            process.pid == socket.pid
                && awaited_alone(wait).is_some_and(|t| t.kind == Kind::Socket(socket.inode))
        })
    }

    /// Whether only the process itself could end this wait; not even a signal that it handles could.
    pub(super) fn only_self_can_wake(&self, process: &Process, wait: &Wait) -> bool {
        let own = |target: &Target| self.wakes_itself(process.pid, target);
        if let Wait::Poll {
            targets,
            until: Until::Never,
        } = wait
            && !targets.is_empty()
        {
            return targets.iter().all(own);
        }
        let alone = match wait {
            Wait::Poll { until, .. } | Wait::Signal(until) => *until == Until::Never,
            // A hidden process that inherited the descriptor might still write.
            Wait::Read(target) => own(target) && !self.sample.may_have_hidden_holders(),
            Wait::Running
            | Wait::Write(_)
            | Wait::Accept(_)
            | Wait::Connect(_)
            | Wait::Sleep(_)
            | Wait::Futex { .. }
            | Wait::Child(_)
            | Wait::Fork
            | Wait::Lock(_)
            | Wait::Sync(_)
            | Wait::Call(_)
            | Wait::Unreadable(_) => return is_parked(wait),
        };
        alone && !handles_signals(process)
    }

    /// Whether both ends are in this one process: its threads or signal handlers wake it this way.
    pub(super) fn wakes_itself(&self, pid: u32, target: &Target) -> bool {
        match &target.kind {
            Kind::Internal(name) => name == "eventfd",
            Kind::Pipe(_) | Kind::Socket(_) => {
                let ends = self.others(target, |end| end.writes);
                !ends.is_empty() && ends.iter().all(|end| end.pid == pid)
            }
            Kind::Terminal(_) | Kind::File(_) | Kind::Unreadable(_) => false,
        }
    }

    /// Whether anything outside the process can end this wait, apart from the descriptors in `except`. hbsidecar holds ends
    /// too, such as that of the status socket, but never writes first.
    pub(super) fn can_be_woken_from_outside(&self, pid: u32, wait: &Wait, except: &[i32]) -> bool {
        let targets = wait
            .targets()
            .iter()
            .filter(|target| !except.contains(&target.fd));
        targets.into_iter().any(|target| match &target.kind {
            Kind::Pipe(_) => {
                let writers = self.writers(pid, target);
                writers.iter().any(|end| !self.is_watcher(end.pid))
            }
            // Both ends in one process: it wakes itself this way.
            Kind::Socket(inode) => {
                let known = self.sample.socket(*inode).and_then(Socket::other).is_some();
                let ends = self.others(target, |end| end.writes);
                let speaks = |end: &&End| end.pid != pid && !self.is_watcher(end.pid);
                !known || ends.is_empty() || ends.iter().any(speaks)
            }
            Kind::Internal(name) => matches!(name.as_str(), "inotify" | "fanotify" | "perf_event"),
            Kind::Terminal(_) | Kind::File(_) | Kind::Unreadable(_) => true,
        })
    }

    /// Whether a thread of this process waits for a terminal or an input from outside the tree.
    pub(super) fn reads_external_input(&self, process: &Process) -> bool {
        let waits = process.waits();
        waits
            .flat_map(Wait::targets)
            .any(|target| match &target.kind {
                Kind::Terminal(_) => true,
                Kind::Pipe(_) => {
                    let writers = self.writers(process.pid, target);
                    writers.iter().any(|end| !self.is_inside(end.pid))
                }
                Kind::Socket(_) => (0..=2).contains(&target.fd),
                Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => false,
            })
    }
}

/// Whether clients can connect to it.
fn is_listener(socket: &Socket) -> bool {
    match &socket.kind {
        SocketKind::Tcp(tcp) => tcp.state == TcpState::Listen,
        SocketKind::Unix { listens, .. } => *listens,
        SocketKind::Other | SocketKind::Unreadable(_) => false,
    }
}

/// Whether its clients wait there idle until something happens.
fn is_resting(tcp: &Tcp) -> bool {
    RESTING_PORTS.contains(&tcp.remote_port) || RESTING_PEERS.contains(&tcp.peer.as_str())
}

/// The descriptor of a wait for that one only. A poll of several may merely watch each.
pub(super) fn awaited_alone(wait: &Wait) -> Option<&Target> {
    match wait {
        Wait::Read(target) => Some(target),
        Wait::Poll { targets, .. } => match targets.as_slice() {
            [target] => Some(target),
            [] | [_, _, ..] => None,
        },
        Wait::Running
        | Wait::Write(_)
        | Wait::Accept(_)
        | Wait::Connect(_)
        | Wait::Sleep(_)
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Lock(_)
        | Wait::Signal(_)
        | Wait::Sync(_)
        | Wait::Call(_)
        | Wait::Unreadable(_) => None,
    }
}

/// Whether the last message was a request. One sent with the handshake has received nothing at all.
pub(super) fn is_unanswered(tcp: &Tcp) -> bool {
    tcp.sent_ago < tcp.received_ago || tcp.sent_ago == tcp.received_ago && tcp.received <= 1
}

/// Whether every thread waits for a lock that no other process can release.
pub(super) fn is_private_futex_wait(process: &Process) -> bool {
    let parked = |t: &Thread| {
        matches!(
            t.wait,
            Some(Wait::Futex {
                private: true,
                until: Until::Never,
                ..
            })
        )
    };
    process.is_whole() && !process.threads.is_empty() && process.threads.iter().all(parked)
}

/// Whether a signal could wake the process into code of its own.
pub(super) fn handles_signals(process: &Process) -> bool {
    process
        .caught
        .is_none_or(|caught| caught & !COMMON_SIGNALS != 0)
}

/// Whether this thread waits for a lock without a limit.
pub(super) fn is_parked(wait: &Wait) -> bool {
    matches!(
        wait,
        Wait::Futex {
            until: Until::Never,
            ..
        }
    )
}
