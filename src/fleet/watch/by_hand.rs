//! Requests of people: each is answered at once, and written into the audit.

use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::agent::{Agent, State};
use crate::fleet::by_hand::{Answer, Ask, AskRefusal, Asked};
use crate::fleet::detector::Silence;
use crate::fleet::election::Role;
use crate::fleet::gates::GatesInput;
use crate::fleet::incidents::LedgerInput;
use crate::fleet::ladder::exchange::{LadderInput, Planned};
use crate::fleet::ladder::rung::Rung;
use crate::fleet::machine::FleetInput;
use crate::fleet::recovery::{RecoveryEffect, RecoveryInput};
use crate::wire::audit::AuditEntry;
use crate::wire::life::Phase;
use crate::wire::order::{Action, Order};
use crate::wire::pause::Pause;
use std::sync::Arc;
use std::time::Duration;

/// How long a sidecar may take to receive an order: at least this, and two intervals of its agent.
const ORDER_WITHIN: Duration = Duration::from_secs(60);

impl Watch {
    pub(super) fn recovery_input(
        &mut self,
        input: RecoveryInput,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        match input {
            RecoveryInput::Pause(held) => self.pause_read(held, now, effects),
            RecoveryInput::Silences(held) => self.silences_read(held, effects),
            RecoveryInput::Asked(asked) => self.asked(asked, now, effects),
            RecoveryInput::Claimed(ticket, claim) => {
                self.climb(LadderInput::Claimed(ticket, claim), now, effects);
            }
            RecoveryInput::Begun(ticket, is_stored) => {
                self.begun(ticket, is_stored, now, effects);
            }
            RecoveryInput::Surroundings(incident, said) => {
                let said = LedgerInput::Surroundings(incident, said);
                self.record(said, None, now, effects);
            }
            RecoveryInput::Performed(ticket, answer) => {
                self.climb(LadderInput::Performed(ticket, answer), now, effects);
            }
        }
    }

    fn asked(&mut self, asked: Asked, now: Moment, effects: &mut Vec<WatchEffect>) {
        let Asked {
            number,
            ask,
            by,
            from,
        } = asked;
        let (what, agent) = (ask.word(), ask.agent().map(AgentId::to_string));
        let answer = self.answer(ask, &by, now, effects);
        let (outcome, detail) = match &answer {
            Ok(Answer::Order(order)) => ("accepted", format!("order {}", order.id)),
            Ok(Answer::Incident(incident)) => ("accepted", format!("incident {}", incident.id)),
            Ok(Answer::Plan(_)) => ("accepted", "dry run: nothing was done".to_owned()),
            Ok(Answer::Acknowledged(id)) => ("accepted", format!("incident {id}")),
            Ok(Answer::TroubleAcknowledged(kind)) => {
                ("accepted", format!("hb's own trouble {}", kind.field()))
            }
            Ok(Answer::Silenced(silence)) => ("accepted", format!("silence {}", silence.id)),
            Ok(Answer::Unsilenced(id)) => ("accepted", format!("silence {id}")),
            Ok(Answer::Forgotten(_) | Answer::Paused(_) | Answer::Resumed) => {
                ("accepted", String::new())
            }
            Err(refusal) => ("refused", refusal.to_string()),
        };
        let entry = AuditEntry {
            at_ms: self.store_wall(now),
            who: by,
            from,
            what,
            agent: agent.unwrap_or_default(),
            outcome,
            detail,
        };
        let all = [
            RecoveryEffect::Audit(entry),
            RecoveryEffect::Answer(number, answer),
        ];
        effects.extend(all.map(WatchEffect::Recovery));
    }

    /// The pause that the store holds: this monitor's own is written again when the store lost it.
    pub(super) fn pause_read(
        &mut self,
        held: Option<Pause>,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let since = held.as_ref().map(|held| held.since);
        let own = self.recovery.pause.clone();
        // One that was asked for while the store was unreachable is not written yet.
        if let Some(own) = own.filter(|own| since.is_none_or(|since| since < own.since)) {
            let store = RecoveryEffect::StorePause(Some(own));
            effects.push(WatchEffect::Recovery(store));
        } else if let Some(held) = held {
            self.begin_pause(held, now, effects);
        }
    }

