//! Agents that a person should see while their beats come: seen when they may have changed, and every few seconds as long as
//! they have a notice. What an agent is like is asked each time, never remembered.

use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::notices::{NoticesContext, NoticesInput, Sight};
use crate::wire::beat::Verdict;
use crate::wire::life::Phase;
use crate::wire::notice::NoticeKind;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Agents with a notice are seen again this often: not everything that makes them another comes with an announcement.
const SEEN_EVERY: Duration = Duration::from_secs(5);

impl Watch {
    /// One agent may have changed.
    pub(super) fn attend(&mut self, agent: &AgentId, now: Moment, effects: &mut Vec<WatchEffect>) {
        if let Some(sight) = self.sight(agent, now) {
            self.notice(NoticesInput::Seen(Box::new(sight)), now, effects);
        }
    }

    /// The store was read: every agent is seen.
    pub(super) fn attend_all(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        let fleet = self.fleet.view().agents;
        let needs = |agent: &Agent| verdict(agent).and_then(NoticeKind::of).is_some();
        let found = fleet.iter().filter(|(_, agent)| needs(agent));
        let mut agents: BTreeSet<AgentId> = found.map(|(id, _)| id.clone()).collect();
        agents.extend(self.notices.agents());
        for agent in agents {
            self.attend(&agent, now, effects);
        }
    }

    pub(super) fn notices_tick(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        let is_due = self.notices.deadline().is_some_and(|(at, _)| at <= now);
        if !self.fleet.is_link_up() || (!is_due && now < self.seen_at + SEEN_EVERY) {
            return;
        }
        self.seen_at = now;
        for agent in self.notices.agents() {
            self.attend(&agent, now, effects);
        }
        self.notice(NoticesInput::Tick, now, effects);
    }

    pub(super) fn notice(
        &mut self,
        input: NoticesInput,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let wall_ms = self.store_wall(now);
        let ledger = &mut self.ledger;
        let mut context = NoticesContext {
            now,
            wall_ms,
            new_id: &mut || ledger.new_id(wall_ms),
        };
        let restored = matches!(input, NoticesInput::Restored(_));
        let produced = self.notices.handle(input, &mut context);
        if produced.is_empty() && !restored {
            return;
        }
        Arc::make_mut(&mut self.shown).notices = self.notices.view().clone();
        effects.extend(produced.into_iter().map(WatchEffect::Notice));
    }

    /// The agent as it is now; `None` when that is not known.
    fn sight(&self, id: &AgentId, now: Moment) -> Option<Sight> {
        let calm = Sight {
            agent: id.clone(),
            host: None,
            verdict: None,
            sentence: String::new(),
            evidence: Vec::new(),
        };
        let Some(agent) = self.fleet.agent(id) else {
            return Some(calm);
        };
        if agent.state == State::Missing {
            return None;
        }
        let Some(verdict) = verdict(agent) else {
            return Some(calm);
        };
        let activity = agent.run.beat.as_ref().and_then(LastBeat::activity);
        Some(Sight {
            host: agent.host().map(str::to_owned),
            verdict: Some(verdict),
            sentence: agent.sentence(now).into_owned(),
            evidence: activity.map_or_else(Vec::new, |activity| activity.evidence),
            ..calm
        })
    }
}

/// The verdict of an agent that runs and whose beats come. What two agents of one id do is no one's verdict.
fn verdict(agent: &Agent) -> Option<Verdict> {
    let runs = agent.state == State::Healthy && agent.reason.is_none();
    let beat = agent.run.beat.as_ref()?;
    beat.hb?
        .verdict
        .filter(|_| runs && agent.run.life.phase == Phase::Running)
}
