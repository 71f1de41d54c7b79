//! Agents that do not move and are not caught in anything: asleep, waiting, owing, idle.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::{Assessment, reported};
use crate::verdict::explain::{describe_target, describe_wait};
use crate::verdict::finding::{Finding, Fix, observed};
use crate::verdict::sample::{
    Kind, Process, Sample, Socket, SocketKind, Target, Tcp, Thread, Until, Wait, Why,
};
use crate::verdict::self_report::SelfReport;
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, is_parked, waits_for_one};
use crate::wire::beat::Verdict;
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

/// Reads from a person, or from an input that nobody closes.
pub(in crate::verdict) fn inputs(view: &TreeView<'_>, owns_stdin: bool) -> Vec<Finding> {
    view.waits()
        .filter_map(|(p, t, wait)| input(view, p, t, wait, owns_stdin))
        .collect()
}

fn input(
    view: &TreeView<'_>,
    process: &Process,
    thread: &Thread,
    wait: &Wait,
    owns_stdin: bool,
) -> Option<Finding> {
    let target = input_target(view, process.pid, wait)?;
    if thread.tid != process.pid && is_aside(view, process, thread) {
        return None;
    }
    let title = process.title();
    let key = format!("input {} {}", process.pid, target.fd);
    let (sentence, fix) = match &target.kind {
        Kind::Terminal(path) => (
            format!("{title} waits for somebody to type at {path}"),
            Fix::None,
        ),
        Kind::Pipe(_) | Kind::Socket(_) if target.fd == 0 => {
            let writers = view.writers(process.pid, target);
            let hidden = view.sample.lacks(0, "holders").is_some();
            if writers.is_empty() && !hidden || writers.iter().any(|end| view.is_inside(end.pid)) {
                return None;
            }
            let fix = if owns_stdin {
                Fix::CloseStdin
            } else {
                Fix::None
            };
            (
                format!("{title} waits for its standard input, which nobody closes"),
                fix,
            )
        }
        Kind::Pipe(_)
        | Kind::Socket(_)
        | Kind::File(_)
        | Kind::Internal(_)
        | Kind::Unreadable(_) => {
            return None;
        }
    };
    let seen = format!(
        "{title} in read of {}",
        describe_target(view.sample, target)
    );
    let found = Finding::new(key, Verdict::WaitingInput, thresholds::INPUT, sentence);
    let found = found
        .while_asleep([(process.pid, thread.tid)])
        .logical()
        .observed("thread.wait", seen)
        .fix(fix);
    let last = view.sample.outputs.iter().find(|o| !o.last.is_empty());
    Some(match last {
        Some(output) => found.observed("output.last", output.last.clone()),
        None => found,
    })
}

/// A full screen keeps a thread for its keys while others wait for the model: it waits for no person.
fn is_aside(view: &TreeView<'_>, process: &Process, keys: &Thread) -> bool {
    let others = process.threads.iter().filter(|t| t.tid != keys.tid);
    others
        .filter_map(|t| t.wait.as_ref())
        .any(|wait| view.can_be_woken_from_outside(process.pid, wait, &[]))
}

/// The one descriptor that is read.
fn input_target<'a>(view: &TreeView<'_>, pid: u32, wait: &'a Wait) -> Option<&'a Target> {
    let named = |t: &&Target| !matches!(t.kind, Kind::Internal(_)) && !view.wakes_itself(pid, t);
    match wait {
        Wait::Read(target) => Some(target),
        // Somebody who waits for nothing but input, like a pager or a shell.
        Wait::Poll { targets, until }
            if targets.iter().filter(named).all(is_input) && !is_ticking(*until) =>
        {
            targets.iter().find(named)
        }
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
        | Wait::Unreadable(_) => None,
    }
}

/// It wakes by itself before long: there is something else it does.
fn is_ticking(until: Until) -> bool {
    matches!(until, Until::In(time) if time <= thresholds::TIMER)
}

fn is_input(target: &Target) -> bool {
    match target.kind {
        Kind::Terminal(_) => true,
        Kind::Pipe(_) | Kind::Socket(_) => target.fd == 0,
        Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => false,
    }
}

/// The agent itself says that a person must answer.
pub(in crate::verdict) fn asks_person() -> Assessment {
    let said = reported("state", "waiting_input");
    let sentence = "says that it waits for a person".to_owned();
    Assessment {
        evidence: vec![said],
        ..Assessment::new("asks", Verdict::WaitingInput, sentence)
    }
}

