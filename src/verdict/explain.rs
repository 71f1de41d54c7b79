//! Waits, states and descriptors as text for people.

use crate::base::duration::format_duration;
use crate::verdict::sample::{Kind, RunState, Sample, SocketKind, Target, TcpState, Until, Wait};
use std::time::Duration;

/// What a thread waits for.
pub fn describe_wait(sample: &Sample, wait: &Wait) -> String {
    match wait {
        Wait::Running => "nothing: it runs".to_owned(),
        Wait::Read(target) => format!("data from {}", describe_target(sample, target)),
        Wait::Write(target) => format!("room in {}", describe_target(sample, target)),
        Wait::Accept(target) => format!("a client on {}", describe_target(sample, target)),
        Wait::Connect(target) => format!("the answer of {}", describe_target(sample, target)),
        Wait::Poll { targets, until } => describe_poll(sample, targets, *until),
        Wait::Sleep(until) => format!("the end of its sleep{}", describe_limit(*until)),
        Wait::Futex { until, owner, .. } => {
            let owner = owner
                .map(|tid| format!(" held by thread {tid}"))
                .unwrap_or_default();
            format!("a lock or condition{owner}{}", describe_limit(*until))
        }
        Wait::Child(pid) if *pid > 0 => format!("the end of process {pid}"),
        Wait::Child(_) => "the end of a child".to_owned(),
        Wait::Fork => "its child to start a program".to_owned(),
        Wait::Lock(target) => format!("a lock on {}", describe_target(sample, target)),
        Wait::Signal(until) => format!("a signal{}", describe_limit(*until)),
        Wait::Sync(target) => format!("the disk under {}", describe_target(sample, target)),
        Wait::Call(_) => "something that hb cannot name".to_owned(),
        Wait::Unreadable(why) => format!("unknown: {}", why.describe()),
    }
}

/// A process's state.
pub fn describe_state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Sleeping => "sleeping",
        RunState::Disk => "uninterruptible",
        RunState::Stopped => "stopped",
        RunState::Traced => "traced",
        RunState::Zombie => "ended",
    }
}

/// What a descriptor refers to.
pub fn describe_target(sample: &Sample, target: &Target) -> String {
    let fd = target.fd;
    match &target.kind {
        Kind::Pipe(_) => format!("a pipe (descriptor {fd})"),
        Kind::Terminal(path) => format!("the terminal {path}"),
        Kind::File(path) => path.clone(),
        Kind::Internal(name) => format!("{name} (descriptor {fd})"),
        Kind::Unreadable(why) => format!("descriptor {fd} ({})", why.describe()),
        Kind::Socket(inode) => match sample.socket(*inode).map(|s| &s.kind) {
            Some(SocketKind::Tcp(tcp)) => match tcp.state {
                TcpState::Listen => format!("port {}", tcp.local_port),
                TcpState::Established
                | TcpState::SynSent
                | TcpState::CloseWait
                | TcpState::Closing => format!("{} over TCP", tcp.remote),
            },
            Some(SocketKind::Unix {
                peer: Some(peer), ..
            }) => {
                format!("a unix socket of process {peer}")
            }
            Some(SocketKind::Unix { .. }) => format!("a unix socket (descriptor {fd})"),
            Some(SocketKind::Other | SocketKind::Unreadable(_)) | None => {
                format!("a socket (descriptor {fd})")
            }
        },
    }
}

/// An amount of data.
pub(super) fn describe_bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{} kB", n / 1000),
        _ => format!("{} MB", n / 1_000_000),
    }
}

fn describe_poll(sample: &Sample, targets: &[Target], until: Until) -> String {
    let has_a_name = |t: &&Target| !matches!(t.kind, Kind::Internal(_));
    let named = targets.iter().filter(has_a_name).take(4);
    let mut named: Vec<String> = named.map(|t| describe_target(sample, t)).collect();
    if named.is_empty() {
        let internal = targets.iter().filter_map(|t| match &t.kind {
            Kind::Internal(name) => Some(describe_internal(name).to_owned()),
            Kind::Pipe(_)
            | Kind::Socket(_)
            | Kind::Terminal(_)
            | Kind::File(_)
            | Kind::Unreadable(_) => None,
        });
        named = internal.collect();
        named.sort();
        named.dedup();
    }
    let what = match (named.len(), until) {
        (0, Until::Never) => "nothing that can come".to_owned(),
        (0, Until::In(_) | Until::Unreadable(_)) => "its own timer".to_owned(),
        (_, Until::Never | Until::In(_) | Until::Unreadable(_)) => named.join(" or "),
    };
    format!("{what}{}", describe_limit(until))
}

/// A descriptor without a name outside the kernel, by the kernel's word for it.
fn describe_internal(name: &str) -> &'static str {
    match name {
        "eventfd" => "its own threads",
        "timerfd" => "its own timer",
        "inotify" | "fanotify" => "a change of a file",
        "signalfd" => "a signal",
        "pidfd" => "the end of a process",
        "io_uring" => "a request to the kernel",
        _ => "something inside the kernel",
    }
}

fn describe_limit(until: Until) -> String {
    match until {
        Until::Never => String::new(),
        Until::In(time) if time < Duration::from_secs(1) => ", for less than a second".to_owned(),
        Until::In(time) => format!(", at most {}", format_duration(time)),
        Until::Unreadable(why) => format!(", its limit is unknown: {}", why.describe()),
    }
}
