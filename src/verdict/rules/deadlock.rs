//! Deadlocks: wait cycles that no outside event can break, and stopped processes.

use crate::verdict::finding::{Finding, Fix};
use crate::verdict::rule::RuleId;
use crate::verdict::rules::timers::awaits_signal;
use crate::verdict::sample::{Process, RunState, Subject, Until, Wait};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{TreeView, handles_signals, is_parked, is_private_futex_wait};
use std::collections::BTreeSet;
use std::time::Duration;

/// Ends a child, never the agent itself.
pub(in crate::verdict) fn end_or_restart(view: &TreeView<'_>, process: &Process) -> Fix {
    if process.pid == view.sample.root {
        Fix::Restart
    } else {
        Fix::EndChild {
            pid: process.pid,
            started: process.started,
        }
    }
}

/// The thread of the root that holds the mutex which its first thread waits for, as the mutex itself shows.
pub(in crate::verdict) fn holder(view: &TreeView<'_>) -> Option<(u32, u32)> {
    let root = view.sample.root()?;
    let Wait::Futex { owner, .. } = root.main_wait()? else {
        return None;
    };
    let owner = (*owner)?;
    let holds = root.threads.iter().any(|t| t.tid == owner);
    holds.then_some((root.pid, owner))
}

/// Stopped by a signal. In the background of a terminal that is job control, so a person did it.
pub(in crate::verdict) fn stopped(process: &Process) -> Option<Finding> {
    if process.state != RunState::Stopped || process.tracer.is_some() || process.frozen {
        return None;
    }
    let subject = Subject::Process(process.pid);
    let title = process.title();
    if process
        .foreground
        .is_some_and(|foreground| foreground != process.group)
    {
        let sentence = format!("{title} is stopped in the background of its terminal");
        let rule = RuleId::BackgroundJob;
        let found = Finding::new(rule, subject, sentence);
        return Some(found.observed("process.state", "T, not in the foreground of its terminal"));
    }
    let sentence =
        format!("{title} was stopped by a signal and stays stopped until it is continued");
    let found = Finding::new(RuleId::Stopped, subject, sentence).logical();
    let threads = process.threads.iter().map(|t| (process.pid, t.tid));
    Some(
        found
            .while_asleep(threads)
            .observed(
                "process.state",
                format!("T, tracer none, {title}; SIGCONT continues it"),
            )
            .fix(Fix::Cont {
                pid: process.pid,
                started: process.started,
            }),
    )
}

/// Threads of one process that wait for each other's mutexes.
pub(in crate::verdict) fn mutex_ring(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    let owner = |tid: u32| {
        let thread = process.threads.iter().find(|t| t.tid == tid)?;
        match thread.wait {
            Some(Wait::Futex {
                owner,
                until: Until::Never,
                ..
            }) => owner,
            Some(_) | None => None,
        }
    };
    let ring = process.threads.iter().find_map(|thread| {
        let mut ring = vec![thread.tid];
        let mut at = thread.tid;
        while let Some(next) = owner(at) {
            if next == thread.tid {
                // A thread's own number in its own memory may stand for anything, unless nothing else could wake it.
                let alone = process.thread_count == 1 && !handles_signals(process);
                return (alone || ring.len() > 1).then_some(ring);
            }
            if ring.contains(&next) {
                return None;
            }
            ring.push(next);
            at = next;
        }
        None
    })?;
    let chain: Vec<String> = ring.iter().map(|tid| format!("thread {tid}")).collect();
    let sentence = match chain.as_slice() {
        [one] => format!(
            "{one} of {} waits for a lock that it holds itself",
            process.title()
        ),
        [one, two] => format!(
            "{one} of {} waits for a lock held by {two}, which waits for a lock held by {one}",
            process.title()
        ),
        _ => format!(
            "{} of {} wait in a ring for locks that the next one holds",
            chain.join(", "),
            process.title()
        ),
    };
    let subject = Subject::Process(process.pid);
    let rule = RuleId::MutexRing;
    let found = Finding::new(rule, subject, sentence).logical();
    let still = ring.iter().map(|tid| (process.pid, *tid));
    let found = found
        .while_asleep(still)
        .observed("mutex.owner", chain.join(" → "))
        .fix(end_or_restart(view, process));
    Some(if view.report.owes_work() {
        found.reported("task", "work is owed")
    } else {
        found
    })
}

