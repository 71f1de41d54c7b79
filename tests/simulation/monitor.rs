//! A monitor: the real `Watch` (fleet, observer, gates, incidents) over a connection that may break, as `monitor/src/bus`
//! drives it.

use crate::random::Random;
use crate::store::{Data, EPOCH_MS};
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::ladder::exchange::{Claim, Performed, Ticket};
use heartbeat::fleet::machine::{FleetEffect, FleetInput, FleetSettings, TICK_MAX};
use heartbeat::fleet::recovery::{RecoveryEffect, RecoveryInput};
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::event::Event;
use heartbeat::wire::incident::{Incident, IncidentId};
use heartbeat::wire::keys;
use heartbeat::wire::leader::Standing;
use heartbeat::wire::roster::RosterEntry;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const RETRY_MIN: u64 = 200;
const RETRY_MAX: u64 = 2000;
pub(crate) const CONNECT_WITHIN: u64 = 2000;
/// A whole load may take so long.
pub(crate) const LOAD_WITHIN: u64 = 10_000;
/// The stream is read this often.
const PING_EVERY: u64 = 5000;

/// A question to the store, or a write.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// The lead for this instance, and everything; the events after this number, or none at the first time.
    Load(String, Option<u64>),
    Hash(AgentId),
    TimeToLive(AgentId),
    Events(u64),
    Canary(u64),
    Store(Arc<Incident>),
    Remove(IncidentId),
    Leave(AgentId, u64),
    Enlist(AgentId, Box<RosterEntry>),
    /// The records of a leader.
    Records,
    /// The lead, for this instance.
    Lead(String),
    Claim(Ticket, String),
    Begin(Ticket, Arc<Incident>),
    Release(Vec<Ticket>),
}

/// What comes to the monitor.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Beat(Box<heartbeat::wire::beat::Beat>),
    Canary(u64),
    /// The store's clock and how many incidents it holds, after so many milliseconds.
    Clock(i64, usize, u64),
    /// Entries of the stream were appended.
    Appended,
    Loaded(Box<Loaded>),
    Hash(AgentId, Vec<FleetInput>, u64),
    TimeToLive(AgentId, Option<u64>),
    Events(Vec<(u64, Event)>, bool),
    /// A record was written.
    Saved(Arc<Incident>),
    Removed(IncidentId),
    Records(Vec<Incident>),
    /// What the monitor is among those of its store; asked for at this moment.
    Stands(u64, Standing),
    /// The store lets none lead.
    LeadRefused(u64),
    Claimed(Ticket, Claim),
    /// A record with a rung was written, or refused; what the hash of its agent holds.
    Begun(Ticket, Arc<Incident>, bool, Vec<FleetInput>),
    /// A rung was carried out.
    Performed(Ticket),
    Closed,
}

#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// When it was asked for.
    pub(crate) asked_at: u64,
    /// `None`: the store lets none lead.
    pub(crate) standing: Option<Standing>,
    pub(crate) wall: i64,
    pub(crate) first: bool,
    pub(crate) newest: u64,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) hashes: Vec<FleetInput>,
    pub(crate) roster: Vec<(AgentId, RosterEntry)>,
    pub(crate) incidents: Vec<Incident>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    None,
    /// Until this moment.
    Connecting(u64),
    Loading(u64),
    Up,
}

pub(crate) struct Monitor {
    pub(crate) watch: Watch,
    /// Its name among the monitors of its store.
    pub(crate) instance: String,
    pub(crate) link: Link,
    pub(crate) generation: u64,
    /// It is stopped: what comes waits.
    pub(crate) is_paused: bool,
    /// What came while it was paused.
    pub(crate) waiting: VecDeque<(u64, Told)>,
    last_tick: u64,
    last_event: Option<u64>,
    retry_at: u64,
    failures: u32,
    ping_at: u64,
}

/// What a monitor wants of its surroundings.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) asks: Vec<Ask>,
    pub(crate) effects: Vec<WatchEffect>,
    /// Effects that were turned into questions already.
    obeyed: usize,
}

