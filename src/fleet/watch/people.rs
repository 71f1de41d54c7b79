//! When people are needed about an incident, and how much.

use super::Watch;
use crate::base::id::AgentId;
use crate::fleet::ladder::policy::Severity;
use crate::fleet::view::type_of;
use crate::wire::incident::Incident;

impl Watch {
    /// How much people are needed about this incident; `None` as long as recovery has not come to its end for any agent of
    /// it. What a gate holds back waits for people: an alert goes out where an action does not.
    pub fn people_needed(&self, incident: &Incident) -> Option<Severity> {
        let is_open =
            |agent: &&AgentId| self.shown.incidents.of_agent.get(*agent) == Some(&incident.id);
        let is_left = |agent: &AgentId| {
            let waits = self
                .recovery
                .opening
                .iter()
                .any(|(_, other)| other == agent);
            !waits && (!self.recovery.ladder.has(agent) || self.recovery.ladder.is_paged(agent))
        };
        let open = incident.agents.iter().filter(is_open);
        let needed = incident.gate.is_some() || open.clone().any(is_left);
        if !needed {
            return None;
        }
        let of = |agent: &AgentId| {
            let known = self.fleet.agent(agent)?;
            let host = known.host().unwrap_or_default();
            let policies = &self.recovery.policies;
            Some(policies.of(agent.as_str(), type_of(known), host).severity)
        };
        let all = if open.clone().next().is_some() {
            open.filter_map(of).max()
        } else {
            incident.agents.iter().filter_map(of).max()
        };
        Some(all.unwrap_or_default())
    }
}
