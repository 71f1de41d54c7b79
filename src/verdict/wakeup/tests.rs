//! One test for each line of the table of sources, and for each way to a false proof that an argument must not take.

mod lasting;
mod objects;
mod signals;
mod trees;

use crate::base::moment::Moment;
use crate::verdict::sample::{
    Holders, Host, Kind, Object, ObjectKind, Origin, Process, Reach, RunState, Sample, SampleDepth,
    Space, Target, Thread, Until, Wait, Watched,
};
use crate::verdict::wakeup::doom;
use std::time::Duration;

const ROOT: u32 = 100;
const CHILD: u32 = 200;
const OTHER: u32 = 300;
const OUTSIDER: u32 = 9;

/// A change that makes a doomed tree a living one, by name.
type Change = (&'static str, fn(&mut Sample));

/// The root waits for its child, which writes to a full pipe that only the root reads.
fn cycle() -> Sample {
    let mut sample = tree(vec![process(ROOT, 1), process(CHILD, ROOT)]);
    let children = object(ObjectKind::Children, &[CHILD]);
    waits(&mut sample, ROOT, Wait::Child(200), vec![children]);
    let pipe = object(ObjectKind::Pipe, &[ROOT]);
    waits(&mut sample, CHILD, Wait::Write(target()), vec![pipe]);
    sample
}

/// The root alone: two threads, each in a private futex.
fn futexes() -> Sample {
    let mut root = process(ROOT, 1);
    root.threads.push(thread(ROOT + 1));
    root.thread_count = 2;
    tree(vec![root])
}

fn tree(processes: Vec<Process>) -> Sample {
    Sample {
        root: ROOT,
        at: Moment::from_millis(0),
        depth: SampleDepth::Waits,
        processes,
        sockets: Vec::new(),
        ends: Vec::new(),
        outsiders: Vec::new(),
        locks: Vec::new(),
        outputs: Vec::new(),
        host: Host {
            alarms: Some(false),
            ..Host::default()
        },
        reach: Reach {
            hidden: Some(false),
            met_outside: Some(false),
            in_flight: Some(false),
        },
        space: Space::Own,
        gaps: Vec::new(),
        cost: Duration::ZERO,
    }
}

/// A process of one thread in a private futex.
fn process(pid: u32, parent: u32) -> Process {
    Process {
        pid,
        parent,
        started: u64::from(pid),
        name: format!("p{pid}"),
        caught: Some(0),
        ignored: Some(0),
        timers: Some(0),
        threads: vec![thread(pid)],
        thread_count: 1,
        ..Process::default()
    }
}

fn thread(tid: u32) -> Thread {
    Thread {
        tid,
        state: Some(RunState::Sleeping),
        blocked: Some(0),
        turns: 1,
        wait: Some(futex()),
        watched: Watched::All(vec![object(ObjectKind::Memory, &[tid / 100 * 100])]),
        ..Thread::default()
    }
}

/// A process that sleeps for a while.
fn sleeper(pid: u32, parent: u32) -> Process {
    let mut process = process(pid, parent);
    process.threads[0].wait = Some(Wait::Sleep(limit()));
    process.threads[0].watched = Watched::All(Vec::new());
    process
}

fn futex() -> Wait {
    Wait::Futex {
        private: true,
        until: Until::Never,
        owner: None,
    }
}

fn limit() -> Until {
    Until::In(Duration::from_secs(3600))
}

fn object(kind: ObjectKind, inside: &[u32]) -> Object {
    Object {
        fd: 3,
        kind,
        holders: Holders::Known {
            inside: inside.to_vec(),
            outside: Vec::new(),
        },
        origin: Origin::Inside,
        limit: Until::Never,
    }
}

fn target() -> Target {
    Target {
        fd: 3,
        kind: Kind::Pipe(7),
        full: false,
    }
}

fn waits(sample: &mut Sample, pid: u32, wait: Wait, objects: Vec<Object>) {
    let thread = main(sample, pid);
    thread.wait = Some(wait);
    thread.watched = Watched::All(objects);
}

fn of(sample: &mut Sample, pid: u32) -> &mut Process {
    let found = sample.processes.iter_mut().find(|p| p.pid == pid);
    found.unwrap()
}

fn main(sample: &mut Sample, pid: u32) -> &mut Thread {
    &mut of(sample, pid).threads[0]
}

/// What the child's pipe is seen to be.
fn pipe(sample: &mut Sample) -> &mut Object {
    let Watched::All(objects) = &mut main(sample, CHILD).watched else {
        unreachable!("the child waits on its pipe");
    };
    &mut objects[0]
}

fn is_doomed(sample: &Sample) -> bool {
    doom(sample).is_some()
}

#[track_caller]
fn each_saves(base: fn() -> Sample, changes: &[Change]) {
    assert!(is_doomed(&base()));
    for (name, change) in changes {
        let mut sample = base();
        change(&mut sample);
        assert!(!is_doomed(&sample), "{name}");
    }
}

#[track_caller]
fn none_saves(base: fn() -> Sample, changes: &[Change]) {
    for (name, change) in changes {
        let mut sample = base();
        change(&mut sample);
        assert!(is_doomed(&sample), "{name}");
    }
}
