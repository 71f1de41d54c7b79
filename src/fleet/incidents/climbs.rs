//! What an incident shows of its recovery: the rungs that were climbed, and what comes next.

use super::{IncidentChangeKind, Ledger, LedgerContext, LedgerEffect};
use crate::base::id::AgentId;
use crate::fleet::ladder::exchange::{Climbed, RungOutcome, Ticket};
use crate::fleet::ladder::rung;
use crate::wire::incident::{Incident, IncidentId, Next, Rung};
use std::sync::Arc;

/// Rungs that an incident keeps; of more the oldest leave.
const RUNGS_MAX: usize = 200;
/// The longest detail of a rung, in characters.
const DETAIL_CHARS_MAX: usize = 500;

/// What is under way for an agent whose incident ends without a beat of it: it stopped, or it has left.
pub(super) fn settle_rungs(incident: &mut Incident, agent: &AgentId, wall_ms: u64) {
    let own = |rung: &&mut Rung| rung.agent.as_ref() == Some(agent) && rung.ended_at.is_none();
    for rung in incident.rungs.iter_mut().filter(own) {
        rung.ended_at = Some(wall_ms.max(rung.started_at));
        rung.outcome = Some(RungOutcome::Unknown.as_str().to_owned());
    }
}

impl Ledger {
    /// The open incident of an agent.
    pub fn incident_of(&self, agent: &AgentId) -> Option<&Arc<Incident>> {
        let id = self.shown.of_agent.get(agent)?;
        self.shown.open.get(id)
    }

    /// The rungs that were climbed for this agent in its open incident, in order.
    pub fn climbed(&self, agent: &AgentId) -> Vec<Climbed> {
        let incident = self.incident_of(agent);
        let rungs = incident.map(|incident| incident.rungs.iter());
        let own = |rung: &&Rung| rung.agent.as_ref() == Some(agent);
        let climbed = |rung: &Rung| {
            let ticket = Ticket {
                agent: agent.clone(),
                epoch: rung.epoch,
                incarnation: rung.incarnation,
                rung: rung::Rung::parse(&rung.rung)?,
            };
            let is = |outcome: RungOutcome| rung.outcome.as_deref() == Some(outcome.as_str());
            Some(Climbed {
                ticket,
                settled: rung.ended_at.is_some(),
                unseen: is(RungOutcome::NoBeat) || is(RungOutcome::Unknown),
            })
        };
        let own = rungs.into_iter().flatten().filter(own);
        own.filter_map(climbed).collect()
    }

    /// Every rung of every incident that the store holds, with its agent and its time, Unix milliseconds of the store.
    pub fn spent(&self) -> Vec<(AgentId, rung::Rung, u64)> {
        let all = self.shown.open.values().chain(self.shown.closed.values());
        let spent = |rung: &Rung| {
            let is_vain = rung.outcome.as_deref() == Some(RungOutcome::NotApplicable.as_str());
            let kind = rung::Rung::parse(&rung.rung).filter(|_| !is_vain)?;
            Some((rung.agent.clone()?, kind, rung.started_at))
        };
        all.flat_map(|incident| incident.rungs.iter().filter_map(spent))
            .collect()
    }

    pub(super) fn rung_began(
        &mut self,
        ticket: &Ticket,
        token: u64,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        self.change(&ticket.agent, effects, |incident| {
            if incident.rungs.len() >= RUNGS_MAX {
                incident.rungs.remove(0);
            }
            incident.rungs.push(Rung {
                rung: ticket.rung.as_str().to_owned(),
                agent: Some(ticket.agent.clone()),
                epoch: ticket.epoch,
                incarnation: ticket.incarnation,
                token,
                started_at: context.wall_ms,
                ended_at: None,
                outcome: None,
                detail: None,
            });
            true
        });
    }

    pub(super) fn rung_ended(
        &mut self,
        ticket: &Ticket,
        outcome: RungOutcome,
        detail: String,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        self.change(&ticket.agent, effects, |incident| {
            let is_it = |rung: &&mut Rung| {
                let run = (rung.epoch, rung.incarnation) == (ticket.epoch, ticket.incarnation);
                run && rung.agent.as_ref() == Some(&ticket.agent)
                    && rung.rung == ticket.rung.as_str()
                    && rung.ended_at.is_none()
            };
            let Some(rung) = incident.rungs.iter_mut().rev().find(is_it) else {
                return false;
            };
            rung.ended_at = Some(context.wall_ms.max(rung.started_at));
            rung.outcome = Some(outcome.as_str().to_owned());
            let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
            rung.detail = Some(detail).filter(|detail| !detail.is_empty());
            true
        });
    }

    pub(super) fn next(
        &mut self,
        agent: &AgentId,
        what: String,
        at: u64,
        effects: &mut Vec<LedgerEffect>,
    ) {
        self.change(agent, effects, |incident| {
            // Another try at waiting for the same is no news.
            let is_news = incident.next.as_ref().is_none_or(|next| next.what != what);
            if is_news {
                incident.next = Some(Next { what, at });
            }
            is_news
        });
    }

    /// Changes the agent's open incident and publishes it, when something was changed.
    fn change(
        &mut self,
        agent: &AgentId,
        effects: &mut Vec<LedgerEffect>,
        change: impl FnOnce(&mut Incident) -> bool,
    ) {
        let id: Option<IncidentId> = self.shown.of_agent.get(agent).cloned();
        let Some(open) = id.and_then(|id| self.open.get_mut(&id)) else {
            return;
        };
        if change(Arc::make_mut(&mut open.incident)) {
            let incident = Arc::clone(&open.incident);
            self.publish(IncidentChangeKind::Updated, incident, effects);
        }
    }
}
