//! What the store gets: beats on their timetable, events, the roster entry. One of the hub's three owners.
//!
//! It takes values (a reading of the agent, the facts of its process) and does not read the other owners.

use crate::clock;
use crate::config::{Config, Work};
use crate::contract::Health;
use crate::outbox::{Outbox, Registration};
use crate::process::instance::Instance;
use heartbeat::base::duration::format_duration;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::supervise::life_report::{Facts, LifeReport};
use heartbeat::supervise::slots::SlotClock;
use heartbeat::wire::beat::{
    Activity, Beat, Exit, Extension, Metrics, OrderOutcome, Runtime, Status, cut,
};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::life::Standing;
use heartbeat::wire::roster::RosterEntry;
use std::time::Duration;

/// The longest agent type that is sent, in characters.
const TYPE_CHARS_MAX: usize = 64;
/// The longest command name in an event, in characters.
const COMMAND_CHARS_MAX: usize = 64;

/// The agent at one moment, for a beat.
pub(super) struct Reading {
    pub(super) pid: Option<i32>,
    pub(super) started_ms: u64,
    pub(super) incarnation: u64,
    pub(super) last_exit: Option<Exit>,
    pub(super) metrics: Metrics,
    /// What the metrics amount to.
    pub(super) load: Status,
    pub(super) task: Option<String>,
    pub(super) progress: Option<f64>,
    /// `STATUS=` of sd_notify.
    pub(super) status_text: Option<String>,
    /// Start-up is over.
    pub(super) ready: bool,
    pub(super) activity: Option<Activity>,
}

pub(super) struct Publisher {
    pub(super) outbox: Outbox,
    pub(super) slots: SlotClock,
    /// What became of the last order.
    pub(super) order_outcome: Option<OrderOutcome>,
    /// The epoch that the store granted.
    pub(super) epoch: Option<u64>,
    /// Another sidecar holds the id.
    pub(super) fenced: bool,
    /// The store was unreachable since the start.
    pub(super) never_reached: bool,
    /// The store, or its queue, has the registration.
    pub(super) registered: bool,
    life: LifeReport,
    sequence: u64,
    about: About,
}

/// What seldom changes.
struct About {
    agent: AgentId,
    host: String,
    interval: Duration,
    runtime: Runtime,
    instance: String,
    command: String,
    entry: RosterEntry,
}

impl Publisher {
    /// Opens the way to the store; nothing is sent before the registration. `instance` names this sidecar process.
    pub(super) fn open(
        config: &Config,
        instance: &Instance,
        runtime: Runtime,
        left_here: Option<String>,
    ) -> Self {
        let started_ms = clock::wall_ms();
        let about = About {
            agent: config.id.clone(),
            host: config.host.clone(),
            interval: config.interval,
            entry: RosterEntry {
                agent_type: cut(config.agent_type.clone(), TYPE_CHARS_MAX),
                host: config.host.clone(),
                interval_ms: millis(config.interval),
                epoch: 0,
                started_at: started_ms,
                runtime: Some(runtime.clone()),
                hb_version: env!("CARGO_PKG_VERSION").parse().ok(),
                stopped_at: None,
                life: None,
            },
            runtime,
            instance: instance.id.clone(),
            command: config.work.name(),
        };
        let registration = Registration {
            id: config.id.clone(),
            entry: about.entry.clone(),
            registered_ms: started_ms,
            instance: about.instance.clone(),
            holder: instance.holder.clone(),
            takeover: config.takeover,
            exclusive: config.terms(),
            left_here,
        };
        Self {
            outbox: Outbox::open(config.store.clone(), registration),
            slots: SlotClock::new(clock::now(), config.interval),
            order_outcome: None,
            epoch: None,
            fenced: false,
            never_reached: false,
            registered: false,
            life: LifeReport::default(),
            sequence: 0,
            about,
        }
    }

