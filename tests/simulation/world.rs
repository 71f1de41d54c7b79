//! The world around the machines: virtual time, messages on links that delay, lose and break, and what each fault does.

use crate::faults::{Fault, Step};
use crate::judge::Judge;
use crate::monitor::{self, Ask, CONNECT_WITHIN, Link, Monitor, Told, Wishes};
use crate::random::Random;
use crate::rivals::Rivals;
use crate::sidecar::{ANSWER_WITHIN, Connection, Process, Script, Sidecar};
use crate::store::{Answer, Data, Store, Write};
use heartbeat::fleet::ladder::exchange::{Claim, Ticket};
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::recovery::Deed;
use heartbeat::wire::beat::{Beat, INTERVAL_MAX, INTERVAL_MIN};
use std::collections::BTreeMap;

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

/// A change of an agent that is older than this, and some round trips, has been applied.
const QUIET: u64 = 200;
/// So often a quiet moment is waited for.
const QUIET_TRIES: u32 = 500;

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Wake(usize),
    WakeMonitor,
    SidecarConnected(usize, u64),
    FromSidecar(usize, u64, Vec<Write>),
    ToSidecar(usize, u64, Vec<Answer>),
    MonitorConnected(u64),
    FromMonitor(u64, Ask, u64),
    ToMonitor(u64, Told),
    /// A rung is carried out; of the monitor of this run.
    Act(u64, Box<Deed>),
    /// A rung was carried out.
    Acted(u64, Ticket),
    Step(Step),
}

