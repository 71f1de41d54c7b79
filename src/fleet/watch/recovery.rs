//! Recovery: what happens to the fleet becomes inputs of the ladder, and its effects become records, claims and deeds.

use super::facts::{facts_of, is_working, runtime_of};
use super::quiet::is_silenced;
use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::agent::State;
use crate::fleet::exchange::Change;
use crate::fleet::incidents::LedgerInput;
use crate::fleet::ladder::Ladder;
use crate::fleet::ladder::exchange::{
    Claim, Facts, LadderEffect, LadderInput, Next, Performed, Ticket,
};
use crate::fleet::ladder::policy::{Policies, Severity};
use crate::fleet::ladder::rung::{Rung, VerifyTimes};
use crate::fleet::recovery::{Deed, Page, RecoveryEffect};
use crate::fleet::view::type_of;
use crate::wire::beat::view::BeatView;
use crate::wire::order::{Action, Order};
use crate::wire::pause::Pause;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A failure waits so long for its first rung: a cause that many have in common shows meanwhile, and closes a gate.
const COMMON_CAUSE: Duration = Duration::from_secs(2);
/// A rung that is held back by a gate after its claim is tried again after this time.
const GATED_AGAIN: Duration = Duration::from_secs(5);
/// What is older counts in no budget.
const SPENT_WITHIN: Duration = Duration::from_secs(6 * 3600);

/// The ladder, and what is under way between it and the store.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    pub(super) ladder: Ladder,
    pub(super) policies: Policies,
    /// Agents whose incident has just opened, and from when it is climbed for.
    pub(super) opening: VecDeque<(Moment, AgentId)>,
    /// Rungs whose incident is being written, and whether they are to be performed then.
    pub(super) unwritten: BTreeMap<Ticket, bool>,
    /// Orders that a rung gave and that are not answered.
    pub(super) orders: BTreeMap<String, Ticket>,
    /// All actions are paused.
    pub(super) pause: Option<Pause>,
    /// The rungs that the store held at the start are counted.
    pub(super) is_read: bool,
}