    /// What the agent runs in.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.about.runtime
    }

    /// The agent was found in this.
    pub(super) fn set_runtime(&mut self, runtime: Runtime) {
        self.about.entry.runtime = Some(runtime.clone());
        self.about.runtime = runtime;
    }

    /// Whether beats are accepted by the store.
    pub(super) fn is_connected(&self) -> bool {
        self.epoch.is_some() && !self.fenced
    }

    /// The epoch for a beat. One without the id beats too: that its agent lives beside the holder's must be seen.
    pub(super) fn beat_epoch(&self) -> Option<u64> {
        self.epoch.or(self.fenced.then_some(0))
    }

    /// The sequence number of the next beat.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// The last beat that the store has.
    pub(super) fn stored_sequence(&self) -> Option<u64> {
        self.outbox.stored.borrow().map(|stored| stored.sequence)
    }

    /// The store granted an epoch; true when it replaces an earlier one and the id is this agent's again.
    pub(super) fn connected(&mut self, epoch: u64) -> bool {
        let before = self.epoch.replace(epoch);
        self.never_reached = false;
        self.fenced = false;
        self.registered && before.is_some_and(|before| before != epoch)
    }

    /// Brings the report of the process up to date; true when it changed. The roster gets it too: it outlives hash and stream.
    pub(super) fn report_life(&mut self, facts: Facts) -> bool {
        let changed = self.life.update(facts, clock::wall_ms());
        if changed {
            self.outbox.offer_roster_entry(self.entry());
        }
        changed
    }

    /// The roster entry; the store grants its epoch.
    pub(super) fn entry(&self) -> RosterEntry {
        RosterEntry {
            stopped_at: self.life.stopped_at(),
            life: Some(self.life.life().clone()),
            ..self.about.entry.clone()
        }
    }

    /// What the roster of this registration is to hold in the end.
    pub(super) fn last_entry(&self) -> RosterEntry {
        RosterEntry {
            epoch: self.epoch.unwrap_or(0),
            ..self.entry()
        }
    }

    /// Queues an event. Those about the process carry its report.
    pub(super) fn event(&mut self, kind: EventKind, detail: Detail) {
        let life = match kind {
            EventKind::Registered
            | EventKind::Ready
            | EventKind::Exited
            | EventKind::Restarted
            | EventKind::Stopped
            | EventKind::CrashLoop
            | EventKind::Unkillable => Some(Box::new(self.life.life().clone())),
            EventKind::Hung
            | EventKind::Stalled
            | EventKind::Recovered
            | EventKind::Fenced
            | EventKind::Order
            | EventKind::Duplicate
            | EventKind::Evidence
            | EventKind::WaitingInput
            | EventKind::Unknown => None,
        };
        self.outbox.queue_event(Event {
            kind,
            agent: self.about.agent.clone(),
            epoch: self.epoch.unwrap_or(0),
            at_ms: clock::wall_ms(),
            detail: Detail {
                host: Some(self.about.host.clone()),
                command: Some(cut(self.about.command.clone(), COMMAND_CHARS_MAX)),
                life,
                ..detail
            },
        });
    }

    /// Publishes a beat. `status` is what the beat reports unless the load or the process requires another; `last` marks the
    /// sidecar's last beat.
    pub(super) fn beat(&mut self, epoch: u64, reading: Reading, status: Status, last: bool) {
        let life = self.life.life().clone();
        self.sequence += 1;
        let no_process = reading.pid.is_none();
        let beat = Beat {
            agent: self.about.agent.clone(),
            agent_type: self.about.entry.agent_type.clone(),
            timestamp_ms: clock::wall_ms(),
            sequence: self.sequence,
            status: match (status, life.standing()) {
                (Status::Healthy, Standing::Off) => Status::Stopped,
                (Status::Healthy, _) if no_process => Status::Recovering,
                (Status::Healthy, _) => reading.load,
                (status, _) => status,
            },
            metrics: reading.metrics,
            // In a last beat: what it was working on when it ended.
            current_task: reading.task,
            task_progress: reading.progress,
            hb: Some(Extension {
                interval: self.about.interval,
                epoch,
                slot: self.slots.last(),
                slot_age: self.slots.age(clock::now()),
                instance: self.about.instance.clone(),
                host: self.about.host.clone(),
                pid: reading
                    .pid
                    .and_then(|pid| u32::try_from(pid).ok())
                    .unwrap_or(0),
                started_at_ms: reading.started_ms,
                restarts: reading.incarnation,
                ready: reading.ready,
                status_text: reading.status_text,
                activity: reading.activity,
                runtime: Some(self.about.runtime.clone()),
                exit: reading.last_exit.filter(|_| no_process),
                life: Some(life),
                order: self.order_outcome.clone(),
                store_refuses: false, // the session with the store knows
                fenced: self.fenced,
            }),
        };
        self.outbox.offer(beat, last);
    }

    /// Whether beats reach the store, for health checks.
    pub(super) fn health(&self, now: Moment) -> Health {
        let stored = *self.outbox.stored.borrow();
        match stored {
            _ if self.fenced => Health::NotBeating("another sidecar has the id".to_owned()),
            None => Health::NotBeating("no beat is stored yet".to_owned()),
            Some(stored) => {
                let ago = now.since(stored.at);
                if ago > self.about.interval * 2 {
                    Health::NotBeating(format!("no beat was stored for {}", format_duration(ago)))
                } else {
                    Health::Beating
                }
            }
        }
    }
}

impl Work {
    /// Whether the sidecar starts the agent itself.
    pub(super) fn starts_agents(&self) -> bool {
        matches!(self, Self::Supervise(_))
    }
}
