//! Agents that do not move and match no rule of being stuck: asleep, waiting, owing work, idle.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::Assessment;
use crate::verdict::explain::{describe_target, describe_wait};
use crate::verdict::finding::{Finding, Fix, observed, reported};
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{
    GapKind, Kind, Process, Sample, Socket, SocketKind, Subject, Target, Tcp, Thread, Until, Wait,
    Why,
};
use crate::verdict::self_report::Announced;
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, is_parked, waits_for_one};
use crate::wire::activity::Evidence;
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

/// Reads from a person, or from a standard input that stays open.
pub(in crate::verdict) fn inputs(view: &TreeView<'_>) -> Vec<Finding> {
    view.waits()
        .filter_map(|(p, t, wait)| input(view, p, t, wait))
        .collect()
}

fn input(view: &TreeView<'_>, process: &Process, thread: &Thread, wait: &Wait) -> Option<Finding> {
    let target = input_target(view, process.pid, wait)?;
    if thread.tid != process.pid && is_aside(view, process, thread) {
        return None;
    }
    let title = process.title();
    let (rule, sentence) = match &target.kind {
        Kind::Terminal(path) => (
            RuleId::TerminalInput,
            format!("{title} waits for a person to type at {path}"),
        ),
        Kind::Pipe(_) | Kind::Socket(_) if target.fd == 0 => {
            let writers = view.writers(process.pid, target);
            let hidden = view.sample.may_have_hidden_holders();
            if writers.is_empty() && !hidden || writers.iter().any(|end| view.is_inside(end.pid)) {
                return None;
            }
            (
                RuleId::StdinInput,
                format!("{title} reads its standard input, which stays open without data"),
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
    let subject = Subject::Process(process.pid);
    let found = Finding::new(rule, subject, sentence);
    let found = found
        .while_asleep([(process.pid, thread.tid)])
        .logical()
        .observed("thread.wait", seen)
        .about(u64::from(target.fd.unsigned_abs()));
    let last = view.sample.outputs.iter().find(|o| !o.last.is_empty());
    Some(match last {
        Some(output) => found.observed("output.last", output.last.clone()),
        None => found,
    })
}

/// A full-screen program reads keys in a thread of its own while others wait for the model: it does not wait for a person.
fn is_aside(view: &TreeView<'_>, process: &Process, keys: &Thread) -> bool {
    let others = process.threads.iter().filter(|t| t.tid != keys.tid);
    others
        .filter_map(|t| t.wait.as_ref())
        .any(|wait| view.can_be_woken_from_outside(process.pid, wait, &[]))
}

/// The one descriptor that is read, if the wait is for input alone.
fn input_target<'a>(view: &TreeView<'_>, pid: u32, wait: &'a Wait) -> Option<&'a Target> {
    let named = |t: &&Target| !matches!(t.kind, Kind::Internal(_)) && !view.wakes_itself(pid, t);
    match wait {
        Wait::Read(target) => Some(target),
        // A program that waits for nothing but input, like a pager or a shell.
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

/// It wakes by itself soon, so it does other work beside.
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

/// The agent reports that a person must answer.
pub(in crate::verdict) fn asks_person() -> Assessment {
    let said = reported("state", "waiting_input");
    let sentence = "reports that it waits for a person".to_owned();
    Assessment {
        evidence: vec![said],
        ..Assessment::new(RuleId::AsksPerson, sentence)
    }
}

/// Silence is normal until a known time, by the agent's own report.
pub(in crate::verdict) fn announced(until: Moment, why: Announced, now: Moment) -> Assessment {
    let left = format_duration(until.since(now));
    let (rule, signal, sentence) = match why {
        Announced::Silence => (
            RuleId::Expect,
            "expect",
            format!("announced that it will be silent for another {left}"),
        ),
        Announced::RateLimit => (
            RuleId::RateLimit,
            "rate_limit",
            format!("the model's service asked it to wait for another {left}"),
        ),
    };
    Assessment {
        evidence: vec![reported(signal, format!("{left} left"))],
        until: Some(until),
        ..Assessment::new(rule, sentence)
    }
}

/// Threads with a timer that no terminal input cuts short: process and thread, how often it was scheduled, time left.
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

/// Beside an event loop, timed waits belong to the runtime: idle pools and telemetry (a condition, up to a minute), V8's
/// housekeeping (a loop beside one that ticks, half a minute). Only a plain sleep belongs to the program.
fn is_of_the_runtime(process: &Process, thread: &Thread, wait: &Wait) -> bool {
    let loops = |w: &Wait| matches!(w, Wait::Poll { .. });
    let waits = || process.threads.iter().filter_map(|t| t.wait.as_ref());
    let main = process.main().and_then(|t| t.wait.as_ref());
    let aside = thread.tid != process.pid;
    let condition = matches!(wait, Wait::Futex { .. }) && waits().any(loops);
    let second = loops(wait) && main.is_some_and(|w| loops(w) && is_ticking(w.until()));
    aside && (condition || second)
}

/// Sleeps until a deadline that was read.
pub(in crate::verdict) fn asleep(
    view: &TreeView<'_>,
    thread: (u32, u32),
    until: Moment,
    now: Moment,
) -> Assessment {
    let title = view
        .sample
        .process(thread.0)
        .map(Process::title)
        .unwrap_or_default();
    let left = format_duration(until.since(now));
    let sentence = format!("{title} sleeps; its timer wakes it in at most {left}");
    let seen = observed("thread.deadline", format!("{title}: {left} left"));
    Assessment {
        evidence: vec![seen],
        until: Some(until),
        ..Assessment::new(RuleId::Timer, sentence)
    }
}

/// A request is unanswered. `late`: for how long, and the budget, once that is exceeded.
pub(in crate::verdict) fn model(
    view: &TreeView<'_>,
    pending: &[(&Socket, &Tcp)],
    peer_alive: bool,
    late: Option<(Duration, Duration)>,
) -> Assessment {
    let mut evidence = Vec::new();
    let mut fix = Fix::None;
    for (socket, tcp) in pending.iter().take(2) {
        let alive = match tcp.keep_alive {
            Some(true) if tcp.probes == 0 => "keep-alive answered".to_owned(),
            Some(true) => format!("{} keep-alive probes unanswered", tcp.probes),
            Some(false) => "keep-alive off, so a dead peer would go unnoticed".to_owned(),
            None => "keep-alive unknown".to_owned(),
        };
        let value = format!(
            "{}: last received {} ago, last ack {} ago, {alive}",
            tcp.remote,
            format_duration(tcp.received_ago),
            format_duration(tcp.acked_ago)
        );
        evidence.push(observed("tcp", value));
        if late.is_some() && tcp.keep_alive == Some(false) && fix == Fix::None {
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
        .map_or("the model", |(_, tcp)| tcp.remote.as_str());
    let Some((quiet, limit)) = late else {
        let pings = if peer_alive {
            ", which sends only keep-alive messages"
        } else {
            ""
        };
        let sentence = format!("waits for a response from {who}{pings}");
        return Assessment {
            evidence,
            fix,
            ..Assessment::new(RuleId::AnswerPending, sentence)
        };
    };
    if peer_alive {
        evidence.insert(0, observed("tcp.bytes_received", "only small equal pieces"));
    }
    let sentence = format!(
        "no response from {who} for {} (limit {})",
        format_duration(quiet),
        format_duration(limit)
    );
    Assessment {
        evidence,
        fix,
        ..Assessment::new(RuleId::AnswerLate, sentence)
    }
}

/// The root's waits are unreadable, so nothing follows from their absence.
pub(in crate::verdict) fn unreadable(view: &TreeView<'_>) -> Option<Assessment> {
    let root = Subject::Process(view.sample.root);
    let why: Why = view
        .sample
        .gap(root, GapKind::Waits)
        .or_else(|| view.sample.gap(root, GapKind::Descriptors))?;
    let sentence = format!(
        "nothing moves, and what it waits for is unreadable: {}",
        why.describe()
    );
    let gaps = view.sample.gaps.iter().take(3);
    let evidence = gaps
        .map(|g| {
            observed(
                g.what.describe(),
                format!("unreadable: {}", g.why.describe()),
            )
        })
        .collect();
    Some(Assessment {
        evidence,
        ..Assessment::new(RuleId::Unreadable, sentence)
    })
}

/// The process outside the tree whose answer over a unix socket is awaited.
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

/// Waits for that process.
pub(in crate::verdict) fn peer(view: &TreeView<'_>, pid: u32) -> Assessment {
    let name = view.sample.outsider(pid).map_or("", |o| o.name.as_str());
    let sentence = format!("waits for a response from {name} ({pid})");
    let seen = observed("unix.peer", format!("{name} ({pid})"));
    Assessment {
        evidence: vec![seen],
        ..Assessment::new(RuleId::LocalPeer, sentence)
    }
}

/// An agent without reports has started a tool and waits for it. `over`: the tool has not moved for longer than `limit`.
pub(in crate::verdict) fn tool(
    tool: &Process,
    quiet: Duration,
    limit: Duration,
    over: bool,
) -> Assessment {
    let (quiet, limit) = (format_duration(quiet), format_duration(limit));
    let evidence = vec![
        observed("tool", tool.title()),
        observed("quiet", format!("no progress for {quiet}")),
    ];
    let (rule, sentence) = if over {
        let sentence = format!(
            "waits for {}, which has not moved for {quiet} (limit {limit})",
            tool.title()
        );
        (RuleId::ToolLate, sentence)
    } else {
        let sentence = format!(
            "waits for {}; no progress for {quiet} (limit {limit})",
            tool.title()
        );
        (RuleId::ToolPending, sentence)
    };
    Assessment {
        evidence,
        ..Assessment::new(rule, sentence)
    }
}

/// Work is owed, and no rule explains what blocks it. `over`: nothing has moved for longer than `limit`.
pub(in crate::verdict) fn owed(
    view: &TreeView<'_>,
    quiet: Duration,
    limit: Duration,
    over: bool,
) -> Assessment {
    let (quiet, limit) = (format_duration(quiet), format_duration(limit));
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
        let sentence = format!("work is owed, but nothing has moved for {quiet} (limit {limit})");
        Assessment {
            evidence,
            ..Assessment::new(RuleId::NoProgress, sentence)
        }
    } else {
        let sentence = format!("work is owed; no progress for {quiet} (limit {limit})");
        Assessment {
            evidence,
            ..Assessment::new(RuleId::WorkOwed, sentence)
        }
    }
}

/// No work is owed.
pub(in crate::verdict) fn idle(view: &TreeView<'_>) -> Assessment {
    let sentence = if view.listens(Subject::Tree) {
        "idle: waits for clients, with no work in progress that hb can see"
    } else {
        "idle: waiting, with no work in progress that hb can see"
    };
    let evidence = main_wait(view).into_iter().collect();
    Assessment {
        evidence,
        ..Assessment::new(RuleId::Idle, sentence.to_owned())
    }
}

fn main_wait(view: &TreeView<'_>) -> Option<Evidence> {
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
