//! Waits that close in on themselves: nothing in the world can end them.

use crate::verdict::explain::{target_words, wait_words};
use crate::verdict::finding::{Finding, Fix};
use crate::verdict::sample::{End, Kind, Process, RunState, Target, Thread, Until, Wait};
use crate::verdict::thresholds;
use crate::verdict::tree_view::{Scene, handles_signals, is_parked, is_private_knot};
use crate::wire::beat::Verdict;
use std::collections::BTreeSet;

/// All of them.
pub(in crate::verdict) fn find(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = scene.living().filter_map(stopped).collect();
    found.extend(
        scene
            .waits()
            .filter_map(|(p, t, wait)| undrained(scene, p, t, wait)),
    );
    found.extend(scene.living().filter_map(|p| mutex_ring(scene, p)));
    found.extend(scene.own().filter_map(|p| forked_lock(scene, p)));
    found.extend(deadlock(scene));
    found.extend(dead_await(scene));
    found
}

/// Ends a child, never the agent itself.
pub(in crate::verdict) fn end_or_restart(scene: &Scene<'_>, process: &Process) -> Fix {
    if process.pid == scene.sample.root {
        Fix::Restart
    } else {
        Fix::EndChild {
            pid: process.pid,
            started: process.started,
        }
    }
}

/// Stopped by a signal. On a terminal in the background that is job control: a person did it.
pub(in crate::verdict) fn stopped(process: &Process) -> Option<Finding> {
    if process.state != RunState::Stopped || process.tracer.is_some() || process.frozen {
        return None;
    }
    let key = format!("stopped {}", process.pid);
    let title = process.title();
    if process
        .foreground
        .is_some_and(|foreground| foreground != process.group)
    {
        let sentence = format!("{title} is stopped in the background of its terminal");
        let found = Finding::new(key, Verdict::WaitingInput, thresholds::INPUT, sentence);
        return Some(found.seen("process.state", "T, not in the foreground of its terminal"));
    }
    let sentence = format!("{title} was stopped by a signal and waits for SIGCONT");
    let found = Finding::new(key, Verdict::Hung, thresholds::STOPPED, sentence).logical();
    let threads = process.threads.iter().map(|t| (process.pid, t.tid));
    Some(
        found
            .still(threads)
            .seen("process.state", format!("T, tracer none, {title}"))
            .fix(Fix::Cont { pid: process.pid }),
    )
}

/// Data that nobody takes.
fn undrained(
    scene: &Scene<'_>,
    process: &Process,
    thread: &Thread,
    wait: &Wait,
) -> Option<Finding> {
    let target = blocked(scene, process, thread, wait)?;
    if !matches!(target.kind, Kind::Pipe(_) | Kind::Terminal(_)) && scene.readers(target).is_empty()
    {
        return None;
    }
    let readers = scene.readers(target);
    let (inside, outside): (Vec<&End>, Vec<&End>) = readers
        .iter()
        .copied()
        .partition(|end| scene.is_inside(end.pid));
    let what = target_words(scene.sample, target);
    let title = process.title();
    let key = format!("undrained {} {}", process.pid, target.fd);
    let seen = format!("{title} in write to {what}");
    if outside.is_empty() && !inside.is_empty() {
        return full_inside(scene, process, thread, &inside)
            .map(|found| found.seen("thread.wait", seen));
    }
    if inside.iter().any(|end| end.pid != process.pid) {
        // Somebody of the tree also reads it: the general rule has to judge.
        return None;
    }
    let holder = outside
        .iter()
        .find_map(|end| scene.sample.outsider(end.pid));
    if holder.is_some_and(|o| o.reads_terminal) {
        let sentence = format!("{title} waits for the reader of a pager");
        let found = Finding::new(key, Verdict::WaitingInput, thresholds::INPUT, sentence);
        return Some(
            found
                .still([(process.pid, thread.tid)])
                .seen("thread.wait", seen),
        );
    }
    let who = match holder {
        Some(outsider) => format!(
            "{} ({}) holds its other end and does not read",
            outsider.name, outsider.pid
        ),
        None => "nobody reads its other end".to_owned(),
    };
    let sentence = format!("{title} cannot write: {what} is full and {who}");
    let found = Finding::new(key, Verdict::Hung, thresholds::UNDRAINED, sentence);
    Some(
        found
            .still([(process.pid, thread.tid)])
            .seen("thread.wait", seen)
            .seen("reader", who),
    )
}

