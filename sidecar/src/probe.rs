//! The probe: samples an agent's process tree from /proc and the kernel's sockets. Changes nothing in the agent.
//!
//! A cheap sample reads the counters of the tree. A deep sample also reads what every thread waits for, which process holds
//! the other end of its pipes, and its sockets; it is taken when counters stand still or on request. The cost grows with the
//! tree, not with the machine, except where the kernel offers no other way (holders of pipes, netlink without the right to
//! borrow descriptors, locks). Those are read seldom.

mod borrow;
mod calls;
mod deep;
mod descriptors;
mod diag;
mod drafts;
mod flight;
mod history;
mod host;
mod local;
mod mappings;
mod memory;
mod objects;
mod output;
mod outside;
mod process;
mod program;
mod read;
mod same;
mod snapshot;
mod sockets;
mod space;
mod spaces;
mod status;
mod table;
mod tcp;
mod tool_calls;
mod tree;
#[cfg(test)]
mod trees;
mod waits;
mod wakers;

pub(crate) use snapshot::snapshot;
pub(crate) use tool_calls::ToolCalls;

use heartbeat::base::known_agents::{Invocation, invocation};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Gap, GapKind, Reach, Sample, SampleDepth, Space, Subject, Why};
use history::History;
use local::Local;
use outside::Outside;
use read::Reader;
use rustix::time::{ClockId, clock_gettime};
use sockets::Remembered;
use status::Statuses;
use std::collections::BTreeMap;
use std::time::Duration;
use tree::CommandInfo;

/// Nothing of this /proc is about the agent.
const FOREIGN: Gap = Gap {
    subject: Subject::Machine,
    what: GapKind::Process,
    why: Why::OtherSpace,
};

/// Samples one agent's tree repeatedly.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    reader: Reader,
    /// How the command line that started the root starts a known agent.
    started: Option<Invocation>,
    words: BTreeMap<(u32, u64), CommandInfo>,
    outside: Outside,
    local: Local,
    remembered: Remembered,
    history: History,
    statuses: Statuses,
    space: Space,
    /// /proc does not list every process of the machine.
    hides_processes: bool,
    /// Whether some process of the machine had an interval timer, and when that was read.
    alarms: Option<(Moment, Option<bool>)>,
}

impl Sampler {
    /// No sample yet. Made before the agent is started: what this process holds now the agent may inherit.
    pub(crate) fn new() -> Self {
        let mut reader = Reader::default();
        Self {
            space: space::space(),
            hides_processes: space::hides_processes(&mut reader),
            reader,
            ..Self::default()
        }
    }

    /// No sample yet, of what this command line (program first) starts.
    pub(crate) fn of_command<'a>(args: impl Iterator<Item = &'a str>) -> Self {
        Self {
            started: invocation(&args.collect::<Vec<_>>()),
            ..Self::new()
        }
    }

    /// Whether /proc shows other processes under the numbers that this one uses, so that nothing can be sampled.
    pub(crate) fn is_blind(&self) -> bool {
        self.space == Space::Foreign
    }

    /// Why the list of sockets cannot be read, if it cannot.
    pub(crate) fn no_sockets() -> Option<String> {
        diag::refusal().map(|error| error.to_string())
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
        let (processes, gaps) = match self.space {
            // Under the agent's number /proc shows a stranger.
            Space::Foreign => (Vec::new(), vec![FOREIGN]),
            Space::Own | Space::Unknown => tree::tree(&mut self.reader, root, orphans),
        };
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
            space: self.space,
            gaps,
            cost: Duration::ZERO,
        };
        tree::name(
            &mut self.reader,
            now,
            self.started,
            &mut self.words,
            &mut sample.processes,
        );
        if depth == SampleDepth::Waits {
            self.deep_sample(&mut sample);
        }
        tree::without_watching(&self.words, &mut sample);
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
        sample.cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::trees::{Tree, deep_sample, until};
    use super::*;
    use heartbeat::verdict::sample::{Until, Wait};
    use heartbeat::wire::evidence_snapshot::SNAPSHOT_BYTES_MAX;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

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

    #[test]
    fn a_tree_of_a_hundred_threads_and_fifty_sockets_is_seen_whole_and_cheaply() {
        let tree = Tree::start(Command::new("python3").args(["-c", TREE]));
        let threads = |s: &Sample| s.processes.iter().map(|p| p.threads.len()).sum::<usize>();
        let (mut sampler, sample) = until(tree.0.id(), |s| {
            threads(s) == 100 && s.sockets.len() >= 49 && s.gaps.is_empty()
        });
        assert!(sample.processes.len() == 10, "{:?}", sample.processes.len());
        let card = snapshot(
            &mut sampler,
            tree.0.id(),
            &[],
            None,
            Vec::new(),
            crate::clock::now(),
        );
        assert_eq!(card.tree.len(), 10);
        let text = serde_json::to_string(&card.for_the_stream(SNAPSHOT_BYTES_MAX)).unwrap();
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
    fn what_an_hbsidecar_in_the_tree_does_is_no_work_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let sidecar = directory.path().join("hbsidecar-other");
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        // Not by this process: a test that forks meanwhile would hold the copy open for writing, and it would not run.
        let copied = Command::new("cp").args([&shell, &sidecar]).status();
        assert!(copied.unwrap().success());
        let busy = "while :; do echo; done";
        let code = format!(
            "import socket, subprocess
server = socket.create_server(('127.0.0.1', 0))
own = socket.create_connection(server.getsockname())
their = socket.create_connection(server.getsockname())
subprocess.Popen(['{}', '-c', '{busy}'], pass_fds=(own.fileno(), their.fileno()))
their.close()
input()",
            sidecar.display()
        );
        let agent = Tree(
            Command::new("python3")
                .args(["-c", &code])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .process_group(0)
                .spawn()
                .unwrap(),
        );
        // Of two sockets that it was given it shares one with the agent.
        let (_, sample) = until(agent.0.id(), |sample| {
            let mut children = sample.processes.iter().skip(1);
            let runs = children.any(|p| p.command.starts_with(&*sidecar.to_string_lossy()));
            let agents = sample.sockets.iter().filter(|s| s.pid == agent.0.id());
            runs && agents.count() == 2 && sample.sockets.len() == 2
        });
        let child = &sample.processes[1];
        assert_eq!(child.io.map(|io| io.written), Some(0));
        assert_eq!(child.threads[0].run, Duration::ZERO);
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