    fn answer(
        &mut self,
        ask: Ask,
        by: &str,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        if let Role::Follows(leader) = self.election.role() {
            return Err(AskRefusal::Follows(leader.describe()));
        }
        // To do nothing is possible without the store; what the record needs is its clock.
        let may_pause = matches!(ask, Ask::Pause(_)) && self.store_clock.is_some();
        if !self.fleet.is_link_up() && !may_pause {
            return Err(AskRefusal::Blind);
        }
        match ask {
            Ask::Restart(id) => self.restart(&id, by, now, effects),
            Ask::Recover {
                agent,
                rung,
                dry_run,
            } => self.recover(&agent, rung, dry_run, now, effects),
            Ask::Unblock(id) => self.give(&id, Action::Unblock, by, now, effects),
            Ask::Capture(id) => self.give(&id, Action::Capture, by, now, effects),
            Ask::Stop(id) => self.give(&id, Action::Stop, by, now, effects),
            Ask::Forget(id) => self.forget(id, now, effects),
            Ask::Acknowledge(id) => self.acknowledge(&id, by, now, effects),
            Ask::AcknowledgeTrouble(kind) => {
                let acked = RecoveryEffect::TroubleAcknowledged(kind.clone(), by.to_owned());
                effects.push(WatchEffect::Recovery(acked));
                Ok(Answer::TroubleAcknowledged(kind))
            }
            Ask::Silence(quiet) => self.silence(quiet, by, now, effects),
            Ask::Unsilence(id) => self.end_silence(&id, effects),
            Ask::Pause(lasts) => {
                let since = self.store_wall(now);
                let pause = Pause {
                    since,
                    until: lasts.map(|lasts| since + millis(lasts)),
                    by: by.to_owned(),
                };
                let store = RecoveryEffect::StorePause(Some(pause.clone()));
                effects.push(WatchEffect::Recovery(store));
                self.begin_pause(pause.clone(), now, effects);
                Ok(Answer::Paused(pause))
            }
            Ask::Resume => {
                self.recovery.pause = None;
                self.show_pause();
                effects.push(WatchEffect::Recovery(RecoveryEffect::StorePause(None)));
                self.gate(GatesInput::Resumed, now, effects);
                Ok(Answer::Resumed)
            }
        }
    }

    fn begin_pause(&mut self, pause: Pause, now: Moment, effects: &mut Vec<WatchEffect>) {
        let wall = self.store_wall(now);
        let left = |until: u64| Duration::from_millis(until.saturating_sub(wall));
        let until = pause.until.map(|until| now + left(until));
        let input = GatesInput::Paused(pause.by.clone(), until);
        self.recovery.pause = Some(pause);
        self.show_pause();
        self.gate(input, now, effects);
    }

    fn show_pause(&mut self) {
        let pause = self.recovery.pause.clone();
        Arc::make_mut(&mut self.shown).pause = pause;
    }

    /// Of an agent with an incident a restart is a rung of it, so that nothing else is done meanwhile.
    fn restart(
        &mut self,
        id: &AgentId,
        by: &str,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let agent = self.fleet.agent(id).ok_or(AskRefusal::NotFound)?;
        if self.ledger.incident_of(id).is_none() || agent.state == State::Healthy {
            return self.give(id, Action::Restart, by, now, effects);
        }
        let rung = unreachable(agent, now).is_none().then_some(Rung::Sidecar);
        self.recover(id, rung, false, now, effects)
    }