/// What this thread cannot write: it stands in the write, or its loop waits for room there and can hear of nothing else.
fn blocked<'a>(
    scene: &Scene<'_>,
    process: &Process,
    thread: &Thread,
    wait: &'a Wait,
) -> Option<&'a Target> {
    if let Wait::Write(target) = wait {
        return Some(target);
    }
    let Wait::Poll {
        targets,
        until: Until::Never,
    } = wait
    else {
        return None;
    };
    let target = targets.iter().find(|t| t.full)?;
    let others = process.threads.iter().filter(|t| t.tid != thread.tid);
    let deaf = targets
        .iter()
        .all(|t| t.fd == target.fd || scene.wakes_itself(process.pid, t))
        && others
            .filter_map(|t| t.wait.as_ref())
            .all(|w| scene.is_deaf(process, w));
    deaf.then_some(target)
}

/// A loop that does not read this descriptor, and hears of nothing but room elsewhere and the end of this one child.
fn loops_past(scene: &Scene<'_>, reader: &Process, wait: &Wait, fd: i32, writer: &Process) -> bool {
    let Wait::Poll {
        targets,
        until: Until::Never,
    } = wait
    else {
        return false;
    };
    let mut children = scene.living().filter(|p| p.parent == reader.pid);
    let past = |t: &Target| t.fd != fd && (t.full || scene.wakes_itself(reader.pid, t));
    targets.iter().all(past) && children.all(|p| p.pid == writer.pid)
}

/// The reader is of the tree and waits for something else: a knot when it cannot come to reading.
fn full_inside(
    scene: &Scene<'_>,
    writer: &Process,
    thread: &Thread,
    readers: &[&End],
) -> Option<Finding> {
    let mut still = vec![(writer.pid, thread.tid)];
    let mut names = Vec::new();
    for end in readers {
        let reader = scene.sample.process(end.pid)?;
        if end.pid == writer.pid && readers.len() > 1 {
            continue;
        }
        let waits = reader.threads.iter().map(|t| t.wait.as_ref());
        let stuck = |wait: Option<&Wait>| match wait {
            Some(Wait::Child(_) | Wait::Write(_) | Wait::Lock(_)) => true,
            Some(Wait::Read(other)) => other.fd != end.fd,
            Some(wait) => is_parked(wait) || loops_past(scene, reader, wait, end.fd, writer),
            None => false,
        };
        if !reader.is_whole()
            || !waits.into_iter().all(stuck)
            || handles_signals_for_reading(reader)
        {
            return None;
        }
        still.extend(reader.threads.iter().map(|t| (reader.pid, t.tid)));
        let main = reader.main().and_then(|t| t.wait.as_ref());
        let waits_for = main
            .map(|w| wait_words(scene.sample, w))
            .unwrap_or_default();
        names.push(format!("{}, which waits for {waits_for}", reader.title()));
    }
    let readers = names.join(" and ");
    let sentence = format!(
        "{} cannot write: its pipe is full, and the reader is {readers}",
        writer.title()
    );
    let key = format!("pipe knot {}", writer.pid);
    let found = Finding::new(key, Verdict::Hung, thresholds::KNOT, sentence).logical();
    Some(
        found
            .still(still)
            .seen("reader", readers)
            .fix(end_or_restart(scene, writer)),
    )
}

/// A shell handles the end of children, which is no reading; asynchronous reading is announced by `SIGIO`.
fn handles_signals_for_reading(process: &Process) -> bool {
    const IO: u64 = 1 << 28;
    process.caught.is_some_and(|caught| caught & IO != 0)
}

/// Threads of one process that wait for each other's mutexes.
fn mutex_ring(scene: &Scene<'_>, process: &Process) -> Option<Finding> {
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
                return Some(ring);
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
            "{one} of {} waits for a lock it holds itself",
            process.title()
        ),
        [one, two] => format!(
            "{one} of {} waits for a lock held by {two}, which waits back",
            process.title()
        ),
        _ => format!(
            "{} of {} wait for each other in a ring",
            chain.join(", "),
            process.title()
        ),
    };
    let key = format!("mutex ring {}", process.pid);
    let found = Finding::new(key, Verdict::Hung, thresholds::KNOT, sentence).logical();
    let still = ring.iter().map(|tid| (process.pid, *tid));
    let found = found
        .still(still)
        .seen("mutex.owner", chain.join(" → "))
        .fix(end_or_restart(scene, process));
    Some(if scene.word.owes() {
        found.said("task", "work is owed")
    } else {
        found
    })
}

