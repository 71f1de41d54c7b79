//! What it means for the records, the ladder and what is shown that this monitor leads, follows, or is on its own.

use super::recovery::Recovery;
use super::{Watch, WatchEffect, WatchInput};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::State;
use crate::fleet::election::{ElectionEffect, ElectionInput, Role};
use crate::fleet::exchange::Change;
use crate::fleet::incidents::LedgerInput;
use crate::fleet::ladder::exchange::Next;
use crate::fleet::notices::Notices;
use crate::wire::incident::Incident;
use crate::wire::life::Reason;
use std::sync::Arc;
use std::time::Duration;

/// How often a follower reads what the leader records. One that stood still writes as a leader for so long at most.
pub(super) const MIRROR_EVERY: Duration = Duration::from_secs(10);
/// How often a leader compares the records of the store with its own: another one that wakes up may have written an old one.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// What waits for the answer whether this monitor still leads: of a moment, for the store is asked at once.
#[derive(Debug, Default)]
pub(super) struct Held {
    changes: Vec<Change>,
    inputs: Vec<WatchInput>,
}

impl Watch {
    /// Whether people are notified by this monitor. One that is in doubt asks first whether it still leads.
    pub fn may_alert(&self, now: Moment) -> bool {
        self.election.records() && !self.election.is_in_doubt(now)
    }

    pub(super) fn elect(
        &mut self,
        input: ElectionInput,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        for effect in self.election.handle(input, now) {
            match effect {
                ElectionEffect::Ask => effects.push(WatchEffect::AskForLead),
                ElectionEffect::TakeOver => {
                    self.record(LedgerInput::Lead, None, now, effects);
                    self.notices = Notices::default();
                    self.mirror_at = Some(now + MIRROR_EVERY);
                    effects.push(WatchEffect::ReadRecords);
                }
                ElectionEffect::StepDown => {
                    self.recovery_ended();
                    self.held = Held::default();
                    self.record(LedgerInput::Follow, None, now, effects);
                    self.mirror_at = Some(now + MIRROR_EVERY);
                    effects.extend([WatchEffect::SteppedDown, WatchEffect::ReadRecords]);
                }
            }
        }
        if !self.election.is_in_doubt(now) {
            let Held { changes, inputs } = std::mem::take(&mut self.held);
            for change in changes {
                self.recovery_changed(&change, now, effects);
                self.record_change(change, now, effects);
            }
            for input in inputs {
                effects.append(&mut self.handle(input, now));
            }
        }
        self.show_lead();
    }

    /// Another monitor acts from now on: it goes on where this one stands.
    fn recovery_ended(&mut self) {
        let (ladder, policies) = (&self.recovery.ladder, &mut self.recovery.policies);
        self.recovery = Recovery {
            ladder: ladder.begin_again(),
            policies: std::mem::take(policies),
            ..Recovery::default()
        };
        Arc::make_mut(&mut self.shown).next.clear();
    }

    /// The input, unless it may lead to a record or an action and this monitor is in doubt: then it waits.
    pub(super) fn held_back(&mut self, input: WatchInput, now: Moment) -> Option<WatchInput> {
        let waits = match &input {
            WatchInput::IncidentsHeld(_)
            | WatchInput::NoticesHeld(_)
            | WatchInput::IncidentSaved(_)
            | WatchInput::IncidentRemoved(_)
            | WatchInput::Paged(..)
            | WatchInput::Notified(..)
            | WatchInput::Recovery(_) => self.election.is_in_doubt(now),
            WatchInput::Fleet(_)
            | WatchInput::CanaryBack(_)
            | WatchInput::Answered(_)
            | WatchInput::Stands(..)
            | WatchInput::LeadRefused(_)
            | WatchInput::Notices(_)
            | WatchInput::Incidents(_) => false,
        };
        if waits {
            self.held.inputs.push(input);
            return None;
        }
        Some(input)
    }

    /// The same for a change of an agent.
    pub(super) fn held_back_change(&mut self, change: Change, now: Moment) -> Option<Change> {
        if self.election.is_in_doubt(now) {
            self.held.changes.push(change);
            return None;
        }
        Some(change)
    }

