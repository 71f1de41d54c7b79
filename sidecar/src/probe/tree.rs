//! The processes of a tree, parents first.

use super::descriptors::kind;
use super::process::{command, counters, threads};
use super::program;
use super::read::{Reader, link, numbers};
use crate::process::handle;
use heartbeat::base::known_agents::Invocation;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{
    Gap, GapKind, Io, Kind, Process, Sample, Socket, Subject, TICKS_PER_SECOND, Why,
};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The most processes sampled in one tree.
pub(super) const PROCESSES_MAX: usize = 2048;
/// The most threads sampled in one tree.
const THREADS_MAX: usize = 10_000;

/// A process this old, in milliseconds, has become the program that it was forked for.
const SETTLED_MS: u64 = 5000;
const TICK_MS: u64 = 1000 / TICKS_PER_SECOND;

/// What does not change while a program runs.
#[derive(Clone, Debug)]
pub(super) struct CommandInfo {
    /// The short name it had: `exec` changes it.
    name: String,
    command: String,
    /// It is not read again.
    settled: bool,
    /// The file it runs.
    program: Option<String>,
    /// How it starts a known agent.
    pub(super) invocation: Option<Invocation>,
    /// It is an hbsidecar, of an agent that this one started: it watches, and what it does is no work.
    watches: bool,
    /// Its standard output is a terminal.
    terminal: bool,
    /// Its word size is not this machine's.
    pub(super) foreign: bool,
    /// It is written in Go; none before that matters.
    pub(super) go: Option<bool>,
}

/// The tree under the root and under what it left behind.
pub(super) fn tree(reader: &mut Reader, root: u32, orphans: &[u32]) -> (Vec<Process>, Vec<Gap>) {
    let mut found: Vec<Process> = Vec::new();
    let mut gaps = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue: VecDeque<(u32, bool)> = VecDeque::from([(root, false)]);
    queue.extend(orphans.iter().map(|pid| (*pid, true)));
    let mut room = THREADS_MAX;
    let mut listed = None;
    while let Some((pid, orphan)) = queue.pop_front() {
        // An agent that started its own sidecar has it in its tree: this process would pass for one of the agent's.
        if !seen.insert(pid) || pid == std::process::id() && pid != root {
            continue;
        }
        if found.len() == PROCESSES_MAX {
            gaps.push(Gap {
                subject: Subject::Tree,
                what: GapKind::Processes,
                why: Why::TooMany,
            });
            break;
        }
        let mut process = match counters(reader, pid) {
            Ok(process) => process,
            Err(Why::Gone) if !is_hidden(pid) => continue,
            Err(why) => {
                gaps.push(Gap {
                    subject: Subject::Process(pid),
                    what: GapKind::Process,
                    why,
                });
                continue;
            }
        };
        process.orphan = orphan;
        if process.io.is_none() {
            gaps.push(Gap {
                subject: Subject::Process(pid),
                what: GapKind::Io,
                why: Why::Denied,
            });
        }
        match threads(reader, &mut process, room) {
            Ok(children) => queue.extend(children.into_iter().map(|child| (child, orphan))),
            Err(why) => {
                // This kernel has no lists of children: the parent of every process is read, once per sample.
                let parents = listed.get_or_insert_with(|| parents(reader));
                let of = parents.iter().filter(|(_, parent)| *parent == pid);
                queue.extend(of.map(|(child, _)| (*child, orphan)));
                if process.threads.is_empty() {
                    gaps.push(Gap {
                        subject: Subject::Process(pid),
                        what: GapKind::Threads,
                        why,
                    });
                }
            }
        }
        room = room.saturating_sub(process.threads.len());
        found.push(process);
    }
    // Without the root there is no agent, whatever it left behind.
    if found.first().is_none_or(|p| p.pid != root) {
        found.clear();
    }
    (found, gaps)
}