impl Recovery {
    /// When something is due, and why.
    pub(super) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let opening = self.opening.front();
        let opening = opening.map(|(at, _)| (*at, "a failure is climbed for"));
        let both = [opening, self.ladder.deadline()];
        both.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Watch {
    /// With these policies and these times for a rung to show its effect.
    pub fn recovering(mut self, policies: Policies, times: VerifyTimes) -> Self {
        self.recovery.policies = policies;
        self.recovery.ladder = Ladder::new(times);
        self
    }

    /// The agent has an incident now.
    pub(super) fn incident_joined(&mut self, agent: AgentId, now: Moment) {
        let at = now + COMMON_CAUSE;
        if self
            .facts(&agent, now)
            .is_some_and(|facts| facts.gate.is_none())
        {
            let what = "hb waits whether other agents fail with it, then it acts".to_owned();
            self.show_next(&agent, Some(Next::by_itself(what, Some(at))));
        }
        self.recovery.opening.push_back((at, agent));
    }

    /// The agent has no incident any more. Its intents are removed before the record says so.
    pub(super) fn incident_resolved(
        &mut self,
        agent: &AgentId,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let known = self.fleet.agent(agent);
        if known.is_some_and(is_working) {
            self.climb(LadderInput::Progressed(agent.clone()), now, effects);
        }
        self.climb(LadderInput::Closed(agent.clone()), now, effects);
        self.recovery
            .unwritten
            .retain(|ticket, _| ticket.agent != *agent);
        self.recovery
            .orders
            .retain(|_, ticket| ticket.agent != *agent);
        self.show_next(agent, None);
    }

    /// What the store holds has been read: rungs of before count in the budgets, and open incidents are climbed for.
    pub(super) fn recovery_restored(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        if !self.election.records() {
            return; // its leader climbs
        }
        let wall = self.store_wall(now);
        let all: Vec<AgentId> = self.ledger.agents().cloned().collect();
        let is_first = !std::mem::replace(&mut self.recovery.is_read, true);
        for (agent, rung, started) in self.ledger.spent().into_iter().filter(|_| is_first) {
            let age = Duration::from_millis(wall.saturating_sub(started));
            if age < SPENT_WITHIN {
                let spent = LadderInput::Spent(agent, rung, now - age);
                self.climb(spent, now, effects);
            }
        }
        for agent in all {
            let waits = self
                .recovery
                .opening
                .iter()
                .any(|(_, other)| *other == agent);
            if !waits && !self.recovery.ladder.has(&agent) {
                self.incident_joined(agent, now);
            }
        }
    }

    /// A state changed.
    pub(super) fn recovery_changed(
        &mut self,
        change: &Change,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let agent = change.agent.clone();
        if !self.recovery.ladder.has(&agent) {
            return;
        }
        match (change.to, change.reason) {
            (State::Healthy, None) => self.climb(LadderInput::Beat(agent), now, effects),
            (State::Failed, _) => self.climb(LadderInput::FailedAgain(agent), now, effects),
            (State::Healthy, Some(_)) | (State::Missing | State::Stopped, _) => {}
        }
    }

    /// A beat may bring what became of an order.
    pub(super) fn recovery_beat(
        &mut self,
        beat: &BeatView<'_>,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        if self.recovery.orders.is_empty() {
            return;
        }
        let Some(outcome) = beat.hb.as_ref().and_then(|hb| hb.order) else {
            return;
        };
        let Some(ticket) = self.recovery.orders.remove(&outcome.id) else {
            return;
        };
        let detail = outcome.detail.clone();
        let answer = match outcome.outcome.as_str() {
            "refused" | "failed" => Performed::Failed(format!("its sidecar: {detail}")),
            _ => Performed::Done(detail),
        };
        self.climb(LadderInput::Performed(ticket, answer), now, effects);
    }

    pub(super) fn recovery_tick(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        while let Some((at, _)) = self.recovery.opening.front() {
            if *at > now {
                break;
            }
            let Some((_, agent)) = self.recovery.opening.pop_front() else {
                break;
            };
            self.open_climb(agent, now, effects);
        }
        self.climb(LadderInput::Tick, now, effects);
    }

    /// The store has the incident with this rung, or refused it.
    pub(super) fn begun(
        &mut self,
        ticket: Ticket,
        is_stored: bool,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let wanted = self.recovery.unwritten.remove(&ticket) == Some(true);
        if !wanted || !self.recovery.ladder.is_performing(&ticket) {
            return;
        }
        if is_stored {
            return self.perform(ticket, now, effects);
        }
        let why = "the store did not take the incident, so nothing was done";
        let failed = LadderInput::Performed(ticket, Performed::Failed(why.to_owned()));
        self.climb(failed, now, effects);
    }

    /// Gives the ladder one input and carries its effects out as far as they concern the machines here.
    pub(super) fn climb(
        &mut self,
        input: LadderInput,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let wall_ms = self.store_wall(now);
        let (fleet, gates, silences) = (&self.fleet, &self.gates, &self.shown.silences);
        let facts = |agent: &AgentId| {
            let is_silenced = is_silenced(fleet, silences, agent, wall_ms);
            facts_of(fleet, gates, is_silenced, agent, now)
        };
        for effect in self.recovery.ladder.handle(input, &facts, now) {
            self.climbed(effect, now, effects);
        }
    }

    fn show_next(&mut self, agent: &AgentId, next: Option<Next>) {
        let acting = self.recovery.ladder.acting();
        let shown = Arc::make_mut(&mut self.shown);
        shown.acting = acting;
        match next {
            Some(next) => drop(shown.next.insert(agent.clone(), next)),
            None => drop(shown.next.remove(agent)),
        }
    }

