//! The proof as a person reads it: what each doomed thread waits for, and why that cannot happen.

use super::graph::{Doom, DoomedThread};
use super::sources::Source;
use crate::verdict::assessment::Assessment;
use crate::verdict::explain::describe_wait;
use crate::verdict::finding::{Fix, observed, reported};
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{Process, RunState, Sample};
use crate::verdict::tree_view::TreeView;
use crate::wire::activity::Evidence;
use std::collections::BTreeSet;

/// Links of the chain that the sentence names.
const LINKS_MAX: usize = 3;
/// Threads that the evidence lists.
const THREADS_MAX: usize = 4;
/// Processes that a piece of evidence names.
const NAMES_MAX: usize = 4;

/// The judgement of a doomed agent.
pub(in crate::verdict) fn assessment(view: &TreeView<'_>, doom: &Doom) -> Assessment {
    let sample = view.sample;
    let (chain, end) = chain(sample, doom);
    let sentence = format!("{}; {end}", chain.join(", which "));
    let threads = doom.threads.iter().take(THREADS_MAX);
    let mut evidence: Vec<Evidence> = threads
        .map(|thread| observed("thread.sources", piece(sample, thread)))
        .collect();
    evidence.extend(ended_child(sample, doom));
    if view.report.owes_work() {
        evidence.push(reported("task", "work is owed"));
    }
    Assessment {
        evidence,
        fix: fix(sample, doom),
        ..Assessment::new(RuleId::Doomed, sentence)
    }
}

/// What a person may try below a restart: to end the child that the main thread waits for.
fn fix(sample: &Sample, doom: &Doom) -> Fix {
    let first = doom.threads.first();
    let child = first.and_then(|thread| others(thread).into_iter().next());
    let child = child.and_then(|pid| sample.process(pid));
    child.map_or(Fix::Restart, |child| Fix::EndChild {
        pid: child.pid,
        started: child.started,
    })
}

/// What the main thread waits for, what that in turn waits for, and so on; and why it ends nowhere.
fn chain(sample: &Sample, doom: &Doom) -> (Vec<String>, &'static str) {
    let mut links = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = doom.threads.first();
    while let Some(thread) = at.filter(|thread| seen.insert(thread.pid)) {
        let what = wait(sample, thread);
        links.push(match links.len() {
            0 => format!("{} waits for {what}", title(sample, thread)),
            _ => format!("waits for {what}"),
        });
        let next = others(thread).into_iter().next();
        at = next.and_then(|pid| doom.threads.iter().find(|t| t.pid == pid));
        if links.len() == LINKS_MAX {
            break;
        }
    }
    let end = match at {
        None => "only its own threads could end that, and none of them can run again",
        Some(_) => "each waits for another one of them, and nothing else could wake any",
    };
    (links, end)
}

/// A child of a doomed process that has ended: what it would have answered will not come.
fn ended_child(sample: &Sample, doom: &Doom) -> Option<Evidence> {
    let of_doomed = |p: &&Process| doom.threads.iter().any(|t| t.pid == p.parent);
    let mut ended = sample
        .processes
        .iter()
        .filter(|p| p.state == RunState::Zombie);
    let child = ended.find(of_doomed)?;
    Some(observed("child", format!("{} has ended", child.title())))
}

/// One thread with its sources.
fn piece(sample: &Sample, thread: &DoomedThread) -> String {
    let names: Vec<String> = others(thread)
        .into_iter()
        .take(NAMES_MAX)
        .map(|pid| sample.process(pid).map(Process::title).unwrap_or_default())
        .collect();
    let who = if names.is_empty() {
        "other threads of its process".to_owned()
    } else {
        names.join(", ")
    };
    format!(
        "{} waits for {}; only {who} could end that, and cannot run again either",
        title(sample, thread),
        wait(sample, thread)
    )
}

/// The other processes that could wake it.
fn others(thread: &DoomedThread) -> BTreeSet<u32> {
    let of = |source: &Source| match source {
        Source::Process(pid) if *pid != thread.pid => Some(*pid),
        Source::Process(_)
        | Source::AnyProcess
        | Source::Runs
        | Source::Timer
        | Source::Outside(_) => None,
    };
    thread.sources.iter().filter_map(of).collect()
}

fn title(sample: &Sample, thread: &DoomedThread) -> String {
    let process = sample.process(thread.pid).map(Process::title);
    let process = process.unwrap_or_default();
    if thread.tid == thread.pid {
        process
    } else {
        format!("thread {} of {process}", thread.tid)
    }
}

fn wait(sample: &Sample, thread: &DoomedThread) -> String {
    let threads = sample.process(thread.pid).map(|p| p.threads.as_slice());
    let found = threads
        .unwrap_or_default()
        .iter()
        .find(|t| t.tid == thread.tid);
    let wait = found.and_then(|t| t.wait.as_ref());
    wait.map(|wait| describe_wait(sample, wait))
        .unwrap_or_default()
}
