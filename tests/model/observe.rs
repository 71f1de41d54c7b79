//! The sample that hbsidecar would take of a state.

use crate::scripts::{Object as Thing, Op, Script, Sharing, Side};
use crate::state::{ENDED, Life, READ, State, WRITE, side};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{
    Holders, Host, Kind, Object, ObjectKind, Origin, Process, Reach, RunState, Sample, SampleDepth,
    Space, Target, Thread, Until, Wait, Watched,
};
use std::time::Duration;

const USR1: u64 = 1 << 9;
/// A process outside the tree.
const OUTSIDER: u32 = 9;

fn pid(p: usize) -> u32 {
    100 * (u32::try_from(p).unwrap_or(0) + 1)
}

/// What hbsidecar sees. `seed` chooses how much of the machine it can read.
pub(crate) fn sample(script: &Script, state: &State, seed: u64) -> Sample {
    let processes = (0..script.processes.len())
        .filter(|p| state.life[*p] != Life::Reaped)
        .map(|p| process(script, state, p))
        .collect();
    let private = seed % 4 == 1;
    Sample {
        root: pid(0),
        at: Moment::from_millis(0),
        depth: SampleDepth::Waits,
        processes,
        sockets: Vec::new(),
        ends: Vec::new(),
        outsiders: Vec::new(),
        locks: Vec::new(),
        outputs: Vec::new(),
        host: Host {
            alarms: (seed % 8 != 3).then_some(state.alarm.contains(&true)),
            ..Host::default()
        },
        reach: Reach {
            hidden: Some(private),
            met_outside: Some(false),
            in_flight: Some(false),
        },
        space: Space::Own,
        gaps: Vec::new(),
        cost: Duration::ZERO,
    }
}

fn process(script: &Script, state: &State, p: usize) -> Process {
    let own = &script.processes[p];
    let alive = state.life[p] == Life::Alive;
    let threads: Vec<Thread> = (0..own.threads.len())
        .filter(|t| alive && state.at[p][*t] != ENDED)
        .filter_map(|t| Some(thread(script, state, p, t, state.op(script, p, t)?)))
        .collect();
    let parent = own
        .parent
        .filter(|parent| state.life[*parent] == Life::Alive);
    Process {
        pid: pid(p),
        parent: parent.map_or(1, pid),
        started: u64::from(pid(p)),
        state: if alive {
            RunState::Sleeping
        } else {
            RunState::Zombie
        },
        caught: Some(if own.handles_usr1 { USR1 } else { 0 }),
        ignored: Some(if own.handles_usr1 { 0 } else { USR1 }),
        timers: Some(0),
        first_thread_ended: alive && state.at[p][0] == ENDED,
        thread_count: u32::try_from(threads.len()).unwrap_or(0),
        threads,
        ..Process::default()
    }
}

fn thread(script: &Script, state: &State, p: usize, t: usize, op: &Op) -> Thread {
    let ready = state.is_ready(script, p, op);
    let (wait, objects) = if ready {
        (Wait::Running, Vec::new())
    } else {
        blocked(script, state, p, op)
    };
    Thread {
        tid: pid(p) + u32::try_from(t).unwrap_or(0),
        wait: Some(wait),
        state: Some(if ready {
            RunState::Running
        } else {
            RunState::Sleeping
        }),
        blocked: Some(0),
        turns: 1,
        watched: Watched::All(objects),
        ..Thread::default()
    }
}