    /// What is known of an agent that recovery could act upon.
    pub(super) fn facts(&self, agent: &AgentId, now: Moment) -> Option<Facts> {
        facts_of(
            &self.fleet,
            &self.gates,
            self.is_silenced(agent, now),
            agent,
            now,
        )
    }

    pub(super) fn open_climb(
        &mut self,
        agent: AgentId,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        if self.ledger.incident_of(&agent).is_none() || self.recovery.ladder.has(&agent) {
            return;
        }
        // One that is not in the fleet comes with its roster entry or its beat, or leaves.
        let Some(known) = self.fleet.agent(&agent) else {
            return self.incident_joined(agent, now);
        };
        let host = known.host().unwrap_or_default();
        let policy = self
            .recovery
            .policies
            .of(agent.as_str(), type_of(known), host);
        let opened = LadderInput::Opened {
            policy: Box::new(policy.clone()),
            climbed: self.ledger.climbed(&agent),
            agent,
        };
        self.climb(opened, now, effects);
    }

    fn climbed(&mut self, effect: LadderEffect, now: Moment, effects: &mut Vec<WatchEffect>) {
        match effect {
            LadderEffect::Claim(ticket) => self.claim(ticket, now, effects),
            LadderEffect::Began(ticket) => self.begin(ticket, now, effects),
            LadderEffect::Perform(ticket) => match self.recovery.unwritten.get_mut(&ticket) {
                Some(is_wanted) => *is_wanted = true,
                None => self.perform(ticket, now, effects),
            },
            LadderEffect::Ended(ticket, outcome, detail) => {
                self.recovery.unwritten.remove(&ticket);
                self.recovery.orders.retain(|_, other| *other != ticket);
                let ended = LedgerInput::RungEnded(ticket, outcome, detail);
                self.record(ended, None, now, effects);
            }
            LadderEffect::Release(tickets) => {
                effects.push(WatchEffect::Recovery(RecoveryEffect::Release(tickets)));
            }
            LadderEffect::Next(agent, next) => {
                let in_future = next.at.map_or(0, |at| millis(at.since(now)));
                let at = self.store_wall(now) + in_future;
                let what = next.what.clone();
                self.show_next(&agent, Some(next));
                self.record(LedgerInput::Next(agent, what, at), None, now, effects);
            }
            LadderEffect::Page(agent, why) => {
                let policy = self.recovery.ladder.policy(&agent);
                let severity = policy.map_or_else(Severity::default, |policy| policy.severity);
                if let Some(incident) = self.ledger.incident_of(&agent) {
                    let page = Page {
                        incident: incident.id.clone(),
                        agent,
                        why,
                        severity,
                    };
                    effects.push(WatchEffect::Recovery(RecoveryEffect::Page(page)));
                }
            }
        }
    }

    fn claim(&mut self, ticket: Ticket, now: Moment, effects: &mut Vec<WatchEffect>) {
        let incident = self.ledger.incident_of(&ticket.agent);
        match (self.election.token(now), incident) {
            (Some(token), Some(incident)) => {
                let value = format!("{token} {}", incident.id);
                let claim = RecoveryEffect::Claim(ticket, value);
                effects.push(WatchEffect::Recovery(claim));
            }
            (None, _) | (_, None) => {
                self.climb(LadderInput::Claimed(ticket, Claim::Refused), now, effects);
            }
        }
    }

    /// The rung is written into the incident; nothing is done before the store has it.
    fn begin(&mut self, ticket: Ticket, now: Moment, effects: &mut Vec<WatchEffect>) {
        self.recovery.unwritten.insert(ticket.clone(), false);
        let token = self.election.token(now).unwrap_or(0);
        let began = LedgerInput::RungBegan(ticket.clone(), token);
        let mut written = Vec::new();
        self.record(began, None, now, &mut written);
        effects.extend(written.into_iter().map(|effect| {
            if let WatchEffect::StoreIncident(incident) = effect {
                WatchEffect::Recovery(RecoveryEffect::Begin(ticket.clone(), incident))
            } else {
                effect
            }
        }));
    }

