//! Runs of one agent, reported by beats, events, roster and hash in every order that a network can make.
//!
//! A run writes to the store in one order: event, roster, beat. What reaches the monitor are two queues, each in its
//! own order, and replies that show the store as it was at some time. Whatever the interleaving: the state is that of
//! the highest run, none of its beats was refused, and each change was announced once and in order.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::machine::{Fleet, FleetEffect, FleetInput, FleetSettings};
use heartbeat::wire::beat::{Beat, Exit, Extension, Metrics, Status};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::life::{End, Life, NextStart, Phase, Standing};
use heartbeat::wire::roster::RosterEntry;
use std::collections::VecDeque;
use std::time::Duration;

const INTERLEAVINGS: u64 = 20_000;
const INTERVAL: Duration = Duration::from_secs(30);

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

fn id() -> AgentId {
    AgentId::parse("a1").unwrap()
}

/// One write of a sidecar, in the order in which the store gets it.
#[derive(Clone, Debug)]
enum Write {
    Event(Box<Event>),
    Roster(Box<RosterEntry>),
    Beat(Box<Beat>),
}

/// A sidecar's side of one run: makes the writes of a life.
struct Sidecar {
    epoch: u64,
    life: Life,
    sequence: u64,
    writes: Vec<Write>,
    /// The states that an operator must be shown, without repetition.
    states: Vec<State>,
}

impl Sidecar {
    fn report(&mut self, kind: EventKind, life: Life) {
        self.life = Life {
            step: self.life.step + 1,
            since: 1_764_000_000_000,
            ..life
        };
        self.states.extend(match self.life.standing() {
            Standing::Up | Standing::Stopping => Some(State::Healthy),
            Standing::Troubled(_) | Standing::Down(_) => Some(State::Failed),
            Standing::Off => Some(State::Stopped),
        });
        let registration = (kind == EventKind::Registered).then(|| Box::new(self.entry()));
        self.writes.push(Write::Event(Box::new(Event {
            kind,
            agent: id(),
            epoch: self.epoch,
            at_ms: 0,
            detail: Detail {
                life: Some(Box::new(self.life.clone())),
                registration,
                ..Detail::default()
            },
        })));
        self.writes.push(Write::Roster(Box::new(self.entry())));
    }

    fn entry(&self) -> RosterEntry {
        RosterEntry {
            agent_type: "t".into(),
            host: "h".into(),
            interval_ms: 30_000,
            epoch: self.epoch,
            started_at: 0,
            runtime: None,
            hb_version: None,
            stopped_at: None,
            life: Some(self.life.clone()),
        }
    }

    fn beat(&mut self) {
        self.sequence += 1;
        self.writes.push(Write::Beat(Box::new(Beat {
            agent: id(),
            agent_type: "t".into(),
            timestamp_ms: 1_764_000_000_000,
            sequence: self.sequence,
            status: Status::Healthy,
            metrics: Metrics::default(),
            current_task: None,
            task_progress: None,
            hb: Some(Extension {
                interval: INTERVAL,
                epoch: self.epoch,
                slot: 0,
                slot_age: Duration::ZERO,
                instance: "i".into(),
                host: "h".into(),
                pid: u32::from(self.life.has_process()),
                started_at_ms: 1_764_000_000_000,
                restarts: self.life.incarnation,
                ready: true,
                status_text: None,
                activity: None,
                runtime: None,
                exit: None,
                life: Some(self.life.clone()),
                order: None,
                store_refuses: false,
                fenced: false,
            }),
        })));
    }
}

fn end(incarnation: u64, code: u8, requested: bool) -> End {
    End {
        incarnation,
        exit: Exit {
            code: Some(code),
            signal: None,
        },
        reason: None,
        requested,
        not_started: false,
    }
}

/// One run: registered, perhaps some crashes and restarts, perhaps an end. Beats are dropped where a newer one
/// replaced them before they were sent, as the sidecar does.
fn run(epoch: u64, random: &mut Random) -> Sidecar {
    let mut sidecar = Sidecar {
        epoch,
        life: Life::default(),
        sequence: 0,
        writes: Vec::new(),
        states: Vec::new(),
    };
    let beats = |sidecar: &mut Sidecar, random: &mut Random| {
        for _ in 0..random.below(3) {
            sidecar.beat();
        }
    };
    sidecar.report(EventKind::Registered, Life::default());
    beats(&mut sidecar, random);
    let restarts = random.below(3) as u64;
    for incarnation in 0..restarts {
        let ended = Some(end(incarnation, 3, false));
        sidecar.report(
            EventKind::Exited,
            Life {
                phase: Phase::Restarting,
                incarnation,
                end: ended.clone(),
                restart: Some(NextStart::AT_ONCE),
                ..Life::default()
            },
        );
        beats(&mut sidecar, random);
        sidecar.report(
            EventKind::Restarted,
            Life {
                incarnation: incarnation + 1,
                end: ended,
                ..Life::default()
            },
        );
        beats(&mut sidecar, random);
    }
    if random.chance(70) {
        let code = [0, 4][random.below(2)];
        let requested = random.chance(30);
        sidecar.report(
            EventKind::Exited,
            Life {
                phase: Phase::Ended,
                incarnation: restarts,
                end: Some(end(restarts, code, requested)),
                ..Life::default()
            },
        );
    }
    sidecar.beat(); // the last one is always stored
    sidecar
}

