//! What a thread is doing: its system call, its state, the signals it blocks. A blocked thread that was not scheduled since
//! is as it was, so each is read once per rest.

use super::descriptors::Descriptors;
use super::mappings::{self, Mapping};
use super::read::Reader;
use super::same;
use super::waits::{Numbers, call, shared_futex};
use heartbeat::verdict::sample::{RunState, Thread, Why};
use std::collections::BTreeMap;

/// Remembers threads at rest: process, its start, thread.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    known: BTreeMap<(u32, u64, u32), Status>,
    timers: BTreeMap<(u32, u64), (u64, Option<u32>)>,
    events: BTreeMap<(u32, u64), Events>,
    /// Counts deep samples, to forget threads that ended.
    round: u64,
}

/// Whether descriptors of a process send signals.
#[derive(Clone, Copy, Debug)]
struct Events {
    round: u64,
    found: bool,
    /// It was read, or known, in a rest that still goes on.
    since_rest: bool,
}

/// What was read of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    round: u64,
    turns: u64,
    /// Number and arguments of its system call; none when it is in none.
    pub(super) call: Result<Option<Numbers>, Why>,
    pub(super) state: Option<RunState>,
    pub(super) blocked: Option<u64>,
    /// The futex that it waits for without a limit lies in memory that any program can open.
    pub(super) open_memory: bool,
    /// It provably has the same table of descriptors as the first thread.
    pub(super) shares_descriptors: bool,
}

impl Statuses {
    /// Forgets what the round before this one did not see.
    pub(super) fn begin(&mut self) {
        let last = self.round;
        self.known.retain(|_, status| status.round == last);
        self.timers.retain(|_, (round, _)| *round == last);
        self.events.retain(|_, events| events.round == last);
        self.round += 1;
    }

    /// What this thread of a process does, and whether it has rested since that was read. `process` is its number and start,
    /// `first` a living thread of it.
    pub(super) fn of(
        &mut self,
        reader: &mut Reader,
        process: (u32, u64),
        first: u32,
        thread: &Thread,
    ) -> (Status, bool) {
        let key = (process.0, process.1, thread.tid);
        // Without scheduling statistics the count stays 0 and proves nothing.
        let rests = |known: &&mut Status| known.turns == thread.turns && thread.turns > 0;
        if let Some(known) = self.known.get_mut(&key).filter(rests) {
            known.round = self.round;
            return (*known, true);
        }
        // The call first: off the processor, the thread cannot change what is read after it without another turn.
        let call = call(reader, process.0, thread.tid);
        let mut status = read(reader, process.0, first, thread.tid);
        (status.round, status.turns) = (self.round, thread.turns);
        if status.call != Err(Why::Hidden) {
            status.call = call;
        }
        if let Ok(Some(call)) = status.call {
            status.open_memory = shared_futex(&call).is_some_and(|address| {
                let mapping = mappings::at(reader, thread.tid, address);
                mapping == Ok(Mapping::Open)
            });
            self.known.insert(key, status);
        }
        (status, false)
    }

    /// How many POSIX timers a process has made. Only its own threads make them.
    pub(super) fn timers(
        &mut self,
        reader: &mut Reader,
        process: (u32, u64),
        rests: bool,
    ) -> Option<u32> {
        if let Some((round, timers)) = self.timers.get_mut(&process)
            && rests
        {
            *round = self.round;
            return *timers;
        }
        let text = reader.text(&format!("/proc/{}/timers", process.0)).ok();
        let count = |text: &str| text.lines().filter(|line| line.starts_with("ID:")).count();
        let timers = text.and_then(|text| u32::try_from(count(&text)).ok());
        self.timers.insert(process, (self.round, timers));
        timers
    }

    /// Whether a descriptor of this process sends signals when something happens there. Only its own threads ask for that, so
    /// it is read at the first look and at the first of each rest.
    pub(super) fn signals_events(
        &mut self,
        reader: &mut Reader,
        process: (u32, u64),
        rests: bool,
        descriptors: &Descriptors,
    ) -> bool {
        let known = self.events.get(&process).copied();
        let found = match known {
            Some(known) if known.since_rest || !rests => known.found,
            Some(_) | None => descriptors.signals_events(reader),
        };
        let events = Events {
            round: self.round,
            found,
            since_rest: rests,
        };
        self.events.insert(process, events);
        found
    }
}

