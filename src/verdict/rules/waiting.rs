//! Agents that do not move and are not caught in anything: asleep, waiting, owing, idle.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::{Draft, reported};
use crate::verdict::explain::{target_words, wait_words};
use crate::verdict::finding::{Finding, Fix, observed};
use crate::verdict::sample::{
    Kind, Process, Sample, Socket, SocketKind, Target, Tcp, Thread, Until, Wait, Why,
};
use crate::verdict::self_report::{Said, Word};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{Scene, is_for_one, is_parked};
use crate::wire::beat::Verdict;
use std::time::Duration;

/// Reads from a person, or from an input that nobody closes.
pub(in crate::verdict) fn inputs(scene: &Scene<'_>, owns_stdin: bool) -> Vec<Finding> {
    scene
        .waits()
        .filter_map(|(p, t, wait)| input(scene, p, t, wait, owns_stdin))
        .collect()
}

fn input(
    scene: &Scene<'_>,
    process: &Process,
    thread: &Thread,
    wait: &Wait,
    owns_stdin: bool,
) -> Option<Finding> {
    let target = input_target(scene, process.pid, wait)?;
    if thread.tid != process.pid && is_aside(scene, process, thread) {
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
            let writers = scene.writers(process.pid, target);
            let hidden = scene.sample.lacks(0, "holders").is_some();
            if writers.is_empty() && !hidden || writers.iter().any(|end| scene.is_inside(end.pid)) {
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
    let seen = format!("{title} in read of {}", target_words(scene.sample, target));
    let found = Finding::new(key, Verdict::WaitingInput, thresholds::INPUT, sentence);
    let found = found
        .still([(process.pid, thread.tid)])
        .logical()
        .seen("thread.wait", seen)
        .fix(fix);
    let last = scene.sample.outputs.iter().find(|o| !o.last.is_empty());
    Some(match last {
        Some(output) => found.seen("output.last", output.last.clone()),
        None => found,
    })
}

/// A full screen keeps a thread for its keys while others wait for the model: it waits for no person.
fn is_aside(scene: &Scene<'_>, process: &Process, keys: &Thread) -> bool {
    let others = process.threads.iter().filter(|t| t.tid != keys.tid);
    others
        .filter_map(|t| t.wait.as_ref())
        .any(|wait| scene.hears_outside(process.pid, wait, &[]))
}

/// The one descriptor that is read.
fn input_target<'a>(scene: &Scene<'_>, pid: u32, wait: &'a Wait) -> Option<&'a Target> {
    let named = |t: &&Target| !matches!(t.kind, Kind::Internal(_)) && !scene.wakes_itself(pid, t);
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
pub(in crate::verdict) fn asks_person() -> Draft {
    let said = reported("state", "waiting_input");
    let sentence = "says that it waits for a person".to_owned();
    Draft {
        evidence: vec![said],
        ..Draft::new("asks", Verdict::WaitingInput, sentence)
    }
}

/// The agent asked for patience.
pub(in crate::verdict) fn patience(word: &Word, until: Moment) -> Draft {
    let limited = word.limited_until == Some(until);
    let (signal, sentence) = if limited {
        ("ratelimit", "waits until its provider lets it go on")
    } else {
        ("expect", "said that it will be silent")
    };
    let said = reported(signal, sentence);
    Draft {
        evidence: vec![said],
        until: Some(until),
        ..Draft::new(signal, Verdict::Sleeping, sentence.to_owned())
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
    scene: &Scene<'_>,
    who: (u32, u32),
    until: Moment,
    now: Moment,
) -> Draft {
    let title = scene
        .sample
        .process(who.0)
        .map(Process::title)
        .unwrap_or_default();
    let left = format_duration(until.since(now));
    let sentence = format!("{title} sleeps and wakes by itself in at most {left}");
    let seen = observed("thread.deadline", format!("{title}: {left} left"));
    Draft {
        evidence: vec![seen],
        until: Some(until),
        ..Draft::new("asleep", Verdict::Sleeping, sentence)
    }
}

/// A request is unanswered; past the budget somebody should look.
pub(in crate::verdict) fn model(
    scene: &Scene<'_>,
    flying: &[(&Socket, &Tcp)],
    pinged: bool,
    over: Option<Duration>,
) -> Draft {
    let mut evidence = Vec::new();
    let mut fix = Fix::None;
    for (socket, tcp) in flying.iter().take(2) {
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
    if scene.word.state == Some(Said::WaitingModel) {
        evidence.push(reported("state", "waiting_model"));
    }
    let who = flying
        .first()
        .map_or("its model", |(_, tcp)| tcp.remote.as_str());
    let Some(quiet) = over else {
        let pings = if pinged {
            ", which sends only signs of life"
        } else {
            ""
        };
        let sentence = format!("waits for an answer of {who}{pings}");
        return Draft {
            evidence,
            fix,
            ..Draft::new("model", Verdict::WaitingModel, sentence)
        };
    };
    if pinged {
        evidence.insert(0, observed("tcp.bytes_received", "only small equal pieces"));
    }
    let sentence = format!(
        "{who} owes an answer since {}, longer than answers take",
        format_duration(quiet)
    );
    Draft {
        evidence,
        fix,
        ..Draft::new("model over", Verdict::Stalled, sentence)
    }
}

/// The root's waits cannot be read: nothing may be concluded from their absence.
pub(in crate::verdict) fn unreadable(scene: &Scene<'_>) -> Option<Draft> {
    let root = scene.sample.root;
    let why: Why = scene
        .sample
        .lacks(root, "waits")
        .or_else(|| scene.sample.lacks(root, "descriptors"))?;
    let sentence = format!(
        "nothing moves, and what it waits for cannot be read: {}",
        why.words()
    );
    let gaps = scene.sample.gaps.iter().take(3);
    let evidence = gaps
        .map(|g| observed(g.what, format!("unreadable: {}", g.why.words())))
        .collect();
    Some(Draft {
        evidence,
        ..Draft::new("unreadable", Verdict::Unknown, sentence)
    })
}

/// Somebody on this machine outside the tree whose answer over a unix socket is awaited.
pub(in crate::verdict) fn unix_peer(scene: &Scene<'_>) -> Option<u32> {
    scene.waits().find_map(|(_, _, wait)| {
        let Some(Target {
            kind: Kind::Socket(inode),
            ..
        }) = wait.targets().first()
        else {
            return None;
        };
        match scene.sample.socket(*inode)?.kind {
            SocketKind::Unix {
                peer,
                listens: false,
                ..
            } if is_for_one(wait) => {
                peer.filter(|pid| scene.sample.outsider(*pid).is_some_and(|o| !o.own))
            }
            SocketKind::Unix { .. }
            | SocketKind::Tcp(_)
            | SocketKind::Other
            | SocketKind::Unreadable(_) => None,
        }
    })
}

/// Waits for that one.
pub(in crate::verdict) fn peer(scene: &Scene<'_>, pid: u32) -> Draft {
    let name = scene.sample.outsider(pid).map_or("", |o| o.name.as_str());
    let sentence = format!("waits for an answer of {name} ({pid})");
    let seen = observed("unix.peer", format!("{name} ({pid})"));
    Draft {
        evidence: vec![seen],
        ..Draft::new("peer", Verdict::WaitingModel, sentence)
    }
}

/// An agent that says nothing has started a tool, and waits for it.
pub(in crate::verdict) fn tool(tool: &Process, quiet: Duration, over: bool) -> Draft {
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
    Draft {
        evidence,
        ..Draft::new(key, verdict, sentence)
    }
}

/// Work is owed and nothing says what keeps it.
pub(in crate::verdict) fn owed(scene: &Scene<'_>, quiet: Duration, over: bool) -> Draft {
    let quiet = format_duration(quiet);
    let owed = if scene.word.owes() {
        reported("task", "work is owed")
    } else {
        observed("command", "started for one piece of work")
    };
    let mut evidence = vec![owed, observed("quiet", format!("no progress for {quiet}"))];
    evidence.extend(main_wait(scene));
    if scene.word.last_line_at.is_some() {
        evidence.push(reported("progress", "reported values do not change"));
    }
    if over {
        let sentence = format!("work is owed, but nothing has moved for {quiet}");
        Draft {
            evidence,
            ..Draft::new("owed", Verdict::Stalled, sentence)
        }
    } else {
        let sentence = format!("work is owed; quiet for {quiet}, which is not long");
        Draft {
            evidence,
            ..Draft::new("owed", Verdict::Working, sentence)
        }
    }
}

/// Nothing is owed.
pub(in crate::verdict) fn idle(scene: &Scene<'_>) -> Draft {
    let sentence = if scene.listens(0) {
        "waits for clients; nothing is owed"
    } else {
        "waits; as far as can be seen, nothing is owed"
    };
    let evidence = main_wait(scene).into_iter().collect();
    Draft {
        evidence,
        ..Draft::new("idle", Verdict::Idle, sentence.to_owned())
    }
}

fn main_wait(scene: &Scene<'_>) -> Option<crate::wire::beat::Evidence> {
    let root = scene.sample.root()?;
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
        format!("{}{others}", wait_words(scene.sample, main)),
    ))
}
