//! What `status` says of a thread: its state and the signals it blocks. A blocked thread that was not scheduled since is
//! as it was, so each is read once per rest.

use super::read::Reader;
use super::same;
use heartbeat::verdict::sample::{Process, RunState, Thread};
use std::collections::BTreeMap;

/// Remembers threads at rest: process, its start, thread.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    known: BTreeMap<(u32, u64, u32), Status>,
    /// Counts deep samples, to forget threads that ended.
    round: u64,
}

/// What was read of a thread at rest.
#[derive(Clone, Copy, Debug)]
struct Status {
    round: u64,
    turns: u64,
    state: RunState,
    blocked: Option<u64>,
    shares_descriptors: Option<bool>,
}

impl Statuses {
    /// Forgets what the round before this one did not see.
    pub(super) fn begin(&mut self) {
        let last = self.round;
        self.known.retain(|_, status| status.round == last);
        self.round += 1;
    }

    /// Fills in the state and blocked signals of the process's threads. True when all of them provably share one table of
    /// descriptors.
    pub(super) fn fill(&mut self, reader: &mut Reader, process: &mut Process) -> bool {
        let (pid, started) = (process.pid, process.started);
        let Some(first) = process.threads.first().map(|thread| thread.tid) else {
            return false;
        };
        let mut share = true;
        for thread in &mut process.threads {
            let key = (pid, started, thread.tid);
            let status = match self.known.get(&key) {
                // Without scheduling statistics the count stays 0 and proves nothing.
                Some(known) if known.turns == thread.turns && thread.turns > 0 => Some(*known),
                Some(_) | None => read(reader, pid, first, thread),
            };
            let Some(status) = status else {
                share = false;
                continue;
            };
            thread.state = Some(status.state);
            thread.blocked = status.blocked;
            share &= status.shares_descriptors == Some(true);
            if status.state == RunState::Running {
                self.known.remove(&key);
            } else {
                let round = self.round;
                self.known.insert(key, Status { round, ..status });
            }
        }
        share
    }
}

fn read(reader: &mut Reader, pid: u32, first: u32, thread: &Thread) -> Option<Status> {
    let tid = thread.tid;
    let shares_descriptors = if tid == first {
        Some(true)
    } else {
        same::descriptors(first, tid)
    };
    let text = reader
        .text(&format!("/proc/{pid}/task/{tid}/status"))
        .ok()?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    Some(Status {
        round: 0,
        turns: thread.turns,
        state: super::process::state(field("State:")?.get(..1)?),
        blocked: field("SigBlk:").and_then(|n| u64::from_str_radix(n, 16).ok()),
        shares_descriptors,
    })
}

#[cfg(test)]
mod tests {
    use super::super::process::{counters, threads};
    use super::*;

    fn process(pid: u32, reader: &mut Reader) -> Process {
        let mut process = counters(reader, pid).unwrap();
        threads(reader, &mut process, 100).unwrap();
        process
    }

    #[test]
    fn the_signals_that_a_thread_blocks_are_read() {
        let code = "import signal,time; signal.pthread_sigmask(0,[10]); print('.',flush=True); time.sleep(500)";
        let mut python = std::process::Command::new("python3");
        let mut child = python
            .args(["-c", code])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let (mut reader, mut statuses) = (Reader::default(), Statuses::default());
        let mut seen = process(child.id(), &mut reader);
        let shared = statuses.fill(&mut reader, &mut seen);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(shared);
        assert_eq!(seen.threads[0].blocked, Some(1 << 9));
    }

    #[test]
    fn a_thread_with_descriptors_of_its_own_is_noticed() {
        let (ready, go) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            ready.send(()).unwrap();
            let _ = ended.recv();
        });
        go.recv().unwrap();
        let mut reader = Reader::default();
        let mut me = process(std::process::id(), &mut reader);
        let shared = Statuses::default().fill(&mut reader, &mut me);
        drop(end);
        thread.join().unwrap();
        assert!(!shared);
    }
}
