//! Agents that a person should see while their beats come: seen when they may have changed, and every few seconds as long as
//! they have a notice. What an agent is like is asked each time, never remembered.

use super::{Watch, WatchEffect, unreachable};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::notices::{Notices, NoticesContext, NoticesEffect, NoticesInput, Plan, Sight};
use crate::fleet::recovery::RecoveryEffect;
use crate::fleet::view::type_of;
use crate::wire::beat::Verdict;
use crate::wire::life::Phase;
use crate::wire::notice::NoticeKind;
use crate::wire::order::{Action, Order};
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
        let is_read = matches!(input, NoticesInput::Restored(_));
        let follows = !self.election.records();
        let is_new = matches!(input, NoticesInput::Seen(_) | NoticesInput::Tick);
        if (follows && !is_read) || (is_new && self.election.is_in_doubt(now)) {
            return; // the leader records it
        }
        if follows {
            self.notices = Notices::default();
        }
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
        if follows {
            return;
        }
        for effect in produced {
            match effect {
                NoticesEffect::Restart(agent) => {
                    self.recovery.ladder.charge_restart(&agent, now);
                    self.order_for_notice(&agent, Action::Restart, now, effects);
                }
                NoticesEffect::Hold(agent) => {
                    self.order_for_notice(&agent, Action::Hold, now, effects);
                }
                NoticesEffect::Store(notice) => effects.push(WatchEffect::StoreNotice(notice)),
                NoticesEffect::Remove(id) => effects.push(WatchEffect::RemoveNotice(id)),
                NoticesEffect::Changed(notice) => effects.push(WatchEffect::NoticeChanged(notice)),
            }
        }
    }

    /// Bound to this incarnation: what comes after it has moved on.
    fn order_for_notice(
        &mut self,
        agent: &AgentId,
        action: Action,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let (Some(known), Some(token)) = (self.fleet.agent(agent), self.election.token(now)) else {
            return;
        };
        let reason = match action {
            Action::Hold => "a person takes care of it",
            Action::Restart
            | Action::Unblock
            | Action::Capture
            | Action::Stop
            | Action::Pod
            | Action::Ping
            | Action::Unknown => "it did not move, and its policy says restart",
        };
        let (epoch, incarnation) = (known.run.epoch, known.run.restarts());
        let order = Order {
            id: self.ledger.new_id(self.store_wall(now)).to_string(),
            action,
            epoch,
            incarnation,
            ttl_ms: self.order_within(agent),
            reason: reason.to_owned(),
            token,
            by: None,
        };
        let order = RecoveryEffect::Order(agent.clone(), order);
        effects.push(WatchEffect::Recovery(order));
    }

    /// The agent as it is now; `None` when that is not known.
    fn sight(&self, id: &AgentId, now: Moment) -> Option<Sight> {
        let calm = Sight {
            agent: id.clone(),
            host: None,
            verdict: None,
            sentence: String::new(),
            evidence: Vec::new(),
            plan: None,
            is_silenced: false,
            may_restart: false,
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
            plan: self.plan(id, agent, now),
            is_silenced: self.is_silenced(id, now),
            may_restart: self.gates.veto(agent.host()).is_none()
                && self.election.token(now).is_some()
                && unreachable(agent, now).is_none()
                && self.recovery.ladder.allows_restart(id, now),
            ..calm
        })
    }

    /// The restart that follows if this suspicion lasts: of its own sidecar, else of the policy.
    fn plan(&self, id: &AgentId, agent: &Agent, now: Moment) -> Option<Plan> {
        let life = &agent.run.life;
        if life.restarts_stalled {
            let beat = agent.run.beat.as_ref()?;
            // Both of the sender's clock.
            let lasted = beat.timestamp_ms.saturating_sub(beat.activity_since()?);
            let lasted = Duration::from_millis(lasted) + now.since(agent.run.beat_at?);
            return Some(Plan {
                within: life.stall_after().saturating_sub(lasted),
                by_sidecar: true,
            });
        }
        let host = agent.host().unwrap_or_default();
        let policies = &self.recovery.policies;
        let policy = policies.of(id.as_str(), type_of(agent), host);
        let acts = policy.restarts_stalled && policy.auto && !life.alert_only;
        (acts && unreachable(agent, now).is_none()).then(|| Plan {
            within: life.stall_after(),
            by_sidecar: false,
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