fn read(reader: &mut Reader, pid: u32, first: u32, tid: u32) -> Status {
    let text = reader.text(&format!("/proc/{pid}/task/{tid}/status"));
    let field = |name: &str| {
        let mut lines = text.as_ref().ok()?.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let letter = field("State:").and_then(|state| state.get(..1));
    let filtered = field("Seccomp:") == Some("2");
    let (state, blocked) = (
        letter.map(super::process::state),
        field("SigBlk:").and_then(|n| u64::from_str_radix(n, 16).ok()),
    );
    let why = if filtered && is_supervised(reader, pid, tid) {
        Why::Hidden
    } else {
        Why::NotAsked
    };
    Status {
        round: 0,
        turns: 0,
        call: Err(why),
        state,
        blocked,
        open_memory: false,
        shares_descriptors: tid == first || same::descriptors(first, tid) == Some(true),
    }
}

/// Whether a supervisor that a filter names (`SECCOMP_RET_USER_NOTIF`) must answer the call in the kernel's place: then the
/// thread waits for that, and not for what the call names.
fn is_supervised(reader: &mut Reader, pid: u32, tid: u32) -> bool {
    let place = reader.text(&format!("/proc/{pid}/task/{tid}/wchan"));
    place.is_ok_and(|place| place.starts_with("seccomp"))
}

#[cfg(test)]
mod tests {
    use super::super::process::{counters, threads};
    use super::super::trees::{Tree, until};
    use super::*;
    use heartbeat::verdict::sample::{Process, Sample, Wait};

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
        let seen = process(child.id(), &mut reader);
        let key = (child.id(), seen.started);
        let (status, _) = statuses.of(&mut reader, key, child.id(), &seen.threads[0]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(status.blocked, Some(1 << 9));
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
        let me = process(std::process::id(), &mut reader);
        let mut statuses = Statuses::default();
        let key = (me.pid, me.started);
        let mut of = |thread| statuses.of(&mut reader, key, me.pid, thread).0;
        let shared = me
            .threads
            .iter()
            .all(|thread| of(thread).shares_descriptors);
        drop(end);
        thread.join().unwrap();
        assert!(!shared);
    }

    #[test]
    fn a_call_that_a_supervisor_answers_is_no_wait_for_its_object() {
        // A filter that leaves flock to the holder of its descriptor: here the parent, which never answers.
        let code = "import ctypes,struct,os,fcntl,tempfile
libc=ctypes.CDLL(None); libc.prctl(38,1,0,0,0)
call=73 if os.uname().machine=='x86_64' else 32
ops=[(0x20,0,0,0),(0x15,0,1,call),(6,0,0,0x7fc00000),(6,0,0,0x7fff0000)]
code=b''.join(struct.pack('HBBI',*op) for op in ops); code=ctypes.create_string_buffer(code,len(code))
filter=ctypes.create_string_buffer(struct.pack('HP',len(ops),ctypes.addressof(code)))
assert libc.syscall(317 if call==73 else 277,1,8,filter)>=0
if os.fork()>0: os.wait()
fcntl.flock(tempfile.TemporaryFile(),2)";
        let supervised = |sample: &Sample| {
            let child = sample.processes.get(1);
            // Its state is read before its call: it may have been about to make it.
            child.is_some_and(|child| {
                child.state == RunState::Sleeping
                    && child.threads[0].wait == Some(Wait::Unreadable(Why::Hidden))
            })
        };
        let tree = Tree::python(code);
        until(tree.0.id(), supervised);
    }

    #[test]
    fn a_thread_at_rest_is_read_once() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (mut reader, mut statuses) = (Reader::default(), Statuses::default());
        let start = std::time::Instant::now();
        loop {
            let seen = process(child.id(), &mut reader);
            statuses.begin();
            let key = (seen.pid, seen.started);
            let (status, rested) = statuses.of(&mut reader, key, seen.pid, &seen.threads[0]);
            if rested {
                assert!(matches!(status.call, Ok(Some(_))), "{status:?}");
                break;
            }
            assert!(start.elapsed().as_secs() < 60, "{status:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
