//! Full pipes and terminals: a writer that waits for room, and a reader that never makes any.

use crate::verdict::explain::{describe_target, describe_wait};
use crate::verdict::finding::Finding;
use crate::verdict::rule::RuleId;
use crate::verdict::rules::deadlock::end_or_restart;
use crate::verdict::sample::{End, Kind, Process, Subject, Target, Thread, Until, Wait};
use crate::verdict::tree_view::{TreeView, is_parked};

/// Data that no process reads.
pub(in crate::verdict) fn undrained(
    view: &TreeView<'_>,
    process: &Process,
    thread: &Thread,
    wait: &Wait,
) -> Option<Finding> {
    let target = blocked(view, process, thread, wait)?;
    if !matches!(target.kind, Kind::Pipe(_) | Kind::Terminal(_)) && view.readers(target).is_empty()
    {
        return None;
    }
    let readers = view.readers(target);
    let (inside, outside): (Vec<&End>, Vec<&End>) = readers
        .iter()
        .copied()
        .partition(|end| view.is_inside(end.pid));
    let what = describe_target(view.sample, target);
    let title = process.title();
    let (subject, fd) = (
        Subject::Process(process.pid),
        u64::from(target.fd.unsigned_abs()),
    );
    let seen = format!("{title} in write to {what}");
    if outside.is_empty() && !inside.is_empty() {
        return full_inside(view, process, thread, &inside)
            .map(|found| found.observed("thread.wait", seen));
    }
    if inside.iter().any(|end| end.pid != process.pid) {
        // Another process of the tree also reads it and may go on.
        return None;
    }
    let holder = outside.iter().find_map(|end| view.sample.outsider(end.pid));
    if holder.is_some_and(|o| o.reads_terminal) {
        let sentence = format!("{title} waits for a person to read on in a pager");
        let found = Finding::new(RuleId::Pager, subject, sentence);
        return Some(
            found
                .about(fd)
                .while_asleep([(process.pid, thread.tid)])
                .observed("thread.wait", seen),
        );
    }
    let who = match holder {
        Some(outsider) => format!(
            "{} ({}) holds its other end and has made no room since",
            outsider.name, outsider.pid
        ),
        None => "no process reads its other end".to_owned(),
    };
    let sentence = format!("{title} cannot write: {what} is full and {who}");
    let rule = RuleId::FullPipe;
    let found = Finding::new(rule, subject, sentence);
    Some(
        found
            .about(fd)
            .while_asleep([(process.pid, thread.tid)])
            .observed("thread.wait", seen)
            .observed("reader", who),
    )
}

/// What this thread cannot write: it is blocked in the write, or its event loop waits for room there and for nothing else.
fn blocked<'a>(
    view: &TreeView<'_>,
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
        .all(|t| t.fd == target.fd || view.wakes_itself(process.pid, t))
        && others
            .filter_map(|t| t.wait.as_ref())
            .all(|w| view.only_self_can_wake(process, w));
    deaf.then_some(target)
}

/// An event loop that does not read this descriptor, and waits only for room elsewhere and the end of this one child.
fn loops_past(
    view: &TreeView<'_>,
    reader: &Process,
    wait: &Wait,
    fd: i32,
    writer: &Process,
) -> bool {
    let Wait::Poll {
        targets,
        until: Until::Never,
    } = wait
    else {
        return false;
    };
    let past = |t: &Target| t.fd != fd && (t.full || view.wakes_itself(reader.pid, t));
    targets.iter().all(past) && waits_for_writer(view, reader, writer)
}

/// Whether the reader has no other child than the writer, whose end it could wait for.
fn waits_for_writer(view: &TreeView<'_>, reader: &Process, writer: &Process) -> bool {
    let mut children = view.living().filter(|p| p.parent == reader.pid);
    children.all(|p| p.pid == writer.pid)
}

/// The reader belongs to the tree and waits for something else: a wait cycle when it can never read.
fn full_inside(
    view: &TreeView<'_>,
    writer: &Process,
    thread: &Thread,
    readers: &[&End],
) -> Option<Finding> {
    let mut still = vec![(writer.pid, thread.tid)];
    let mut names = Vec::new();
    for end in readers {
        let reader = view.sample.process(end.pid)?;
        if end.pid == writer.pid && readers.len() > 1 {
            continue;
        }
        let waits = reader.threads.iter().map(|t| t.wait.as_ref());
        let stuck = |wait: Option<&Wait>| match wait {
            Some(Wait::Child(_)) => waits_for_writer(view, reader, writer),
            Some(Wait::Write(target)) => {
                is_never_read(view, target, &mut vec![writer.pid, reader.pid])
            }
            Some(Wait::Lock(_)) => true,
            Some(Wait::Read(other)) => other.fd != end.fd,
            Some(wait) => is_parked(wait) || loops_past(view, reader, wait, end.fd, writer),
            None => false,
        };
        if !reader.is_whole()
            || !waits.into_iter().all(stuck)
            || handles_signals_for_reading(view, reader)
        {
            return None;
        }
        still.extend(reader.threads.iter().map(|t| (reader.pid, t.tid)));
        let main = reader.main_wait();
        let waits_for = main
            .map(|w| describe_wait(view.sample, w))
            .unwrap_or_default();
        names.push(format!("{}, which waits for {waits_for}", reader.title()));
    }
    let readers = names.join(" and ");
    let sentence = format!(
        "{} cannot write: its pipe is full, and the reader is {readers}",
        writer.title()
    );
    let subject = Subject::Process(writer.pid);
    let rule = RuleId::PipeCycle;
    let found = Finding::new(rule, subject, sentence).logical();
    Some(
        found
            .while_asleep(still)
            .observed("reader", readers)
            .fix(end_or_restart(view, writer)),
    )
}

/// Whether every process that could read here waits for something else, or for room in a pipe that is never read either. One
/// that sleeps reads on later; of one outside the tree nothing is known. `path`: the writers that lead here.
fn is_never_read(view: &TreeView<'_>, target: &Target, path: &mut Vec<u32>) -> bool {
    let readers = view.readers(target);
    !readers.is_empty()
        && readers.iter().all(|end| {
            if path.contains(&end.pid) {
                return true;
            }
            path.push(end.pid);
            let Some(reader) = view.sample.process(end.pid) else {
                return false;
            };
            reader.threads.iter().all(|thread| match &thread.wait {
                Some(Wait::Write(next)) => is_never_read(view, next, path),
                Some(Wait::Child(_) | Wait::Lock(_)) => true,
                Some(Wait::Read(other)) => other.fd != end.fd,
                Some(wait) => is_parked(wait),
                None => false,
            })
        })
}

/// `SIGIO` announces asynchronous reading, and where a descriptor says so any signal does. A shell handles `SIGCHLD`, which
/// is no reading.
fn handles_signals_for_reading(view: &TreeView<'_>, process: &Process) -> bool {
    const IO: u64 = 1 << 28;
    let announced = view.sample.processes.iter().any(|p| p.signals_events);
    process
        .caught
        .is_some_and(|caught| caught & IO != 0 || announced && caught != 0)
}
