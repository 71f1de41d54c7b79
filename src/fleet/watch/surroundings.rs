//! What an agent runs in: it may know more of a failure, and others may run there too.

use super::facts::runtime_of;
use super::{Watch, WatchEffect};
use crate::base::id::AgentId;
use crate::fleet::agent::{Agent, State};
use crate::fleet::ladder::exchange::{RuntimeKind, Ticket};
use crate::fleet::ladder::rung::Rung;
use crate::fleet::recovery::RecoveryEffect;
use crate::wire::beat::Runtime;

impl Watch {
    /// What runs the agent may know more of its failure than its sidecar does.
    pub(super) fn ask_surroundings(&self, agent: &AgentId, effects: &mut Vec<WatchEffect>) {
        let incident = self.ledger.incident_of(agent);
        let runtime = self.runtime(agent);
        let is_pod = |of: &Runtime| RuntimeKind::parse(&of.kind) == RuntimeKind::Kubernetes;
        let runtime = runtime.filter(is_pod);
        if let (Some(incident), Some(runtime)) = (incident, runtime) {
            let ask = RecoveryEffect::AskSurroundings(incident.id.clone(), runtime);
            effects.push(WatchEffect::Recovery(ask));
        }
    }

    /// An agent that works in what this rung would restart.
    pub(super) fn neighbour(&self, ticket: &Ticket, agent: &Agent) -> Option<AgentId> {
        match ticket.rung {
            Rung::Docker | Rung::Pod | Rung::Kubernetes | Rung::Systemd | Rung::Replace => {}
            Rung::Sidecar | Rung::Exec | Rung::Alert => return None,
        }
        let own = runtime_of(agent).filter(|runtime| !runtime.id.is_empty())?;
        let all = self.fleet.view().agents;
        let found = all.iter().find(|(id, other)| {
            let lives = matches!(other.state, State::Healthy | State::Missing);
            lives && **id != ticket.agent && runtime_of(other).as_ref() == Some(&own)
        });
        found.map(|(id, _)| id.clone())
    }
}