    fn recover(
        &mut self,
        id: &AgentId,
        rung: Option<Rung>,
        dry_run: bool,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let impossible = |why: String| Err(AskRefusal::Impossible(format!("{id} {why}")));
        self.open_climb(id.clone(), now, effects);
        let facts = self.facts(id, now).ok_or(AskRefusal::NotFound)?;
        let ladder = &self.recovery.ladder;
        let Some(plan) = ladder.plan(id, rung, &facts, now) else {
            return impossible(format!(
                "has no open incident, so there is nothing to recover it from; hbmonitor restart {id} restarts it"
            ));
        };
        if dry_run {
            return Ok(Answer::Plan(plan));
        }
        if ladder.is_acting(id) {
            return impossible("is being recovered just now; wait for the outcome".to_owned());
        }
        let can_act = |planned: &Planned| planned.when != "never" && planned.rung != Rung::Alert;
        let wanted = |planned: &&Planned| rung.is_none_or(|rung| planned.rung == rung);
        if !plan.iter().filter(wanted).any(can_act) {
            return impossible(match rung {
                Some(rung) => format!(
                    "cannot be recovered by {}: it cannot act on this agent",
                    rung.as_str()
                ),
                None => "cannot be recovered: no rung can act on it; start it where it was started"
                    .to_owned(),
            });
        }
        self.climb(LadderInput::ByHand(id.clone(), rung), now, effects);
        let incident = self.ledger.incident_of(id).ok_or(AskRefusal::NotFound)?;
        Ok(Answer::Incident(Arc::clone(incident)))
    }

    /// A person's order to the agent's own sidecar.
    fn give(
        &mut self,
        id: &AgentId,
        action: Action,
        by: &str,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let agent = self.fleet.agent(id).ok_or(AskRefusal::NotFound)?;
        if let Some(why) = unreachable(agent, now) {
            let deed = match action {
                Action::Stop => "stopped",
                Action::Unblock => "unblocked",
                Action::Capture => "captured",
                Action::Restart | Action::Pod | Action::Hold | Action::Ping | Action::Unknown => {
                    "restarted"
                }
            };
            let why = format!("{id} cannot be {deed}: {why}");
            return Err(AskRefusal::Impossible(why));
        }
        let (epoch, incarnation) = (agent.run.epoch, agent.run.restarts());
        let token = self.election.token(now).ok_or(AskRefusal::Blind)?;
        let order = Order {
            id: self.ledger.new_id(self.store_wall(now)).to_string(),
            action,
            epoch,
            incarnation,
            ttl_ms: self.order_within(id),
            reason: format!("{by} asked for it"),
            token,
            by: Some(by.to_owned()),
        };
        let give = RecoveryEffect::Order(id.clone(), order.clone());
        effects.push(WatchEffect::Recovery(give));
        Ok(Answer::Order(order))
    }

    /// How long an order may take to reach the agent's sidecar, in milliseconds.
    pub(super) fn order_within(&self, id: &AgentId) -> u64 {
        let agent = self.fleet.agent(id);
        let interval = agent.map_or(Duration::ZERO, |agent| agent.run.detector.interval());
        millis(ORDER_WITHIN.max(interval * 2))
    }

    fn forget(
        &mut self,
        id: AgentId,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let agent = self.fleet.agent(&id).ok_or(AskRefusal::NotFound)?;
        if agent.is_alive() {
            let why = format!("{id} cannot be forgotten: its beats come; stop it first");
            return Err(AskRefusal::Impossible(why));
        }
        self.fleet_input(FleetInput::Forget(id.clone()), now, effects);
        let forget = RecoveryEffect::Forget(id.clone());
        effects.push(WatchEffect::Recovery(forget));
        Ok(Answer::Forgotten(id))
    }
}

/// Why the agent's sidecar cannot be asked, if so.
pub fn unreachable(agent: &Agent, now: Moment) -> Option<&'static str> {
    let run = &agent.run;
    let has_sidecar = run.beat.as_ref().is_some_and(|beat| beat.hb.is_some());
    if !has_sidecar {
        return Some("it has no sidecar; restart it where it was started");
    }
    match run.life.phase {
        Phase::Ended => return Some("its sidecar has ended; start it where it was started"),
        Phase::Detached => return Some("its sidecar does not watch it any more"),
        Phase::Suspended => {
            return Some("it is suspended at its terminal, and its sidecar with it");
        }
        Phase::Stopping | Phase::Restarting | Phase::Waiting | Phase::Running => {}
    }
    match (agent.state, run.detector.silence(now)) {
        (State::Healthy | State::Failed | State::Stopped, Silence::None) => None,
        (State::Healthy | State::Missing | State::Failed | State::Stopped, _) => {
            Some("its sidecar does not answer")
        }
    }
}
