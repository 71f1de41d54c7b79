//! Scripts: small random programs of processes and threads that wait for each other. `tests/model` explores every schedule of
//! one; `tests/zoo/script.c` plays it on the real kernel. Both read the text that [`Script`] displays.
//!
//! ```text
//! pipe                 objects, numbered from 0 in the order of their lines:
//! pipe outside           a nameless pipe with room for one message; `outside`: a process outside the tree holds both of its
//!                        ends too, and may read, write or close them at any time
//! event                  an eventfd in semaphore mode, initially 0
//! pair                   a pair of connected unix stream sockets, with room for every message of a script
//! mutex P                a mutex in private memory of process P, without a readable owner
//! sem P                  a semaphore in private memory of process P, initially 0
//! sem shared             a semaphore in memory that all processes of the tree map, initially 0
//! sem outside            the same, mapped by a process outside the tree too, which may post it at any time
//! process -            processes, numbered from 0: `-` is the root, else the number of the parent, which is smaller
//! process 0 usr1         `usr1`: handles SIGUSR1 (the call it interrupts starts again); by default it ignores the signal
//! thread               threads of the process above; the first is its main thread. Its operations follow, one a line:
//! read 0                 takes a message out of pipe 0; returns at its end of file
//! write 0                puts a message in; returns when no reading end is left (SIGPIPE is ignored)
//! close 0 r|w|a|b        closes this process's reading or writing end of pipe 0, or its side of a pair; only in a process of
//!                        one thread, since a call in progress keeps what it uses open
//! take 1 / put 1         reads 1 from, adds 1 to an eventfd; `put` never blocks
//! recv 2 a|b             takes a message out of side a or b of a pair; returns when the other side is closed
//! send 2 a|b             puts one in at side a or b, for the other; never blocks
//! lock 3 / unlock 3      a mutex; `lock` blocks while any thread has it locked, its own included; any thread may unlock it
//! wait 4 / post 4        a semaphore
//! poll N… | poll N… timer  waits until one of these pipes, events or pairs (`2a`) can be read, or for a finite time
//! sleep                  a finite time
//! child 1 / child any    waits for the end of a child, which it reaps; returns at once when there is none
//! join 1                 waits for the end of thread 1 of its own process
//! kill 1 / usr1 1        a signal to process 1; SIGKILL ends it
//! alarm                  sets an interval timer; when it expires SIGALRM ends the process
//! pause                  waits for a signal that has a handler, for ever
//! step                   computes for a moment
//! again                  goes on with the first operation of the thread
//! ```
//!
//! Every process exists from the start: each is forked by its parent after all objects were made, and then closes every
//! descriptor that none of its operations uses. A thread ends after its last operation, the main thread too; a process ends
//! with its last thread. A script ends when the root has.

use std::fmt;

/// One program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) objects: Vec<Object>,
    pub(crate) processes: Vec<ProcessScript>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Pipe { outside: bool },
    Event,
    Pair,
    Mutex { of: usize },
    Semaphore(Sharing),
}

/// Who maps the memory of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Private(usize),
    Tree,
    Outside,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessScript {
    pub(crate) parent: Option<usize>,
    pub(crate) handles_usr1: bool,
    pub(crate) threads: Vec<Vec<Op>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Read,
    Write,
    Side(Side),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read(usize),
    Write(usize),
    Close(usize, End),
    Take(usize),
    Put(usize),
    Receive(usize, Side),
    Send(usize, Side),
    Lock(usize),
    Unlock(usize),
    Wait(usize),
    Post(usize),
    Poll {
        on: Vec<(usize, Option<Side>)>,
        timer: bool,
    },
    Sleep,
    Child(Option<usize>),
    Join(usize),
    Kill(usize),
    Usr1(usize),
    Alarm,
    Pause,
    Step,
    Again,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(n) => write!(f, "read {n}"),
            Self::Write(n) => write!(f, "write {n}"),
            Self::Close(n, End::Read) => write!(f, "close {n} r"),
            Self::Close(n, End::Write) => write!(f, "close {n} w"),
            Self::Close(n, End::Side(side)) => write!(f, "close {n} {side}"),
            Self::Take(n) => write!(f, "take {n}"),
            Self::Put(n) => write!(f, "put {n}"),
            Self::Receive(n, side) => write!(f, "recv {n} {side}"),
            Self::Send(n, side) => write!(f, "send {n} {side}"),
            Self::Lock(n) => write!(f, "lock {n}"),
            Self::Unlock(n) => write!(f, "unlock {n}"),
            Self::Wait(n) => write!(f, "wait {n}"),
            Self::Post(n) => write!(f, "post {n}"),
            Self::Poll { on, timer } => {
                f.write_str("poll")?;
                for (n, side) in on {
                    write!(f, " {n}")?;
                    if let Some(side) = side {
                        write!(f, "{side}")?;
                    }
                }
                f.write_str(if *timer { " timer" } else { "" })
            }
            Self::Sleep => f.write_str("sleep"),
            Self::Child(Some(n)) => write!(f, "child {n}"),
            Self::Child(None) => f.write_str("child any"),
            Self::Join(n) => write!(f, "join {n}"),
            Self::Kill(n) => write!(f, "kill {n}"),
            Self::Usr1(n) => write!(f, "usr1 {n}"),
            Self::Alarm => f.write_str("alarm"),
            Self::Pause => f.write_str("pause"),
            Self::Step => f.write_str("step"),
            Self::Again => f.write_str("again"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.objects {
            match object {
                Object::Pipe { outside: false } => writeln!(f, "pipe")?,
                Object::Pipe { outside: true } => writeln!(f, "pipe outside")?,
                Object::Event => writeln!(f, "event")?,
                Object::Pair => writeln!(f, "pair")?,
                Object::Mutex { of } => writeln!(f, "mutex {of}")?,
                Object::Semaphore(Sharing::Private(of)) => writeln!(f, "sem {of}")?,
                Object::Semaphore(Sharing::Tree) => writeln!(f, "sem shared")?,
                Object::Semaphore(Sharing::Outside) => writeln!(f, "sem outside")?,
            }
        }
        for process in &self.processes {
            match process.parent {
                None => write!(f, "process -")?,
                Some(parent) => write!(f, "process {parent}")?,
            }
            writeln!(f, "{}", if process.handles_usr1 { " usr1" } else { "" })?;
            for thread in &process.threads {
                writeln!(f, "thread")?;
                for op in thread {
                    writeln!(f, "{op}")?;
                }
            }
        }
        Ok(())
    }
}

