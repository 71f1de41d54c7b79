//! The least set of live threads, and whether the agent's main thread is outside of it.

use super::sources::{self, Source};
use crate::verdict::sample::{GapKind, Process, RunState, Sample, Thread, Wait};
use std::collections::BTreeSet;

/// The agent's main thread can never run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doom {
    /// The threads of the argument, the agent's main thread first: none of them can run before another one has.
    pub threads: Vec<DoomedThread>,
}

/// One thread that nothing can wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedThread {
    /// Its process.
    pub pid: u32,
    /// The start of the process in clock ticks since boot.
    pub started: u64,
    /// Its number.
    pub tid: u32,
    /// How often it has been scheduled.
    pub turns: u64,
    /// What could wake it, none of which can happen.
    pub sources: Vec<Source>,
}

struct Node<'a> {
    process: &'a Process,
    thread: &'a Thread,
    sources: Vec<Source>,
    live: bool,
}

impl Doom {
    /// Whether some process of it waits for nothing but itself, and for no lock that it holds. So does a worker on an empty
    /// queue that nothing will ever fill: dead, and yet not stuck while it owes nothing.
    pub fn may_rest(&self, sample: &Sample) -> bool {
        let processes: BTreeSet<u32> = self.threads.iter().map(|t| t.pid).collect();
        processes.into_iter().any(|pid| {
            let mut threads = self.threads.iter().filter(|t| t.pid == pid);
            let for_itself = |t: &DoomedThread| {
                let other = |s: &Source| matches!(s, Source::Process(p) if *p != pid);
                !t.sources.iter().any(other)
            };
            threads.all(for_itself) && !holds_its_lock(sample, pid)
        })
    }
}

/// Whether a thread of this process, which waits for nothing but itself, waits for a lock on a file, or for a mutex that a
/// thread of it holds, as the mutex itself shows.
fn holds_its_lock(sample: &Sample, pid: u32) -> bool {
    let Some(process) = sample.process(pid) else {
        return false;
    };
    let owned = |owner: u32| process.threads.iter().any(|t| t.tid == owner);
    process.waits().any(|wait| {
        let mutex = matches!(wait, Wait::Futex { owner: Some(owner), .. } if owned(*owner));
        mutex || matches!(wait, Wait::Lock(_))
    })
}

/// Whether the agent's main thread is doomed. Where that has ended and others live, all of them together are asked.
pub fn doom(sample: &Sample) -> Option<Doom> {
    let root = sample.root()?;
    // A process of the tree that was not read may wake, continue or end any of the others.
    let unread = |what| matches!(what, GapKind::Process | GapKind::Processes);
    if sample.gaps.iter().any(|gap| unread(gap.what)) {
        return None;
    }
    let mut nodes = nodes(sample);
    while spread(sample, &mut nodes) {}
    let asked = |node: &&Node<'_>| {
        node.process.pid == root.pid && (root.first_thread_ended || node.thread.tid == root.pid)
    };
    let first: Vec<&Node<'_>> = nodes.iter().filter(asked).collect();
    if first.is_empty() || first.iter().any(|node| node.live) {
        return None;
    }
    Some(Doom {
        threads: argument(&nodes, first),
    })
}

fn nodes(sample: &Sample) -> Vec<Node<'_>> {
    let living = sample
        .processes
        .iter()
        .filter(|p| p.state != RunState::Zombie);
    let threads = living.flat_map(|process| process.threads.iter().map(move |t| (process, t)));
    threads
        .map(|(process, thread)| Node {
            process,
            thread,
            sources: sources::of(sample, process, thread),
            live: false,
        })
        .collect()
}

/// Makes threads live that a live one can wake. Returns whether any became so.
fn spread(sample: &Sample, nodes: &mut [Node<'_>]) -> bool {
    let live: BTreeSet<u32> = nodes
        .iter()
        .filter(|n| n.live)
        .map(|n| n.process.pid)
        .collect();
    let ends = |pid: u32| {
        // Any process that runs may end another one.
        !live.is_empty()
            || sample
                .process(pid)
                .is_none_or(|p| sources::may_end_by_alarm(sample, p))
    };
    let mut changed = false;
    for node in nodes.iter_mut().filter(|node| !node.live) {
        node.live = node.sources.iter().any(|source| match source {
            Source::Runs | Source::Timer | Source::Outside(_) => true,
            Source::Process(pid) => live.contains(pid) || *pid != node.process.pid && ends(*pid),
            Source::AnyProcess => !live.is_empty(),
        });
        changed |= node.live;
    }
    changed
}

/// The threads on whose sleep the argument rests.
fn argument(nodes: &[Node<'_>], first: Vec<&Node<'_>>) -> Vec<DoomedThread> {
    let mut found: Vec<&Node<'_>> = first;
    let mut next = 0;
    while let Some(node) = found.get(next) {
        let of_others = |source: &Source| match source {
            Source::Process(pid) => *pid != node.process.pid,
            Source::AnyProcess => true,
            Source::Runs | Source::Timer | Source::Outside(_) => false,
        };
        let everyone = node.sources.iter().any(of_others);
        let own = !node.sources.is_empty();
        let pid = node.process.pid;
        let needed = nodes
            .iter()
            .filter(|n| everyone || own && n.process.pid == pid);
        for node in needed {
            if !found.iter().any(|f| f.thread.tid == node.thread.tid) {
                found.push(node);
            }
        }
        next += 1;
    }
    found.into_iter().map(DoomedThread::from).collect()
}

impl From<&Node<'_>> for DoomedThread {
    fn from(node: &Node<'_>) -> Self {
        Self {
            pid: node.process.pid,
            started: node.process.started,
            tid: node.thread.tid,
            turns: node.thread.turns,
            sources: node.sources.clone(),
        }
    }
}