fn blocked(script: &Script, state: &State, p: usize, op: &Op) -> (Wait, Vec<Object>) {
    let target = |n: usize, kind: Kind| Target {
        fd: i32::try_from(n).unwrap_or(0),
        kind,
        full: false,
    };
    let futex = |private| Wait::Futex {
        private,
        until: Until::Never,
        owner: None,
    };
    match op {
        Op::Read(n) => (
            Wait::Read(target(*n, Kind::Pipe(*n as u64))),
            vec![pipe(script, state, *n, WRITE)],
        ),
        Op::Write(n) => (
            Wait::Write(target(*n, Kind::Pipe(*n as u64))),
            vec![pipe(script, state, *n, READ)],
        ),
        Op::Take(n) => (
            Wait::Read(target(*n, Kind::Internal("eventfd".to_owned()))),
            vec![event(state, *n)],
        ),
        Op::Receive(n, s) => (
            Wait::Read(target(*n, Kind::Socket(*n as u64 * 2 + side(*s) as u64))),
            vec![pair(state, *n)],
        ),
        Op::Lock(_) | Op::Join(_) => (
            futex(matches!(op, Op::Lock(_))),
            vec![object(ObjectKind::Memory, vec![pid(p)])],
        ),
        Op::Wait(n) => match script.objects[*n] {
            Thing::Semaphore(Sharing::Tree) => (futex(false), vec![shared(state)]),
            Thing::Semaphore(Sharing::Outside) => (futex(false), vec![held_outside(shared(state))]),
            Thing::Semaphore(Sharing::Private(_))
            | Thing::Pipe { .. }
            | Thing::Event
            | Thing::Pair
            | Thing::Mutex { .. } => (futex(true), vec![object(ObjectKind::Memory, vec![pid(p)])]),
        },
        Op::Poll { on, timer } => {
            let of = |(n, s): &(usize, Option<Side>)| match script.objects[*n] {
                Thing::Pipe { .. } => pipe(script, state, *n, WRITE),
                Thing::Pair => pair(state, *n),
                Thing::Event | Thing::Mutex { .. } | Thing::Semaphore(_) => {
                    debug_assert!(s.is_none());
                    event(state, *n)
                }
            };
            let until = if *timer {
                Until::In(Duration::from_secs(1))
            } else {
                Until::Never
            };
            let wait = Wait::Poll {
                targets: Vec::new(),
                until,
            };
            (wait, on.iter().map(of).collect())
        }
        Op::Sleep => (Wait::Sleep(Until::In(Duration::from_secs(1))), Vec::new()),
        Op::Child(Some(c)) => (
            Wait::Child(i32::try_from(pid(*c)).unwrap_or(0)),
            vec![object(ObjectKind::Children, vec![pid(*c)])],
        ),
        Op::Child(None) => (
            Wait::Child(-1),
            vec![object(
                ObjectKind::Children,
                state.children(script, p).map(pid).collect(),
            )],
        ),
        Op::Pause => (Wait::Signal(Until::Never), Vec::new()),
        Op::Put(_)
        | Op::Send(..)
        | Op::Close(..)
        | Op::Unlock(_)
        | Op::Post(_)
        | Op::Kill(_)
        | Op::Usr1(_)
        | Op::Alarm
        | Op::Step
        | Op::Again => (Wait::Running, Vec::new()),
    }
}

fn object(kind: ObjectKind, inside: Vec<u32>) -> Object {
    Object {
        fd: -1,
        kind,
        holders: Holders::Known {
            inside,
            outside: Vec::new(),
        },
        origin: Origin::Inside,
        limit: Until::Never,
    }
}

fn held_outside(mut object: Object) -> Object {
    if let Holders::Known { outside, .. } = &mut object.holders {
        outside.push(OUTSIDER);
    }
    object
}

fn holding(state: &State, n: usize, bits: u8) -> Vec<u32> {
    (0..state.ends.len())
        .filter(|p| state.ends[*p][n] & bits != 0)
        .map(pid)
        .collect()
}

fn pipe(script: &Script, state: &State, n: usize, other: u8) -> Object {
    let mut pipe = object(ObjectKind::Pipe, holding(state, n, other));
    if script.objects[n] == (Thing::Pipe { outside: true }) {
        pipe.origin = Origin::Outside;
    }
    if state.outside[n] & other != 0 {
        held_outside(pipe)
    } else {
        pipe
    }
}

fn event(state: &State, n: usize) -> Object {
    object(ObjectKind::Event, holding(state, n, READ))
}

fn pair(state: &State, n: usize) -> Object {
    object(ObjectKind::SocketPair, holding(state, n, READ | WRITE))
}

/// Memory that every process maps from the start.
fn shared(state: &State) -> Object {
    let living = (0..state.life.len()).filter(|p| state.life[*p] == Life::Alive);
    object(ObjectKind::Memory, living.map(pid).collect())
}
