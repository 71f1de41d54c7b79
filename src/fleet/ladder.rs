//! The recovery ladder: from a failed agent to one that works again, or to people.
//!
//! ```text
//! Due ─ no gate, budget left ─► Claiming ─ intent written ─► Acting ─ done ─► Verifying ─ a new incarnation beats ─► Proving
//!  ▲                               │ written before            │ failed          │ no beat in time                    │ fails again
//!  └───────────── next rung ◄──────┴───────────────────────────┴─────────────────┴────────────────────────────────────┘
//! ```
//!
//! A rung is claimed in the store before it is climbed, so that neither a monitor that ends in between nor a second one
//! climbs it twice. What is claimed and has no outcome is never repeated: only its effect is waited for. What an agent is
//! like is asked when something is decided ([`Facts`]), never remembered. Deliberately absent: the store, the engines and
//! the incident, which are the caller's.

mod budget;
mod choice;
mod climb;
pub mod exchange;
pub mod policy;
pub mod rung;

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use budget::Budgets;
use choice::{Busy, Choice};
use climb::{Climb, Step};
use exchange::{
    Claim, Climbed, Facts, LadderEffect, LadderInput, Next, Performed, Planned, RungOutcome, Ticket,
};
use policy::Policy;
use rung::{Rung, VerifyTimes};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// After a claim that the store did not answer, or that this monitor may not make.
const CLAIM_AGAIN: Duration = Duration::from_secs(2);
/// An agent that is not known yet is asked for again after this time.
const FACTS_AGAIN: Duration = Duration::from_secs(5);

/// The climbs of all agents with an open incident.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    climbs: BTreeMap<AgentId, Climb>,
    /// When each climb goes on by itself: a tick visits only those that are due.
    due: BTreeSet<(Moment, AgentId)>,
    budgets: Budgets,
    times: VerifyTimes,
}

impl Ladder {
    /// With other times than the default.
    pub fn new(times: VerifyTimes) -> Self {
        Self {
            times,
            ..Self::default()
        }
    }

    /// A ladder without climbs and with the same times.
    pub fn begin_again(&self) -> Self {
        Self::new(self.times)
    }

    /// Takes one input. `facts` answers for any agent; none: the agent has left the fleet.
    pub fn handle(
        &mut self,
        input: LadderInput,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
    ) -> Vec<LadderEffect> {
        let mut effects = Vec::new();
        let agents = match &input {
            LadderInput::Tick => self.take_due(now),
            LadderInput::Opened { agent, .. }
            | LadderInput::Closed(agent)
            | LadderInput::Beat(agent)
            | LadderInput::FailedAgain(agent)
            | LadderInput::Progressed(agent)
            | LadderInput::Spent(agent, ..)
            | LadderInput::ByHand(agent, _) => vec![agent.clone()],
            LadderInput::Claimed(ticket, _) | LadderInput::Performed(ticket, _) => {
                vec![ticket.agent.clone()]
            }
        };
        for agent in &agents {
            self.unschedule(agent);
        }
        self.take(input, facts, now, &mut effects);
        for agent in agents {
            self.advance(&agent, facts, now, &mut effects);
            self.schedule(agent);
        }
        effects
    }

