//! Waits that may still end, but have lasted suspiciously long: file locks, disks, tools that became servers, clients that
//! are not served, finished work whose process stays.

use crate::verdict::explain::{describe_target, describe_wait};
use crate::verdict::finding::{Finding, Fix};
use crate::verdict::known_programs::is_shell;
use crate::verdict::rule::RuleId;
use crate::verdict::rules::deadlock::end_or_restart;
use crate::verdict::sample::{
    FileLock, Kind, Process, RunState, Subject, Target, Tcp, TcpState, Until, Wait,
};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, awaited_alone};
use crate::wire::declared_state::DeclaredState;

/// Markers in the last line of an agent's event stream: the work is done.
const RESULT: [&str; 2] = [r#""type":"result""#, r#""type": "result""#];

pub(in crate::verdict) fn file_lock(
    view: &TreeView<'_>,
    process: &Process,
    tid: u32,
    wait: &Wait,
) -> Option<Finding> {
    let Wait::Lock(target) = wait else {
        return None;
    };
    let lock = lock_on(view, process, target);
    let holder = lock.and_then(|l| l.holder);
    // A holder that works, such as another build, will release the lock. One of the tree is seen at its own work.
    if holder.is_some_and(|pid| view.works(pid) || view.is_inside(pid)) {
        return None;
    }
    let who = match (holder, lock) {
        (Some(pid), Some(lock)) if !lock.name.is_empty() => format!("{} ({pid})", lock.name),
        (Some(pid), _) => format!("process {pid}"),
        (None, _) => "an unknown process".to_owned(),
    };
    let path = describe_target(view.sample, target);
    let sentence = format!(
        "{} waits for a lock on {path} held by {who}",
        process.title()
    );
    let subject = Subject::Process(process.pid);
    let fix = if process.pid == view.sample.root {
        Fix::None
    } else {
        end_or_restart(view, process)
    };
    let found = Finding::new(RuleId::FileLock, subject, sentence);
    Some(
        found
            .while_asleep([(process.pid, tid)])
            .observed("lock.file", path)
            .observed("lock.holder", who)
            .fix(fix),
    )
}

/// The lock on a file that a process waits for.
fn lock_on<'a>(view: &TreeView<'a>, process: &Process, target: &Target) -> Option<&'a FileLock> {
    let is_of_target = |lock: &FileLock| match &target.kind {
        Kind::File(path) => lock.path == *path,
        Kind::Pipe(_)
        | Kind::Socket(_)
        | Kind::Terminal(_)
        | Kind::Internal(_)
        | Kind::Unreadable(_) => false,
    };
    let mut locks = view.sample.locks.iter();
    locks.find(|l| is_of_target(l) || l.waiter == Some(process.pid))
}

/// The process outside the tree that holds a lock which is waited for, and is at work.
pub(in crate::verdict) fn lock_at_work(view: &TreeView<'_>) -> Option<u32> {
    view.waits().find_map(|(process, _, wait)| match wait {
        Wait::Lock(target) => lock_on(view, process, target)?
            .holder
            .filter(|pid| view.works(*pid)),
        Wait::Running
        | Wait::Read(_)
        | Wait::Write(_)
        | Wait::Accept(_)
        | Wait::Connect(_)
        | Wait::Poll { .. }
        | Wait::Sleep(_)
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Signal(_)
        | Wait::Sync(_)
        | Wait::Call(_)
        | Wait::Unreadable(_) => None,
    })
}

/// Sleeps briefly and repeatedly while another process holds a lock on one of its files.
pub(in crate::verdict) fn busy_lock(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    let short =
        |wait: &Wait| matches!(wait, Wait::Sleep(Until::In(t)) if *t <= thresholds::BUSY_WAIT);
    if !process.waits().any(short) {
        return None;
    }
    let foreign = |pid: u32| !view.is_inside(pid);
    let lock = view
        .sample
        .locks
        .iter()
        .find(|l| l.exclusive && l.waiter.is_none() && l.holder.is_some_and(foreign))?;
    let holder = lock.holder.filter(|pid| !view.works(*pid))?;
    let who = format!("{} ({holder})", lock.name);
    let sentence = format!(
        "{} retries repeatedly: {who} holds an exclusive lock on {}",
        process.title(),
        lock.path
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::BusyLock;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .observed("lock.file", lock.path.clone())
            .observed("lock.holder", who),
    )
}

