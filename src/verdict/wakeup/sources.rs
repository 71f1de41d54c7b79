//! What could wake a blocked thread: the table of sources, by its call, its process's signals and the objects it waits on.

use crate::verdict::known_programs;
use crate::verdict::sample::{
    GapKind, Holders, Object, ObjectKind, Origin, Process, RunState, Sample, SampleDepth, Space,
    Subject, Thread, Until, Wait, Watched,
};

/// Something that could wake a blocked thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is awake.
    Runs,
    /// A time limit or timer, which will pass.
    Timer,
    /// Something outside the tree, or something that cannot be enumerated.
    Outside(Outside),
    /// This process of the tree: a thread of it that acts, or its end.
    Process(u32),
    /// A signal with a handler, which any process of the tree could send.
    AnyProcess,
}

/// Why a source lies outside what can be enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// What the argument needs was not read, or contradicts itself.
    Unread,
    /// Stopped, traced or frozen: it may be continued.
    Held,
    /// A wait that ends with a device or file system.
    Uninterruptible,
    /// A call that waits for nothing but a signal, or that is not in the table.
    Call,
    /// A signal with a handler that another program sends, or an interval timer.
    Signal(u32),
    /// A signal with a handler, sent when something happens at a descriptor.
    Event,
    /// An object that anybody can act on: the network, a device, something with a name.
    Object,
    /// An end is held outside the tree, or the object was made there.
    Holder,
    /// A descriptor may have been passed to a process that cannot be read.
    PassedOn,
}

/// Signals by which a program is asked to end (INT QUIT TERM; a restart sends one of them too), that its own instructions raise
/// (ILL TRAP ABRT BUS FPE SEGV PIPE STKFLT XFSZ SYS), by which its children end (CHLD), and by which the threads of the C
/// library reach each other: no other program sends them to get work done.
const EXPECTED: [u32; 16] = [2, 3, 15, 4, 5, 6, 7, 8, 11, 13, 16, 25, 31, CHLD, 32, 33];
const CHLD: u32 = 17;
const ALRM: u32 = 14;

const fn signal(number: u32) -> u64 {
    1 << (number - 1)
}

/// Everything that could wake this thread. Empty: nothing.
pub(super) fn of(sample: &Sample, process: &Process, thread: &Thread) -> Vec<Source> {
    let Some((wait, objects)) = readable(sample, process, thread) else {
        return vec![Source::Outside(Outside::Unread)];
    };
    let mut sources = vec![];
    sources.extend(of_state(process, thread, wait));
    sources.extend(of_limit(wait.until()));
    sources.extend(of_signals(sample, process, thread));
    sources.extend(of_call(wait, objects));
    for object in objects {
        sources.extend(of_limit(object.limit));
        sources.extend(of_object(sample, wait, object));
    }
    sources
}

/// Whether an interval timer, which nothing shows, may end this process.
pub(super) fn may_end_by_alarm(sample: &Sample, process: &Process) -> bool {
    let ignores = process.ignored.is_some_and(|set| set & signal(ALRM) != 0);
    process.pid != sample.root && sample.host.alarms != Some(false) && !ignores
}

/// The thread's wait with every object, when all that the argument needs of its process was read.
fn readable<'a>(
    sample: &Sample,
    process: &Process,
    thread: &'a Thread,
) -> Option<(&'a Wait, &'a [Object])> {
    let needed = [
        GapKind::Threads,
        GapKind::Status,
        GapKind::Waits,
        GapKind::Descriptors,
        GapKind::Sockets,
    ];
    let of = Subject::Process(process.pid);
    let read = sample.depth == SampleDepth::Waits
        && sample.space == Space::Own
        && process.is_whole()
        && needed.iter().all(|what| sample.gap(of, *what).is_none());
    // Where the kernel does not count it, a thread may have been scheduled.
    let counted = thread.turns > 0;
    let wait = thread.wait.as_ref().filter(|_| read && counted)?;
    match (&thread.watched, wait) {
        (_, Wait::Running) => Some((wait, &[])),
        (Watched::All(objects), _) => Some((wait, objects)),
        (Watched::Unknown(_), _) => None,
    }
}

fn of_state(process: &Process, thread: &Thread, wait: &Wait) -> Option<Source> {
    if process.frozen || process.tracer.is_some() {
        return Some(Source::Outside(Outside::Held));
    }
    match thread.state {
        Some(RunState::Running) => Some(Source::Runs),
        Some(RunState::Stopped | RunState::Traced) => Some(Source::Outside(Outside::Held)),
        // The one wait of this kind that a process of the tree ends.
        Some(RunState::Disk) if *wait == Wait::Fork => None,
        Some(RunState::Disk) => Some(Source::Outside(Outside::Uninterruptible)),
        Some(RunState::Sleeping) => None,
        Some(RunState::Zombie) | None => Some(Source::Outside(Outside::Unread)),
    }
}

fn of_limit(until: Until) -> Option<Source> {
    match until {
        Until::Never => None,
        Until::In(_) => Some(Source::Timer),
        Until::Unreadable(_) => Some(Source::Outside(Outside::Unread)),
    }
}

