//! Agents that do not move and match no rule of being stuck: asleep, waiting, owing work, idle.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::Assessment;
use crate::verdict::explain::describe_wait;
use crate::verdict::finding::{Fix, observed, reported};
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{
    GapKind, Kind, Process, Socket, SocketKind, Subject, Target, Tcp, TcpState, Wait, Why,
};
use crate::verdict::self_report::Announced;
use crate::verdict::tree_view::{TreeView, awaited_alone, is_parked};
use crate::wire::activity::Evidence;
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

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
    // The kernel's count began before the first sample.
    let received_ago = pending.first().map_or(quiet, |(_, tcp)| tcp.received_ago);
    let quiet = if peer_alive {
        evidence.insert(0, observed("tcp.bytes_received", "only small equal pieces"));
        quiet
    } else {
        quiet.max(received_ago)
    };
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
            } if awaited_alone(wait).is_some() => {
                peer.filter(|pid| view.sample.outsider(*pid).is_some_and(|o| !o.own))
            }
            SocketKind::Unix { .. }
            | SocketKind::Tcp(_)
            | SocketKind::Other
            | SocketKind::Unreadable(_) => None,
        }
    })
}

/// Waits for that process. `late`: for how long, and the budget, once that is exceeded.
pub(in crate::verdict) fn peer(
    view: &TreeView<'_>,
    pid: u32,
    late: Option<(Duration, Duration)>,
) -> Assessment {
    let name = view.sample.outsider(pid).map_or("", |o| o.name.as_str());
    let (rule, sentence) = match late {
        None => {
            let sentence = format!("waits for a response from {name} ({pid})");
            (RuleId::LocalPeer, sentence)
        }
        Some((quiet, limit)) => {
            let (quiet, limit) = (format_duration(quiet), format_duration(limit));
            let sentence = format!("no response from {name} ({pid}) for {quiet} (limit {limit})");
            (RuleId::AnswerLate, sentence)
        }
    };
    let seen = observed("unix.peer", format!("{name} ({pid})"));
    Assessment {
        evidence: vec![seen],
        ..Assessment::new(rule, sentence)
    }
}

/// Waits for a lock whose holder is at work.
pub(in crate::verdict) fn lock(view: &TreeView<'_>, holder: u32) -> Assessment {
    let name = view.sample.outsider(holder).map_or("", |o| o.name.as_str());
    let sentence = format!("waits for a lock that {name} ({holder}) holds, which is at work");
    Assessment {
        evidence: vec![observed("lock.holder", format!("{name} ({holder})"))],
        ..Assessment::new(RuleId::WorkOwed, sentence)
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
    let accepts = view.tcp().any(|(_, tcp)| tcp.state == TcpState::Listen);
    let requests = |wait: &Wait| matches!(wait, Wait::Read(target) if target.fd == 0);
    let root = view.sample.root();
    let served_by_input = root.and_then(Process::main_wait).is_some_and(requests);
    let sentence = if accepts || view.serves {
        "idle: waits for clients, with no work in progress that hb can see"
    } else if served_by_input {
        "idle: waits for its standard input, with no work in progress that hb can see"
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
    let main = root.main_wait()?;
    let threads = root.waits();
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
