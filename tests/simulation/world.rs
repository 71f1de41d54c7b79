//! The world around the machines: virtual time, messages on links that delay, lose and break, and what each fault does.

use crate::faults::{Fault, Step};
use crate::judge::Judge;
use crate::monitor::{self, Ask, CONNECT_WITHIN, Link, Monitor, Told, Wishes};
use crate::random::Random;
use crate::rivals::Rivals;
use crate::sidecar::{Connection, Process, Role, Sidecar};
use crate::store::{Answer, Data, Store, Write};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::{Claim, Ticket};
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::recovery::Deed;
use heartbeat::wire::beat::{Beat, INTERVAL_MAX, INTERVAL_MIN};
use std::collections::{BTreeMap, BTreeSet};

/// A way between a host and the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    /// Connections are refused and closed.
    pub(crate) is_refused: bool,
    /// What is sent is lost, and no end learns of it.
    pub(crate) is_hole: bool,
    pub(crate) delay: u64,
    pub(crate) spread: u64,
}

impl Net {
    pub(crate) fn flows(&self) -> bool {
        !self.is_refused && !self.is_hole
    }

    /// A message there and one back take at most this long.
    pub(crate) fn round_trip_max(&self) -> u64 {
        2 * (self.delay + self.spread)
    }

    fn takes(&self, random: &mut Random) -> u64 {
        self.delay + random.below(self.spread + 1)
    }
}

/// The monitor that is held against other ways to tell that an agent is silent.
pub(crate) const FIRST: usize = 0;
/// A change of an agent that is older than this, and some round trips, has been applied.
const QUIET: u64 = 200;
/// So often a quiet moment is waited for.
const QUIET_TRIES: u32 = 500;

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Wake(usize),
    WakeMonitor(usize),
    SidecarConnected(usize, u64, u64),
    FromSidecar(usize, u64, Vec<Write>),
    ToSidecar(usize, u64, Vec<Answer>),
    MonitorConnected(usize, u64),
    FromMonitor(usize, u64, Ask, u64),
    ToMonitor(usize, u64, Told),
    /// A rung is carried out; of the monitor of this run.
    Act(usize, u64, Box<Deed>),
    /// A rung was carried out.
    Acted(usize, u64, Ticket),
    Step(Step),
}

/// The place of a monitor: its connections to the store, and what is known of it from outside.
pub(crate) struct Seat {
    pub(crate) monitor: Option<Monitor>,
    pub(crate) push: Net,
    pub(crate) query: Net,
    wake: u64,
    /// For so long its machine was frozen: its clock is behind by that.
    lag: u64,
    /// Since when it is frozen.
    pub(crate) frozen_at: Option<u64>,
    /// The name of the monitor that ended here last.
    pub(crate) ended: Option<String>,
    /// Numbers its monitors: one that starts knows nothing of the rungs that the one before carries out.
    pub(crate) run: u64,
    /// What waits for the end of a hole on the subscribing connection.
    withheld: Vec<Happening>,
    /// When its monitor last connected.
    pub(crate) sighted_at: u64,
    /// It had not been connected before.
    pub(crate) is_first_sight: bool,
    /// Since when its monitor cannot ask the store.
    pub(crate) cut_at: Option<u64>,
}

impl Seat {
    fn new(monitor: Monitor, net: Net) -> Self {
        Self {
            monitor: Some(monitor),
            push: net,
            query: net,
            wake: u64::MAX,
            lag: 0,
            frozen_at: None,
            ended: None,
            run: 0,
            withheld: Vec::new(),
            sighted_at: 0,
            is_first_sight: true,
            cut_at: None,
        }
    }

    /// What its machine's clock shows.
    pub(crate) fn local(&self, now: u64) -> u64 {
        self.frozen_at.unwrap_or(now) - self.lag
    }

    pub(crate) fn thaw(&mut self, now: u64) {
        if let Some(at) = self.frozen_at.take() {
            self.lag += now - at;
        }
    }

    /// Another monitor takes its place.
    pub(crate) fn renew(&mut self, monitor: Monitor) {
        self.run += 1;
        self.monitor = Some(monitor);
    }
}