/// A wait that no signal ends, not even SIGKILL.
pub(in crate::verdict) fn disk(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    if process.state != RunState::Disk || process.frozen {
        return None;
    }
    let wait = process.main_wait();
    let mut asleep = vec![(process.pid, process.pid)];
    let for_what = match wait {
        Some(Wait::Fork) => {
            // A child that wakes is at work before it starts its program.
            let children = view.living().filter(|child| child.parent == process.pid);
            asleep.extend(children.map(|child| (child.pid, child.pid)));
            "for its child to start a program"
        }
        Some(_) | None => "for a device or file system",
    };
    let sentence = format!(
        "{} waits {for_what}, and no signal can end that",
        process.title()
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::DiskWait;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .while_asleep(asleep)
            .observed("process.state", "D, it did not even wake"),
    )
}

/// Clients wait, and the main thread is blocked elsewhere.
pub(in crate::verdict) fn unserved(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    let main = process.main_wait()?;
    let blocks = matches!(
        main,
        Wait::Sleep(_) | Wait::Futex { .. } | Wait::Lock(_) | Wait::Read(_) | Wait::Poll { .. }
    );
    // A server that takes one client at a time lets the next one wait while a model thinks; that has a budget of its own. An
    // event loop may wait for what its child requested.
    let loops = matches!(main, Wait::Poll { .. });
    // What it reads has come, and a busy machine has not let it run yet.
    let has_come =
        |tcp: &Tcp| tcp.state == TcpState::CloseWait || tcp.unread.is_some_and(|n| n > 0);
    let reads = |kind: &Kind| matches!(main, Wait::Read(target) if target.kind == *kind);
    let mut read = view.tcp().filter(|(s, _)| reads(&Kind::Socket(s.inode)));
    if !blocks
        || read.any(|(_, tcp)| has_come(tcp))
        || !view.pending_requests().is_empty()
        || loops && !view.request_connections().is_empty()
    {
        return None;
    }
    // An event loop that watches only its own threads and children serves no client.
    let beyond =
        |t: &Target| !view.wakes_itself(process.pid, t) && !view.is_from_inside(process, t);
    let serves = |wait: &Wait| {
        matches!(wait, Wait::Accept(_) | Wait::Running)
            || matches!(wait, Wait::Poll { targets, .. } if targets.iter().any(beyond))
    };
    if process.waits().any(serves) {
        return None;
    }
    let (socket, tcp) = view.tcp().find(|(socket, tcp)| {
        let waiting = match tcp.state {
            TcpState::Listen => tcp.unacked > 0,
            TcpState::Established | TcpState::CloseWait => {
                view.is_served(tcp) && tcp.unread.is_some_and(|n| n > 0)
            }
            TcpState::SynSent | TcpState::Closing => false,
        };
        socket.pid == process.pid && waiting
    })?;
    // Another process of the tree may accept from the same socket.
    let taken = |wait: &Wait| {
        let targets = wait.targets();
        targets.iter().any(|t| t.kind == Kind::Socket(socket.inode))
    };
    if view.waits().any(|(_, _, wait)| taken(wait)) {
        return None;
    }
    let what = match tcp.state {
        TcpState::Listen => format!("{} clients wait on port {}", tcp.unacked, tcp.local_port),
        TcpState::Established | TcpState::CloseWait | TcpState::SynSent | TcpState::Closing => {
            format!(
                "{} bytes of {} are unread",
                tcp.unread.unwrap_or(0),
                tcp.remote
            )
        }
    };
    let for_what = describe_wait(view.sample, main);
    let sentence = format!("{what}, but {} waits for {for_what}", process.title());
    let subject = Subject::Process(process.pid);
    let rule = RuleId::Unserved;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .about(socket.inode)
            .while_asleep([(process.pid, process.pid)])
            .observed("tcp.unread", what)
            .observed("thread.wait", format!("main thread: {for_what}")),
    )
}

