//! Waits that end by themselves, or by an event that the program asked for: timers, signals, changes of files, messages.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::Assessment;
use crate::verdict::explain::describe_wait;
use crate::verdict::finding::observed;
use crate::verdict::known_programs::runtime_signals;
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{
    GO_THREAD, Kind, Process, Socket, Subject, Target, Tcp, Thread, Until, Wait,
};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, is_parked};
use std::collections::BTreeSet;
use std::time::Duration;

/// Threads with a timer whose processes are asked whether the root waits for them.
const ASKED_MAX: usize = 64;

/// How the threads of a runtime begin their names. They sleep for up to a day beside a program that does not move.
///
/// Java 17 and 21: `jstack` of an idle program. .NET 8: `/proc/PID/task/*/comm` of one.
const RUNTIME_THREADS: [&str; 23] = [
    GO_THREAD,
    "Attach Listener",
    "C1 CompilerThre",
    "C2 CompilerThre",
    "Common-Cleaner",
    "Finalizer",
    "G1 ",
    "GC Thread",
    "JFR ",
    "Keep-Alive-Time",
    "Monitor Deflati",
    "Notification Th",
    "Reference Handl",
    "Service Thread",
    "Signal Dispatch",
    "Sweeper thread",
    "VM Periodic Tas",
    "VM Thread",
    "process reaper",
    ".NET ",
    "Parallel GC",
    "ZDriver",
    "ZStat",
];

/// Go and Java handle it in every program.
const SEGV: u64 = 1 << 10;

/// A thread that wakes by itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::verdict) struct Sleeper {
    /// Process and thread.
    pub(in crate::verdict) key: (u32, u32),
    /// How often it was scheduled.
    pub(in crate::verdict) turns: u64,
    pub(in crate::verdict) left: Duration,
    /// An event loop: its timer may be one of many that say nothing about the work.
    pub(in crate::verdict) loops: bool,
}

/// Threads whose timer may be what the work waits for: of the root, and of processes that the root waits for. `connections`: what
/// arrives on these connections ends the silence of the processes that hold them, and no timer of their loops does.
pub(in crate::verdict) fn sleepers(
    view: &TreeView<'_>,
    connections: &[(&Socket, &Tcp)],
) -> Vec<Sleeper> {
    let asking: BTreeSet<u32> = connections.iter().map(|(socket, _)| socket.pid).collect();
    // The loop of a server below the root ticks for as long as it serves.
    let excuses_nothing = |process: &Process| {
        let served = process.pid != view.sample.root && view.listens(Subject::Process(process.pid));
        served || asking.contains(&process.pid)
    };
    let mut found = Vec::new();
    let mut asked = 0;
    for process in view.living() {
        let of_process: Vec<Sleeper> = process
            .threads
            .iter()
            .filter_map(|thread| sleeper(process, thread))
            .filter(|sleeper| !(sleeper.loops && excuses_nothing(process)))
            .collect();
        if of_process.is_empty() {
            continue;
        }
        if process.pid != view.sample.root {
            asked += 1;
            let awaited =
                || view.is_tool(process, connections) || view.may_be_awaited_by_root(process);
            if asked > ASKED_MAX || !awaited() {
                continue;
            }
        }
        found.extend(of_process);
    }
    found
}

/// The sleep of the root's first thread; where the runtime schedules tasks of its own, of the thread that polls for them.
pub(in crate::verdict) fn root_sleep(view: &TreeView<'_>) -> Option<Sleeper> {
    let root = view.sample.root()?;
    let main = root.main()?;
    let own = sleeper(root, main);
    let schedules = root.caught.is_some_and(|set| set & SEGV != 0);
    if own.is_some() || !schedules || !main.wait.as_ref().is_some_and(is_parked) {
        return own;
    }
    let threads = root.threads.iter().filter_map(|t| sleeper(root, t));
    threads.filter(|s| s.loops).max_by_key(|s| s.left)
}

/// Whether the first thread of the root waits for a timer that is a descriptor.
pub(in crate::verdict) fn has_timer_descriptor(view: &TreeView<'_>) -> bool {
    let main = view.sample.root().and_then(Process::main_wait);
    let targets = main.map(Wait::targets);
    let timer = |t: &Target| matches!(&t.kind, Kind::Internal(name) if name == "timerfd");
    targets.is_some_and(|targets| targets.iter().any(timer))
}

/// No terminal input cuts it short, and it belongs to the program.
fn sleeper(process: &Process, thread: &Thread) -> Option<Sleeper> {
    let wait = thread.wait.as_ref()?;
    let own = match wait.until() {
        Until::In(left) => Some(left),
        Until::Never | Until::Unreadable(_) => None,
    };
    // A loop that ticks may have its deadline in a timer descriptor.
    let left = own.max(thread.timer)?;
    let typed = |t: &Target| matches!(t.kind, Kind::Terminal(_));
    if wait.targets().iter().any(typed) || is_of_the_runtime(process, thread, wait) {
        return None;
    }
    Some(Sleeper {
        key: (process.pid, thread.tid),
        turns: thread.turns,
        left,
        loops: matches!(wait, Wait::Poll { .. }),
    })
}