/// The agent asked for patience.
pub(in crate::verdict) fn patience(report: &SelfReport, until: Moment) -> Assessment {
    let limited = report.limited_until == Some(until);
    let (signal, sentence) = if limited {
        ("ratelimit", "waits until its provider lets it go on")
    } else {
        ("expect", "said that it will be silent")
    };
    let said = reported(signal, sentence);
    Assessment {
        evidence: vec![said],
        until: Some(until),
        ..Assessment::new(signal, Verdict::Sleeping, sentence.to_owned())
    }
}

/// Threads with a time limit of their own that can hear of nothing before: process and thread, turns, time left.
pub(in crate::verdict) fn sleepers(sample: &Sample) -> Vec<((u32, u32), u64, Duration)> {
    let mut found = Vec::new();
    for process in &sample.processes {
        for thread in &process.threads {
            let Some(wait) = &thread.wait else { continue };
            let idle = wait
                .targets()
                .iter()
                .all(|t| !matches!(t.kind, Kind::Terminal(_)));
            if let Until::In(time) = wait.until()
                && idle
                && !is_of_the_runtime(process, thread, wait)
            {
                found.push(((process.pid, thread.tid), thread.turns, time));
            }
        }
    }
    found
}

/// Beside an event loop, what waits with a time limit is the runtime's own: idle pools and telemetry (a condition, up to
/// a minute), V8's tidying (a loop beside one that ticks, half a minute). Only a plain sleep is the program's.
fn is_of_the_runtime(process: &Process, thread: &Thread, wait: &Wait) -> bool {
    let loops = |w: &Wait| matches!(w, Wait::Poll { .. });
    let waits = || process.threads.iter().filter_map(|t| t.wait.as_ref());
    let main = process.main().and_then(|t| t.wait.as_ref());
    let aside = thread.tid != process.pid;
    let condition = matches!(wait, Wait::Futex { .. }) && waits().any(loops);
    let second = loops(wait) && main.is_some_and(|w| loops(w) && is_ticking(w.until()));
    aside && (condition || second)
}

/// Sleeps until a time that was read.
pub(in crate::verdict) fn asleep(
    view: &TreeView<'_>,
    who: (u32, u32),
    until: Moment,
    now: Moment,
) -> Assessment {
    let title = view
        .sample
        .process(who.0)
        .map(Process::title)
        .unwrap_or_default();
    let left = format_duration(until.since(now));
    let sentence = format!("{title} sleeps and wakes by itself in at most {left}");
    let seen = observed("thread.deadline", format!("{title}: {left} left"));
    Assessment {
        evidence: vec![seen],
        until: Some(until),
        ..Assessment::new("asleep", Verdict::Sleeping, sentence)
    }
}

/// A request is unanswered; past the budget somebody should look.
pub(in crate::verdict) fn model(
    view: &TreeView<'_>,
    pending: &[(&Socket, &Tcp)],
    peer_alive: bool,
    over: Option<Duration>,
) -> Assessment {
    let mut evidence = Vec::new();
    let mut fix = Fix::None;
    for (socket, tcp) in pending.iter().take(2) {
        let alive = match tcp.keep_alive {
            Some(true) if tcp.probes == 0 => "keep-alive answered".to_owned(),
            Some(true) => format!("{} keep-alive questions unanswered", tcp.probes),
            Some(false) => "keep-alive off: whether the peer lives is not known".to_owned(),
            None => "keep-alive unknown".to_owned(),
        };
        let value = format!(
            "{}: last received {} ago, last ack {} ago, {alive}",
            tcp.remote,
            format_duration(tcp.received_ago),
            format_duration(tcp.acked_ago)
        );
        evidence.push(observed("tcp", value));
        if tcp.keep_alive == Some(false) && fix == Fix::None {
            fix = Fix::KeepAlive {
                pid: socket.pid,
                fd: socket.fd,
                inode: socket.inode,
            };
        }
    }
    if view.report.state == Some(DeclaredState::WaitingModel) {
        evidence.push(reported("state", "waiting_model"));
    }
    let who = pending
        .first()
        .map_or("its model", |(_, tcp)| tcp.remote.as_str());
    let Some(quiet) = over else {
        let pings = if peer_alive {
            ", which sends only signs of life"
        } else {
            ""
        };
        let sentence = format!("waits for an answer of {who}{pings}");
        return Assessment {
            evidence,
            fix,
            ..Assessment::new("model", Verdict::WaitingModel, sentence)
        };
    };
    if peer_alive {
        evidence.insert(0, observed("tcp.bytes_received", "only small equal pieces"));
    }
    let sentence = format!(
        "{who} owes an answer since {}, longer than answers take",
        format_duration(quiet)
    );
    Assessment {
        evidence,
        fix,
        ..Assessment::new("model over", Verdict::Stalled, sentence)
    }
}