/// A tool that must end has become a server that waits for clients.
pub(in crate::verdict) fn server_as_tool(view: &TreeView<'_>, server: &Process) -> Option<Finding> {
    let subject = Subject::Process(server.pid);
    // One that asks a model or runs a command of its own is at work for the one that collects.
    let works = || !view.pending_requests().is_empty() || view.awaits_child(server);
    if server.pid == view.sample.root || !view.waits_for_clients(server) || works() {
        return None;
    }
    // An ancestor is blocked in a read of its output: a shell collects it, or work is owed.
    let mut above = view.sample.process(server.parent);
    let collector = loop {
        let process = above?;
        let collects = process.waits().any(|wait| {
            let Wait::Read(target) = wait else {
                return false;
            };
            view.writers(process.pid, target)
                .iter()
                .any(|end| end.pid == server.pid)
        });
        let shell = is_shell(&process.name);
        if collects && (shell || view.report.owes_work()) {
            break process;
        }
        above = (process.pid != view.sample.root)
            .then(|| view.sample.process(process.parent))
            .flatten();
    };
    let sentence = format!(
        "{} waits for the end of {}, which is a server and waits for clients",
        collector.title(),
        server.title()
    );
    let rule = RuleId::ServerAsTool;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .observed("tool.listens", server.title())
            .observed(
                "thread.wait",
                format!("{} reads its output", collector.title()),
            )
            .fix(end_or_restart(view, server)),
    )
}

/// A child reads its standard input, which only its parent can write to, and the parent waits for the child.
pub(in crate::verdict) fn held_input(view: &TreeView<'_>, child: &Process) -> Option<Finding> {
    let parent = view.sample.process(child.parent)?;
    let input = awaited_alone(child.main_wait()?)?;
    let writers = view.writers(child.pid, input);
    let held = !writers.is_empty() && writers.iter().all(|end| end.pid == parent.pid);
    if input.fd != 0 || !held || parent.thread_count != 1 || !view.is_awaited(child) {
        return None;
    }
    let (child_title, parent_title) = (child.title(), parent.title());
    let sentence = format!(
        "{child_title} reads its standard input, which {parent_title} holds open while it waits for {child_title}"
    );
    let found = Finding::new(RuleId::HeldInput, Subject::Process(child.pid), sentence);
    Some(
        found
            .while_asleep([(child.pid, child.pid), (parent.pid, parent.pid)])
            .observed("pipe.holder", format!("{parent_title} alone"))
            .observed(
                "thread.wait",
                format!("{child_title} in read of descriptor 0"),
            )
            .fix(end_or_restart(view, child)),
    )
}

/// The work is reported done, and the process stays.
pub(in crate::verdict) fn done(view: &TreeView<'_>) -> Option<Finding> {
    let root = view.sample.root()?;
    let last = view
        .sample
        .outputs
        .iter()
        .find(|o| RESULT.iter().any(|mark| o.last.contains(mark)))
        // A line in a log may be a child's, in a loop that goes on.
        .filter(|_| view.living().count() == 1);
    let done = view.report.state == Some(DeclaredState::Done);
    let ends = view.report.stopping || done && view.report.streams_turns;
    let is_reported = ends || done;
    if last.is_none() && !is_reported
        || view.reads_external_input(root)
        || view.report.task_owed && last.is_none()
        // It has asked for the next part of the work, or finishes what it was asked before it ends.
        || !view.pending_requests().is_empty()
    {
        return None;
    }
    // A service that reports a piece of work as done goes on serving.
    if last.is_none() && !ends && view.listens(Subject::Tree) {
        return None;
    }
    let sentence = format!(
        "{} has reported its work done, but has not exited",
        root.title()
    );
    let found = Finding::new(RuleId::DoneNotExited, Subject::Process(root.pid), sentence);
    let found = match last {
        Some(output) => found.observed("output.last", output.last.clone()),
        None => found.reported(
            "state",
            if view.report.stopping {
                "stopping"
            } else if view.report.streams_turns {
                "result reported, done; still there"
            } else {
                "done"
            },
        ),
    };
    Some(
        found
            .observed("done_not_exited", "nothing moves since")
            .fix(Fix::End),
    )
}