/// A fork made while another thread held a lock: the child has the locked lock, but not the thread that would release it.
pub(in crate::verdict) fn forked_lock(view: &TreeView<'_>, process: &Process) -> Option<Finding> {
    let parent = view.sample.process(process.parent)?;
    let copy = parent.command == process.command && parent.name == process.name;
    if !copy
        || !is_private_futex_wait(process)
        || handles_signals(process)
        || !view.is_awaited(process)
    {
        return None;
    }
    let sentence = format!(
        "{} was forked while a lock was held that no thread of it can release; {} waits for its end",
        process.title(),
        parent.title()
    );
    let subject = Subject::Process(process.pid);
    let rule = RuleId::ForkedLock;
    let found = Finding::new(rule, subject, sentence).logical();
    let threads = format!(
        "{} thread in futex, private, without a limit",
        process.threads.len()
    );
    Some(
        found
            .while_asleep(process.threads.iter().map(|t| (process.pid, t.tid)))
            .observed("thread.wait", threads)
            .observed("parent", format!("{} waits for it", parent.title()))
            .fix(end_or_restart(view, process)),
    )
}

/// Work is owed, and every thread of every process waits for a lock or for another one of them.
pub(in crate::verdict) fn deadlock(view: &TreeView<'_>) -> Option<Finding> {
    let mut still = Vec::new();
    let mut culprit: Option<&Process> = None;
    for process in view.living() {
        if process.frozen || process.tracer.is_some() || handles_signals(process) {
            return None;
        }
        for thread in &process.threads {
            match thread.wait.as_ref()? {
                Wait::Futex {
                    until: Until::Never,
                    // A process outside the tree could release a lock in shared memory.
                    private: true,
                    ..
                } => culprit = Some(process),
                Wait::Child(_) => {}
                Wait::Read(target) if view.is_from_inside(process, target) => {}
                Wait::Running
                | Wait::Read(_)
                | Wait::Write(_)
                | Wait::Accept(_)
                | Wait::Connect(_)
                | Wait::Poll { .. }
                | Wait::Sleep(_)
                | Wait::Futex { .. }
                | Wait::Fork
                | Wait::Lock(_)
                | Wait::Signal(_)
                | Wait::Sync(_)
                | Wait::Call(_)
                | Wait::Unreadable(_) => return None,
            }
            still.push((process.pid, thread.tid));
        }
    }
    let culprit = culprit?;
    let sentence = format!(
        "work is owed, and all {} threads of {} wait for locks that no thread will release",
        still.len(),
        culprit.title()
    );
    let found = Finding::new(RuleId::Deadlock, Subject::Tree, sentence);
    Some(
        found
            .while_asleep(still)
            .observed(
                "thread.wait",
                "every thread: futex without a limit, not one woke",
            )
            .reported("task", "work is owed")
            .fix(end_or_restart(view, culprit)),
    )
}

/// Work is owed, and the event loop has no source of events left but its own timers.
pub(in crate::verdict) fn dead_await(view: &TreeView<'_>) -> Option<Finding> {
    let root = view.sample.root()?;
    let alone = view.living().count() == 1;
    let main = root.main()?;
    let Wait::Poll { until, .. } = main.wait.as_ref()? else {
        return None;
    };
    let is_long = |time: Duration| time > thresholds::TIMER;
    let long = match until {
        Until::In(time) => is_long(*time),
        Until::Never => false,
        Until::Unreadable(_) => true,
    } || main.timer.is_some_and(is_long);
    let connected = view.sample.sockets.iter().any(|s| s.other().is_none());
    let asked = *until == Until::Never && awaits_signal(root);
    if !alone || long || connected || asked || view.is_patient || view.listens(Subject::Tree) {
        return None;
    }
    let mut kinds = BTreeSet::new();
    for thread in &root.threads {
        let wait = thread.wait.as_ref()?;
        let loops = matches!(wait, Wait::Poll { .. });
        if !(is_parked(wait) || loops) || view.can_be_woken_from_outside(root.pid, wait, &[]) {
            return None;
        }
        kinds.insert(loops);
    }
    let limit = match until {
        Until::In(_) => "only its own timer wakes it",
        Until::Never | Until::Unreadable(_) => "nothing wakes it",
    };
    let sentence = format!(
        "work is owed, but {} has no connection, no child and no input to wait for: {limit}",
        root.title()
    );
    let found = Finding::new(RuleId::DeadAwait, Subject::Process(root.pid), sentence);
    Some(
        found
            .observed("sockets", "none")
            .observed(
                "thread.wait",
                format!("event loop without a source of events; {limit}"),
            )
            .reported("task", "work is owed")
            .fix(Fix::Restart),
    )
}