/// The root's waits cannot be read: nothing may be concluded from their absence.
pub(in crate::verdict) fn unreadable(view: &TreeView<'_>) -> Option<Assessment> {
    let root = view.sample.root;
    let why: Why = view
        .sample
        .lacks(root, "waits")
        .or_else(|| view.sample.lacks(root, "descriptors"))?;
    let sentence = format!(
        "nothing moves, and what it waits for cannot be read: {}",
        why.describe()
    );
    let gaps = view.sample.gaps.iter().take(3);
    let evidence = gaps
        .map(|g| observed(g.what, format!("unreadable: {}", g.why.describe())))
        .collect();
    Some(Assessment {
        evidence,
        ..Assessment::new("unreadable", Verdict::Unknown, sentence)
    })
}

/// Somebody on this machine outside the tree whose answer over a unix socket is awaited.
pub(in crate::verdict) fn unix_peer(view: &TreeView<'_>) -> Option<u32> {
    view.waits().find_map(|(_, _, wait)| {
        let Some(Target {
            kind: Kind::Socket(inode),
            ..
        }) = wait.targets().first()
        else {
            return None;
        };
        match view.sample.socket(*inode)?.kind {
            SocketKind::Unix {
                peer,
                listens: false,
                ..
            } if waits_for_one(wait) => {
                peer.filter(|pid| view.sample.outsider(*pid).is_some_and(|o| !o.own))
            }
            SocketKind::Unix { .. }
            | SocketKind::Tcp(_)
            | SocketKind::Other
            | SocketKind::Unreadable(_) => None,
        }
    })
}

/// Waits for that one.
pub(in crate::verdict) fn peer(view: &TreeView<'_>, pid: u32) -> Assessment {
    let name = view.sample.outsider(pid).map_or("", |o| o.name.as_str());
    let sentence = format!("waits for an answer of {name} ({pid})");
    let seen = observed("unix.peer", format!("{name} ({pid})"));
    Assessment {
        evidence: vec![seen],
        ..Assessment::new("peer", Verdict::WaitingModel, sentence)
    }
}

/// An agent that says nothing has started a tool, and waits for it.
pub(in crate::verdict) fn tool(tool: &Process, quiet: Duration, over: bool) -> Assessment {
    let quiet = format_duration(quiet);
    let evidence = vec![
        observed("tool", tool.title()),
        observed("quiet", format!("no progress for {quiet}")),
    ];
    let (key, verdict, sentence) = if over {
        let sentence = format!(
            "waits for {}, which has not moved for {quiet}",
            tool.title()
        );
        ("tool over", Verdict::Stalled, sentence)
    } else {
        let sentence = format!("waits for {}, quiet for {quiet}", tool.title());
        ("tool", Verdict::Working, sentence)
    };
    Assessment {
        evidence,
        ..Assessment::new(key, verdict, sentence)
    }
}

/// Work is owed and nothing says what keeps it.
pub(in crate::verdict) fn owed(view: &TreeView<'_>, quiet: Duration, over: bool) -> Assessment {
    let quiet = format_duration(quiet);
    let owed = if view.report.owes_work() {
        reported("task", "work is owed")
    } else {
        observed("command", "started for one piece of work")
    };
    let mut evidence = vec![owed, observed("quiet", format!("no progress for {quiet}"))];
    evidence.extend(main_wait(view));
    if view.report.last_line_at.is_some() {
        evidence.push(reported("progress", "reported values do not change"));
    }
    if over {
        let sentence = format!("work is owed, but nothing has moved for {quiet}");
        Assessment {
            evidence,
            ..Assessment::new("owed", Verdict::Stalled, sentence)
        }
    } else {
        let sentence = format!("work is owed; quiet for {quiet}, which is not long");
        Assessment {
            evidence,
            ..Assessment::new("owed", Verdict::Working, sentence)
        }
    }
}

/// Nothing is owed.
pub(in crate::verdict) fn idle(view: &TreeView<'_>) -> Assessment {
    let sentence = if view.listens(0) {
        "waits for clients; nothing is owed"
    } else {
        "waits; as far as can be seen, nothing is owed"
    };
    let evidence = main_wait(view).into_iter().collect();
    Assessment {
        evidence,
        ..Assessment::new("idle", Verdict::Idle, sentence.to_owned())
    }
}

fn main_wait(view: &TreeView<'_>) -> Option<crate::wire::beat::Evidence> {
    let root = view.sample.root()?;
    let main = root.main()?.wait.as_ref()?;
    let threads = root.threads.iter().filter_map(|t| t.wait.as_ref());
    let parked = threads.filter(|w| is_parked(w)).count();
    let others = if parked > 1 {
        format!("; {parked} threads wait for locks")
    } else {
        String::new()
    };
    Some(observed(
        "thread.wait",
        format!("{}{others}", describe_wait(view.sample, main)),
    ))
}