/// Beside an event loop, timed waits belong to the runtime: idle pools and telemetry (a condition, up to a minute), V8's
/// housekeeping (a loop beside one that ticks, half a minute). Only a plain sleep belongs to the program.
fn is_of_the_runtime(process: &Process, thread: &Thread, wait: &Wait) -> bool {
    if thread.tid == process.pid {
        return false;
    }
    let loops = |w: &Wait| matches!(w, Wait::Poll { .. });
    let main = process.main_wait();
    let named = RUNTIME_THREADS.iter().any(|n| thread.name.starts_with(n));
    let condition = matches!(wait, Wait::Futex { .. }) && process.waits().any(loops);
    let ticks = |until| matches!(until, Until::In(time) if time <= thresholds::TIMER);
    let second = loops(wait) && main.is_some_and(|w| loops(w) && ticks(w.until()));
    named || condition || second
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
    let left = until.since(now);
    let (sentence, seen) = if left < Duration::from_secs(1) {
        let sentence = format!("{title} sleeps; its timer is due");
        (sentence, format!("{title}: due"))
    } else {
        let left = format_duration(left);
        let sentence = format!("{title} sleeps; its timer wakes it in at most {left}");
        (sentence, format!("{title}: {left} left"))
    };
    Assessment {
        evidence: vec![observed("thread.deadline", seen)],
        until: Some(until),
        ..Assessment::new(RuleId::Timer, sentence)
    }
}

/// The root, or a process that it waits for, asked the kernel for an event from outside and waits for nothing else: a signal,
/// a change of a file, a message. Work may be owed, and is not late by that.
pub(in crate::verdict) fn outside_event(view: &TreeView<'_>) -> Option<Assessment> {
    if view.sample.processes.iter().any(|p| p.agent) {
        // Agents watch their settings all the time.
        return None;
    }
    let waits = view.waits();
    let mut asked = waits.filter(|(process, thread, wait)| {
        let main = thread.tid == process.pid;
        main && thread.open_memory || is_for_an_event(view, process, wait, main)
    });
    let (process, thread, wait) = asked.find(|(process, _, _)| view.is_awaited_by_root(process))?;
    let title = process.title();
    let what = describe_wait(view.sample, wait);
    let sentence = format!("work is owed; {title} waits for {what}, which comes from outside");
    let seen = format!("thread {}: {what}", thread.tid);
    Some(Assessment {
        evidence: vec![observed("thread.wait", seen)],
        ..Assessment::new(RuleId::WorkOwed, sentence)
    })
}

fn is_for_an_event(view: &TreeView<'_>, process: &Process, wait: &Wait, main: bool) -> bool {
    let changes = |t: &Target| matches!(&t.kind, Kind::Internal(name) if ["inotify", "fanotify", "signalfd"].contains(&name.as_str()));
    match wait {
        Wait::Signal(_) => main,
        Wait::Futex {
            until: Until::Never,
            ..
        } => main && awaits_signal(process),
        Wait::Call(number) => main && EVENT_CALLS.contains(number),
        Wait::Read(target) => changes(target),
        Wait::Poll { targets, until } => {
            let own = |t: &Target| {
                matches!(t.kind, Kind::Internal(_)) || view.wakes_itself(process.pid, t)
            };
            let asked = targets.iter().any(changes)
                || main && *until == Until::Never && awaits_signal(process);
            asked && targets.iter().all(own)
        }
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
        | Wait::Unreadable(_) => false,
    }
}

/// Whether it handles a signal that another program or a timer sends: USR1, USR2, ALRM, VTALRM, IO. A runtime that handles
/// SEGV, as Go and Java do, handles nearly all of them for itself.
pub(in crate::verdict) fn awaits_signal(process: &Process) -> bool {
    const SENT: u64 = 1 << 9 | 1 << 11 | 1 << 13 | 1 << 25 | 1 << 28;
    let own = runtime_signals(&process.name).iter();
    let own = own.fold(0, |all, signal| all | 1_u64 << (signal - 1));
    process
        .caught
        .is_some_and(|caught| caught & SEGV == 0 && caught & SENT & !own != 0)
}

/// Messages and semaphores that other processes send: `msgrcv`, `semop`, `semtimedop`, `mq_timedreceive`.
#[cfg(target_arch = "x86_64")]
const EVENT_CALLS: [u32; 4] = [70, 65, 220, 243];
#[cfg(target_arch = "aarch64")]
const EVENT_CALLS: [u32; 4] = [188, 193, 192, 183];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const EVENT_CALLS: [u32; 0] = [];