    /// When something changes by itself next, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let (_, agent) = self.due.first()?;
        self.climbs.get(agent).and_then(Climb::deadline)
    }

    /// Whether something is done to the agent, or its effect is waited for.
    pub fn is_acting(&self, agent: &AgentId) -> bool {
        self.climbs.get(agent).is_some_and(Climb::is_acting)
    }

    /// Whether the agent's incident is climbed for.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.climbs.contains_key(agent)
    }

    /// Whether people were asked for about this agent.
    pub fn is_paged(&self, agent: &AgentId) -> bool {
        self.climbs.get(agent).is_some_and(|climb| climb.is_paged)
    }

    /// Whether this rung is being carried out.
    pub fn is_performing(&self, ticket: &Ticket) -> bool {
        let climb = self.climbs.get(&ticket.agent);
        climb.is_some_and(|climb| climb.is_performing(ticket))
    }

    /// Whether a person asked for this rung.
    pub fn is_by_hand(&self, agent: &AgentId) -> bool {
        self.climbs.get(agent).is_some_and(|climb| climb.asked_for)
    }

    /// What would become of each rung if a person had the next one climbed now, or this one; `None` without a climb.
    pub fn plan(
        &self,
        agent: &AgentId,
        rung: Option<Rung>,
        facts: &Facts,
        now: Moment,
    ) -> Option<Vec<Planned>> {
        let mut climb = self.climbs.get(agent)?.clone();
        climb.by_hand = true;
        climb.place = rung.map_or(0, |rung| climb.reach(rung));
        Some(choice::plan(&climb, facts, now))
    }

    /// How many agents are acted upon.
    pub fn acting(&self) -> usize {
        let climbs = self.climbs.values();
        climbs.filter(|climb| climb.is_acting()).count()
    }

    /// What was decided for this agent.
    pub fn policy(&self, agent: &AgentId) -> Option<&Policy> {
        self.climbs.get(agent).map(|climb| &*climb.policy)
    }

    fn take_due(&self, now: Moment) -> Vec<AgentId> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, agent)| agent.clone()).collect()
    }

    fn unschedule(&mut self, agent: &AgentId) {
        if let Some((at, _)) = self.climbs.get(agent).and_then(Climb::deadline) {
            self.due.remove(&(at, agent.clone()));
        }
    }

    fn schedule(&mut self, agent: AgentId) {
        if let Some((at, _)) = self.climbs.get(&agent).and_then(Climb::deadline) {
            self.due.insert((at, agent));
        }
    }

    /// Whether the budgets allow a restart of this agent by its sidecar, for no incident.
    pub fn allows_restart(&self, agent: &AgentId, now: Moment) -> bool {
        let own = self.budgets.agent_free_at(agent, Rung::Sidecar, now);
        own.max(self.budgets.fleet_free_at(now)) <= now
    }

    /// Such a restart begins.
    pub fn charge_restart(&mut self, agent: &AgentId, now: Moment) {
        self.budgets.charge(agent, Rung::Sidecar, now);
    }

    fn take(
        &mut self,
        input: LadderInput,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
        effects: &mut Vec<LadderEffect>,
    ) {
        match input {
            LadderInput::Opened {
                agent,
                policy,
                climbed,
            } => {
                self.open(&agent, policy, &climbed, facts, now);
            }
            LadderInput::Closed(agent) => self.close(&agent, effects),
            LadderInput::Claimed(ticket, claim) => {
                self.claimed(&ticket, claim, facts, now, effects);
            }
            LadderInput::Performed(ticket, answer) => {
                self.performed(&ticket, answer, facts, now, effects);
            }
            LadderInput::Beat(agent) => {
                effects.extend(self.climbs.get_mut(&agent).and_then(Climb::recovered));
            }
            LadderInput::FailedAgain(agent) => {
                if let Some(climb) = self.climbs.get_mut(&agent)
                    && climb.step == Step::Proving
                {
                    climb.step = Step::Due(now);
                }
            }
            LadderInput::Progressed(agent) => self.budgets.refill(&agent),
            LadderInput::Spent(agent, rung, at) => self.budgets.remember(&agent, rung, at),
            LadderInput::ByHand(agent, rung) => self.by_hand(&agent, rung, now, effects),
            LadderInput::Tick => {}
        }
    }

    fn open(
        &mut self,
        agent: &AgentId,
        policy: Box<Policy>,
        climbed: &[Climbed],
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
    ) {
        if self.climbs.contains_key(agent) {
            return;
        }
        let mut climb = Climb::new(policy, now);
        for past in climbed {
            climb.remember(past);
        }
        if let Some(last) = climbed.last().filter(|last| !last.settled) {
            let until = self.verify_until(&last.ticket, facts, now);
            climb.watch(
                &last.ticket,
                until,
                "hbmonitor ended while it was under way",
            );
        }
        self.climbs.insert(agent.clone(), climb);
    }

    fn close(&mut self, agent: &AgentId, effects: &mut Vec<LadderEffect>) {
        let Some(mut climb) = self.climbs.remove(agent) else {
            return;
        };
        effects.extend(climb.recovered());
        if !climb.climbed.is_empty() {
            effects.push(LadderEffect::Release(climb.climbed));
        }
    }

    fn claimed(
        &mut self,
        ticket: &Ticket,
        claim: Claim,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
        effects: &mut Vec<LadderEffect>,
    ) {
        let until = self.verify_until(ticket, facts, now);
        let climb = self.climbs.get_mut(&ticket.agent);
        let Some(climb) = climb.filter(|climb| climb.is_claiming(ticket)) else {
            // It came too late: the intent would stand in the way of the next climb.
            if claim == Claim::Granted {
                effects.push(LadderEffect::Release(vec![ticket.clone()]));
            }
            return;
        };
        match claim {
            // What held it back may have begun since the claim was made.
            Claim::Granted
                if facts(&ticket.agent).is_none_or(|facts| {
                    (facts.epoch, facts.incarnation) != (ticket.epoch, ticket.incarnation)
                        || choice::held_back(climb, &facts).is_some()
                }) =>
            {
                effects.push(LadderEffect::Release(vec![ticket.clone()]));
                climb.retry(ticket, now);
            }
            Claim::Granted => {
                climb.begin(ticket, now);
                self.budgets.charge(&ticket.agent, ticket.rung, now);
                effects.push(LadderEffect::Began(ticket.clone()));
                effects.push(LadderEffect::Perform(ticket.clone()));
            }
            Claim::Taken => {
                climb.begin(ticket, now);
                climb.watch(ticket, until, "another monitor began it");
                effects.push(LadderEffect::Began(ticket.clone()));
            }
            Claim::Refused => climb.retry(ticket, now + CLAIM_AGAIN),
        }
    }

    fn performed(
        &mut self,
        ticket: &Ticket,
        answer: Performed,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
        effects: &mut Vec<LadderEffect>,
    ) {
        let until = self.verify_until(ticket, facts, now);
        let Some(climb) = self.climbs.get_mut(&ticket.agent) else {
            return;
        };
        let Some((outcome, detail)) = climb.answered(ticket, answer, until, now) else {
            if climb.step == Step::Verifying(ticket.clone(), until) {
                let does = ticket.rung.describe();
                let what = format!("hb {does}, and waits for its next beat");
                let next = Next::by_itself(what, Some(until));
                effects.extend(
                    climb
                        .announce(&next)
                        .then_some(next)
                        .map(|next| LadderEffect::Next(ticket.agent.clone(), next)),
                );
            }
            return;
        };
        if outcome == RungOutcome::NotApplicable {
            self.budgets.refund(&ticket.agent, ticket.rung);
        }
        effects.push(LadderEffect::Ended(ticket.clone(), outcome, detail));
    }

    fn by_hand(
        &mut self,
        agent: &AgentId,
        rung: Option<Rung>,
        now: Moment,
        effects: &mut Vec<LadderEffect>,
    ) {
        let Some(climb) = self
            .climbs
            .get_mut(agent)
            .filter(|climb| !climb.is_acting())
        else {
            return;
        };
        climb.by_hand = true;
        climb.is_paged = false;
        climb.step = Step::Due(now);
        climb.place = rung.map_or(0, |rung| climb.reach(rung));
        // A person may climb a rung again.
        let again = |past: &Ticket| rung.is_none_or(|rung| past.rung == rung);
        let (again, past) = climb.climbed.drain(..).partition(again);
        climb.climbed = past;
        if !again.is_empty() {
            effects.push(LadderEffect::Release(again));
        }
    }

    /// Goes on as far as the facts allow.
    fn advance(
        &mut self,
        agent: &AgentId,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
        effects: &mut Vec<LadderEffect>,
    ) {
        let Some(facts) = facts(agent) else {
            if let Some(climb) = self.climbs.get_mut(agent)
                && let Step::Due(at) = &mut climb.step
            {
                *at = (*at).max(now + FACTS_AGAIN);
            }
            return;
        };
        let busy = self.busy(agent, &facts.host);
        let Some(climb) = self.climbs.get_mut(agent) else {
            return;
        };
        climb.host.clone_from(&facts.host);
        effects.extend(climb.pass(&self.times, facts.interval, now));
        let Step::Due(at) = climb.step else {
            return;
        };
        if at > now {
            return;
        }
        let ticket = |rung| Ticket {
            agent: agent.clone(),
            epoch: facts.epoch,
            incarnation: facts.incarnation,
            rung,
        };
        let next = match choice::choose(climb, &facts, &self.budgets, busy, &ticket, now) {
            Choice::Climb(rung) => {
                climb.claim(ticket(rung), now);
                effects.push(LadderEffect::Claim(ticket(rung)));
                Next::by_itself(format!("hb {}", rung.describe()), None)
            }
            Choice::Wait(at, what) => {
                climb.step = Step::Due(at);
                Next::by_itself(what, Some(at))
            }
            Choice::Hold(what) => {
                climb.step = Step::Due(now + choice::ASK_AGAIN);
                Next {
                    by_itself: facts.gate.is_none(),
                    ..Next::by_itself(what, None)
                }
            }
            Choice::People(why, again) => {
                climb.step = Step::People(again);
                climb.by_hand = false;
                if !std::mem::replace(&mut climb.is_paged, true) {
                    effects.push(LadderEffect::Page(agent.clone(), why.clone()));
                }
                Next {
                    by_itself: false,
                    ..Next::by_itself(format!("people: {why}"), again)
                }
            }
        };
        if climb.announce(&next) {
            effects.push(LadderEffect::Next(agent.clone(), next));
        }
    }

    fn busy(&self, agent: &AgentId, host: &str) -> Busy {
        let others = self
            .climbs
            .iter()
            .filter(|(other, climb)| *other != agent && climb.is_acting());
        let mut busy = Busy { fleet: 0, host: 0 };
        for (_, climb) in others {
            busy.fleet += 1;
            busy.host += usize::from(climb.host == host);
        }
        busy
    }

    fn verify_until(
        &self,
        ticket: &Ticket,
        facts: &impl Fn(&AgentId) -> Option<Facts>,
        now: Moment,
    ) -> Moment {
        let interval = facts(&ticket.agent).map_or(Duration::ZERO, |facts| facts.interval);
        now + self.times.of(ticket.rung, interval)
    }
}

#[cfg(test)]
mod tests;