/// Gives every process its command line; read once in its life, when it is no longer likely to start another program.
/// `started`: how the command line that started the root does.
pub(super) fn name(
    reader: &mut Reader,
    now: Moment,
    started: Option<Invocation>,
    known: &mut BTreeMap<(u32, u64), CommandInfo>,
    processes: &mut [Process],
) {
    for process in processes.iter_mut() {
        let key = (process.pid, process.started);
        let words = match known.get(&key) {
            Some(words) if words.name == process.name && words.settled => words.clone(),
            Some(_) | None => {
                let read = command(reader, process.pid);
                let is_read = read.is_some();
                let (command, invocation) = read.unwrap_or_else(|| (process.name.clone(), None));
                // A program that sets its own title is still what it was started as; one that became another program is not.
                let program = link(&format!("/proc/{}/exe", process.pid)).ok();
                let is_title = !command.trim_end().contains(' ');
                let before = known.get(&key).filter(|words| words.program == program);
                let before = before.and_then(|words| words.invocation);
                let invocation = before.filter(|_| is_title).or(invocation);
                // In the middle of an exec the command line is empty for a moment, and before it that of the parent.
                let age = now.as_millis().saturating_sub(process.started * TICK_MS);
                let words = CommandInfo {
                    name: process.name.clone(),
                    settled: is_read && age > SETTLED_MS,
                    program,
                    command,
                    watches: is_watcher(process.pid),
                    invocation,
                    terminal: invocation.is_some() && is_at_terminal(process.pid),
                    foreign: program::is_foreign(reader, process.pid),
                    go: None,
                };
                known.insert(key, words.clone());
                words
            }
        };
        process.command = words.command;
        process.agent = words.invocation.is_some();
        process.headless = words
            .invocation
            .is_some_and(|invocation| invocation.is_piece(words.terminal));
    }
    // The command line that hbsidecar started is known, whatever title the program gives itself later.
    if let (Some(invocation), Some(root)) = (started, processes.first_mut()) {
        root.agent = true;
        root.headless |= invocation.is_piece(is_at_terminal(root.pid));
    }
    let present: BTreeSet<(u32, u64)> = processes.iter().map(|p| (p.pid, p.started)).collect();
    known.retain(|key, _| present.contains(key));
}

/// Whether another user's process lives although /proc does not show it (`hidepid`): a signal to it would be refused.
fn is_hidden(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM))
}

fn is_watcher(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(handle::is_sidecar)
}

/// Whether a process of the tree is an hbsidecar.
pub(super) fn watches(known: &BTreeMap<(u32, u64), CommandInfo>, process: &Process) -> bool {
    let known = known.get(&(process.pid, process.started));
    known.is_some_and(|known| known.watches)
}

/// Takes out of a sample what hbsidecars do: it would pass for work of an agent that starts others under sidecars of their
/// own. As processes they stay, since what they hold can wake the agent.
pub(super) fn without_watching(known: &BTreeMap<(u32, u64), CommandInfo>, sample: &mut Sample) {
    let mut watchers = BTreeSet::new();
    for process in &mut sample.processes {
        if !watches(known, process) {
            continue;
        }
        watchers.insert(process.pid);
        process.io = process.io.map(|_| Io::default());
        (process.cpu_ticks, process.reaped_ticks) = (0, 0);
        for thread in &mut process.threads {
            (thread.run, thread.ready) = (Duration::ZERO, Duration::ZERO);
            thread.turns = 0;
        }
    }
    let is_watchers = |socket: &Socket| watchers.contains(&socket.pid);
    sample.sockets.retain(|socket| !is_watchers(socket));
}

fn is_at_terminal(pid: u32) -> bool {
    let output = link(&format!("/proc/{pid}/fd/1")).map(kind);
    matches!(output, Ok(Kind::Terminal(_)))
}

fn parents(reader: &mut Reader) -> Vec<(u32, u32)> {
    let pids = numbers("/proc", 65_536)
        .map(|(pids, _)| pids)
        .unwrap_or_default();
    let mut parents = Vec::new();
    for pid in pids {
        if let Ok(stat) = reader.text(&format!("/proc/{pid}/stat"))
            && let Some(process) = super::process::stat_line(pid, &stat)
        {
            parents.push((pid, process.parent));
        }
    }
    parents
}