impl Monitor {
    pub(crate) fn new(seed: u64, now: u64) -> Self {
        Self {
            instance: seed.to_string(),
            watch: Watch::new(FleetSettings::default(), seed, Moment::from_millis(now)),
            link: Link::None,
            generation: 0,
            is_paused: false,
            waiting: VecDeque::new(),
            last_tick: now,
            last_event: None,
            retry_at: now,
            failures: 0,
            ping_at: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.is_paused {
            return None;
        }
        let latest = self.last_tick + u64::try_from(TICK_MAX.as_millis()).unwrap_or(1000);
        let due = self.watch.deadline().map(|(at, _)| at.as_millis());
        let tick = due.map_or(latest, |at| at.clamp(self.last_tick + 10, latest));
        let link = match self.link {
            Link::None => self.retry_at,
            Link::Connecting(until) | Link::Loading(until) => until,
            Link::Up => self.ping_at,
        };
        Some(tick.min(link))
    }

    pub(crate) fn wants_connection(&self, now: u64) -> bool {
        !self.is_paused && self.link == Link::None && self.retry_at <= now
    }

    pub(crate) fn wake(&mut self, now: u64, random: &mut Random, wishes: &mut Wishes) {
        if self.is_paused {
            return;
        }
        match self.link {
            Link::Connecting(until) | Link::Loading(until) if until <= now => {
                self.lose(now, random, wishes);
            }
            Link::Up if self.ping_at <= now => {
                self.ping_at = now + PING_EVERY;
                wishes.asks.push(Ask::Events(self.last_event.unwrap_or(0)));
            }
            Link::None | Link::Connecting(_) | Link::Loading(_) | Link::Up => {}
        }
        let due = self
            .watch
            .deadline()
            .map_or(u64::MAX, |(at, _)| at.as_millis());
        let latest = self.last_tick + u64::try_from(TICK_MAX.as_millis()).unwrap_or(1000);
        if now >= latest || (now >= due && now >= self.last_tick + 10) {
            self.last_tick = now;
            self.feed(FleetInput::Tick.into(), now, wishes);
            self.obey(now, random, wishes);
        }
    }

    /// The connection is made: everything is read.
    pub(crate) fn connected(&mut self, now: u64) -> Ask {
        self.link = Link::Loading(now + LOAD_WITHIN);
        Ask::Load(self.instance.clone(), self.last_event)
    }

    pub(crate) fn lose(&mut self, now: u64, random: &mut Random, wishes: &mut Wishes) {
        self.feed(FleetInput::LinkDown.into(), now, wishes);
        self.drop_link(now, random);
    }

    fn drop_link(&mut self, now: u64, random: &mut Random) {
        self.link = Link::None;
        self.generation += 1;
        self.failures = (self.failures + 1).min(10);
        let longest = RETRY_MAX.min(RETRY_MIN << self.failures);
        self.retry_at = now + 1 + random.below(longest);
    }

    pub(crate) fn take(&mut self, told: Told, now: u64, random: &mut Random, wishes: &mut Wishes) {
        match told {
            Told::Beat(beat) => self.feed(FleetInput::Beat(beat).into(), now, wishes),
            Told::Canary(number) => self.feed(WatchInput::CanaryBack(number), now, wishes),
            Told::Clock(wall, held, asked_at) => {
                let took = Duration::from_millis(now - asked_at);
                self.feed(WatchInput::Answered(took), now, wishes);
                let wall = u64::try_from(wall).unwrap_or(EPOCH_MS);
                self.feed(FleetInput::StoreClock(wall).into(), now, wishes);
                self.feed(WatchInput::IncidentsHeld(held), now, wishes);
            }
            Told::Appended => wishes.asks.push(Ask::Events(self.last_event.unwrap_or(0))),
            Told::Loaded(loaded) => self.loaded(*loaded, now, wishes),
            Told::Hash(id, inputs, asked_at) => {
                let took = Duration::from_millis(now - asked_at);
                self.feed(WatchInput::Answered(took), now, wishes);
                for input in inputs {
                    self.feed(input.into(), now, wishes);
                }
                self.feed(FleetInput::Verified(id).into(), now, wishes);
            }
            Told::TimeToLive(id, left) => {
                if let Some(left) = left {
                    let left = Duration::from_millis(left);
                    self.feed(FleetInput::TtlRead(id, left).into(), now, wishes);
                }
            }
            Told::Events(events, asked) => {
                self.events(events, now, wishes);
                if asked {
                    self.feed(FleetInput::EventsRead.into(), now, wishes);
                }
            }
            Told::Records(records) => self.feed(WatchInput::Incidents(records), now, wishes),
            Told::Stands(asked_at, standing) => {
                let asked_at = Moment::from_millis(asked_at);
                self.feed(WatchInput::Stands(asked_at, standing), now, wishes);
            }
            Told::LeadRefused(asked_at) => {
                let asked_at = Moment::from_millis(asked_at);
                self.feed(WatchInput::LeadRefused(asked_at), now, wishes);
            }
            Told::Claimed(ticket, claim) => {
                self.feed(RecoveryInput::Claimed(ticket, claim).into(), now, wishes);
            }
            Told::Begun(ticket, incident, stored, hash) => {
                if stored {
                    self.feed(WatchInput::IncidentSaved(incident), now, wishes);
                }
                for input in hash {
                    self.feed(input.into(), now, wishes);
                }
                self.feed(RecoveryInput::Begun(ticket, stored).into(), now, wishes);
            }
            Told::Performed(ticket) => {
                let done = Performed::Done("done".to_owned());
                self.feed(RecoveryInput::Performed(ticket, done).into(), now, wishes);
            }
            Told::Saved(incident) => self.feed(WatchInput::IncidentSaved(incident), now, wishes),
            Told::Removed(id) => self.feed(WatchInput::IncidentRemoved(id), now, wishes),
            Told::Closed => self.lose(now, random, wishes),
        }
        self.obey(now, random, wishes);
    }

    fn loaded(&mut self, loaded: Loaded, now: u64, wishes: &mut Wishes) {
        let wall = u64::try_from(loaded.wall).unwrap_or(EPOCH_MS);
        let asked_at = Moment::from_millis(loaded.asked_at);
        let stands = match loaded.standing {
            Some(standing) => WatchInput::Stands(asked_at, standing),
            None => WatchInput::LeadRefused(asked_at),
        };
        self.feed(stands, now, wishes);
        self.feed(FleetInput::StoreClock(wall).into(), now, wishes);
        self.feed(WatchInput::Incidents(loaded.incidents), now, wishes);
        if loaded.first {
            self.last_event = Some(loaded.newest);
        } else {
            self.events(loaded.events, now, wishes);
        }
        for input in loaded.hashes {
            self.feed(input.into(), now, wishes);
        }
        for (id, entry) in loaded.roster {
            let input = FleetInput::RosterEntry(id, Box::new(entry));
            self.feed(input.into(), now, wishes);
        }
        self.feed(FleetInput::LinkUp.into(), now, wishes);
        self.link = Link::Up;
        self.failures = 0;
        self.ping_at = now + PING_EVERY;
    }

    fn events(&mut self, events: Vec<(u64, Event)>, now: u64, wishes: &mut Wishes) {
        for (number, event) in events {
            if number > self.last_event.unwrap_or(0) {
                self.last_event = Some(number);
                self.feed(FleetInput::Event(Box::new(event)).into(), now, wishes);
            }
        }
    }

    fn feed(&mut self, input: WatchInput, now: u64, wishes: &mut Wishes) {
        let effects = self.watch.handle(input, Moment::from_millis(now));
        wishes.effects.extend(effects);
    }

    /// Turns effects into questions and writes. What the world must see of them stays.
    fn obey(&mut self, now: u64, random: &mut Random, wishes: &mut Wishes) {
        let new = &wishes.effects[wishes.obeyed..];
        wishes.obeyed = wishes.effects.len();
        let mut given_up = false;
        for effect in new {
            match effect {
                WatchEffect::Fleet(FleetEffect::Verify(id)) => {
                    wishes.asks.push(Ask::Hash(id.clone()));
                }
                WatchEffect::Fleet(FleetEffect::ReadTtl(id)) => {
                    wishes.asks.push(Ask::TimeToLive(id.clone()));
                }
                WatchEffect::Fleet(FleetEffect::ReadEvents) => {
                    wishes.asks.push(Ask::Events(self.last_event.unwrap_or(0)));
                }
                WatchEffect::Fleet(FleetEffect::Left(id, epoch)) => {
                    wishes.asks.push(Ask::Leave(id.clone(), *epoch));
                }
                WatchEffect::Fleet(FleetEffect::Enlist(id, entry)) => {
                    wishes.asks.push(Ask::Enlist(id.clone(), entry.clone()));
                }
                WatchEffect::SendCanary(number) => wishes.asks.push(Ask::Canary(*number)),
                WatchEffect::StoreIncident(incident) => {
                    wishes.asks.push(Ask::Store(Arc::clone(incident)));
                }
                WatchEffect::RemoveIncident(id) => wishes.asks.push(Ask::Remove(id.clone())),
                WatchEffect::Reconnect => given_up = true,
                WatchEffect::ReadRecords => wishes.asks.push(Ask::Records),
                WatchEffect::AskForLead => wishes.asks.push(Ask::Lead(self.instance.clone())),
                WatchEffect::Recovery(RecoveryEffect::Claim(ticket, value)) => {
                    wishes.asks.push(Ask::Claim(ticket.clone(), value.clone()));
                }
                WatchEffect::Recovery(RecoveryEffect::Begin(ticket, incident)) => {
                    let begin = Ask::Begin(ticket.clone(), Arc::clone(incident));
                    wishes.asks.push(begin);
                }
                WatchEffect::Recovery(RecoveryEffect::Release(tickets)) => {
                    wishes.asks.push(Ask::Release(tickets.clone()));
                }
                WatchEffect::Fleet(
                    FleetEffect::Changed(_) | FleetEffect::Turned(_) | FleetEffect::Refused(_),
                )
                | WatchEffect::IncidentChanged(_)
                | WatchEffect::GateClosed(_)
                | WatchEffect::GateOpened(_)
                | WatchEffect::StoreNotice(_)
                | WatchEffect::RemoveNotice(_)
                | WatchEffect::NoticeChanged(_)
                | WatchEffect::TookOver
                | WatchEffect::SteppedDown
                // Carried out by the world.
                | WatchEffect::Recovery(_) => {}
            }
        }
        if given_up {
            self.drop_link(now, random);
        }
    }
}

/// What the store answers, as it is now.
pub(crate) fn answer(
    ask: Ask,
    data: &mut Data,
    refuses_writes: bool,
    wall: i64,
    asked_at: u64,
) -> Option<Told> {
    match ask {
        Ask::Load(instance, after) => {
            let hashes = data.hashes.keys().cloned().collect::<Vec<_>>();
            let standing = (!refuses_writes).then(|| data.stand(&instance, wall));
            Some(Told::Loaded(Box::new(Loaded {
                asked_at,
                standing,
                wall,
                first: after.is_none(),
                newest: data.next_event - 1,
                events: events_after(data, after.unwrap_or(u64::MAX)),
                hashes: hashes
                    .iter()
                    .flat_map(|id| inputs_of_hash(id, data, wall))
                    .collect(),
                roster: data.roster.clone().into_iter().collect(),
                incidents: records(data),
            })))
        }
        Ask::Hash(id) => {
            let inputs = inputs_of_hash(&id, data, wall);
            Some(Told::Hash(id, inputs, asked_at))
        }
        Ask::TimeToLive(id) => {
            let left = data.hashes.get(&id).map(|hash| hash.expires - wall);
            let left = left.and_then(|left| u64::try_from(left).ok());
            Some(Told::TimeToLive(id, left))
        }
        Ask::Events(after) => Some(Told::Events(events_after(data, after), true)),
        Ask::Canary(number) => Some(Told::Canary(number)),
        Ask::Store(incident) => {
            data.incidents
                .insert(incident.id.clone(), Arc::clone(&incident));
            Some(Told::Saved(incident))
        }
        Ask::Remove(id) => {
            data.incidents.remove(&id);
            Some(Told::Removed(id))
        }
        Ask::Records => Some(Told::Records(records(data))),
        Ask::Lead(instance) => Some(Told::Stands(asked_at, data.stand(&instance, wall))),
        Ask::Claim(ticket, value) => {
            let claim = data.claim(&ticket, &value);
            Some(Told::Claimed(ticket, claim))
        }
        Ask::Begin(ticket, incident) => {
            let record = Arc::clone(&incident);
            data.incidents.insert(incident.id.clone(), record);
            let hash = inputs_of_hash(&ticket.agent, data, wall);
            Some(Told::Begun(ticket, incident, true, hash))
        }
        Ask::Release(tickets) => {
            data.release(&tickets);
            None
        }
        Ask::Enlist(id, entry) => {
            data.enlist(&id, *entry);
            None
        }
        Ask::Leave(id, epoch) => {
            if data
                .roster
                .get(&id)
                .is_some_and(|entry| entry.epoch <= epoch)
            {
                data.roster.remove(&id);
            }
            None
        }
    }
}

fn records(data: &Data) -> Vec<Incident> {
    let records = data.incidents.values();
    records.map(|incident| Incident::clone(incident)).collect()
}

fn events_after(data: &Data, after: u64) -> Vec<(u64, Event)> {
    let start = data.events.partition_point(|(number, _)| *number <= after);
    data.events[start..].to_vec()
}

fn inputs_of_hash(id: &AgentId, data: &Data, wall: i64) -> Vec<FleetInput> {
    let Some(hash) = data.hashes.get(id) else {
        return Vec::new();
    };
    vec![match &hash.beat {
        Some(beat) => {
            let whole = beat.hb.as_ref().map(|hb| keys::time_to_live(hb.interval));
            let whole = whole.map_or(0, |whole| i64::try_from(whole.as_millis()).unwrap_or(0));
            let age = (whole - (hash.expires - wall)).max(0);
            let age = Duration::from_millis(age.unsigned_abs());
            FleetInput::AgedBeat(Box::new(beat.clone()), age)
        }
        None => FleetInput::Registered(
            id.clone(),
            Box::new(RosterEntry {
                life: None,
                ..hash.entry.clone()
            }),
        ),
    }]
}