/// A copy of its parent, made while another thread held a lock: the copy has the lock, but not that thread.
fn forked_lock(scene: &Scene<'_>, process: &Process) -> Option<Finding> {
    let parent = scene.sample.process(process.parent)?;
    let copy = parent.command == process.command && parent.name == process.name;
    if !copy || !is_private_knot(process) || handles_signals(process) || !scene.is_awaited(process)
    {
        return None;
    }
    let sentence = format!(
        "{} was forked while a lock was held: its only thread waits for it for ever, and {} waits for that process",
        process.title(),
        parent.title()
    );
    let key = format!("forked lock {}", process.pid);
    let found = Finding::new(key, Verdict::Hung, thresholds::KNOT * 2, sentence).logical();
    let threads = format!(
        "{} thread in futex, private, without a limit",
        process.threads.len()
    );
    Some(
        found
            .still(process.threads.iter().map(|t| (process.pid, t.tid)))
            .seen("thread.wait", threads)
            .seen("parent", format!("{} waits for it", parent.title()))
            .fix(end_or_restart(scene, process)),
    )
}

/// Work is owed, and every thread of every process waits for memory or for each other.
fn deadlock(scene: &Scene<'_>) -> Option<Finding> {
    if !scene.word.owes() {
        return None;
    }
    let mut still = Vec::new();
    let mut culprit: Option<&Process> = None;
    for process in scene.living() {
        if !process.is_whole() || process.frozen || process.tracer.is_some() {
            return None;
        }
        for thread in &process.threads {
            match thread.wait.as_ref()? {
                Wait::Futex {
                    until: Until::Never,
                    private,
                    ..
                } => {
                    // Memory shared with somebody outside the tree could be written by him.
                    if !private
                        && process.pid == scene.sample.root
                        && scene.sample.processes.len() == 1
                    {
                        return None;
                    }
                    culprit = Some(process);
                }
                Wait::Child(_) => {}
                Wait::Read(target) if scene.is_from_inside(process, target) => {}
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
        "work is owed, and all {} threads of {} wait for locks without a limit",
        still.len(),
        culprit.title()
    );
    let found = Finding::new(
        "deadlock".to_owned(),
        Verdict::Hung,
        thresholds::DEADLOCK,
        sentence,
    );
    Some(
        found
            .still(still)
            .seen(
                "thread.wait",
                "every thread: futex without a limit, not one woke",
            )
            .said("task", "work is owed")
            .fix(end_or_restart(scene, culprit)),
    )
}

/// Work is owed, and the event loop has nothing left that an event could come from, only timers.
fn dead_await(scene: &Scene<'_>) -> Option<Finding> {
    let root = scene.sample.root()?;
    let alone = scene.living().count() == 1;
    let main = root.main()?.wait.as_ref()?;
    let Wait::Poll { until, .. } = main else {
        return None;
    };
    let long = match until {
        Until::In(time) => *time > thresholds::TIMER,
        Until::Never => false,
        Until::Unreadable(_) => true,
    };
    let connected = scene.sample.sockets.iter().any(|s| s.other().is_none());
    if !scene.word.owes() || !alone || long || connected || !root.is_whole() || scene.listens(0) {
        return None;
    }
    let mut kinds = BTreeSet::new();
    for thread in &root.threads {
        let wait = thread.wait.as_ref()?;
        let loops = matches!(wait, Wait::Poll { .. });
        if !(is_parked(wait) || loops) || scene.hears_outside(root.pid, wait, &[]) {
            return None;
        }
        kinds.insert(loops);
    }
    let limit = match until {
        Until::In(_) => "only its own timer wakes it",
        Until::Never | Until::Unreadable(_) => "nothing wakes it",
    };
    let sentence = format!(
        "work is owed, but {} has no connection, no child and nothing to wait for: {limit}",
        root.title()
    );
    let found = Finding::new(
        "dead await".to_owned(),
        Verdict::Hung,
        thresholds::DEADLOCK,
        sentence,
    );
    Some(
        found
            .seen("sockets", "none")
            .seen(
                "thread.wait",
                format!("event loop without a source of events; {limit}"),
            )
            .said("task", "work is owed")
            .fix(Fix::Restart),
    )
}
