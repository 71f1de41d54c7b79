//! Silences and acknowledgements: who is not to be notified about what, and for how long.

use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::by_hand::{Answer, AskRefusal, Quiet};
use crate::fleet::incidents::LedgerInput;
use crate::fleet::machine::Fleet;
use crate::fleet::notices::NoticesInput;
use crate::fleet::recovery::RecoveryEffect;
use crate::wire::incident::IncidentId;
use crate::wire::silence::{Labels, Matcher, Silence};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Silences that are kept; a further one is refused.
const SILENCES_MAX: usize = 1000;

impl Watch {
    /// Whether a silence holds for the agent.
    pub(super) fn is_silenced(&self, agent: &AgentId, now: Moment) -> bool {
        is_silenced(
            &self.fleet,
            &self.shown.silences,
            agent,
            self.store_wall(now),
        )
    }

    /// The type that the agent's beats name.
    pub fn agent_type(&self, agent: &AgentId) -> Option<&str> {
        type_of_beat(&self.fleet, agent)
    }

    pub(super) fn acknowledge(
        &mut self,
        agent: &AgentId,
        by: &str,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        self.fleet.agent(agent).ok_or(AskRefusal::NotFound)?;
        let incident = self.shown.incidents.of_agent.get(agent).cloned();
        if let Some(incident) = incident {
            let input = LedgerInput::Acked(incident.clone(), by.to_owned());
            self.record(input, None, now, effects);
            return Ok(Answer::Acknowledged(incident));
        }
        if let Some(notice) = self.shown.notices.open.get(agent) {
            let id = notice.id.clone();
            let input = NoticesInput::Acked(agent.clone(), by.to_owned());
            self.notice(input, now, effects);
            return Ok(Answer::Acknowledged(id));
        }
        let why =
            format!("{agent} has no open incident or notice: there is nothing to acknowledge");
        Err(AskRefusal::Impossible(why))
    }

    pub(super) fn silence(
        &mut self,
        quiet: Quiet,
        by: &str,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let starts_at = self.store_wall(now);
        if quiet.lasts.is_zero() {
            return self.unsilence(&quiet.matchers, effects);
        }
        if self.shown.silences.len() >= SILENCES_MAX {
            let why = format!("there are {SILENCES_MAX} silences; end some of them first");
            return Err(AskRefusal::Impossible(why));
        }
        let silence = Silence {
            id: self.ledger.new_id(starts_at),
            matchers: quiet.matchers,
            starts_at,
            ends_at: starts_at + millis(quiet.lasts),
            created_by: by.to_owned(),
            comment: quiet.comment,
        };
        silence
            .check()
            .map_err(|error| AskRefusal::Impossible(error.to_string()))?;
        let store = RecoveryEffect::StoreSilence(Box::new(silence.clone()));
        effects.push(WatchEffect::Recovery(store));
        self.change_silences(effects, |all| {
            all.insert(silence.id.clone(), silence.clone());
        });
        Ok(Answer::Silenced(Box::new(silence)))
    }

    /// Ends the silences with exactly these matchers.
    fn unsilence(
        &mut self,
        matchers: &[Matcher],
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        let same = |silence: &&Silence| silence.matchers == matchers;
        let ids: Vec<IncidentId> = self
            .shown
            .silences
            .values()
            .filter(same)
            .map(|s| s.id.clone())
            .collect();
        let last = ids.last().cloned();
        for id in ids {
            self.end_silence(&id, effects)?;
        }
        last.map(Answer::Unsilenced).ok_or_else(|| {
            AskRefusal::Impossible("there is no such silence: nothing was changed".to_owned())
        })
    }

    pub(super) fn end_silence(
        &mut self,
        id: &IncidentId,
        effects: &mut Vec<WatchEffect>,
    ) -> Result<Answer, AskRefusal> {
        if !self.shown.silences.contains_key(id) {
            return Err(AskRefusal::NoSilence);
        }
        let remove = RecoveryEffect::RemoveSilence(id.clone());
        effects.push(WatchEffect::Recovery(remove));
        self.change_silences(effects, |all| drop(all.remove(id)));
        Ok(Answer::Unsilenced(id.clone()))
    }

    /// The silences that the store holds; those that it lost are written again.
    pub(super) fn silences_read(&mut self, held: Vec<Silence>, effects: &mut Vec<WatchEffect>) {
        let held: BTreeMap<IncidentId, Silence> = held
            .into_iter()
            .map(|silence| (silence.id.clone(), silence))
            .collect();
        let lost = self
            .shown
            .silences
            .values()
            .filter(|own| !held.contains_key(&own.id));
        let again = lost.map(|silence| RecoveryEffect::StoreSilence(Box::new(silence.clone())));
        effects.extend(again.map(WatchEffect::Recovery));
        self.change_silences(effects, |all| all.extend(held));
    }

    /// What is over leaves.
    pub(super) fn expire_silences(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        if self.shown.silences.is_empty() {
            return;
        }
        let wall_ms = self.store_wall(now);
        let over = self
            .shown
            .silences
            .values()
            .filter(|silence| silence.ends_at <= wall_ms);
        let over: Vec<IncidentId> = over.map(|silence| silence.id.clone()).collect();
        for id in over {
            // It is known: it stands in the list.
            let _ = self.end_silence(&id, effects);
        }
    }

    fn change_silences(
        &mut self,
        effects: &mut Vec<WatchEffect>,
        change: impl FnOnce(&mut BTreeMap<IncidentId, Silence>),
    ) {
        change(&mut Arc::make_mut(&mut self.shown).silences);
        let all = self.shown.silences.values().cloned().collect();
        effects.push(WatchEffect::Recovery(RecoveryEffect::Silences(all)));
    }
}

/// Whether one of these silences holds for the agent at this time of the store, in Unix milliseconds.
pub(super) fn is_silenced(
    fleet: &Fleet,
    silences: &BTreeMap<IncidentId, Silence>,
    agent: &AgentId,
    wall_ms: u64,
) -> bool {
    if silences.is_empty() {
        return false;
    }
    let host = fleet.agent(agent).and_then(|known| known.host());
    let kind = type_of_beat(fleet, agent).unwrap_or("");
    let labels = [
        ("agent", agent.as_str()),
        ("host", host.unwrap_or("")),
        ("type", kind),
    ];
    let mut silences = silences.values();
    silences.any(|silence| silence.covers(Labels(&labels), wall_ms))
}

fn type_of_beat<'a>(fleet: &'a Fleet, agent: &AgentId) -> Option<&'a str> {
    let beat = fleet.agent(agent)?.run.beat.as_ref()?;
    Some(beat.agent_type())
}
