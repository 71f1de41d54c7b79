//! This sidecar process, as the store names it, as its machine knows it, and as its agent's environment is marked with it.

use crate::config::INSTANCE;
use crate::process::handle;
use heartbeat::base::id::AgentId;
use heartbeat::wire::lease::Holder;
use rustix::rand::{GetRandomFlags, getrandom};
use std::ffi::OsString;
use std::io;
use uuid::Builder;

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
    ///
    /// # Errors
    /// The kernel gives no random bytes. It is asked itself: a root without `/dev` has no file for them.
    pub(crate) fn new(agent: &AgentId, host: &str) -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(Self {
            id: Builder::from_random_bytes(bytes).into_uuid().to_string(),
            holder: handle::myself(host),
            agent: agent.clone(),
        })
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
