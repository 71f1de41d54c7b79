//! What only a deep sample has: waits, descriptors, sockets, holders, locks.

use super::descriptors::Descriptors;
use super::host::{self, Freezer};
use super::memory::Memory;
use super::outside::{self, Held, Id};
use super::waits::{Asked, Numbers, Waits};
use super::{Sampler, drafts, output, process, program, sockets, tree, wakers};
use crate::process::handle::file::attributes;
use heartbeat::verdict::sample::{
    Channel, End, GO_THREAD, Gap, GapKind, Kind, Outsider, Process, Reach, RunState, Sample,
    SocketKind, Subject, Until, Wait, Why,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A sleep this short recurs, so it may be a busy wait for a lock.
const SHORT_SLEEP: Duration = Duration::from_secs(5);
/// Between two looks at the machine's interval timers while some of them run.
const ALARMS_AGAIN: Duration = Duration::from_secs(20);
/// Files whose locks are read.
const FILES_MAX: usize = 256;

/// What a deep sample gathers besides the sample.
#[derive(Debug, Default)]
struct DeepSample {
    descriptors: BTreeMap<u32, Descriptors>,
    /// What each thread passed to the kernel.
    asked: BTreeMap<u32, Asked>,
    /// Processes whose threads do not provably share one table of descriptors.
    divided: BTreeSet<u32>,
    /// Some thread was scheduled since the last deep sample.
    moved: bool,
    gaps: Vec<Gap>,
}

impl Sampler {
    /// Adds what only a deep sample has.
    pub(super) fn deep_sample(&mut self, sample: &mut Sample) {
        let mut close = DeepSample::default();
        self.statuses.begin();
        let mut freezer = Freezer::default();
        let mut processes = std::mem::take(&mut sample.processes);
        for process in &mut processes {
            process.frozen = freezer.is_frozen(&mut self.reader, process.pid);
            if process.state != RunState::Zombie {
                self.waits(process, &mut close);
            }
        }
        sample.processes = processes;
        self.outputs(sample, &close);
        self.sockets(sample, &close);
        self.holders(sample, &mut close);
        self.locks(sample, &close);
        sample.gaps.append(&mut close.gaps);
        self.name_outsiders(sample);
    }

    fn waits(&mut self, process: &mut Process, close: &mut DeepSample) {
        let pid = process.pid;
        let subject = Subject::Process(pid);
        // Under the number of a first thread that has ended /proc shows nothing.
        let through = process.threads.first().map_or(pid, |thread| thread.tid);
        let (calls, rests) = self.calls(process, through, close);
        let mut gap = |what, why| close.gaps.push(Gap { subject, what, why });
        if let Err(why) = process::detail(&mut self.reader, process) {
            gap(GapKind::Status, why);
        }
        let descriptors = Descriptors::of(through);
        if let Some(why) = descriptors.gap {
            gap(GapKind::Descriptors, why);
        }
        let key = (pid, process.started);
        process.signals_events = process.caught.is_some_and(|caught| caught != 0)
            && self
                .statuses
                .signals_events(&mut self.reader, key, rests, &descriptors);
        if !process.is_whole() {
            gap(GapKind::Threads, Why::TooMany);
        }
        if self
            .words
            .get(&(pid, process.started))
            .is_some_and(|w| w.foreign)
        {
            gap(GapKind::Waits, Why::Foreign);
            for thread in &mut process.threads {
                thread.wait = Some(Wait::Unreadable(Why::Foreign));
            }
            close.descriptors.insert(pid, descriptors);
            return;
        }
        let reader = &mut self.reader;
        let mut waits = Waits {
            reader,
            memory: Memory::new(through),
            descriptors: &descriptors,
            pid: through,
        };
        for (thread, call) in process.threads.iter_mut().zip(calls) {
            let (wait, asked) = waits.of(call);
            close.asked.insert(thread.tid, asked);
            if let Wait::Unreadable(why) = wait
                && why != Why::Gone
                && close
                    .gaps
                    .last()
                    .is_none_or(|g| (g.subject, g.what) != (subject, GapKind::Waits))
            {
                close.gaps.push(Gap {
                    subject,
                    what: GapKind::Waits,
                    why,
                });
            }
            thread.timer = waits.timer(&wait);
            thread.wait = Some(wait);
        }
        process.outlet = output::outlet(&descriptors);
        self.name_sleepers(process);
        close.descriptors.insert(pid, descriptors);
    }

    /// The system call of each thread, and whether all have rested since that was read; fills in their states, and the
    /// process's timers.
    fn calls(
        &mut self,
        process: &mut Process,
        through: u32,
        close: &mut DeepSample,
    ) -> (Vec<Result<Option<Numbers>, Why>>, bool) {
        let key = (process.pid, process.started);
        let mut calls = Vec::with_capacity(process.threads.len());
        let mut rests = true;
        for thread in &mut process.threads {
            let (status, rested) = self.statuses.of(&mut self.reader, key, through, thread);
            (thread.state, thread.blocked) = (status.state, status.blocked);
            thread.open_memory = status.open_memory;
            if !status.shares_descriptors {
                close.divided.insert(process.pid);
            }
            rests &= rested;
            calls.push(status.call);
        }
        process.timers = self.statuses.timers(&mut self.reader, key, rests);
        close.moved |= !rests;
        (calls, rests)
    }

    /// Beside the main thread, a long wait belongs to the runtime or to the program: the thread's name shows which. Go names no
    /// threads: what its programs sleep is a limit of a poll, and a thread in a timed futex is of its runtime.
    fn name_sleepers(&mut self, process: &mut Process) {
        let (pid, key) = (process.pid, (process.pid, process.started));
        for thread in process.threads.iter_mut().filter(|t| t.tid != pid) {
            let until = thread.wait.as_ref().map(Wait::until);
            if !matches!(until, Some(Until::In(time)) if time >= SHORT_SLEEP) {
                continue;
            }
            let reader = &mut self.reader;
            let waits = matches!(thread.wait, Some(Wait::Futex { .. }));
            let words = self.words.get_mut(&key).filter(|_| waits);
            let is_go = words.is_some_and(|words| {
                let go = &mut words.go;
                *go.get_or_insert_with(|| program::is_of_go(reader, pid))
            });
            thread.name = if is_go {
                GO_THREAD.to_owned()
            } else {
                let name = reader.text(&format!("/proc/{pid}/task/{}/comm", thread.tid));
                name.map(|n| n.trim_end().to_owned()).unwrap_or_default()
            };
        }
    }

    fn outputs(&self, sample: &mut Sample, close: &DeepSample) {
        for (pid, descriptors) in &close.descriptors {
            for fd in output::OUTPUTS {
                let Kind::File(path) = descriptors.target(fd as u64).kind else {
                    continue;
                };
                let known = sample.outputs.iter().any(|o| o.path == path);
                if !known && !path.starts_with("/dev/") {
                    sample.outputs.extend(output::output(*pid, fd, &path));
                }
            }
        }
    }

    fn sockets(&mut self, sample: &mut Sample, close: &DeepSample) {
        let mut seen = BTreeSet::new();
        let mut wanted = Vec::new();
        // A socket that an hbsidecar shares with another process is the other's.
        let (watchers, others): (Vec<&Process>, Vec<&Process>) = sample
            .processes
            .iter()
            .partition(|process| tree::watches(&self.words, process));
        for process in others.into_iter().chain(watchers) {
            let Some(descriptors) = close.descriptors.get(&process.pid) else {
                continue;
            };
            for (fd, kind) in descriptors.iter() {
                if let Kind::Socket(inode) = kind
                    && seen.insert(*inode)
                {
                    wanted.push((process.pid, fd, *inode));
                }
            }
        }
        let (sockets, gaps) = sockets::describe(&wanted, &mut self.remembered, sample.at);
        sample.sockets = sockets;
        self.local
            .name(&mut self.reader, &mut sample.sockets, sample.at);
        sample.gaps.extend(gaps);
    }

    /// The tree's own ends, outside holders of those that a thread waits for, and who can wake each thread.
    fn holders(&mut self, sample: &mut Sample, close: &mut DeepSample) {
        for (pid, descriptors) in &close.descriptors {
            sample.ends.extend(descriptors.ends(&mut self.reader, *pid));
        }
        sample.ends.extend(socket_ends(sample, close));
        self.history
            .see(&mut self.reader, sample, &close.descriptors);
        let tree = drafts::Tree {
            sample,
            descriptors: &close.descriptors,
            asked: &close.asked,
            divided: &close.divided,
        };
        let drafts = drafts::drafts(&mut self.reader, &tree);
        let channels = wanted_channels(sample);
        let mut wanted: BTreeSet<Id> = channels.iter().cloned().map(Id::Channel).collect();
        if let Some(drafts) = &drafts {
            wanted.extend(drafts.wanted(&self.history));
        }
        let pids = sample.processes.iter().map(|p| p.pid).collect();
        let (held, denied) = self
            .outside
            .holders(&mut self.reader, &wanted, &pids, sample.at);
        if let Some(drafts) = drafts
            && denied != Some(Why::NotAsked)
        {
            let answers = wakers::answers(drafts, &mut self.reader, &tree, &self.history, &held);
            self.take_answers(sample, answers, denied, close.moved);
        }
        let ends = held.iter().filter_map(Held::end);
        sample
            .ends
            .extend(ends.filter(|end| channels.contains(&end.of)));
        let denied = denied.filter(|_| !channels.is_empty());
        sample.gaps.extend(denied.map(|why| Gap {
            subject: Subject::Machine,
            what: GapKind::Holders,
            why,
        }));
    }

    fn take_answers(
        &mut self,
        sample: &mut Sample,
        mut answers: wakers::Answers,
        denied: Option<Why>,
        moved: bool,
    ) {
        for thread in sample.processes.iter_mut().flat_map(|p| &mut p.threads) {
            if let Some(watched) = answers.remove(&thread.tid) {
                thread.watched = watched;
            }
        }
        sample.reach = Reach {
            hidden: Some(denied.is_some() || self.hides_processes),
            met_outside: self.history.met_outside(),
            in_flight: self.outside.in_flight(),
        };
        // A thread at rest sets no timer, so only a tree that moved is asked again. Another's timer may have expired.
        let known = self.alarms.filter(|(at, alarms)| {
            !moved && (*alarms != Some(true) || sample.at.since(*at) < ALARMS_AGAIN)
        });
        let (at, alarms) = known.unwrap_or_else(|| (sample.at, host::alarms(&mut self.reader)));
        self.alarms = Some((at, alarms));
        sample.host.alarms = alarms;
    }

    fn locks(&mut self, sample: &mut Sample, close: &DeepSample) {
        let waiting: Vec<u32> = sample
            .processes
            .iter()
            .filter(|p| p.waits().any(may_want_lock))
            .map(|p| p.pid)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let lines = host::locks(&mut self.reader);
        if lines.is_empty() {
            return;
        }
        let mut files = Vec::new();
        for pid in waiting {
            let Some(descriptors) = close.descriptors.get(&pid) else {
                continue;
            };
            for (fd, kind) in descriptors.iter() {
                if let Kind::File(path) = kind
                    && files.len() < FILES_MAX
                    && let Ok(found) = attributes(&format!("/proc/{pid}/fd/{fd}"))
                {
                    let (major, minor) = found.device;
                    let key = (major, minor, found.inode);
                    files.push((pid, key, path.clone()));
                }
            }
        }
        let tree: Vec<u32> = sample.processes.iter().map(|p| p.pid).collect();
        sample.locks = host::locks_on(&lines, &files, &tree);
    }

    fn name_outsiders(&mut self, sample: &mut Sample) {
        let mut pids: BTreeSet<u32> = sample.ends.iter().map(|e| e.pid).collect();
        pids.extend(sample.locks.iter().filter_map(|l| l.holder));
        pids.extend(sample.sockets.iter().filter_map(|s| match &s.kind {
            SocketKind::Unix { peer, .. } => *peer,
            SocketKind::Tcp(_) | SocketKind::Other | SocketKind::Unreadable(_) => None,
        }));
        for process in &sample.processes {
            pids.remove(&process.pid);
        }
        let found: Vec<Outsider> = pids
            .into_iter()
            .filter_map(|pid| outside::outsider(&mut self.reader, pid))
            .collect();
        for lock in &mut sample.locks {
            let holder = found.iter().find(|o| Some(o.pid) == lock.holder);
            lock.name = holder.map(|o| o.name.clone()).unwrap_or_default();
        }
        sample.outsiders = found;
    }
}

/// Every process of the tree that holds the peer of a unix socket of the tree.
fn socket_ends(sample: &Sample, close: &DeepSample) -> Vec<End> {
    let others: BTreeSet<u64> = sample.sockets.iter().filter_map(|s| s.other()).collect();
    let mut ends = Vec::new();
    for (pid, descriptors) in &close.descriptors {
        for (fd, kind) in descriptors.iter() {
            if let Kind::Socket(inode) = kind
                && others.contains(inode)
            {
                let of = Channel::Socket(*inode);
                ends.push(End {
                    pid: *pid,
                    fd,
                    of,
                    reads: true,
                    writes: true,
                });
            }
        }
    }
    ends
}

/// Pipes and terminals whose other end matters: those on which a thread waits, and those of a process with an ended child,
/// which may have held the other end.
fn wanted_channels(sample: &Sample) -> BTreeSet<Channel> {
    let mut wanted = BTreeSet::new();
    for process in &sample.processes {
        for wait in process.waits() {
            wanted.extend(written(sample, wait));
            wanted.extend(read(sample, process.pid, wait));
        }
        if process.state == RunState::Zombie {
            let parents = sample.ends.iter().filter(|e| e.pid == process.parent);
            let lone = parents.filter(|end| {
                let mut others = sample.ends.iter();
                !others.any(|e| e.of == end.of && (e.pid, e.fd) != (end.pid, end.fd))
            });
            wanted.extend(lone.map(|end| end.of.clone()));
        }
    }
    wanted
}

/// What this wait needs room in.
fn written(sample: &Sample, wait: &Wait) -> Vec<Channel> {
    let direct = matches!(wait, Wait::Write(_));
    let polled = matches!(wait, Wait::Poll { .. });
    let targets = wait.targets().iter();
    let full = targets.filter(|t| direct || polled && t.full);
    full.filter_map(|t| sample.channel(&t.kind)).collect()
}

/// What this wait needs data from, unless a process of the tree can write it; the waiting reader cannot.
fn read(sample: &Sample, pid: u32, wait: &Wait) -> Vec<Channel> {
    let direct = matches!(wait, Wait::Read(_));
    if !direct && !matches!(wait, Wait::Poll { .. }) {
        return Vec::new();
    }
    let targets = wait.targets().iter();
    let sources = targets.filter(|t| !t.full && !matches!(t.kind, Kind::Terminal(_)));
    let channels = sources.filter_map(|t| sample.channel(&t.kind));
    let own = |channel: &Channel| {
        let mut ends = sample.ends.iter();
        ends.any(|end| end.of == *channel && end.writes && !(direct && end.pid == pid))
    };
    channels.filter(|channel| !own(channel)).collect()
}

fn may_want_lock(wait: &Wait) -> bool {
    match wait {
        Wait::Lock(_) => true,
        Wait::Sleep(Until::In(time)) => *time <= SHORT_SLEEP,
        Wait::Running
        | Wait::Read(_)
        | Wait::Write(_)
        | Wait::Accept(_)
        | Wait::Connect(_)
        | Wait::Poll { .. }
        | Wait::Sleep(Until::Never | Until::Unreadable(_))
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Signal(_)
        | Wait::Sync(_)
        | Wait::Call(_)
        | Wait::Unreadable(_) => false,
    }
}