/// What the monitor has not got yet of what was written so far, and the store as it is.
#[derive(Default)]
struct Store {
    events: VecDeque<Event>,
    beats: VecDeque<Beat>,
    rosters: Vec<RosterEntry>,
    hashes: Vec<Beat>,
}

impl Store {
    fn take(&mut self, write: Write) {
        match write {
            Write::Event(event) => self.events.push_back(*event),
            Write::Roster(entry) => self.rosters.push(*entry),
            Write::Beat(beat) => {
                self.beats.push_back((*beat).clone());
                self.hashes.push(*beat);
            }
        }
    }
}

struct Stage {
    fleet: Fleet,
    store: Store,
    now: u64,
    story: Vec<State>,
    /// Reads of the stream that are not answered yet.
    asked: usize,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            fleet: Fleet::new(FleetSettings::default(), Moment::from_millis(1_000_000)),
            store: Store::default(),
            now: 1_000_000,
            story: Vec::new(),
            asked: 0,
        };
        stage.handle(FleetInput::LinkUp);
        stage
    }

    fn handle(&mut self, input: FleetInput) {
        self.now += 1;
        for effect in self.fleet.handle(input, Moment::from_millis(self.now)) {
            match effect {
                FleetEffect::Changed(change) => {
                    if change.from != Some(change.to) {
                        self.story.push(change.to);
                    }
                }
                FleetEffect::ReadEvents => self.asked += 1,
                FleetEffect::Verify(_)
                | FleetEffect::ReadTtl(_)
                | FleetEffect::Left(..)
                | FleetEffect::Enlist(..)
                | FleetEffect::Turned(_)
                | FleetEffect::Refused(_) => {}
            }
        }
    }

    fn event(&mut self) {
        if let Some(event) = self.store.events.pop_front() {
            self.handle(FleetInput::Event(Box::new(event)));
        }
    }

    fn beat(&mut self) {
        if let Some(beat) = self.store.beats.pop_front() {
            self.handle(FleetInput::Beat(Box::new(beat)));
        }
    }

    /// The answer to a question holds every event that was stored when it was asked.
    fn answer(&mut self) {
        if self.asked > 0 {
            self.asked -= 1;
            while !self.store.events.is_empty() {
                self.event();
            }
            self.handle(FleetInput::EventsRead);
        }
    }

    /// A reply that shows the store as it was at some time.
    fn reply(&mut self, random: &mut Random) {
        let hashes = self.store.hashes.len();
        let rosters = self.store.rosters.len();
        if random.chance(50) && hashes > 0 {
            let beat = self.store.hashes[random.below(hashes)].clone();
            self.handle(FleetInput::AgedBeat(
                Box::new(beat),
                Duration::from_millis(1),
            ));
        } else if rosters > 0 {
            let entry = self.store.rosters[random.below(rosters)].clone();
            self.handle(FleetInput::RosterEntry(id(), Box::new(entry)));
        }
    }

    /// The connection is lost and made again: what was published meanwhile is gone, what is stored is read.
    fn reconnect(&mut self) {
        self.handle(FleetInput::LinkDown);
        self.asked = 0;
        self.store.beats.clear();
        while !self.store.events.is_empty() {
            self.event();
        }
        self.load();
    }

    /// Another monitor takes over, which knows nothing: it reads what is stored and skips the events of the past.
    fn restart(&mut self) {
        self.fleet = Fleet::new(FleetSettings::default(), Moment::from_millis(self.now));
        self.story.clear();
        self.asked = 0;
        self.store.beats.clear();
        self.store.events.clear();
        self.load();
    }

    fn load(&mut self) {
        let entry = self.store.rosters.last().cloned();
        let epoch = entry.as_ref().map_or(0, |entry| entry.epoch);
        let beat = self.store.hashes.last().cloned();
        match (beat.filter(|beat| beat.epoch() == epoch), &entry) {
            (Some(beat), _) => {
                self.handle(FleetInput::AgedBeat(
                    Box::new(beat),
                    Duration::from_millis(1),
                ));
            }
            (None, Some(entry)) => {
                let life = None; // the hash holds a registration that no beat has followed yet
                let entry = Box::new(RosterEntry {
                    life,
                    ..entry.clone()
                });
                self.handle(FleetInput::Registered(id(), entry));
            }
            (None, None) => {}
        }
        if let Some(entry) = entry {
            self.handle(FleetInput::RosterEntry(id(), Box::new(entry)));
        }
        self.handle(FleetInput::LinkUp);
    }

    fn deliver(&mut self, random: &mut Random, replies: bool) {
        match random.below(8) {
            0..3 => self.event(),
            3..6 => self.beat(),
            6 => self.answer(),
            _ if replies => self.reply(random),
            _ => self.handle(FleetInput::Tick),
        }
    }

    fn drain(&mut self, random: &mut Random) {
        while !self.store.events.is_empty() || !self.store.beats.is_empty() || self.asked > 0 {
            self.deliver(random, false);
        }
        self.handle(FleetInput::Tick);
    }
}

