//! This sidecar process, as the store names it, as its machine knows it, and as its agent's environment is marked with it.

use crate::config::INSTANCE;
use crate::process::handle;
use heartbeat::base::id::AgentId;
use heartbeat::wire::lease::Holder;
use std::ffi::OsString;
use uuid::Uuid;

/// One sidecar process.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// A random number: no other process, and no other user, can know it before.
    pub(crate) id: String,
    pub(crate) holder: Holder,
    agent: AgentId,
}

impl Instance {
    /// This process, for this agent.
    pub(crate) fn new(agent: &AgentId, host: &str) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            holder: handle::myself(host),
            agent: agent.clone(),
        }
    }

    /// The same process, for an agent of another id.
    pub(crate) fn renamed(&self, agent: &AgentId) -> Self {
        Self {
            agent: agent.clone(),
            ..self.clone()
        }
    }

    /// The value of the variable that marks every process of the agent.
    pub(crate) fn mark(&self) -> OsString {
        format!("{}/{}", self.id, self.agent).into()
    }

    /// How the variable begins, with its name, as it stands in an environment.
    pub(crate) fn env_marker(&self) -> OsString {
        format!("{INSTANCE}={}/", self.id).into()
    }
}