/// What a seed chooses.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    /// Host, interval in milliseconds and script of each agent.
    pub(crate) agents: Vec<(usize, u64, Script)>,
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
    monitor_wake: u64,
    /// When the last message on each way arrives: they do not overtake each other.
    arrivals: BTreeMap<(u8, usize), u64>,
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) sidecars: Vec<Sidecar>,
    pub(crate) hosts: Vec<Net>,
    pub(crate) push: Net,
    pub(crate) query: Net,
    pub(crate) monitor: Option<Monitor>,
    pub(crate) judge: Judge,
    pub(crate) rivals: Rivals,
    /// Numbers the monitors: one that starts knows nothing of the rungs that the one before carries out.
    pub(crate) run: u64,
    /// The monitor is killed at the step of recovery after so many.
    pub(crate) kill_in: Option<u64>,
    loss: f64,
    duplicate: f64,
    /// Beats that were published, for replays.
    published: Vec<Beat>,
    /// What waits for the end of a hole on the subscribing connection.
    withheld: Vec<Happening>,
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
            monitor_wake: u64::MAX,
            arrivals: BTreeMap::new(),
            random: Random::new(plan.seed),
            store: Store::new(),
            sidecars: Vec::new(),
            hosts: vec![net; plan.hosts],
            push: net,
            query: net,
            monitor: Some(Monitor::new(plan.seed, 1_000_000)),
            judge: Judge::new(plan),
            rivals: Rivals::default(),
            run: 0,
            kill_in: None,
            loss: plan.loss,
            duplicate: plan.duplicate,
            published: Vec::new(),
            withheld: Vec::new(),
        };
        for (n, (host, interval, script)) in plan.agents.iter().enumerate() {
            let at = world.random.below(*interval);
            world.at(
                world.now + at,
                Happening::Step(Step::Start(n, *host, *interval, *script)),
            );
        }
        for (at, step) in &plan.steps {
            world.at(*at, Happening::Step(step.clone()));
        }
        world.plan_monitor();
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
        let under_way = 4 * self.query.round_trip_max() + QUIET;
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
                self.sidecars[n].wake(self.now, &mut self.random);
                self.drive(n);
            }
            Happening::WakeMonitor => {
                if self.monitor_wake <= self.now {
                    self.monitor_wake = u64::MAX;
                }
                let mut wishes = Wishes::default();
                if let Some(monitor) = &mut self.monitor {
                    monitor.wake(self.now, &mut self.random, &mut wishes);
                }
                self.grant(wishes);
                self.tick_rivals();
            }
            Happening::SidecarConnected(n, generation) => {
                let sidecar = &mut self.sidecars[n];
                if sidecar.generation == generation && sidecar.is_beating() {
                    sidecar.connected();
                    self.drive(n);
                }
            }
            Happening::FromSidecar(n, generation, batch) => self.execute(n, generation, batch),
            Happening::ToSidecar(n, generation, answers) => {
                let sidecar = &mut self.sidecars[n];
                if sidecar.generation == generation && sidecar.is_beating() {
                    sidecar.answered(&answers, self.now, &mut self.random);
                    self.drive(n);
                }
            }
            Happening::MonitorConnected(generation) => {
                let now = self.now;
                let ready = self
                    .monitor
                    .as_mut()
                    .filter(|m| m.generation == generation && !m.is_paused);
                if let Some(ask) = ready.map(|monitor| monitor.connected(now)) {
                    self.ask(ask);
                }
                self.plan_monitor();
            }
            Happening::FromMonitor(generation, ask, asked_at) => {
                self.answer(generation, ask, asked_at);
            }
            Happening::ToMonitor(generation, told) => self.tell(generation, told),
            Happening::Act(run, deed) => {
                self.act(&deed);
                let takes = self.random.below(1500);
                self.at(self.now + takes, Happening::Acted(run, deed.ticket));
            }
            Happening::Acted(run, ticket) => self.acted(run, ticket),
            Happening::Step(step) => self.step(step),
        }
    }

    /// Carries out what a sidecar wants, and plans its next wake.
    fn drive(&mut self, n: usize) {
        let net = self.hosts[self.sidecars[n].host];
        if self.sidecars[n].wants_connection(self.now) {
            let sidecar = &mut self.sidecars[n];
            if net.is_refused || !self.store.is_up {
                sidecar.disconnect(self.now, &mut self.random);
            } else {
                sidecar.connection = Connection::Connecting(self.now + ANSWER_WITHIN);
                let generation = sidecar.generation;
                if !net.is_hole {
                    let takes = 2 * net.takes(&mut self.random) + self.store.latency;
                    let at = (self.now + takes).max(self.store.busy_until);
                    self.at(at, Happening::SidecarConnected(n, generation));
                }
            }
        }
        if let Some(batch) = self.sidecars[n].batch(self.now)
            && net.flows()
        {
            let generation = self.sidecars[n].generation;
            let takes = net.takes(&mut self.random) + self.store.latency;
            self.send((0, n), takes, Happening::FromSidecar(n, generation, batch));
        }
        if let Some(at) = self.sidecars[n].deadline()
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
                self.push(Told::Appended);
            }
            if is_beat && answer != Answer::Fenced {
                self.sidecars[n].accept(self.now);
                // A sidecar looks every few seconds whether the roster still has its entry.
                if answer == Answer::Done && !self.store.data.roster.contains_key(&id) {
                    self.sidecars[n].enlist_again();
                }
            }
            if let Answer::Granted(epoch) = answer {
                self.judge.granted(&id, epoch, n);
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
            self.push(Told::Beat(Box::new(beat.clone())));
        }
        self.push(Told::Beat(Box::new(beat)));
    }

    /// Sends to a monitor that is subscribed.
    fn push(&mut self, told: Told) {
        let Some(monitor) = &self.monitor else { return };
        let subscribed = match monitor.link {
            Link::Loading(_) | Link::Up => true,
            Link::None | Link::Connecting(_) => false,
        };
        let generation = monitor.generation;
        if subscribed && self.push.is_hole {
            // TCP sends it again until it arrives.
            self.withheld.push(Happening::ToMonitor(generation, told));
        } else if subscribed && self.push.flows() {
            let takes = self.push.takes(&mut self.random);
            self.send((2, 0), takes, Happening::ToMonitor(generation, told));
        }
    }

    /// The subscribing connection brings what was sent meanwhile, in order.
    pub(crate) fn end_of_hole(&mut self) {
        self.push.is_hole = false;
        for happening in std::mem::take(&mut self.withheld) {
            let takes = self.push.takes(&mut self.random);
            self.send((2, 0), takes, happening);
        }
    }

    fn ask(&mut self, ask: Ask) {
        let Some(monitor) = &self.monitor else { return };
        if self.query.flows() {
            let generation = monitor.generation;
            let takes = self.query.takes(&mut self.random) + self.store.latency;
            let now = self.now;
            self.send((3, 0), takes, Happening::FromMonitor(generation, ask, now));
        }
    }

    fn answer(&mut self, generation: u64, ask: Ask, asked_at: u64) {
        if !self.store.is_up {
            return;
        }
        if self.store.busy_until > self.now {
            return self.at(
                self.store.busy_until,
                Happening::FromMonitor(generation, ask, asked_at),
            );
        }
        self.store.expire(self.now);
        let wall = self.store.wall(self.now);
        if self.store.refuses_writes
            && let Some(told) = refusal(&ask, asked_at)
        {
            return self.reply(generation, told);
        }
        let refuses = self.store.refuses_writes;
        let mut told = monitor::answer(ask, &mut self.store.data, refuses, wall, asked_at);
        if let Some(Told::Canary(_)) = &told {
            told.into_iter().for_each(|canary| self.push(canary));
            let held = self.store.data.incidents.len();
            told = Some(Told::Clock(wall, held, asked_at));
        }
        self.reply(generation, told);
    }

    fn reply(&mut self, generation: u64, told: Option<Told>) {
        let Some(told) = told else { return };
        if self.query.flows() {
            let takes = self.query.takes(&mut self.random);
            self.send((4, 0), takes, Happening::ToMonitor(generation, told));
        }
    }

    fn tell(&mut self, generation: u64, told: Told) {
        let Some(monitor) = &mut self.monitor else {
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
            Told::Beat(beat) => {
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
                self.judge.sighted_at = self.now;
                self.judge.is_first_sight = loaded.first;
            }
            Told::Canary(_)
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
        monitor.take(told, self.now, &mut self.random, &mut wishes);
        self.grant(wishes);
    }

    pub(crate) fn grant(&mut self, wishes: Wishes) {
        self.judge_effects(&wishes.effects);
        if self.is_killed_at(&wishes.effects) {
            return self.kill_monitor();
        }
        for ask in wishes.asks {
            self.ask(ask);
        }
        self.begin_deeds(&wishes.effects);
        let now = self.now;
        if let Some(monitor) = &mut self.monitor
            && monitor.wants_connection(now)
        {
            if self.query.is_refused || self.push.is_refused || !self.store.is_up {
                let mut wishes = Wishes::default();
                monitor.lose(now, &mut self.random, &mut wishes);
                self.judge_effects(&wishes.effects);
            } else {
                monitor.link = Link::Connecting(now + CONNECT_WITHIN);
                let generation = monitor.generation;
                if self.query.flows() && self.push.flows() {
                    let takes = 2 * self.query.takes(&mut self.random) + self.store.latency;
                    let at = (now + takes).max(self.store.busy_until);
                    self.at(at, Happening::MonitorConnected(generation));
                }
            }
        }
        self.plan_monitor();
    }

    pub(crate) fn plan_monitor(&mut self) {
        let due = self.monitor.as_ref().and_then(Monitor::deadline);
        if let Some(at) = due.filter(|at| *at < self.monitor_wake) {
            let at = at.max(self.now);
            self.monitor_wake = at;
            self.at(at, Happening::WakeMonitor);
        }
    }

    /// The store closes the connections that learn of it.
    pub(crate) fn close_all(&mut self) {
        for n in 0..self.sidecars.len() {
            self.close(n);
        }
        self.close_monitor();
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
            sidecar.disconnect(self.now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn close_monitor(&mut self) {
        let Some(monitor) = &self.monitor else { return };
        if monitor.link != Link::None && !self.query.is_hole {
            let generation = monitor.generation;
            self.at(self.now, Happening::ToMonitor(generation, Told::Closed));
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
        if self.sidecars[n].process == Process::Paused {
            self.sidecars[n].process = Process::Running;
            self.sidecars[n].wake(self.now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn stop(&mut self, n: usize) {
        if self.sidecars[n].is_beating() {
            self.sidecars[n].stop(self.now, &mut self.random);
            self.drive(n);
        }
    }

    pub(crate) fn resume_monitor(&mut self) {
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        monitor.is_paused = false;
        // What waits in the sockets and the tick that is due are taken in one go.
        let mut wishes = Wishes::default();
        if self.random.chance(0.5) {
            monitor.wake(self.now, &mut self.random, &mut wishes);
        }
        while let Some((generation, told)) = monitor.waiting.pop_front() {
            if monitor.generation == generation {
                monitor.take(told, self.now, &mut self.random, &mut wishes);
            }
        }
        self.grant(wishes);
    }

    /// An old beat is published again by another client.
    pub(crate) fn replay(&mut self) {
        if !self.published.is_empty() {
            let beat = self.published[self.random.index(self.published.len())].clone();
            self.push(Told::Beat(Box::new(beat)));
        }
    }

    /// A beat with numbers that cannot be.
    pub(crate) fn poison(&mut self) {
        if let Some(beat) = self.published.last() {
            let mut beat = beat.clone();
            let which = self.random.below(7);
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
            self.push(Told::Beat(Box::new(beat)));
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
        Ask::Store(_) | Ask::Remove(_) | Ask::Leave(..) | Ask::Release(_) => Some(None),
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
