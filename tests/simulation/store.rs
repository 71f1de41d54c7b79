//! The store: what hb keeps in Redis, with hb's scripts, expiry by its own wall clock, and what can go wrong with it.

use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::{Claim, Ticket};
use heartbeat::wire::beat::Beat;
use heartbeat::wire::event::Event;
use heartbeat::wire::incident::{Incident, IncidentId};
use heartbeat::wire::leader::{LEAD_LASTS, Leader, Standing};
use heartbeat::wire::roster::RosterEntry;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The hash of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Hash {
    pub(crate) epoch: u64,
    pub(crate) instance: u64,
    pub(crate) entry: RosterEntry,
    pub(crate) beat: Option<Beat>,
    /// On the store's wall clock.
    pub(crate) expires: i64,
}

/// One write of a sidecar.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Register(Box<Registration>),
    /// The exclusive lease is renewed: instance, epoch, for how long.
    Renew(u64, u64, u64),
    /// It is given up.
    Release(u64),
    Event(Box<Event>),
    Roster(Box<RosterEntry>),
    Beat(Box<Beat>),
}

/// The wish for an id.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) instance: u64,
    /// The id is taken from a living holder.
    pub(crate) takes_over: bool,
    /// Whose lease may be broken.
    pub(crate) breaks: Option<u64>,
    /// How long an exclusive lease lasts; 0: it is not exclusive.
    pub(crate) lasts: u64,
    pub(crate) entry: RosterEntry,
}

/// The answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(u64),
    Held,
    /// The holder is fenced; its exclusive lease lasts.
    Waits,
    Fenced,
    Done,
    /// The exclusive lease lasts on.
    Renewed,
    /// Refused: read-only or out of memory. A beat was published all the same.
    Refused,
}

/// What a failover or a backup may lose: everything that is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) hashes: BTreeMap<AgentId, Hash>,
    pub(crate) counters: BTreeMap<AgentId, u64>,
    /// Exclusive leases: the holder, and until when on the store's clock.
    pub(crate) leases: BTreeMap<AgentId, (u64, i64)>,
    pub(crate) roster: BTreeMap<AgentId, RosterEntry>,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) incidents: BTreeMap<IncidentId, Arc<Incident>>,
    /// By ticket: whose it is.
    pub(crate) intents: BTreeMap<Ticket, String>,
    /// The monitor that leads, and until when on the store's clock.
    pub(crate) leader: Option<(Leader, i64)>,
    pub(crate) fence: u64,
    pub(crate) next_event: u64,
}

pub(crate) struct Store {
    pub(crate) data: Data,
    /// Data as it was: what a replica has, or a backup.
    pub(crate) copy: Option<Data>,
    /// Added to the true time: the store's wall clock.
    pub(crate) clock_shift: i64,
    pub(crate) is_up: bool,
    /// Nothing is carried out before this.
    pub(crate) busy_until: u64,
    /// Added to each command.
    pub(crate) latency: u64,
    pub(crate) refuses_writes: bool,
    /// Hashes are evicted as soon as they are written.
    pub(crate) evicts: bool,
}

impl Data {
    /// As the script `roster.lua`.
    pub(crate) fn enlist(&mut self, id: &AgentId, entry: RosterEntry) {
        let known = self.roster.get(id).map_or(0, |known| known.epoch);
        if known <= entry.epoch {
            self.roster.insert(id.clone(), entry);
        }
    }

    /// As the script `leader.lua`.
    pub(crate) fn stand(&mut self, instance: &str, wall: i64) -> Standing {
        let lasts = i64::try_from(LEAD_LASTS.as_millis()).unwrap_or(i64::MAX);
        if let Some((leader, until)) = self.leader.as_mut().filter(|(_, until)| *until > wall) {
            if leader.instance != instance {
                *until = (*until).min(wall + lasts);
                return Standing::Follows(leader.clone());
            }
            *until = wall + lasts;
            return Standing::Leads(leader.clone());
        }
        self.fence = self.fence.max(wall.unsigned_abs()) + 1;
        let leader = Leader {
            instance: instance.to_owned(),
            since: wall.unsigned_abs(),
            fence: self.fence,
        };
        self.leader = Some((leader.clone(), wall + lasts));
        Standing::Leads(leader)
    }

    /// An intent is written unless there is one.
    pub(crate) fn claim(&mut self, ticket: &Ticket, value: &str) -> Claim {
        // The key names no incarnation.
        let key = Ticket {
            incarnation: 0,
            ..ticket.clone()
        };
        let held = self.intents.entry(key).or_insert_with(|| value.to_owned());
        if held == value {
            Claim::Granted
        } else {
            Claim::Taken
        }
    }

    pub(crate) fn release(&mut self, tickets: &[Ticket]) {
        self.intents.retain(|key, _| {
            !tickets
                .iter()
                .any(|one| (&one.agent, one.epoch, one.rung) == (&key.agent, key.epoch, key.rung))
        });
    }
}

