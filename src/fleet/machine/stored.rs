//! What the store says of an agent beside its beats and events: the roster, an open incident, a time to live.

use super::{Fleet, FleetEffect, Occurred};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::Agent;
use crate::fleet::run::Run;
use crate::wire::roster::RosterEntry;
use std::time::Duration;

impl Fleet {
    pub(super) fn roster_entry(
        &mut self,
        id: AgentId,
        entry: &RosterEntry,
        run: Run,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
    ) {
        let found = self.agents.find(id.as_str());
        let Some(place) = self.place(found, id.as_str(), now, || run.clone(), effects) else {
            return;
        };
        if let Some(end) = self.agents.agent(place).end_beyond(entry)
            && end.epoch <= self.epoch_max
        {
            effects.push(FleetEffect::Enlist(id, Box::new(end)));
        }
        self.apply(place, self.occurred(), now, effects, |agent, context| {
            agent.roster_entry(entry, &run, context);
        });
    }

    pub(super) fn remembered(
        &mut self,
        id: &AgentId,
        run: Run,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
    ) {
        let found = self.agents.find(id.as_str());
        if let Some(place) = self.place(found, id.as_str(), now, || run, effects) {
            self.apply(place, self.occurred(), now, effects, Agent::settle);
        }
    }

    pub(super) fn learned(
        &mut self,
        id: &AgentId,
        time_to_live: Duration,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
    ) {
        if let Some(place) = self.agents.find(id.as_str()) {
            self.apply(place, Occurred::Now, now, effects, |agent, _| {
                agent.learned(time_to_live);
            });
        }
    }
}
