//! Waits for a peer or process that is gone: a dead peer, a dead child, a process left behind.

use crate::base::duration::format_duration;
use crate::verdict::finding::{Finding, Fix};
use crate::verdict::rule::RuleId;
use crate::verdict::rules::deadlock::end_or_restart;
use crate::verdict::sample::{
    End, Kind, Process, RunState, Socket, SocketKind, Subject, Target, Tcp, TcpState, Until, Wait,
};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, is_parked};

/// The peer's kernel answers neither keep-alive probes nor data.
pub(in crate::verdict) fn dead_peer(
    view: &TreeView<'_>,
    socket: &Socket,
    tcp: &Tcp,
) -> Option<Finding> {
    let silent = tcp.probes >= thresholds::PROBES && tcp.keep_alive != Some(false)
        || tcp.retransmits >= thresholds::RETRANSMITS && tcp.unacked > 0;
    if tcp.state != TcpState::Established || !silent || !is_needed(view, socket) {
        return None;
    }
    let (asked, limit) = if tcp.probes >= thresholds::PROBES {
        (tcp.probes, thresholds::PROBES)
    } else {
        (tcp.retransmits, thresholds::RETRANSMITS)
    };
    let sentence = format!(
        "the connection to {} is dead: its machine left {asked} probes in a row unanswered (limit {limit})",
        tcp.remote
    );
    let subject = Subject::Process(socket.pid);
    let rule = RuleId::DeadPeer;
    let found = Finding::new(rule, subject, sentence)
        .about(socket.inode)
        .kernel_counted()
        .logical();
    let fix = Fix::ResetSocket {
        pid: socket.pid,
        fd: socket.fd,
        inode: socket.inode,
    };
    Some(
        found
            .observed(
                "tcp.probes",
                format!(
                    "{} keep-alive probes, {} retransmissions unanswered",
                    tcp.probes, tcp.retransmits
                ),
            )
            .observed(
                "tcp.last_ack",
                format!("{} ago", format_duration(tcp.acked_ago)),
            )
            .observed(
                "tcp.last_received",
                format!("{} ago", format_duration(tcp.received_ago)),
            )
            .fix(fix),
    )
}

/// Whether the agent needs this connection: an idle one of a pool may die without harm.
fn is_needed(view: &TreeView<'_>, socket: &Socket) -> bool {
    let alone = view
        .tcp()
        .filter(|(_, t)| t.state == TcpState::Established)
        .count()
        == 1;
    view.pending_requests()
        .iter()
        .any(|(s, _)| s.inode == socket.inode)
        || alone && view.report.owes_work()
        || is_read_or_written(view, socket)
}

/// Whether a thread is blocked in a read from or a write to this socket.
fn is_read_or_written(view: &TreeView<'_>, socket: &Socket) -> bool {
    let of = |wait: &Wait| match wait {
        Wait::Read(target) | Wait::Write(target) => target.kind == Kind::Socket(socket.inode),
        Wait::Running
        | Wait::Accept(_)
        | Wait::Connect(_)
        | Wait::Poll { .. }
        | Wait::Sleep(_)
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Lock(_)
        | Wait::Signal(_)
        | Wait::Sync(_)
        | Wait::Call(_)
        | Wait::Unreadable(_) => false,
    };
    view.waits()
        .any(|(p, _, wait)| p.pid == socket.pid && of(wait))
}