/// Where the true time stands on wall clocks.
pub(crate) const EPOCH_MS: u64 = 1_764_000_000_000;

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            data: Data {
                next_event: 1,
                ..Data::default()
            },
            copy: None,
            clock_shift: 0,
            is_up: true,
            busy_until: 0,
            latency: 0,
            refuses_writes: false,
            evicts: false,
        }
    }

    pub(crate) fn wall(&self, now: u64) -> i64 {
        i64::try_from(EPOCH_MS + now).unwrap_or(i64::MAX) + self.clock_shift
    }

    pub(crate) fn expire(&mut self, now: u64) {
        let wall = self.wall(now);
        self.data.hashes.retain(|_, hash| hash.expires > wall);
    }

    /// Carries a write out; a beat that is to be published is returned.
    pub(crate) fn write(&mut self, id: &AgentId, write: Write, now: u64) -> (Answer, Option<Beat>) {
        self.expire(now);
        if self.refuses_writes {
            return match write {
                Write::Beat(beat) => (Answer::Refused, Some(*beat)),
                Write::Register(_)
                | Write::Event(_)
                | Write::Roster(_)
                | Write::Renew(..)
                | Write::Release(_) => (Answer::Refused, None),
            };
        }
        let wall = self.wall(now);
        let answer = match write {
            Write::Register(registration) => self.register(id, *registration, wall),
            Write::Renew(instance, epoch, lasts) => self.renew(id, instance, epoch, lasts, wall),
            Write::Release(instance) => {
                let held = self.data.leases.get(id);
                if held.is_some_and(|(holder, _)| *holder == instance) {
                    self.data.leases.remove(id);
                }
                Answer::Done
            }
            Write::Event(event) => {
                let number = self.data.next_event;
                self.data.next_event += 1;
                self.data.events.push((number, *event));
                Answer::Done
            }
            Write::Roster(entry) => {
                self.data.enlist(id, *entry);
                Answer::Done
            }
            Write::Beat(beat) => return self.beat(id, *beat, wall),
        };
        (answer, None)
    }

    /// As the script `register.lua`.
    fn register(&mut self, id: &AgentId, wanted: Registration, wall: i64) -> Answer {
        let Registration {
            instance,
            takes_over,
            breaks,
            lasts,
            entry,
        } = wanted;
        let is_foreign = |holder: u64| holder != instance && breaks != Some(holder);
        let lease = self.data.leases.get(id).filter(|(_, until)| *until > wall);
        let leased = lease.is_some_and(|(holder, _)| is_foreign(*holder));
        let is_kept = leased && (!takes_over || lasts > 0);
        let known = self.data.hashes.get(id);
        let interval = i64::try_from(entry.interval_ms).unwrap_or(i64::MAX);
        let slack = (interval / 6).max(100);
        let is_alive = |hash: &Hash| {
            is_foreign(hash.instance) && hash.expires - wall > interval - slack && !takes_over
        };
        if (is_kept && !takes_over) || known.is_some_and(is_alive) {
            return Answer::Held;
        }
        let counter = self.data.counters.get(id).copied().unwrap_or(0);
        let epoch = known
            .map_or(0, |hash| hash.epoch)
            .max(counter)
            .max(entry.epoch)
            .max(wall.unsigned_abs())
            + 1;
        self.data.counters.insert(id.clone(), epoch);
        if is_kept {
            return Answer::Waits;
        }
        self.data.leases.remove(id);
        if lasts > 0 {
            self.lease(id, instance, lasts, wall);
        }
        let hash = Hash {
            epoch,
            instance,
            entry: RosterEntry { epoch, ..entry },
            beat: None,
            expires: wall + 4 * interval,
        };
        self.data.hashes.insert(id.clone(), hash);
        self.evict();
        Answer::Granted(epoch)
    }

    /// As the script `lease.lua`.
    fn renew(&mut self, id: &AgentId, instance: u64, epoch: u64, lasts: u64, wall: i64) -> Answer {
        let lease = self.data.leases.get(id).filter(|(_, until)| *until > wall);
        let is_foreign = lease.is_some_and(|(holder, _)| *holder != instance);
        let counter = self.data.counters.get(id).copied().unwrap_or(0);
        let hash = self.data.hashes.get(id).map_or(0, |hash| hash.epoch);
        if is_foreign || counter.max(hash) > epoch {
            return Answer::Fenced;
        }
        self.lease(id, instance, lasts, wall);
        Answer::Renewed
    }

    fn lease(&mut self, id: &AgentId, instance: u64, lasts: u64, wall: i64) {
        let until = wall + i64::try_from(lasts).unwrap_or(i64::MAX);
        self.data.leases.insert(id.clone(), (instance, until));
    }

    fn beat(&mut self, id: &AgentId, beat: Beat, wall: i64) -> (Answer, Option<Beat>) {
        let epoch = beat.epoch();
        let hash = self.data.hashes.get(id);
        let counter = self.data.counters.get(id).copied().unwrap_or(0);
        if hash.map_or(0, |hash| hash.epoch).max(counter) > epoch {
            return (Answer::Fenced, None);
        }
        self.data.counters.insert(id.clone(), epoch);
        let (instance, interval) = beat.hb.as_ref().map_or((0, 30_000), |hb| {
            let interval = i64::try_from(hb.interval.as_millis()).unwrap_or(i64::MAX);
            (hb.instance.parse().unwrap_or(0), interval)
        });
        let entry = hash.map(|hash| hash.entry.clone());
        let hash = Hash {
            epoch,
            instance,
            entry: entry.unwrap_or_else(|| entry_of(&beat)),
            beat: Some(beat.clone()),
            expires: wall + 4 * interval,
        };
        self.data.hashes.insert(id.clone(), hash);
        self.evict();
        (Answer::Done, Some(beat))
    }

    fn evict(&mut self) {
        if self.evicts {
            self.data.hashes.clear();
        }
    }
}

fn entry_of(beat: &Beat) -> RosterEntry {
    let hb = beat.hb.as_ref();
    RosterEntry {
        agent_type: beat.agent_type.clone(),
        host: hb.map_or_else(String::new, |hb| hb.host.clone()),
        interval_ms: hb.map_or(30_000, |hb| hb.interval.as_millis() as u64),
        epoch: beat.epoch(),
        started_at: 0,
        runtime: None,
        hb_version: None,
        stopped_at: None,
        life: None,
    }
}