    /// The records that the store holds.
    pub(super) fn incidents_read(
        &mut self,
        records: Vec<Incident>,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let is_again = self.fleet.is_link_up() && self.ledger.is_restored();
        let known = self.ledger.view().of_agent;
        self.record(LedgerInput::Restored(records), None, now, effects);
        if !self.election.records() {
            return self.show_next_of_leader(now);
        }
        if is_again && self.ledger.view().of_agent == known {
            return;
        }
        self.settle_restored(now, effects);
        if self.fleet.is_link_up() {
            self.take_over(now, effects);
        }
    }

    /// The store holds so many records: what it lost is written again. What another monitor wrote that led beside this one, as
    /// after a freeze of its machine, is read, and is in the hands of this one from then on.
    pub(super) fn incidents_counted(
        &mut self,
        held: usize,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let known = self.ledger.records();
        if held < known {
            self.record(LedgerInput::Lost, None, now, effects);
            self.pause_read(None, now, effects);
            self.silences_read(Vec::new(), effects);
        }
        let unknown = held.saturating_sub(known);
        if unknown > self.not_understood {
            self.mirror_at = Some(now + MIRROR_EVERY);
            effects.push(WatchEffect::ReadRecords);
        }
        self.not_understood = unknown;
    }

    /// The records are read again when they are due. A leader does so the first time when another one may have written what it
    /// learnt of too late.
    pub(super) fn read_again(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        if self.mirror_at.is_some_and(|at| at <= now) {
            let every = match self.election.records() {
                true => COMPARE_EVERY,
                false => MIRROR_EVERY,
            };
            self.mirror_at = Some(now + every);
            effects.extend(self.fleet.is_link_up().then_some(WatchEffect::ReadRecords));
        }
    }

    /// What the leader of before left: its records are known, and what it did not record any more is recorded.
    fn take_over(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        self.record_unrecorded(now, effects);
        self.recovery_restored(now, effects);
        self.attend_all(now, effects);
        effects.push(WatchEffect::TookOver);
    }

    /// Each agent that has failed gets an incident, if this monitor records.
    pub(super) fn record_unrecorded(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        if self.election.records() {
            for change in self.unrecorded(now) {
                self.record_change(change, now, effects);
            }
        }
    }

    /// Agents that have failed and have no incident.
    fn unrecorded(&self, now: Moment) -> Vec<Change> {
        let view = self.fleet.view();
        let fails = |state: State, reason: Option<Reason>| match state {
            State::Failed => true,
            State::Healthy => reason == Some(Reason::Duplicate),
            State::Missing | State::Stopped => false,
        };
        let all = view.agents.iter();
        let all = all.filter(|(_, agent)| fails(agent.state, agent.reason));
        let all = all.filter(|(id, _)| self.ledger.incident_of(id).is_none());
        all.map(|(id, agent)| agent.change(id.clone(), None, None, now))
            .collect()
    }

    /// What comes next for each agent, as the leader wrote it.
    fn show_next_of_leader(&mut self, now: Moment) {
        let wall_ms = self.store_wall(now);
        let shown = Arc::make_mut(&mut self.shown);
        shown.next.clear();
        for incident in shown.incidents.open.values() {
            let Some(next) = &incident.next else { continue };
            let wait = next.at.saturating_sub(wall_ms);
            let at = (wait > 0).then(|| now + Duration::from_millis(wait));
            for agent in &incident.agents {
                let what = next.what.clone();
                let agent: AgentId = agent.clone();
                let by_itself = at.is_some();
                let next = Next {
                    what,
                    at,
                    by_itself,
                };
                shown.next.insert(agent, next);
            }
        }
    }

    fn show_lead(&mut self) {
        let (leads, leader) = match self.election.role() {
            Role::Alone => (false, None),
            Role::Leads { leader, .. } => (true, Some(leader)),
            Role::Follows(leader) => (false, Some(leader)),
        };
        if self.shown.leads != leads || self.shown.leader.as_ref() != leader {
            let leader = leader.cloned();
            let shown = Arc::make_mut(&mut self.shown);
            (shown.leads, shown.leader) = (leads, leader);
        }
    }
}