/// Plays one interleaving. Returns the stage, the state that must stand and the states that must have been shown.
fn play(seed: u64, replies: bool) -> (Stage, u64, State, Vec<State>) {
    let mut random = Random(seed);
    let mut stage = Stage::new();
    let mut epoch = 0;
    let mut states: Vec<State> = Vec::new();
    for _ in 0..=random.below(4) {
        epoch += 1 + random.below(3) as u64;
        let sidecar = run(epoch, &mut random);
        states.extend(&sidecar.states);
        for write in sidecar.writes {
            stage.store.take(write);
            while random.chance(60) {
                stage.deliver(&mut random, replies);
            }
        }
    }
    stage.drain(&mut random);
    states.dedup();
    let last = *states.last().unwrap();
    (stage, epoch, last, states)
}

/// What is wrong after this interleaving, if anything.
fn fault(seed: u64, replies: bool) -> Option<String> {
    let (stage, epoch, last, states) = play(seed, replies);
    let snapshot = stage.fleet.view();
    let agent = &snapshot.agents[&id()];
    let seen = (agent.run.epoch, agent.state);
    if seen != (epoch, last) {
        return Some(format!("seed {seed}: {seen:?}, not {:?}", (epoch, last)));
    }
    if snapshot.beats.duplicate > 0 {
        return Some(format!("seed {seed}: an honest beat was refused"));
    }
    let shown = if replies {
        is_part_of(&stage.story, &states)
    } else {
        stage.story == states
    };
    (!shown).then(|| format!("seed {seed}: announced {:?} of {states:?}", stage.story))
}

/// A reply that shows a later time may pass over what was in between, and nothing else.
fn is_part_of(story: &[State], states: &[State]) -> bool {
    let mut states = states.iter();
    let in_order = story
        .iter()
        .all(|announced| states.any(|state| state == announced));
    in_order && story.windows(2).all(|pair| pair[0] != pair[1])
}

fn no_fault(replies: bool) {
    let faults: Vec<String> = (0..INTERLEAVINGS)
        .filter_map(|seed| fault(seed, replies))
        .take(5)
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn events_and_beats_in_any_interleaving_announce_every_change_once_and_in_order() {
    no_fault(false);
}

#[test]
fn a_monitor_that_is_cut_off_again_and_again_announces_every_change_once_and_in_order() {
    for seed in 0..INTERLEAVINGS / 10 {
        let mut random = Random(seed);
        let mut stage = Stage::new();
        let mut states = Vec::new();
        for epoch in 1..=4 {
            let sidecar = run(epoch, &mut random);
            states.extend(&sidecar.states);
            for write in sidecar.writes {
                stage.store.take(write);
                while random.chance(50) {
                    stage.deliver(&mut random, false);
                }
                if random.chance(10) {
                    stage.reconnect();
                }
            }
        }
        stage.drain(&mut random);
        states.dedup();
        assert_eq!(stage.story, states, "seed {seed}");
    }
}

#[test]
fn a_monitor_that_starts_at_any_time_announces_what_is_and_then_what_follows() {
    for seed in 0..INTERLEAVINGS / 10 {
        let mut random = Random(seed);
        let mut stage = Stage::new();
        let (mut states, mut since) = (Vec::new(), 0);
        for epoch in 1..=3 {
            let sidecar = run(epoch, &mut random);
            for write in sidecar.writes {
                if let Write::Event(event) = &write {
                    let life = event.life().unwrap();
                    states.push(match life.standing() {
                        Standing::Up | Standing::Stopping => State::Healthy,
                        Standing::Troubled(_) | Standing::Down(_) => State::Failed,
                        Standing::Off => State::Stopped,
                    });
                }
                let stored = matches!(write, Write::Roster(_));
                stage.store.take(write);
                while random.chance(50) {
                    stage.deliver(&mut random, false);
                }
                // Between an event and its roster entry the sidecar is killed by nothing that leaves it alive.
                if stored && random.chance(10) {
                    stage.restart();
                    since = states.len() - 1;
                }
            }
        }
        stage.drain(&mut random);
        let mut expected = states.split_off(since);
        expected.dedup();
        assert_eq!(stage.story, expected, "seed {seed}");
    }
}

#[test]
fn replies_that_show_any_time_of_the_store_never_bring_back_what_is_over() {
    no_fault(true);
}
