//! Room for newcomers: the fleet is bounded, in agents and in bytes.

use super::{Fleet, FleetEffect, REFUSED_EVERY};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::Agent;
use crate::fleet::agents::Place;
use crate::fleet::run::Run;

impl Fleet {
    /// The place of the agent that an input is about, `found` if it is known. A newcomer begins with `run`; `None` when the
    /// fleet is full.
    pub(super) fn place(
        &mut self,
        found: Option<Place>,
        id: &str,
        now: Moment,
        run: impl FnOnce() -> Run,
        effects: &mut Vec<FleetEffect>,
    ) -> Option<Place> {
        if let Some(place) = found {
            self.observed(place, now);
            return Some(place);
        }
        let id = AgentId::parse(id).ok()?;
        if self.is_heavy() || self.agents.len() >= self.settings.agents_max {
            self.make_room(now, effects)?;
        }
        let agent = Agent::new(run(), now);
        *self.counts.of(agent.state) += 1;
        self.versions.change(None, agent.counted_version());
        self.bounds.bytes += agent.weight();
        Some(self.agents.insert(id, agent))
    }

    pub(super) fn is_heavy(&self) -> bool {
        self.bounds.bytes >= self.settings.bytes_max
    }

    /// An agent that is over leaves for a newcomer; `None` when there is none, so that the newcomer is refused.
    fn make_room(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) -> Option<()> {
        let first = self.retention.first();
        if let Some(place) = first.and_then(|id| self.agents.find(id.as_str())) {
            self.leave(place, effects);
            return Some(());
        }
        self.beats.refused += 1;
        let said = self.refused_at;
        if said.is_none_or(|at| now.since(at) >= REFUSED_EVERY) {
            self.refused_at = Some(now);
            effects.push(FleetEffect::Refused(self.beats.refused));
        }
        None
    }

    pub(super) fn leave(&mut self, place: Place, effects: &mut Vec<FleetEffect>) {
        let id = self.agents.id(place).clone();
        let agent = self.agents.agent(place);
        *self.counts.of(agent.state) -= 1;
        self.versions.change(agent.counted_version(), None);
        self.bounds.bytes -= agent.weight();
        self.bounds.left += 1;
        self.retention.update(&id, agent.over, None);
        self.unannounced.remove(&id);
        let epoch = agent.run.epoch;
        self.agents.remove(place);
        effects.push(FleetEffect::Left(id, epoch));
    }
}
