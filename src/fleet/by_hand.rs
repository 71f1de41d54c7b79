//! What people ask the monitor for, and what they get for an answer.

use crate::base::id::AgentId;
use crate::wire::order::Order;
use crate::wire::pause::Pause;
use std::time::Duration;

/// The longest name of a person and the longest address that are kept, in characters.
pub const WHO_CHARS_MAX: usize = 128;

/// One request of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Names the request: its answer carries it back.
    pub number: u64,
    /// What is asked for.
    pub ask: Ask,
    /// Who asks, as the client names its user.
    pub by: String,
    /// The client's address.
    pub from: String,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A restart of this agent, also of a healthy one.
    Restart(AgentId),
    /// The end of this agent, for good.
    Stop(AgentId),
    /// The agent is over: it leaves the fleet and the roster.
    Forget(AgentId),
    /// Nothing is done automatically, for this time or until it is resumed.
    Pause(Option<Duration>),
    /// The end of the pause.
    Resume,
}

/// What a request began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This order was given to the agent's sidecar.
    Order(Order),
    /// The agent has left the fleet.
    Forgotten(AgentId),
    /// Nothing is done automatically.
    Paused(Pause),
    /// Recovery goes on.
    Resumed,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskRefusal {
    /// No such agent.
    #[error("Agent not found")]
    NotFound,
    /// The store cannot be reached: nothing can be ordered.
    #[error("hb cannot reach the store, so nothing can be ordered; try again when it is back")]
    Blind,
    /// It is impossible now.
    #[error("{0}")]
    Impossible(String),
}

impl Ask {
    /// The agent that it is about; `None` for the whole fleet.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Restart(id) | Self::Stop(id) | Self::Forget(id) => Some(id),
            Self::Pause(_) | Self::Resume => None,
        }
    }

    /// The word of the command, the path and the audit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Restart(_) => "restart",
            Self::Stop(_) => "stop",
            Self::Forget(_) => "forget",
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
        }
    }
}