/// What a seed chooses.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) monitors: usize,
    pub(crate) hosts: usize,
    pub(crate) agents: Vec<Role>,
    /// Of beats on the channel.
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay: u64,
    pub(crate) spread: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) steps: Vec<(u64, Step)>,
    /// When the last fault is over.
    pub(crate) calm_from: u64,
    pub(crate) until: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    number: u64,
    wakes: Vec<u64>,
    /// When the last message on each way arrives: they do not overtake each other.
    arrivals: BTreeMap<(u8, usize), u64>,
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) sidecars: Vec<Sidecar>,
    pub(crate) hosts: Vec<Net>,
    pub(crate) seats: Vec<Seat>,
    /// The seat whose monitor the faults are about.
    pub(crate) struck: usize,
    pub(crate) judge: Judge,
    pub(crate) rivals: Rivals,
    /// The monitor is killed at the step of recovery after so many.
    pub(crate) kill_in: Option<u64>,
    loss: f64,
    duplicate: f64,
    /// Beats that were published, for replays.
    published: Vec<Beat>,
    /// Wrong intervals that were named.
    poisoned: BTreeSet<u64>,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let net = Net {
            is_refused: false,
            is_hole: false,
            delay: plan.delay,
            spread: plan.spread,
        };
        let mut world = Self {
            now: 1_000_000,
            queue: BTreeMap::new(),
            number: 0,
            wakes: Vec::new(),
            arrivals: BTreeMap::new(),
            random: Random::new(plan.seed),
            store: Store::new(),
            sidecars: Vec::new(),
            hosts: vec![net; plan.hosts],
            seats: Vec::new(),
            struck: 0,
            judge: Judge::new(plan),
            rivals: Rivals::default(),
            kill_in: None,
            loss: plan.loss,
            duplicate: plan.duplicate,
            published: Vec::new(),
            poisoned: BTreeSet::new(),
        };
        for m in 0..plan.monitors {
            let monitor = Monitor::new(plan.seed.wrapping_add(m as u64), world.now);
            world.seats.push(Seat::new(monitor, net));
        }
        world.struck = world.random.index(plan.monitors);
        for (n, role) in plan.agents.iter().enumerate() {
            let at = world.random.below(role.interval);
            world.at(world.now + at, Happening::Step(Step::Start(n, *role)));
        }
        for (at, step) in &plan.steps {
            world.at(*at, Happening::Step(step.clone()));
        }
        (0..plan.monitors).for_each(|m| world.plan_monitor(m));
        world
    }

    pub(crate) fn run(&mut self, until: u64) {
        while let Some(next) = self
            .queue
            .first_entry()
            .filter(|next| next.key().0 <= until)
        {
            self.now = next.key().0;
            let happening = next.remove();
            self.happen(happening);
        }
        self.now = until;
    }

    /// Until no change of an agent is on its way to the monitor.
    pub(crate) fn run_until_quiet(&mut self) {
        let slowest = self.seats.iter().map(|seat| seat.query.round_trip_max());
        let under_way = 4 * slowest.max().unwrap_or(0) + QUIET;
        for _ in 0..QUIET_TRIES {
            let now = self.now;
            let mut sidecars = self.sidecars.iter();
            let is_quiet = sidecars.all(|sidecar| !sidecar.changed_within(under_way, now));
            let is_quiet = is_quiet && !self.is_acting();
            if is_quiet && self.is_recorded() {
                return;
            }
            self.run(now + QUIET);
        }
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.number += 1;
        self.queue
            .insert((at.max(self.now), self.number), happening);
    }

    /// A message on a way takes its time and overtakes no other.
    fn send(&mut self, way: (u8, usize), takes: u64, happening: Happening) {
        let last = self.arrivals.get(&way).copied().unwrap_or(0);
        let at = (self.now + takes).max(last);
        self.arrivals.insert(way, at);
        self.at(at, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(n) => {
                if self.wakes[n] <= self.now {
                    self.wakes[n] = u64::MAX;
                }
                let now = self.sidecars[n].local(self.now);
                self.sidecars[n].wake(now, &mut self.random);
                self.drive(n);
            }
            Happening::WakeMonitor(m) => {
                let seat = &mut self.seats[m];
                if seat.wake <= self.now {
                    seat.wake = u64::MAX;
                }
                let mut wishes = Wishes::default();
                let now = seat.local(self.now);
                if let Some(monitor) = &mut seat.monitor {
                    monitor.wake(now, &mut self.random, &mut wishes);
                }
                self.grant(m, wishes);
                if m == FIRST {
                    self.tick_rivals();
                }
            }
            Happening::SidecarConnected(n, generation, took) => {
                let sidecar = &mut self.sidecars[n];
                let is_wanted = sidecar.generation == generation && sidecar.is_connecting();
                if is_wanted && sidecar.is_beating() {
                    sidecar.connected(took);
                    self.drive(n);
                }
            }
            Happening::FromSidecar(n, generation, batch) => self.execute(n, generation, batch),
            Happening::ToSidecar(n, generation, answers) => {
                let sidecar = &mut self.sidecars[n];
                if sidecar.generation == generation && sidecar.is_beating() {
                    let now = sidecar.local(self.now);
                    sidecar.answered(&answers, now, &mut self.random);
                    self.drive(n);
                }
            }
            Happening::MonitorConnected(m, generation) => {
                let seat = &mut self.seats[m];
                let now = seat.local(self.now);
                let ready = seat
                    .monitor
                    .as_mut()
                    .filter(|m| m.generation == generation && !m.is_paused);
                if let Some(ask) = ready.map(|monitor| monitor.connected(now)) {
                    self.ask(m, ask);
                }
                self.plan_monitor(m);
            }
            Happening::FromMonitor(m, generation, ask, asked_at) => {
                self.answer(m, generation, ask, asked_at);
            }
            Happening::ToMonitor(m, generation, told) => self.tell(m, generation, told),
            Happening::Act(m, run, deed) => {
                self.act(&deed);
                let takes = self.random.below(1500);
                self.at(self.now + takes, Happening::Acted(m, run, deed.ticket));
            }
            Happening::Acted(m, run, ticket) => self.acted(m, run, ticket),
            Happening::Step(step) => self.step(step),
        }
    }

    /// A store that lost an epoch and whose clock went back grants a lower one; it is that of the living.
    fn grant_id(&mut self, id: &AgentId, epoch: u64, n: usize) {
        let before = self.judge.holders.get(id);
        if before.is_none_or(|(_, before)| !self.sidecars[*before].is_beating()) {
            self.judge.holders.remove(id);
        }
        self.judge.granted(id, epoch, n);
    }

    /// Carries out what a sidecar wants, and plans its next wake.
    fn drive(&mut self, n: usize) {
        let net = self.hosts[self.sidecars[n].host];
        let now = self.sidecars[n].local(self.now);
        if self.sidecars[n].wants_connection(now) {
            let sidecar = &mut self.sidecars[n];
            let is_refused = net.is_refused || !self.store.is_up;
            if is_refused && !sidecar.is_connecting() {
                sidecar.disconnect(now, &mut self.random);
            } else {
                sidecar.connect(now);
                let generation = sidecar.generation;
                if !net.is_hole && !is_refused {
                    let takes = 2 * net.takes(&mut self.random) + self.store.latency;
                    let at = (self.now + takes).max(self.store.busy_until);
                    let took = at - self.now;
                    self.at(at, Happening::SidecarConnected(n, generation, took));
                }
            }
        }
        if std::mem::take(&mut self.sidecars[n].has_begun) {
            self.judge_copies(n);
        }
        if let Some(batch) = self.sidecars[n].batch(now)
            && net.flows()
        {
            let generation = self.sidecars[n].generation;
            let takes = net.takes(&mut self.random) + self.store.latency;
            self.send((0, n), takes, Happening::FromSidecar(n, generation, batch));
        }
        let lag = self.now - now;
        if let Some(at) = self.sidecars[n].deadline().map(|at| at + lag)
            && at < self.wakes[n]
        {
            self.wakes[n] = at;
            self.at(at, Happening::Wake(n));
        }
    }

    fn execute(&mut self, n: usize, generation: u64, batch: Vec<Write>) {
        if !self.store.is_up {
            return; // its connection was closed
        }
        if self.store.busy_until > self.now {
            return self.at(
                self.store.busy_until,
                Happening::FromSidecar(n, generation, batch),
            );
        }
        let id = self.sidecars[n].id.clone();
        let mut answers = Vec::new();
        for write in batch {
            let is_beat = matches!(write, Write::Beat(_));
            let is_event = matches!(write, Write::Event(_));
            let (answer, published) = self.store.write(&id, write, self.now);
            if is_event && answer == Answer::Done {
                self.push(&Told::Appended);
            }
            if is_beat && answer != Answer::Fenced {
                self.sidecars[n].accept(self.now);
                // A sidecar looks every few seconds whether the roster still has its entry.
                if answer == Answer::Done && !self.store.data.roster.contains_key(&id) {
                    self.sidecars[n].enlist_again();
                }
            }
            if let Answer::Granted(epoch) = answer {
                self.grant_id(&id, epoch, n);
            }
            if let Some(beat) = published {
                let text = || format!("publishes {}, {answer:?}", brief(&beat));
                self.judge.note_of(&id, self.now, text);
                self.publish(beat);
            }
            answers.push(answer);
        }
        let net = self.hosts[self.sidecars[n].host];
        if net.flows() {
            let takes = net.takes(&mut self.random);
            self.send((1, n), takes, Happening::ToSidecar(n, generation, answers));
        }
    }

    fn publish(&mut self, beat: Beat) {
        if self.published.len() < 1000 {
            self.published.push(beat.clone());
        }
        if self.loss > 0.0 && self.random.chance(self.loss) {
            return;
        }
        if self.duplicate > 0.0 && self.random.chance(self.duplicate) {
            self.push(&Told::Beat(Box::new(beat.clone())));
        }
        self.push(&Told::Beat(Box::new(beat)));
    }

    /// Sends to each monitor that is subscribed.
    fn push(&mut self, told: &Told) {
        (0..self.seats.len()).for_each(|m| self.push_to(m, told.clone()));
    }

    fn push_to(&mut self, m: usize, told: Told) {
        let seat = &mut self.seats[m];
        let Some(monitor) = &seat.monitor else { return };
        let subscribed = match monitor.link {
            Link::Loading(_) | Link::Up => true,
            Link::None | Link::Connecting(_) => false,
        };
        let happening = Happening::ToMonitor(m, monitor.generation, told);
        if subscribed && seat.push.is_hole {
            // TCP sends it again until it arrives.
            seat.withheld.push(happening);
        } else if subscribed && seat.push.flows() {
            let takes = seat.push.takes(&mut self.random);
            self.send((2, m), takes, happening);
        }
    }

    /// The subscribing connection brings what was sent meanwhile, in order.
    pub(crate) fn end_of_hole(&mut self, m: usize) {
        self.seats[m].push.is_hole = false;
        for happening in std::mem::take(&mut self.seats[m].withheld) {
            let takes = self.seats[m].push.takes(&mut self.random);
            self.send((2, m), takes, happening);
        }
    }

    fn ask(&mut self, m: usize, ask: Ask) {
        let seat = &self.seats[m];
        let Some(monitor) = &seat.monitor else { return };
        if seat.query.flows() {
            let asked_at = seat.local(self.now);
            let happening = Happening::FromMonitor(m, monitor.generation, ask, asked_at);
            let takes = seat.query.takes(&mut self.random) + self.store.latency;
            self.send((3, m), takes, happening);
        }
    }

    fn answer(&mut self, m: usize, generation: u64, ask: Ask, asked_at: u64) {
        if !self.store.is_up {
            return;
        }
        if self.store.busy_until > self.now {
            return self.at(
                self.store.busy_until,
                Happening::FromMonitor(m, generation, ask, asked_at),
            );
        }
        self.store.expire(self.now);
        let wall = self.store.wall(self.now);
        if self.store.refuses_writes
            && let Some(told) = refusal(&ask, asked_at)
        {
            return self.reply(m, generation, told);
        }
        let refuses = self.store.refuses_writes;
        let mut told = monitor::answer(ask, &mut self.store.data, refuses, wall, asked_at);
        if let Some(Told::Canary(_)) = &told {
            told.into_iter().for_each(|canary| self.push_to(m, canary));
            let held = self.store.data.incidents.len();
            told = Some(Told::Clock(wall, held, asked_at));
        }
        self.reply(m, generation, told);
    }

    fn reply(&mut self, m: usize, generation: u64, told: Option<Told>) {
        let Some(told) = told else { return };
        let query = self.seats[m].query;
        if query.flows() {
            let takes = query.takes(&mut self.random);
            self.send((4, m), takes, Happening::ToMonitor(m, generation, told));
        }
    }

    fn tell(&mut self, m: usize, generation: u64, told: Told) {
        let seat = &mut self.seats[m];
        let now = seat.local(self.now);
        let Some(monitor) = &mut seat.monitor else {
            return;
        };
        if monitor.generation != generation {
            return;
        }
        if monitor.is_paused {
            monitor.waiting.push_back((generation, told));
            return;
        }
        match &told {
            Told::Beat(beat) if m == FIRST => {
                self.rivals.beat(beat, self.now);
                let text = || format!("arrives: {}", brief(beat));
                self.judge.note_of(&beat.agent, self.now, text);
            }
            Told::Hash(id, inputs, _) => {
                let text = || {
                    format!(
                        "is looked up: {}",
                        inputs.iter().map(held).collect::<String>()
                    )
                };
                self.judge.note_of(id, self.now, text);
            }
            Told::Loaded(loaded) => {
                seat.sighted_at = self.now;
                seat.is_first_sight = loaded.first;
            }
            Told::Beat(_)
            | Told::Canary(_)
            | Told::Clock(..)
            | Told::Appended
            | Told::TimeToLive(..)
            | Told::Events(..)
            | Told::Saved(_)
            | Told::Removed(_)
            | Told::Records(_)
            | Told::Stands(..)
            | Told::LeadRefused(_)
            | Told::Claimed(..)
            | Told::Begun(..)
            | Told::Performed(_)
            | Told::Closed => {}
        }
        let mut wishes = Wishes::default();
        monitor.take(told, now, &mut self.random, &mut wishes);
        self.grant(m, wishes);
    }

    pub(crate) fn grant(&mut self, m: usize, wishes: Wishes) {
        self.judge_effects(m, &wishes.effects);
        if self.is_killed_at(&wishes.effects) {
            return self.kill_monitor(m);
        }
        for ask in wishes.asks {
            self.ask(m, ask);
        }
        self.begin_deeds(m, &wishes.effects);
        let seat = &mut self.seats[m];
        let now = seat.local(self.now);
        if let Some(monitor) = &mut seat.monitor
            && monitor.wants_connection(now)
        {
            if seat.query.is_refused || seat.push.is_refused || !self.store.is_up {
                let mut wishes = Wishes::default();
                monitor.lose(now, &mut self.random, &mut wishes);
                self.judge_effects(m, &wishes.effects);
            } else {
                monitor.link = Link::Connecting(now + CONNECT_WITHIN);
                let generation = monitor.generation;
                if seat.query.flows() && seat.push.flows() {
                    let takes = 2 * seat.query.takes(&mut self.random) + self.store.latency;
                    let at = (self.now + takes).max(self.store.busy_until);
                    self.at(at, Happening::MonitorConnected(m, generation));
                }
            }
        }
        self.plan_monitor(m);
    }

    pub(crate) fn plan_monitor(&mut self, m: usize) {
        let seat = &mut self.seats[m];
        let due = seat.monitor.as_ref().and_then(Monitor::deadline);
        let due = due.map(|at| at.saturating_add(seat.lag));
        if let Some(at) = due.filter(|at| *at < seat.wake) {
            let at = at.max(self.now);
            seat.wake = at;
            self.at(at, Happening::WakeMonitor(m));
        }
    }

    /// The store closes the connections that learn of it.
    pub(crate) fn close_all(&mut self) {
        for n in 0..self.sidecars.len() {
            self.close(n);
        }
        (0..self.seats.len()).for_each(|m| self.close_monitor(m));
    }

    pub(crate) fn close_host(&mut self, host: usize) {
        for n in 0..self.sidecars.len() {
            if self.sidecars[n].host == host {
                self.close(n);
            }
        }
    }

    fn close(&mut self, n: usize) {
        let net = self.hosts[self.sidecars[n].host];
        let sidecar = &mut self.sidecars[n];
        if !net.is_hole && sidecar.is_beating() && sidecar.connection != Connection::None {
            let now = sidecar.local(self.now);
            sidecar.disconnect(now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn close_monitor(&mut self, m: usize) {
        let seat = &self.seats[m];
        let Some(monitor) = &seat.monitor else { return };
        if monitor.link != Link::None && !seat.query.is_hole {
            let closed = Happening::ToMonitor(m, monitor.generation, Told::Closed);
            self.at(self.now, closed);
        }
    }

    pub(crate) fn lose_data(&mut self) {
        let next_event = self.store.data.next_event;
        self.store.data = Data {
            next_event,
            ..Data::default()
        };
        self.judge.data_was_lost(self.now);
    }

    pub(crate) fn add(&mut self, sidecar: Sidecar) {
        let n = self.sidecars.len();
        self.sidecars.push(sidecar);
        self.wakes.push(u64::MAX);
        self.sidecars[n].start(self.now, &mut self.random);
        self.drive(n);
    }

    pub(crate) fn resume(&mut self, n: usize) {
        let sidecar = &mut self.sidecars[n];
        sidecar.thaw(self.now);
        if sidecar.process == Process::Paused {
            sidecar.process = Process::Running;
            let now = sidecar.local(self.now);
            sidecar.wake(now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn stop(&mut self, n: usize) {
        if self.sidecars[n].is_beating() {
            let now = self.sidecars[n].local(self.now);
            self.sidecars[n].stop(now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn resume_monitor(&mut self, m: usize) {
        let seat = &mut self.seats[m];
        // Its machine stands still: it goes on with that.
        if seat.frozen_at.is_some() {
            return;
        }
        let now = seat.local(self.now);
        let Some(monitor) = &mut seat.monitor else {
            return;
        };
        monitor.is_paused = false;
        // What waits in the sockets and the tick that is due are taken in one go.
        let mut wishes = Wishes::default();
        if self.random.chance(0.5) {
            monitor.wake(now, &mut self.random, &mut wishes);
        }
        while let Some((generation, told)) = monitor.waiting.pop_front() {
            if monitor.generation == generation {
                monitor.take(told, now, &mut self.random, &mut wishes);
            }
        }
        self.grant(m, wishes);
    }

    /// An old beat is published again by another client.
    pub(crate) fn replay(&mut self) {
        if !self.published.is_empty() {
            let beat = self.published[self.random.index(self.published.len())].clone();
            self.push(&Told::Beat(Box::new(beat)));
        }
    }

    /// A beat with numbers that cannot be.
    pub(crate) fn poison(&mut self) {
        // Of an agent that beats: what is forged of a dead one has no honest beat behind it.
        let beats = |beat: &&Beat| {
            let holder = self.judge.holders.get(&beat.agent);
            holder.is_some_and(|(_, n)| self.sidecars[*n].is_beating())
        };
        if let Some(beat) = self.published.last().filter(beats) {
            let mut beat = beat.clone();
            let mut which = self.random.below(7);
            // Two beats that name one interval are a producer with that interval.
            if matches!(which, 4 | 5) && !self.poisoned.insert(which) {
                which = 6;
            }
            beat.sequence += 1;
            if let Some(hb) = &mut beat.hb {
                match which {
                    0 => hb.slot = (1 << 53) - 1,
                    1 => beat.sequence = (1 << 53) - 1,
                    2 => hb.epoch = (1 << 53) - 1,
                    3 => hb.slot += 1000,
                    4 => hb.interval = INTERVAL_MIN,
                    5 => hb.interval = INTERVAL_MAX,
                    _ => beat.timestamp_ms = (1 << 53) - 1,
                }
            }
            self.push(&Told::Beat(Box::new(beat)));
        }
    }
}

/// What a store that takes no writes answers to one; `None` for what is no write.
fn refusal(ask: &Ask, asked_at: u64) -> Option<Option<Told>> {
    match ask {
        Ask::Lead(_) => Some(Some(Told::LeadRefused(asked_at))),
        Ask::Claim(ticket, _) => Some(Some(Told::Claimed(ticket.clone(), Claim::Refused))),
        Ask::Begin(ticket, incident) => {
            let (ticket, incident) = (ticket.clone(), incident.clone());
            Some(Some(Told::Begun(ticket, incident, false, Vec::new())))
        }
        Ask::Store(_) | Ask::Remove(_) | Ask::Leave(..) | Ask::Enlist(..) | Ask::Release(_) => {
            Some(None)
        }
        Ask::Load(..)
        | Ask::Records
        | Ask::Hash(_)
        | Ask::TimeToLive(_)
        | Ask::Events(_)
        | Ask::Canary(_) => None,
    }
}

/// A beat in the story.
fn brief(beat: &Beat) -> String {
    let hb = beat.hb.as_ref();
    let (epoch, slot, step) = hb.map_or((0, 0, 0), |hb| {
        let step = hb.life.as_ref().map_or(0, |life| life.step);
        (hb.epoch, hb.slot, step)
    });
    format!(
        "sequence {} slot {slot} step {step} epoch {epoch}",
        beat.sequence
    )
}

/// What a hash held, in the story.
fn held(input: &FleetInput) -> String {
    if let FleetInput::AgedBeat(beat, age) = input {
        format!("{}, written {} ms ago", brief(beat), age.as_millis())
    } else {
        "no beat".to_owned()
    }
}
