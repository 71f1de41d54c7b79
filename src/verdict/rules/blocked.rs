//! Waits that may end, but have taken suspiciously long: locks, disks, tools that became servers, clients unserved.

use crate::verdict::explain::{describe_target, describe_wait};
use crate::verdict::finding::{Finding, Fix};
use crate::verdict::rules::deadlock::end_or_restart;
use crate::verdict::sample::{Kind, Process, RunState, SocketKind, Target, TcpState, Until, Wait};
use crate::verdict::thresholds;
use crate::verdict::tree_view::TreeView;
use crate::wire::beat::Verdict;
use crate::wire::declared_state::DeclaredState;

/// A shell whose child's output is being collected can do nothing else.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];
/// Markers of the last line of an agent's stream that say that it is done.
const RESULT: [&str; 2] = [r#""type":"result""#, r#""type": "result""#];

/// All of them. `works` says whether somebody outside the tree is at work.
pub(in crate::verdict) fn find(view: &TreeView<'_>, works: &dyn Fn(u32) -> bool) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    found.extend(
        view.waits()
            .filter_map(|(p, t, wait)| file_lock(view, p, t.tid, wait, works)),
    );
    found.extend(view.living().filter_map(|p| busy_lock(view, p, works)));
    found.extend(view.living().filter_map(disk));
    found.extend(view.own().filter_map(|p| unserved(view, p)));
    found.extend(view.own().filter_map(|p| server_as_tool(view, p)));
    found.extend(done(view));
    found
}

fn file_lock(
    view: &TreeView<'_>,
    process: &Process,
    tid: u32,
    wait: &Wait,
    works: &dyn Fn(u32) -> bool,
) -> Option<Finding> {
    let Wait::Lock(target) = wait else {
        return None;
    };
    let path = describe_target(view.sample, target);
    let lock = view
        .sample
        .locks
        .iter()
        .find(|l| l.path == path || l.waiter == Some(process.pid));
    let holder = lock.and_then(|l| l.holder);
    // Another build that holds the lock and works will let go of it.
    if holder.is_some_and(works) {
        return None;
    }
    let who = match (holder, lock) {
        (Some(pid), Some(lock)) if !lock.name.is_empty() => format!("{} ({pid})", lock.name),
        (Some(pid), _) => format!("process {pid}"),
        (None, _) => "somebody unknown".to_owned(),
    };
    let sentence = format!(
        "{} waits for a lock on {path} held by {who}",
        process.title()
    );
    let key = format!("file lock {}", process.pid);
    let fix = if process.pid == view.sample.root {
        Fix::None
    } else {
        end_or_restart(view, process)
    };
    let found = Finding::new(key, Verdict::Stalled, thresholds::FILE_LOCK, sentence);
    Some(
        found
            .while_asleep([(process.pid, tid)])
            .observed("lock.file", path)
            .observed("lock.holder", who)
            .fix(fix),
    )
}

/// Sleeps a moment again and again while somebody else holds a lock on one of its files.
fn busy_lock(
    view: &TreeView<'_>,
    process: &Process,
    works: &dyn Fn(u32) -> bool,
) -> Option<Finding> {
    let short =
        |wait: &Wait| matches!(wait, Wait::Sleep(Until::In(t)) if *t <= thresholds::BUSY_WAIT);
    if !process
        .threads
        .iter()
        .filter_map(|t| t.wait.as_ref())
        .any(short)
    {
        return None;
    }
    let foreign = |pid: u32| !view.is_inside(pid);
    let lock = view
        .sample
        .locks
        .iter()
        .find(|l| l.exclusive && l.waiter.is_none() && l.holder.is_some_and(foreign))?;
    let holder = lock.holder.filter(|pid| !works(*pid))?;
    let who = format!("{} ({holder})", lock.name);
    let sentence = format!(
        "{} tries again and again; {who} holds an exclusive lock on {}",
        process.title(),
        lock.path
    );
    let key = format!("busy lock {}", process.pid);
    let found = Finding::new(key, Verdict::Stalled, thresholds::TOOL_BLOCKED, sentence);
    Some(
        found
            .observed("lock.file", lock.path.clone())
            .observed("lock.holder", who),
    )
}

