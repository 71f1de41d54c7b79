//! The probe: samples an agent's process tree from /proc and the kernel's sockets. Changes nothing in the agent.
//!
//! A cheap sample reads the counters of the tree. A deep sample also reads what every thread waits for, which process holds
//! the other end of its pipes, and its sockets; it is taken when counters stand still or on request. The cost grows with the
//! tree, not with the machine, except where the kernel offers no other way (holders of pipes, netlink without the right to
//! borrow descriptors, locks). Those are read seldom.

mod borrow;
mod calls;
mod descriptors;
mod diag;
mod host;
mod local;
mod memory;
mod output;
mod outside;
mod process;
mod read;
mod snapshot;
mod sockets;
mod tcp;
mod tree;
mod waits;

pub(crate) use snapshot::snapshot;

use descriptors::Descriptors;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::known_agents::{Invocation, recognise};
use heartbeat::verdict::sample::{
    Channel, End, Gap, GapKind, Kind, Outsider, Process, Reach, RunState, Sample, SampleDepth,
    SocketKind, Space, Subject, Until, Wait, Why,
};
use host::Freezer;
use local::Local;
use memory::Memory;
use outside::Outside;
use read::Reader;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tree::CommandInfo;
use waits::Waits;

/// A sleep this short recurs, so it may be a busy wait for a lock.
const SHORT_SLEEP: Duration = Duration::from_secs(5);
/// Files whose locks are read.
const FILES_MAX: usize = 256;

/// Samples one agent's tree repeatedly.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    reader: Reader,
    /// How the command line that started the root starts a known agent.
    started: Option<Invocation>,
    words: BTreeMap<(u32, u64), CommandInfo>,
    outside: Outside,
    local: Local,
    pairs: BTreeMap<u64, Option<u64>>,
}

/// What only a deep sample gathers.
#[derive(Debug, Default)]
struct DeepSample {
    descriptors: BTreeMap<u32, Descriptors>,
    gaps: Vec<Gap>,
}

