//! What is reported of the agent's process: one value, made anew from what the hub knows, numbered when it changes.

use super::Hub;
use crate::clock;
use crate::config::Work;
use heartbeat::base::moment::millis;
use heartbeat::supervise::lifecycle::Outlook;
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::life::{End, Life, NextStart, Phase, Reason, Standing};
use heartbeat::wire::roster::RosterEntry;

/// What the lifecycle does not know of the agent's process.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The last report.
    pub(super) life: Life,
    /// The store, or its queue, has the registration.
    pub(super) registered: bool,
    /// How the last incarnation ended.
    pub(super) end: Option<End>,
    /// The incarnation that runs, or was tried last.
    pub(super) incarnation: u64,
    /// What is wrong with the process that is there.
    pub(super) trouble: Option<Reason>,
    /// It is being restarted because it does not work any more.
    pub(super) condemned: bool,
    /// The sidecar leaves it.
    pub(super) detached: bool,
}

impl Hub {
    /// Brings the report up to date; true when it changed. The roster gets it, so that it outlives hash and stream.
    pub(super) fn report_life(&mut self) -> bool {
        let known = &self.facts.life;
        let life = Life {
            step: known.step,
            since: known.since,
            ..self.life_now()
        };
        if life == *known && known.step > 0 {
            return false;
        }
        self.facts.life = Life {
            step: known.step + 1,
            since: clock::wall_ms(),
            ..life
        };
        self.outbox.offer_roster_entry(self.entry());
        true
    }

    /// Reports the registration, once for each epoch, when there is something to say of the agent.
    pub(super) fn report_registration(&mut self) {
        self.facts.registered = true;
        self.report_life();
        let registration = Some(Box::new(self.entry()));
        self.report_event(
            EventKind::Registered,
            Detail {
                registration,
                ..Detail::default()
            },
        );
    }

    /// What the roster holds of this agent; the epoch is the store's to grant.
    pub(super) fn entry(&self) -> RosterEntry {
        let life = self.facts.life.clone();
        let over = match life.phase {
            Phase::Suspended | Phase::Detached | Phase::Ended => life.standing() == Standing::Off,
            Phase::Running | Phase::Stopping | Phase::Restarting | Phase::Waiting => false,
        };
        RosterEntry {
            stopped_at: over.then_some(life.since),
            life: Some(life),
            ..self.about.entry.clone()
        }
    }

    fn life_now(&self) -> Life {
        let facts = &self.facts;
        let outlook = self.life.outlook();
        let unkillable = facts.trouble == Some(Reason::Unkillable);
        let phase = if facts.detached {
            Phase::Detached
        } else if self.suspension.is_some() {
            Phase::Suspended
        } else if self.body.process().is_some() || unkillable {
            match outlook {
                Outlook::Ends if !unkillable => Phase::Stopping,
                Outlook::Ends | Outlook::Continues | Outlook::Restarts(_) => Phase::Running,
            }
        } else {
            match outlook {
                Outlook::Ends => Phase::Ended,
                Outlook::Continues | Outlook::Restarts(_) if self.starts_agents() => {
                    Phase::Restarting
                }
                Outlook::Continues | Outlook::Restarts(_) => Phase::Waiting,
            }
        };
        Life {
            phase,
            incarnation: facts.incarnation,
            end: facts.end.clone(),
            trouble: facts.trouble,
            restart: match (phase, outlook) {
                (Phase::Restarting, Outlook::Restarts(delay)) => Some(NextStart {
                    in_ms: millis(delay),
                    attempt: self.life.attempt(),
                }),
                _ => None,
            },
            waits_for: (phase == Phase::Waiting)
                .then(|| self.waits_for())
                .flatten(),
            ..Life::default()
        }
    }

    fn waits_for(&self) -> Option<String> {
        match &self.config.work {
            Work::Match(pattern) => {
                let pattern = heartbeat::wire::beat::cut(pattern.as_str().to_owned(), 80);
                Some(format!("a process that matches {pattern}"))
            }
            Work::Supervise(_) | Work::Transparent(_) | Work::Pid(_) => None,
        }
    }
}