/// The peer has closed the connection without an answer, or with one that is not read, and the program waits elsewhere.
pub(in crate::verdict) fn closed_unread(
    view: &TreeView<'_>,
    socket: &Socket,
    tcp: &Tcp,
) -> Option<Finding> {
    if tcp.state != TcpState::CloseWait || view.is_served(tcp) {
        return None;
    }
    let process = view.sample.process(socket.pid)?;
    let parked = |w: &Wait| view.only_self_can_wake(process, w);
    let all_parked = process
        .threads
        .iter()
        .all(|t| t.wait.as_ref().is_some_and(parked));
    if !all_parked {
        return None;
    }
    let unread = tcp.unread.unwrap_or(0);
    let unanswered = tcp.acked > 1 && tcp.sent_ago < tcp.received_ago;
    // An idle connection has been read to its end; the end itself counts as one byte received.
    let never_read = u64::from(unread) + 1 >= tcp.received;
    if !(unanswered || never_read || view.report.owes_work()) {
        return None;
    }
    let sentence = format!(
        "{} closed the connection; {} has not noticed and waits for something else that cannot happen",
        tcp.remote,
        process.title()
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::ClosedUnread;
    let found = Finding::new(rule, subject, sentence).logical();
    Some(
        found
            .about(socket.inode)
            .while_asleep(process.threads.iter().map(|t| (process.pid, t.tid)))
            // The kernel counts the end of the stream as one more byte to read.
            .observed("tcp.state", format!("CLOSE-WAIT, Recv-Q {}", unread + 1))
            .observed(
                "thread.wait",
                "every thread waits without a limit, none for this connection",
            )
            .fix(end_or_restart(view, process)),
    )
}

/// A connection request that stays unanswered.
pub(in crate::verdict) fn no_connection(
    view: &TreeView<'_>,
    socket: &Socket,
    tcp: &Tcp,
) -> Option<Finding> {
    if tcp.state != TcpState::SynSent || tcp.retransmits < 2 {
        return None;
    }
    let process = view.sample.process(socket.pid)?;
    // Telemetry of a server, which waits for its clients and owes nothing.
    let main = process.main_wait();
    let waits_for_it = |wait: &Wait| {
        let mut targets = wait.targets().iter();
        targets.any(|target| target.kind == Kind::Socket(socket.inode))
    };
    let is_aside = main.is_some_and(|wait| view.is_for_clients(wait) && !waits_for_it(wait));
    if is_aside && !view.owes_turn() {
        return None;
    }
    let limited = process
        .waits()
        .any(|wait| waits_for_it(wait) && matches!(wait.until(), Until::In(_)));
    // The program has a time limit of its own; it is in doubt only past the kernel's limit.
    let patience = if limited { 4 } else { 1 };
    let sentence = format!(
        "{} does not answer: {} connection requests in a row",
        tcp.remote,
        tcp.retransmits + 1
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::NoConnection;
    let found = Finding::new(rule, subject, sentence).about(socket.inode);
    Some(found.patiently(patience).observed(
        "tcp.state",
        format!(
            "SYN-SENT to {}, {} retransmissions",
            tcp.remote, tcp.retransmits
        ),
    ))
}

/// A child has ended, and its parent waits for an answer that only the child could give.
pub(in crate::verdict) fn dead_child(view: &TreeView<'_>, parent: &Process) -> Option<Finding> {
    let child = view
        .sample
        .processes
        .iter()
        .find(|p| p.state == RunState::Zombie && p.parent == parent.pid)?;
    // A pipe that has lost its other end.
    let broken = view.sample.ends.iter().any(|end| {
        let same = |e: &&End| e.of == end.of && (e.pid, e.fd) != (end.pid, end.fd);
        end.pid == parent.pid
            && end.reads != end.writes
            && !view.sample.ends.iter().any(|e| same(&e))
    });
    let deaf = parent.threads.iter().all(|t| {
        t.wait
            .as_ref()
            .is_some_and(|w| view.only_self_can_wake(parent, w))
    });
    if !broken || !deaf || !parent.is_whole() || view.listens(Subject::Process(parent.pid)) {
        return None;
    }
    let sentence = format!(
        "{} has ended, and {} waits for an answer that only it could give",
        child.title(),
        parent.title()
    );
    let subject = Subject::Process(child.pid);
    let rule = RuleId::DeadChild;
    let found = Finding::new(rule, subject, sentence).logical();
    Some(
        found
            .while_asleep(parent.threads.iter().map(|t| (parent.pid, t.tid)))
            .observed("child", format!("{} is a zombie", child.title()))
            .observed(
                "thread.wait",
                "every thread of the parent waits without a limit for its own process, as in a futex",
            )
            .fix(end_or_restart(view, parent)),
    )
}

/// The tool has ended, but a process that it started and left behind keeps its output open.
pub(in crate::verdict) fn left_behind(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    if view.serves || view.reads_external_input(process) || !view.pending_requests().is_empty() {
        return None;
    }
    let (thread, target, holders) = process.threads.iter().find_map(|thread| {
        let wait = thread.wait.as_ref()?;
        let reading = match wait {
            Wait::Read(target) => std::slice::from_ref(target),
            Wait::Poll { targets, until } if !is_long(*until) => targets.as_slice(),
            Wait::Poll { .. }
            | Wait::Running
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
            | Wait::Unreadable(_) => return None,
        };
        reading.iter().find_map(|target| {
            let holders = abandoned(view, process.pid, target)?;
            Some((thread, target, holders))
        })
    })?;
    // A process that anything else can wake may go on.
    let left = |t: &&Target| abandoned(view, process.pid, t).is_some();
    let targets = thread.wait.iter().flat_map(Wait::targets);
    let except: Vec<i32> = targets.filter(left).map(|t| t.fd).collect();
    let others = process.threads.iter().filter(|t| t.tid != thread.tid);
    let deaf = others.filter_map(|t| t.wait.as_ref()).all(|w| {
        (is_parked(w) || matches!(w, Wait::Poll { .. }))
            && !view.can_be_woken_from_outside(process.pid, w, &except)
    });
    if !deaf || view.can_be_woken_from_outside(process.pid, thread.wait.as_ref()?, &except) {
        return None;
    }
    let (pid, name, started) = holders.first()?;
    let sentence = format!(
        "{} waits for the end of a tool's output: {name} ({pid}), which the tool left behind, keeps it open",
        process.title()
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::LeftBehind;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .about(u64::from(target.fd.unsigned_abs()))
            .observed(
                "pipe.holder",
                format!("{name} ({pid}), whose parent has ended"),
            )
            .observed(
                "thread.wait",
                format!("{} reads descriptor {}", process.title(), target.fd),
            )
            .fix(Fix::EndChild {
                pid: *pid,
                started: *started,
            }),
    )
}

fn is_long(until: Until) -> bool {
    matches!(until, Until::In(time) if time > thresholds::TIMER)
}

/// The holders of the writing end, when the parent of each has ended.
fn abandoned(view: &TreeView<'_>, pid: u32, target: &Target) -> Option<Vec<(u32, String, u64)>> {
    let writers = view.writers(pid, target);
    if writers.is_empty() {
        return None;
    }
    writers
        .iter()
        .map(
            |end| match (view.sample.process(end.pid), view.sample.outsider(end.pid)) {
                (Some(p), _) if p.orphan && !is_served(view, p, target) => {
                    Some((p.pid, p.name.clone(), p.started))
                }
                (None, Some(o)) if o.parent == 1 && !o.own && is_pair(view, target) => {
                    Some((o.pid, o.name.clone(), o.started))
                }
                (Some(_) | None, _) => None,
            },
        )
        .collect()
}

/// Whether it is a server to which this socket leads, such as that of a terminal multiplexer: a daemon by design.
fn is_served(view: &TreeView<'_>, holder: &Process, target: &Target) -> bool {
    matches!(target.kind, Kind::Socket(_)) && view.listens(Subject::Process(holder.pid))
}

/// One of a pair of sockets that the tree made for itself. A server that listens was not left behind by a client.
fn is_pair(view: &TreeView<'_>, target: &Target) -> bool {
    let Kind::Socket(inode) = target.kind else {
        return false;
    };
    view.sample
        .socket(inode)
        .is_some_and(|socket| match socket.kind {
            SocketKind::Unix { peer, .. } => peer.is_some_and(|pid| view.is_inside(pid)),
            SocketKind::Tcp(_) | SocketKind::Other | SocketKind::Unreadable(_) => false,
        })
}

/// A child waits for a daemon that is stopped. The child can be ended; the daemon does not belong to the tree.
pub(in crate::verdict) fn stopped_peer(
    view: &TreeView<'_>,
    process: &Process,
    tid: u32,
    wait: &Wait,
) -> Option<Finding> {
    let peer = wait.targets().iter().find_map(|target| {
        let Kind::Socket(inode) = target.kind else {
            return None;
        };
        match view.sample.socket(inode)?.kind {
            SocketKind::Unix {
                peer,
                listens: false,
                ..
            } => view.sample.outsider(peer?),
            SocketKind::Unix { .. }
            | SocketKind::Tcp(_)
            | SocketKind::Other
            | SocketKind::Unreadable(_) => None,
        }
    })?;
    if peer.state != RunState::Stopped {
        return None;
    }
    let sentence = format!(
        "{} waits for {} ({}), which is stopped",
        process.title(),
        peer.name,
        peer.pid
    );
    let subject = Subject::Process(process.pid);
    let fix = if process.pid == view.sample.root {
        Fix::None
    } else {
        end_or_restart(view, process)
    };
    let rule = RuleId::StoppedPeer;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .about(u64::from(peer.pid))
            .while_asleep([(process.pid, tid)])
            .observed(
                "unix.peer",
                format!("{} ({}), state T", peer.name, peer.pid),
            )
            .fix(fix),
    )
}