impl Sampler {
    /// No sample yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// No sample yet, of what this command line (program first) starts.
    pub(crate) fn of_command<'a>(args: impl Iterator<Item = &'a str>) -> Self {
        Self {
            started: recognise(args),
            ..Self::default()
        }
    }

    /// One sample of the tree under `root` and under the processes it left behind. A process that ends meanwhile is no
    /// error; an empty tree means that the root has ended.
    pub(crate) fn sample(
        &mut self,
        root: u32,
        orphans: &[u32],
        depth: SampleDepth,
        now: Moment,
    ) -> Sample {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let (processes, gaps) = tree::tree(&mut self.reader, root, orphans);
        let mut sample = Sample {
            root,
            at: now,
            depth,
            processes,
            sockets: Vec::new(),
            ends: Vec::new(),
            outsiders: Vec::new(),
            locks: Vec::new(),
            outputs: Vec::new(),
            host: host::host(&mut self.reader),
            reach: Reach::default(),
            space: Space::Unknown,
            gaps,
            cost: Duration::ZERO,
        };
        tree::name(
            &mut self.reader,
            self.started,
            &mut self.words,
            &mut sample.processes,
        );
        if depth == SampleDepth::Waits {
            self.deep_sample(&mut sample);
        }
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
        sample.cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        sample
    }

    fn deep_sample(&mut self, sample: &mut Sample) {
        let mut close = DeepSample::default();
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
        self.holders(sample, &close);
        self.locks(sample, &close);
        sample.gaps.append(&mut close.gaps);
        self.name_outsiders(sample);
    }

    fn waits(&mut self, process: &mut Process, close: &mut DeepSample) {
        let pid = process.pid;
        let subject = Subject::Process(pid);
        let mut gap = |what, why| close.gaps.push(Gap { subject, what, why });
        if let Err(why) = process::detail(&mut self.reader, process) {
            gap(GapKind::Status, why);
        }
        let descriptors = Descriptors::of(pid);
        if let Some(why) = descriptors.gap {
            gap(GapKind::Descriptors, why);
        }
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
            return;
        }
        let reader = &mut self.reader;
        let mut waits = Waits {
            reader,
            memory: Memory::new(pid),
            descriptors: &descriptors,
            pid,
        };
        for thread in &mut process.threads {
            let wait = waits.of(thread.tid);
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
            thread.wait = Some(wait);
        }
        process.outlet = output::outlet(&descriptors);
        self.name_sleepers(process);
        close.descriptors.insert(pid, descriptors);
    }

    /// Beside the main thread, a long wait belongs to the runtime or to the program: the thread's name shows which.
    fn name_sleepers(&mut self, process: &mut Process) {
        let pid = process.pid;
        let aside = process.threads.iter_mut().filter(|t| t.tid != pid);
        for thread in aside {
            let until = thread.wait.as_ref().map(Wait::until);
            if matches!(until, Some(Until::In(time)) if time >= SHORT_SLEEP) {
                let name = self
                    .reader
                    .text(&format!("/proc/{pid}/task/{}/comm", thread.tid));
                thread.name = name.map(|n| n.trim_end().to_owned()).unwrap_or_default();
            }
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
        for process in &sample.processes {
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
        let (sockets, gaps) = sockets::describe(&wanted, &mut self.pairs);
        sample.sockets = sockets;
        self.local
            .name(&mut self.reader, &mut sample.sockets, sample.at);
        sample.gaps.extend(gaps);
    }

    /// The tree's own ends, and outside holders of those that a thread waits for.
    fn holders(&mut self, sample: &mut Sample, close: &DeepSample) {
        for (pid, descriptors) in &close.descriptors {
            sample.ends.extend(descriptors.ends(&mut self.reader, *pid));
        }
        sample.ends.extend(socket_ends(sample, close));
        let wanted = wanted_channels(sample);
        let tree = sample.processes.iter().map(|p| p.pid).collect();
        let (ends, denied) = self
            .outside
            .ends(&mut self.reader, &wanted, &tree, sample.at);
        sample.ends.extend(ends);
        sample.gaps.extend(denied.map(|why| Gap {
            subject: Subject::Machine,
            what: GapKind::Holders,
            why,
        }));
    }

    fn locks(&mut self, sample: &mut Sample, close: &DeepSample) {
        let waiting: Vec<u32> = sample
            .processes
            .iter()
            .filter(|p| {
                p.threads
                    .iter()
                    .filter_map(|t| t.wait.as_ref())
                    .any(may_want_lock)
            })
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
                    && let Ok(stat) = rustix::fs::stat(format!("/proc/{pid}/fd/{fd}"))
                {
                    let device = stat.st_dev;
                    let key = (
                        rustix::fs::major(device),
                        rustix::fs::minor(device),
                        stat.st_ino,
                    );
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
        for wait in process.threads.iter().filter_map(|t| t.wait.as_ref()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat::wire::evidence_snapshot::SNAPSHOT_BYTES_MAX;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    /// Ten processes with ten threads each and fifty sockets between them.
    const TREE: &str = "import os,threading,socket
l=socket.create_server(('127.0.0.1',0),backlog=64)
ev=threading.Event()
def body(sockets):
  keep=[socket.create_connection(l.getsockname()) for _ in range(sockets)]
  for _ in range(9): threading.Thread(target=ev.wait,daemon=True).start()
  ev.wait()
for n in range(9):
  if os.fork()==0: body(3 if n<6 else 2)
keep=[l.accept()[0] for _ in range(24)]
body(0)";

    struct Tree(Child);

    impl Tree {
        fn start(command: &mut Command) -> Self {
            let quiet = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Self(quiet.process_group(0).spawn().unwrap())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let group = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }

    fn deep_sample(sampler: &mut Sampler, root: u32) -> Sample {
        sampler.sample(root, &[], SampleDepth::Waits, crate::clock::now())
    }

    /// Samples until the sample is as wanted.
    fn until(root: u32, wanted: impl Fn(&Sample) -> bool) -> (Sampler, Sample) {
        let start = Instant::now();
        let mut sampler = Sampler::new();
        loop {
            let sample = deep_sample(&mut sampler, root);
            if wanted(&sample) {
                return (sampler, sample);
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{sample:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_tree_of_a_hundred_threads_and_fifty_sockets_is_seen_whole_and_cheaply() {
        let tree = Tree::start(Command::new("python3").args(["-c", TREE]));
        let threads = |s: &Sample| s.processes.iter().map(|p| p.threads.len()).sum::<usize>();
        let (mut sampler, sample) =
            until(tree.0.id(), |s| threads(s) == 100 && s.sockets.len() >= 49);
        assert!(sample.gaps.is_empty(), "{:?}", sample.gaps);
        let card = snapshot(
            &mut sampler,
            tree.0.id(),
            &[],
            None,
            Vec::new(),
            crate::clock::now(),
        );
        assert_eq!(card.tree.len(), 10);
        let text = serde_json::to_string(&card.for_the_stream()).unwrap();
        assert!(text.len() <= SNAPSHOT_BYTES_MAX);
    }

    #[test]
    fn a_process_that_vanishes_between_two_reads_is_no_error() {
        let mut sampler = Sampler::new();
        for _ in 0..50 {
            let mut child = Command::new("true").spawn().unwrap();
            let sample = deep_sample(&mut sampler, child.id());
            assert!(sample.processes.len() <= 1);
            child.wait().unwrap();
            assert!(deep_sample(&mut sampler, child.id()).processes.is_empty());
        }
    }

    #[test]
    fn every_kind_of_time_limit_is_read() {
        let cases = [
            ("import time; time.sleep(500)", 490, 500),
            ("import asyncio; asyncio.run(asyncio.sleep(500))", 490, 501),
            ("import threading; threading.Event().wait(500)", 490, 500),
            ("import select; select.select([],[],[],500)", 490, 500),
            ("import select; select.poll().poll(500000)", 490, 500),
            ("import signal; signal.sigtimedwait([10],500)", 490, 500),
        ];
        for (code, least, most) in cases {
            let program = Tree::start(Command::new("python3").args(["-c", code]));
            let range = Duration::from_secs(least)..=Duration::from_secs(most);
            until(program.0.id(), |sample| {
                let threads = sample.processes.iter().flat_map(|p| &p.threads);
                let waits = threads.filter_map(|t| t.wait.as_ref());
                waits
                    .map(Wait::until)
                    .any(|u| matches!(u, Until::In(t) if range.contains(&t)))
            });
        }
    }

    #[test]
    fn the_holder_of_the_other_end_of_a_pipe_is_found_outside_the_tree() {
        let (reader, writer) = std::io::pipe().unwrap();
        let tree = Tree(
            Command::new("yes")
                .stdout(writer)
                .process_group(0)
                .spawn()
                .unwrap(),
        );
        let own = std::process::id();
        let (_, sample) = until(tree.0.id(), |s| {
            s.ends.iter().any(|e| e.pid == own && e.reads)
        });
        assert!(sample.outsider(own).is_some_and(|o| o.own));
        drop(reader);
    }
}