/// No signal ends this wait; not even KILL.
fn disk(process: &Process) -> Option<Finding> {
    if process.state != RunState::Disk || process.frozen {
        return None;
    }
    let wait = process.main()?.wait.as_ref();
    let for_what = match wait {
        Some(Wait::Fork) => "for its child to start a program",
        Some(_) | None => "for a device or file system",
    };
    let sentence = format!(
        "{} waits {for_what} and no signal can end that",
        process.title()
    );
    let key = format!("disk {}", process.pid);
    let found = Finding::new(key, Verdict::Stalled, thresholds::DISK, sentence);
    Some(
        found
            .while_asleep([(process.pid, process.pid)])
            .observed("process.state", "D, it did not even wake"),
    )
}

/// Clients wait, and the thread that should look sleeps.
fn unserved(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    let main = process.main()?.wait.as_ref()?;
    let blocks = matches!(
        main,
        Wait::Sleep(_) | Wait::Futex { .. } | Wait::Lock(_) | Wait::Read(_) | Wait::Poll { .. }
    );
    // Who takes one client at a time lets the next one wait while a model thinks: that has its own budget. A loop may wait
    // for what a child of it asks.
    let loops = matches!(main, Wait::Poll { .. });
    if !blocks
        || !view.pending_requests().is_empty()
        || loops && !view.request_connections().is_empty()
    {
        return None;
    }
    // A loop that hears of nothing but its own threads and children looks at no client.
    let beyond =
        |t: &Target| !view.wakes_itself(process.pid, t) && !view.is_from_inside(process, t);
    let looks = |wait: &Wait| {
        matches!(wait, Wait::Accept(_) | Wait::Running)
            || matches!(wait, Wait::Poll { targets, .. } if targets.iter().any(beyond))
    };
    if process
        .threads
        .iter()
        .filter_map(|t| t.wait.as_ref())
        .any(looks)
    {
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
    // Another process of the tree may take what this one listens for.
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
    let key = format!("unserved {}", socket.inode);
    let found = Finding::new(key, Verdict::Stalled, thresholds::UNSERVED, sentence);
    Some(
        found
            .while_asleep([(process.pid, process.pid)])
            .observed("tcp.unread", what)
            .observed("thread.wait", format!("main thread: {for_what}")),
    )
}

/// A tool that is to end has become a server that waits for clients.
fn server_as_tool(view: &TreeView<'_>, server: &Process) -> Option<Finding> {
    let listens = view.sample.sockets.iter().any(|s| {
        s.pid == server.pid
            && match &s.kind {
                SocketKind::Tcp(tcp) => tcp.state == TcpState::Listen,
                SocketKind::Unix { listens, .. } => *listens,
                SocketKind::Other | SocketKind::Unreadable(_) => false,
            }
    });
    if !listens || server.pid == view.sample.root {
        return None;
    }
    // Somebody above stands in a read of its output: a shell collects it, or work is owed.
    let mut above = view.sample.process(server.parent);
    let collector = loop {
        let process = above?;
        let collects = process
            .threads
            .iter()
            .filter_map(|t| t.wait.as_ref())
            .any(|wait| {
                let Wait::Read(target) = wait else {
                    return false;
                };
                view.writers(process.pid, target)
                    .iter()
                    .any(|end| end.pid == server.pid)
            });
        let shell = SHELLS.contains(&process.name.as_str());
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
    let key = format!("server {}", server.pid);
    let found = Finding::new(key, Verdict::Stalled, thresholds::TOOL_BLOCKED, sentence);
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

/// The work is done and said so, the process stays.
fn done(view: &TreeView<'_>) -> Option<Finding> {
    let root = view.sample.root()?;
    let last = view
        .sample
        .outputs
        .iter()
        .find(|o| RESULT.iter().any(|mark| o.last.contains(mark)));
    let done = view.report.state == Some(DeclaredState::Done);
    let ends = view.report.stopping || done && view.report.streams_turns;
    let said = ends || done;
    if last.is_none() && !said
        || view.reads_external_input(root)
        || view.report.task_owed && last.is_none()
    {
        return None;
    }
    // A service that says that a piece of work is done goes on serving.
    if last.is_none() && !ends && view.listens(0) {
        return None;
    }
    let sentence = format!(
        "{} has said that its work is done, but does not exit",
        root.title()
    );
    let found = Finding::new(
        "done".to_owned(),
        Verdict::Hung,
        thresholds::DONE_NOT_EXITED,
        sentence,
    );
    let found = match last {
        Some(output) => found.observed("output.last", output.last.clone()),
        None => found.reported(
            "state",
            if view.report.stopping {
                "stopping"
            } else if view.report.streams_turns {
                "result told, done; still there"
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