/// A reproducible source of choices (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Script {
    /// The script of this seed: one to three processes of one or two threads, a few objects, up to four operations a thread.
    pub(crate) fn random(seed: u64) -> Self {
        let dice = &mut Dice(seed);
        let mut script = Self::default();
        let processes = 1 + dice.below(3);
        for _ in 0..1 + dice.below(3) {
            script.objects.push(object(dice, processes));
        }
        for n in 0..processes {
            script.processes.push(ProcessScript {
                parent: (n > 0).then(|| dice.below(n)),
                handles_usr1: dice.one_in(6),
                threads: vec![Vec::new(); 1 + usize::from(dice.one_in(3))],
            });
        }
        for process in 0..processes {
            for thread in 0..script.processes[process].threads.len() {
                let mut ops = Vec::new();
                for _ in 0..1 + dice.below(4) {
                    ops.extend(op(dice, &script, process, thread));
                }
                if dice.one_in(6) {
                    ops.push(Op::Again);
                }
                script.processes[process].threads[thread] = ops;
            }
        }
        script
    }
}

fn object(dice: &mut Dice, processes: usize) -> Object {
    match dice.below(9) {
        0..=2 => Object::Pipe {
            outside: dice.one_in(8),
        },
        3 => Object::Event,
        4 => Object::Pair,
        5 | 6 => Object::Mutex {
            of: dice.below(processes),
        },
        7 => Object::Semaphore(Sharing::Private(dice.below(processes))),
        _ if dice.one_in(4) => Object::Semaphore(Sharing::Outside),
        _ => Object::Semaphore(Sharing::Tree),
    }
}

/// An operation that this thread can do; none when the dice chose an object that is not the process's.
fn op(dice: &mut Dice, script: &Script, process: usize, thread: usize) -> Option<Op> {
    let n = dice.below(script.objects.len());
    let side = if dice.one_in(2) { Side::A } else { Side::B };
    if dice.below(10) < 6 {
        return on_object(dice, script, process, n, side);
    }
    let other = dice.below(script.processes.len());
    let children: Vec<usize> = (0..script.processes.len())
        .filter(|p| script.processes[*p].parent == Some(process))
        .collect();
    let threads = script.processes[process].threads.len();
    Some(match dice.below(16) {
        0 => Op::Sleep,
        1..=5 if !children.is_empty() => {
            Op::Child((!dice.one_in(3)).then(|| children[dice.below(children.len())]))
        }
        6 | 7 if threads > 1 => Op::Join(1 - thread),
        8 => Op::Kill(other),
        9 | 10 => Op::Usr1(other),
        11 if dice.one_in(3) => Op::Alarm,
        12 => Op::Pause,
        13 => Op::Poll {
            on: vec![polled(script, n, side)?],
            timer: dice.one_in(4),
        },
        14 => {
            let m = dice.below(script.objects.len());
            Op::Poll {
                on: vec![polled(script, n, side)?, polled(script, m, side.other())?],
                timer: false,
            }
        }
        _ => Op::Step,
    })
}

fn polled(script: &Script, n: usize, side: Side) -> Option<(usize, Option<Side>)> {
    match script.objects[n] {
        Object::Pipe { .. } | Object::Event => Some((n, None)),
        Object::Pair => Some((n, Some(side))),
        Object::Mutex { .. } | Object::Semaphore(_) => None,
    }
}

fn on_object(dice: &mut Dice, script: &Script, process: usize, n: usize, side: Side) -> Option<Op> {
    Some(match script.objects[n] {
        Object::Pipe { .. } => match dice.below(7) {
            0..=2 => Op::Read(n),
            3..=5 => Op::Write(n),
            _ if script.processes[process].threads.len() > 1 => return None,
            _ if dice.one_in(2) => Op::Close(n, End::Read),
            _ => Op::Close(n, End::Write),
        },
        Object::Event if dice.below(3) < 2 => Op::Take(n),
        Object::Event => Op::Put(n),
        Object::Pair => match dice.below(7) {
            0..=3 => Op::Receive(n, side),
            4 | 5 => Op::Send(n, side),
            _ if script.processes[process].threads.len() > 1 => return None,
            _ => Op::Close(n, End::Side(side)),
        },
        Object::Mutex { of } if of == process => {
            if dice.below(3) < 2 {
                Op::Lock(n)
            } else {
                Op::Unlock(n)
            }
        }
        Object::Semaphore(Sharing::Private(of)) if of != process => return None,
        Object::Mutex { .. } => return None,
        Object::Semaphore(_) if dice.below(3) < 2 => Op::Wait(n),
        Object::Semaphore(_) => Op::Post(n),
    })
}