/// Handlers that can run, and timers that send a signal.
fn of_signals(sample: &Sample, process: &Process, thread: &Thread) -> Vec<Source> {
    let (Some(caught), Some(blocked), Some(timers)) =
        (process.caught, thread.blocked, process.timers)
    else {
        return vec![Source::Outside(Outside::Unread)];
    };
    let mut sources = Vec::new();
    if timers > 0 {
        sources.push(Source::Timer);
    }
    let handled = caught & !blocked;
    if handled != 0 {
        sources.push(Source::AnyProcess);
    }
    let own = known_programs::runtime_signals(&process.name);
    let others = (1..=64)
        .filter(|n| handled & signal(*n) != 0)
        .filter(|n| !EXPECTED.contains(n) && !own.contains(n));
    sources.extend(others.map(|n| Source::Outside(Outside::Signal(n))));
    // Its number may be any, and it goes to the process that the descriptor's owner named.
    if handled != 0 && sample.processes.iter().any(|p| p.signals_events) {
        sources.push(Source::Outside(Outside::Event));
    }
    if handled & signal(CHLD) != 0 {
        let children = sample.processes.iter().filter(|p| p.parent == process.pid);
        let living = children.filter(|p| p.state != RunState::Zombie);
        sources.extend(living.map(|p| Source::Process(p.pid)));
    }
    sources
}

fn of_call(wait: &Wait, objects: &[Object]) -> Option<Source> {
    match wait {
        Wait::Running => Some(Source::Runs),
        Wait::Read(_)
        | Wait::Write(_)
        | Wait::Poll { .. }
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Lock(_)
            if !objects.is_empty() =>
        {
            None
        }
        Wait::Read(_)
        | Wait::Write(_)
        | Wait::Poll { .. }
        | Wait::Futex { .. }
        | Wait::Child(_)
        | Wait::Fork
        | Wait::Lock(_)
        | Wait::Accept(_)
        | Wait::Connect(_)
        | Wait::Sleep(_)
        | Wait::Signal(_)
        | Wait::Sync(_)
        | Wait::Call(_)
        | Wait::Unreadable(_) => Some(Source::Outside(Outside::Call)),
    }
}

fn of_object(sample: &Sample, wait: &Wait, object: &Object) -> Vec<Source> {
    let outside = |why| vec![Source::Outside(why)];
    match object.kind {
        ObjectKind::Timer { armed: Some(true) } => vec![Source::Timer],
        ObjectKind::Pipe
        | ObjectKind::SocketPair
        | ObjectKind::Loopback
        | ObjectKind::Terminal
        | ObjectKind::Event
        | ObjectKind::Timer { armed: Some(false) }
        | ObjectKind::Epoll
        | ObjectKind::FileLock
        | ObjectKind::Memory => {
            let private = matches!(wait, Wait::Futex { private: true, .. });
            if object.origin != Origin::Inside {
                outside(Outside::Holder)
            } else if !private && !is_enumerated(sample) {
                outside(Outside::PassedOn)
            } else {
                of_holders(sample, &object.holders)
            }
        }
        ObjectKind::Process | ObjectKind::Children => of_holders(sample, &object.holders),
        ObjectKind::Timer { armed: None } | ObjectKind::Unreadable(_) => outside(Outside::Unread),
        ObjectKind::Signals(_)
        | ObjectKind::Fifo
        | ObjectKind::Listener
        | ObjectKind::Network
        | ObjectKind::Netlink
        | ObjectKind::TerminalMaster
        | ObjectKind::FileEvents
        | ObjectKind::UserFault
        | ObjectKind::Perf
        | ObjectKind::Ring
        | ObjectKind::Fuse
        | ObjectKind::Device
        | ObjectKind::File
        | ObjectKind::Other => outside(Outside::Object),
    }
}

/// Whether no process can hold an object without being known: every process of the machine is readable and none is about to
/// receive a descriptor, or none of the tree ever had a connection over which it could have passed one on. A connection may
/// have been so short that it was not seen: what was sent over it may still be on its way.
fn is_enumerated(sample: &Sample) -> bool {
    let reach = &sample.reach;
    match reach.in_flight {
        Some(true) => false,
        Some(false) => reach.hidden == Some(false) || reach.met_outside == Some(false),
        None => reach.met_outside == Some(false),
    }
}

fn of_holders(sample: &Sample, holders: &Holders) -> Vec<Source> {
    let Holders::Known { inside, outside } = holders else {
        return vec![Source::Outside(Outside::Holder)];
    };
    if !outside.is_empty() {
        return vec![Source::Outside(Outside::Holder)];
    }
    let lives = |pid: &u32| {
        sample
            .process(*pid)
            .is_some_and(|p| p.state != RunState::Zombie)
    };
    // A wait that nothing holds, or for a process that has ended, would be over.
    if inside.is_empty() || !inside.iter().all(lives) {
        return vec![Source::Outside(Outside::Unread)];
    }
    inside.iter().map(|pid| Source::Process(*pid)).collect()
}