    fn perform(&mut self, ticket: Ticket, now: Moment, effects: &mut Vec<WatchEffect>) {
        let deed = match self.deed(&ticket, now) {
            Ok(deed) => deed,
            Err(answer) => {
                return self.climb(LadderInput::Performed(ticket, answer), now, effects);
            }
        };
        match ticket.rung {
            Rung::Sidecar => self.order(Action::Restart, deed, now, effects),
            Rung::Pod => self.order(Action::Pod, deed, now, effects),
            Rung::Docker
            | Rung::Kubernetes
            | Rung::Systemd
            | Rung::Exec
            | Rung::Replace
            | Rung::Alert => {
                let perform = RecoveryEffect::Perform(Box::new(deed));
                effects.push(WatchEffect::Recovery(perform));
            }
        }
    }

    /// What the rung needs, or why it is not carried out now.
    fn deed(&self, ticket: &Ticket, now: Moment) -> Result<Deed, Performed> {
        let gone = || Performed::NotApplicable("the agent has left the fleet".to_owned());
        let agent = self.fleet.agent(&ticket.agent).ok_or_else(gone)?;
        let facts = self.facts(&ticket.agent, now).ok_or_else(gone)?;
        let incident = self.ledger.incident_of(&ticket.agent).ok_or_else(gone)?;
        let policy = self
            .recovery
            .ladder
            .policy(&ticket.agent)
            .ok_or_else(gone)?;
        let not_now = |why: String| Performed::Later(why, GATED_AGAIN);
        let token = self.election.token(now);
        let token =
            token.ok_or_else(|| not_now("this monitor may not lead any more".to_owned()))?;
        let is_by_hand = self.recovery.ladder.is_by_hand(&ticket.agent);
        if let Some(gate) = facts.gate.filter(|_| !is_by_hand) {
            return Err(not_now(format!("nothing by itself: {gate}")));
        }
        if facts.reason.is_none() && !is_by_hand {
            let why = "its beats come again".to_owned();
            return Err(Performed::NotApplicable(why));
        }
        if facts.epoch != ticket.epoch {
            let why = "a newer run of it is there".to_owned();
            return Err(Performed::NotApplicable(why));
        }
        if let Some(other) = self.neighbour(ticket, agent) {
            let why = format!("{other} works in the same surroundings, and would be ended with it");
            return Err(Performed::NotApplicable(why));
        }
        Ok(Deed {
            ticket: ticket.clone(),
            token,
            incident: incident.id.clone(),
            agent_type: type_of(agent).to_owned(),
            host: facts.host,
            reason: facts.reason.unwrap_or(incident.reason),
            runtime: runtime_of(agent),
            exclusive: facts.exclusive,
            exec: policy.exec.clone(),
            replace_image: policy.replace_image.clone(),
        })
    }

    /// A rung that its sidecar carries out.
    fn order(&mut self, action: Action, deed: Deed, now: Moment, effects: &mut Vec<WatchEffect>) {
        let Deed { ticket, token, .. } = deed;
        let id = self.ledger.new_id(self.store_wall(now)).to_string();
        let order = Order {
            id: id.clone(),
            action,
            epoch: ticket.epoch,
            incarnation: ticket.incarnation,
            ttl_ms: self.order_within(&ticket.agent),
            reason: format!(
                "incident {}: {}",
                deed.incident,
                crate::wire::word(&deed.reason)
            ),
            token,
            by: None,
        };
        self.recovery.orders.insert(id, ticket.clone());
        let give = RecoveryEffect::Order(ticket.agent.clone(), order);
        effects.push(WatchEffect::Recovery(give));
        let what = if ticket.rung == Rung::Pod {
            "its sidecar was ordered to have its pod restarted"
        } else {
            "its sidecar was ordered to restart it"
        };
        let done = Performed::Done(what.to_owned());
        self.climb(LadderInput::Performed(ticket, done), now, effects);
    }
}
