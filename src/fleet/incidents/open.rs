//! How an incident begins, and which failures belong to one.

use super::{GROUP_WITHIN, IncidentChangeKind, Ledger, LedgerContext, LedgerEffect, Open};
use crate::fleet::exchange::Change;
use crate::wire::incident::{AGENTS_MAX, GateKind, Incident, IncidentId, Scope};
use crate::wire::life::Reason;
use std::sync::Arc;

impl Ledger {
    pub(super) fn failed(
        &mut self,
        change: &Change,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let Some(reason) = change.reason else {
            return;
        };
        self.relapse(&change.agent);
        if let Some(id) = self.shown.of_agent.get(&change.agent).cloned() {
            return self.go_on(&id, change, reason, effects);
        }
        match self.group(change, reason, context) {
            Some(id) => self.join(&id, change, effects),
            None => self.begin(change, reason, context, effects),
        }
    }

    /// The open incident that this failure has its cause in common with. One that a person has acknowledged is quiet until it
    /// is over, and one of silenced agents until the silence ends: a further agent there would never be a page.
    fn group(&self, change: &Change, reason: Reason, context: LedgerContext) -> Option<IncidentId> {
        let silent_in_storm = context.storm && reason == Reason::HeartbeatLost;
        let fits = |open: &&Open| {
            let incident = &open.incident;
            let young = open
                .opened
                .is_some_and(|at| context.now.since(at) <= GROUP_WITHIN);
            let host = change.host.is_some() && incident.host == change.host;
            let fleet = silent_in_storm && (young || incident.scope == Scope::Fleet);
            let is_silenced = |gate| gate == Some(GateKind::Silenced);
            let alike = incident.acked_by.is_none()
                && is_silenced(incident.gate) == is_silenced(context.gate);
            let room = incident.agents.len() < AGENTS_MAX;
            room && alike && incident.reason == reason && (fleet || (young && host))
        };
        let found = self.open.values().find(fits);
        found.map(|open| open.incident.id.clone())
    }

    fn begin(
        &mut self,
        change: &Change,
        reason: Reason,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let id = self.new_id(context.wall_ms);
        let incident = Arc::new(Incident {
            id: id.clone(),
            agents: vec![change.agent.clone()],
            scope: Scope::Agent,
            host: change.host.clone(),
            reason,
            sentence: change.sentence.clone(),
            evidence: change.evidence.clone(),
            opened_at: context.wall_ms,
            closed_at: None,
            acked_by: None,
            gate: context.gate,
            rungs: Vec::new(),
            next: None,
            page: None,
            notified: Vec::new(),
            more: serde_json::Map::new(),
        });
        self.shown.of_agent.insert(change.agent.clone(), id.clone());
        let open = Open {
            incident: Arc::clone(&incident),
            unresolved: [change.agent.clone()].into(),
            opened: Some(context.now),
        };
        self.open.insert(id, open);
        self.publish(IncidentChangeKind::Opened, incident, effects);
        effects.push(LedgerEffect::Joined(change.agent.clone()));
    }

    fn join(&mut self, id: &IncidentId, change: &Change, effects: &mut Vec<LedgerEffect>) {
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        let incident = Arc::make_mut(&mut open.incident);
        if !incident.agents.contains(&change.agent) {
            incident.agents.push(change.agent.clone());
        }
        open.unresolved.insert(change.agent.clone());
        if incident.host == change.host {
            incident.scope = Scope::Host;
        } else {
            (incident.scope, incident.host) = (Scope::Fleet, None);
        }
        incident.sentence = grouped(incident, &change.sentence);
        let incident = Arc::clone(&open.incident);
        self.shown.of_agent.insert(change.agent.clone(), id.clone());
        self.publish(IncidentChangeKind::Updated, incident, effects);
        effects.push(LedgerEffect::Joined(change.agent.clone()));
    }

    /// An agent that failed fails for another reason.
    fn go_on(
        &mut self,
        id: &IncidentId,
        change: &Change,
        reason: Reason,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        let alone = open.incident.agents.len() == 1;
        if !alone || open.incident.reason == reason {
            return;
        }
        // That a monitor which started later receives nothing says less than what is known.
        if change.from.is_none() && reason == Reason::HeartbeatLost {
            return;
        }
        let incident = Arc::make_mut(&mut open.incident);
        incident.reason = reason;
        incident.sentence.clone_from(&change.sentence);
        incident.evidence.clone_from(&change.evidence);
        let incident = Arc::clone(&open.incident);
        self.publish(IncidentChangeKind::Updated, incident, effects);
        effects.push(LedgerEffect::OtherReason(change.agent.clone()));
    }

    /// SplitMix64, twice: ids need to be unique, not secret.
    pub(super) fn next_random(&mut self) -> u128 {
        let mut half = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(z ^ (z >> 31))
        };
        (half() << 64) | half()
    }
}

fn grouped(incident: &Incident, sentence: &str) -> String {
    let agents = incident.agents.len();
    match (&incident.host, incident.reason) {
        (Some(host), Reason::HeartbeatLost) => format!("{agents} agents of {host} are silent."),
        (None, Reason::HeartbeatLost) => format!("{agents} agents of the fleet are silent."),
        (host, _) => {
            let host = host.as_deref().unwrap_or("the fleet");
            format!("{agents} agents of {host} failed for one reason, the last: {sentence}")
        }
    }
}
