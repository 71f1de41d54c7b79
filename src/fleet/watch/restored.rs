//! The agents of incidents that were read from the store: what they are like now.

use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::incidents::LedgerInput;
use crate::fleet::machine::FleetInput;

impl Watch {
    /// Agents of incidents that were read from the store may have recovered already.
    pub(super) fn settle_restored(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        let agents: Vec<AgentId> = self.ledger.agents().cloned().collect();
        for agent in agents {
            if let Some(known) = self.fleet.view().agents.get(&agent) {
                let interval = known.run.detector.interval();
                let input = LedgerInput::Stands(agent, known.state, interval);
                self.record(input, None, now, effects);
            }
        }
    }

    /// An agent with an open incident that the store knows no more failed and did not come back: it is shown until it does.
    pub(super) fn remember_failed(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        let known = self.fleet.view().agents;
        let agents = self.ledger.agents();
        let forgotten: Vec<AgentId> = agents
            .filter(|agent| known.get(agent).is_none())
            .cloned()
            .collect();
        for agent in forgotten {
            let produced = self.fleet.handle(FleetInput::Remembered(agent), now);
            self.fleet_effects(produced, now, effects);
        }
    }
}
