//! Waits for a person or an input: reads from a terminal, or from a standard input that stays open.

use crate::verdict::assessment::Assessment;
use crate::verdict::explain::describe_target;
use crate::verdict::finding::{Finding, observed};
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{Kind, Outlet, Process, Subject, Target, Thread, Until, Wait};
use crate::verdict::thresholds;
use crate::verdict::tree_view::TreeView;

/// Reads from a person, or from a standard input that stays open.
pub(in crate::verdict) fn find(view: &TreeView<'_>) -> Vec<Finding> {
    view.waits()
        .filter_map(|(p, t, wait)| input(view, p, t, wait))
        .collect()
}

fn input(view: &TreeView<'_>, process: &Process, thread: &Thread, wait: &Wait) -> Option<Finding> {
    let target = input_target(view, process.pid, wait)?;
    if thread.tid != process.pid && is_aside(view, process, thread)
        || is_beside_a_question(view, process)
        || view.is_own_terminal(target)
        || is_server_at_rest(view, process)
    {
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

/// A helper that has the input too, while the agent waits for its model and not for the helper.
fn is_beside_a_question(view: &TreeView<'_>, process: &Process) -> bool {
    !view.is_awaited_by_root(process) && !view.pending_requests().is_empty()
}

/// A server over standard input and output, such as an MCP server: it has answered, owes nothing, and waits for the next
/// request.
fn is_server_at_rest(view: &TreeView<'_>, process: &Process) -> bool {
    let answered = process.io.is_some_and(|io| io.read > 0 && io.written > 0);
    process.pid == view.sample.root
        && process.outlet == Outlet::Pipe
        && answered
        && !view.owes_turn()
}

/// Work is owed by report, and all that can still come to the first thread from outside is its standard input: it asks.
pub(in crate::verdict) fn watched(view: &TreeView<'_>) -> Option<Assessment> {
    let root = view.sample.root()?;
    let main = root.main_wait()?;
    let Wait::Poll { targets, .. } = main else {
        return None;
    };
    let input = targets.iter().find(|t| t.fd == 0)?;
    let outside = match &input.kind {
        Kind::Pipe(_) | Kind::Socket(_) => !view.is_from_inside(root, input),
        // Keys of a full screen are always watched.
        Kind::Terminal(_) | Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => false,
    };
    if !outside
        || view.can_be_woken_from_outside(root.pid, main, &[0])
        || view.is_headless()
        || view.living().count() > 1
    {
        return None;
    }
    let title = root.title();
    let what = describe_target(view.sample, input);
    let sentence =
        format!("work is owed, and only its standard input can still bring {title} anything");
    Some(Assessment {
        evidence: vec![observed("thread.wait", format!("{title} watches {what}"))],
        ..Assessment::new(RuleId::StdinInput, sentence)
    })
}

/// A program that reads keys in a thread of its own while others run or wait for the model, or its first thread for a tool or
/// for a time, does not wait for a person. The thread that has the model's connection is seen between two waits at times.
fn is_aside(view: &TreeView<'_>, process: &Process, keys: &Thread) -> bool {
    let main = process.main_wait();
    let others = process.threads.iter().filter(|t| t.tid != keys.tid);
    main.is_some_and(waits_for_another)
        || others
            .filter_map(|t| t.wait.as_ref())
            .any(|wait| is_busy(wait) || view.can_be_woken_from_outside(process.pid, wait, &[]))
}

/// What it will wait for next is not known.
fn is_busy(wait: &Wait) -> bool {
    matches!(wait, Wait::Running | Wait::Unreadable(_))
}

/// For the end of a child, or for a time that is no tick.
fn waits_for_another(wait: &Wait) -> bool {
    matches!(wait, Wait::Child(_))
        || matches!(wait, Wait::Sleep(until @ Until::In(_)) if !is_ticking(*until))
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
