//! The interpreter: one state of a script, and every state that one event leads to.

use crate::scripts::{End, Object, Op, Script, Sharing, Side};

/// A counter goes no higher: more makes no difference to whom it wakes.
const COUNT_MAX: u8 = 3;
/// The program counter of a thread that has ended.
pub(crate) const ENDED: u8 = u8::MAX;

pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Alive,
    Zombie,
    Reaped,
}

/// Everything that changes. Sizes are those of the largest script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// By process, by thread: the next operation.
    pub(crate) at: [[u8; 2]; 3],
    pub(crate) life: [Life; 3],
    pub(crate) alarm: [bool; 3],
    /// By process and object: ends that it holds, as bits; side a reads as 1, b as 2.
    pub(crate) ends: [[u8; 3]; 3],
    /// By object: ends that a process outside the tree holds.
    pub(crate) outside: [u8; 3],
    /// By object: messages, count or locked; of a pair, messages for side a and for side b.
    pub(crate) count: [[u8; 2]; 3],
}

/// One event: the state after it, and which thread of which process ran.
pub(crate) struct Step {
    pub(crate) to: State,
    pub(crate) ran: Option<(usize, usize)>,
}

pub(crate) fn side(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

impl State {
    pub(crate) fn start(script: &Script) -> Self {
        let mut state = Self {
            at: [[ENDED; 2]; 3],
            life: [Life::Reaped; 3],
            alarm: [false; 3],
            ends: [[0; 3]; 3],
            outside: [0; 3],
            count: [[0; 2]; 3],
        };
        for (p, process) in script.processes.iter().enumerate() {
            state.life[p] = Life::Alive;
            for (t, ops) in process.threads.iter().enumerate() {
                state.at[p][t] = if ops.is_empty() { ENDED } else { 0 };
                for op in ops {
                    state.hold(p, op);
                }
            }
        }
        for (n, object) in script.objects.iter().enumerate() {
            state.outside[n] = match object {
                Object::Pipe { outside: true } => READ | WRITE,
                Object::Semaphore(Sharing::Outside) => WRITE,
                Object::Pipe { .. }
                | Object::Event
                | Object::Pair
                | Object::Mutex { .. }
                | Object::Semaphore(_) => 0,
            };
        }
        for p in 0..script.processes.len() {
            state.end_if_over(script, p);
        }
        state
    }

    fn hold(&mut self, p: usize, op: &Op) {
        let mut add = |n: usize, bits: u8| self.ends[p][n] |= bits;
        match op {
            Op::Read(n) | Op::Take(n) | Op::Put(n) | Op::Close(n, End::Read) => add(*n, READ),
            Op::Write(n) | Op::Close(n, End::Write) => add(*n, WRITE),
            Op::Receive(n, s) | Op::Send(n, s) | Op::Close(n, End::Side(s)) => {
                add(*n, 1 << side(*s));
            }
            Op::Poll { on, .. } => {
                for (n, s) in on {
                    add(*n, s.map_or(READ, |s| 1 << side(s)));
                }
            }
            Op::Lock(_)
            | Op::Unlock(_)
            | Op::Wait(_)
            | Op::Post(_)
            | Op::Sleep
            | Op::Child(_)
            | Op::Join(_)
            | Op::Kill(_)
            | Op::Usr1(_)
            | Op::Alarm
            | Op::Pause
            | Op::Step
            | Op::Again => {}
        }
    }

    /// Whether anyone holds this end.
    fn is_held(&self, n: usize, bits: u8) -> bool {
        self.outside[n] & bits != 0 || self.ends.iter().any(|ends| ends[n] & bits != 0)
    }

    /// The operation at which this thread stands; none when it has ended.
    pub(crate) fn op<'a>(&self, script: &'a Script, p: usize, t: usize) -> Option<&'a Op> {
        if self.life[p] != Life::Alive || self.at[p][t] == ENDED {
            return None;
        }
        script.processes[p].threads[t].get(usize::from(self.at[p][t]))
    }

    /// Whether the thread can go on at once, without a timer.
    pub(crate) fn is_ready(&self, script: &Script, p: usize, op: &Op) -> bool {
        let held = |n: usize, bits: u8| self.ends[p][n] & bits != 0;
        match op {
            Op::Read(n) => !held(*n, READ) || self.count[*n][0] > 0 || !self.is_held(*n, WRITE),
            Op::Write(n) => !held(*n, WRITE) || self.count[*n][0] == 0 || !self.is_held(*n, READ),
            Op::Take(n) | Op::Wait(n) => self.count[*n][0] > 0,
            Op::Receive(n, s) => self.is_readable(p, *n, Some(*s), script),
            Op::Lock(n) => self.count[*n][0] == 0,
            Op::Poll { on, .. } => on.iter().any(|(n, s)| self.is_readable(p, *n, *s, script)),
            Op::Child(Some(c)) => {
                self.life[*c] != Life::Alive || script.processes[*c].parent != Some(p)
            }
            Op::Child(None) => {
                let mut children = self.children(script, p);
                self.zombie(script, p).is_some() || children.next().is_none()
            }
            Op::Join(t) => self.at[p][*t] == ENDED,
            Op::Pause | Op::Sleep => false,
            Op::Put(_)
            | Op::Send(..)
            | Op::Close(..)
            | Op::Unlock(_)
            | Op::Post(_)
            | Op::Kill(_)
            | Op::Usr1(_)
            | Op::Alarm
            | Op::Step
            | Op::Again => true,
        }
    }

    fn is_readable(&self, p: usize, n: usize, s: Option<Side>, script: &Script) -> bool {
        let Some(s) = s else {
            let open = self.ends[p][n] & READ != 0;
            let ended = matches!(script.objects[n], Object::Pipe { .. }) && !self.is_held(n, WRITE);
            return !open || self.count[n][0] > 0 || ended;
        };
        let open = self.ends[p][n] & (1 << side(s)) != 0;
        let peer = self.is_held(n, 1 << side(s.other()));
        !open || self.count[n][side(s)] > 0 || !peer
    }

    /// Living children.
    pub(crate) fn children<'a>(
        &'a self,
        script: &'a Script,
        p: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        (0..script.processes.len())
            .filter(move |c| script.processes[*c].parent == Some(p))
            .filter(|c| self.life[*c] == Life::Alive)
    }

    fn zombie(&self, script: &Script, p: usize) -> Option<usize> {
        (0..script.processes.len())
            .filter(|c| script.processes[*c].parent == Some(p))
            .find(|c| self.life[*c] == Life::Zombie)
    }

    /// Whether the operation ends by itself after a finite time.
    pub(crate) fn is_timed(op: &Op) -> bool {
        matches!(op, Op::Sleep | Op::Poll { timer: true, .. })
    }

    /// Every event that can be the next one.
    pub(crate) fn steps(&self, script: &Script, found: &mut Vec<Step>) {
        found.clear();
        for (p, process) in script.processes.iter().enumerate() {
            for t in 0..process.threads.len() {
                let Some(op) = self.op(script, p, t) else {
                    continue;
                };
                if !self.is_ready(script, p, op) && !Self::is_timed(op) {
                    continue;
                }
                if let Op::Usr1(to) = op {
                    self.send_usr1(script, (p, t), *to, found);
                    continue;
                }
                let mut to = *self;
                to.perform(script, p, t, op);
                let ran = Some((p, t));
                found.push(Step { to, ran });
            }
            if self.life[p] == Life::Alive && self.alarm[p] {
                let mut to = *self;
                to.end(script, p);
                found.push(Step { to, ran: None });
            }
        }
        self.outside_steps(script, found);
    }

    /// A handler runs in any thread of the process; a `pause` there is over.
    fn send_usr1(&self, script: &Script, (p, t): (usize, usize), to: usize, found: &mut Vec<Step>) {
        let mut sent = *self;
        sent.advance(script, p, t);
        found.push(Step {
            to: sent,
            ran: Some((p, t)),
        });
        if !script.processes[to].handles_usr1 || self.life[to] != Life::Alive {
            return;
        }
        for thread in 0..script.processes[to].threads.len() {
            let Some(op) = sent.op(script, to, thread) else {
                continue;
            };
            let mut handled = sent;
            if *op == Op::Pause {
                handled.advance(script, to, thread);
            }
            found.push(Step {
                to: handled,
                ran: Some((to, thread)),
            });
        }
    }

    fn outside_steps(&self, script: &Script, found: &mut Vec<Step>) {
        for (n, object) in script.objects.iter().enumerate() {
            let mut event = |change: &dyn Fn(&mut Self)| {
                let mut to = *self;
                change(&mut to);
                if to != *self {
                    found.push(Step { to, ran: None });
                }
            };
            let bits = self.outside[n];
            if bits == 0 {
                continue;
            }
            match object {
                Object::Pipe { .. } => {
                    if bits & READ != 0 {
                        event(&|s| s.count[n][0] = 0);
                        event(&|s| s.outside[n] &= !READ);
                    }
                    if bits & WRITE != 0 {
                        event(&|s| s.count[n][0] = 1);
                        event(&|s| s.outside[n] &= !WRITE);
                    }
                }
                Object::Semaphore(_) => event(&|s| s.add(n, 0)),
                Object::Event | Object::Pair | Object::Mutex { .. } => {}
            }
        }
    }

    fn add(&mut self, n: usize, of: usize) {
        self.count[n][of] = (self.count[n][of] + 1).min(COUNT_MAX);
    }

    fn perform(&mut self, script: &Script, p: usize, t: usize, op: &Op) {
        let take = |count: &mut u8| *count = count.saturating_sub(1);
        match op {
            Op::Read(n) if self.ends[p][*n] & READ != 0 => self.count[*n][0] = 0,
            Op::Write(n) if self.ends[p][*n] & WRITE != 0 && self.is_held(*n, READ) => {
                self.count[*n][0] = 1;
            }
            Op::Take(n) | Op::Wait(n) => take(&mut self.count[*n][0]),
            Op::Put(n) | Op::Post(n) => self.add(*n, 0),
            Op::Receive(n, s) if self.ends[p][*n] & (1 << side(*s)) != 0 => {
                take(&mut self.count[*n][side(*s)]);
            }
            Op::Send(n, s) if self.ends[p][*n] & (1 << side(*s)) != 0 => {
                self.add(*n, side(s.other()));
            }
            Op::Lock(n) => self.count[*n][0] = 1,
            Op::Unlock(n) => self.count[*n][0] = 0,
            Op::Close(n, End::Read) => self.ends[p][*n] &= !READ,
            Op::Close(n, End::Write) => self.ends[p][*n] &= !WRITE,
            Op::Close(n, End::Side(s)) => self.ends[p][*n] &= !(1 << side(*s)),
            Op::Child(Some(c)) => {
                if self.life[*c] == Life::Zombie && script.processes[*c].parent == Some(p) {
                    self.life[*c] = Life::Reaped;
                }
            }
            Op::Child(None) => {
                if let Some(c) = self.zombie(script, p) {
                    self.life[c] = Life::Reaped;
                }
            }
            Op::Alarm => self.alarm[p] = true,
            Op::Kill(to) => {
                // The thread goes on first: it may be its own process that ends.
                self.advance(script, p, t);
                self.end(script, *to);
                return;
            }
            Op::Again => {
                self.at[p][t] = 0;
                return;
            }
            Op::Read(_)
            | Op::Write(_)
            | Op::Receive(..)
            | Op::Send(..)
            | Op::Poll { .. }
            | Op::Sleep
            | Op::Join(_)
            | Op::Usr1(_)
            | Op::Pause
            | Op::Step => {}
        }
        self.advance(script, p, t);
    }

    fn advance(&mut self, script: &Script, p: usize, t: usize) {
        let next = self.at[p][t] + 1;
        let last = usize::from(next) == script.processes[p].threads[t].len();
        self.at[p][t] = if last { ENDED } else { next };
        self.end_if_over(script, p);
    }

    fn end_if_over(&mut self, script: &Script, p: usize) {
        if self.at[p] == [ENDED; 2] {
            self.end(script, p);
        }
    }

    fn end(&mut self, script: &Script, p: usize) {
        if self.life[p] != Life::Alive {
            return;
        }
        let orphan = script.processes[p]
            .parent
            .is_some_and(|parent| self.life[parent] != Life::Alive);
        self.life[p] = if orphan { Life::Reaped } else { Life::Zombie };
        self.at[p] = [ENDED; 2];
        self.ends[p] = [0; 3];
        self.alarm[p] = false;
        // What nobody can see any more makes no difference.
        for (c, child) in script.processes.iter().enumerate() {
            if child.parent == Some(p) && self.life[c] == Life::Zombie {
                self.life[c] = Life::Reaped;
            }
        }
    }
}
