//! What people ask the monitor for, and what they get for an answer.

use crate::base::id::AgentId;
use crate::fleet::ladder::exchange::Planned;
use crate::fleet::ladder::rung::Rung;
use crate::wire::incident::{Incident, IncidentId};
use crate::wire::order::Order;
use crate::wire::pause::Pause;
use crate::wire::silence::{Matcher, Silence};
use crate::wire::trouble::TroubleKind;
use std::sync::Arc;
use std::time::Duration;

/// The longest name of a person and the longest address that are kept, in characters.
pub const WHO_CHARS_MAX: usize = 128;

/// One request of a person.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A restart of this agent, also of a healthy one.
    Restart(AgentId),
    /// The next rung of this agent's open incident, or this one; gates and budgets do not hold it back.
    Recover {
        /// The agent.
        agent: AgentId,
        /// Which rung.
        rung: Option<Rung>,
        /// Only what would be done.
        dry_run: bool,
    },
    /// The fix that the agent's present verdict offers, below a restart; its sidecar applies it.
    Unblock(AgentId),
    /// What each process of this agent waits for now; nothing is done to them.
    Capture(AgentId),
    /// The end of this agent, for good.
    Stop(AgentId),
    /// The agent is over: it leaves the fleet and the roster.
    Forget(AgentId),
    /// A person takes care of this agent's incident: its page is quiet until it is over.
    Acknowledge(AgentId),
    /// A person takes care of this trouble of hbmonitor itself: its page is quiet until it is over.
    AcknowledgeTrouble(TroubleKind),
    /// No notification and no automatic action for what matches; no time: the end of such a silence.
    Silence(Quiet),
    /// The end of this silence.
    Unsilence(IncidentId),
    /// Nothing is done automatically, for this time or until it is resumed.
    Pause(Option<Duration>),
    /// The end of the pause.
    Resume,
}

/// A silence as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Quiet {
    /// For what.
    pub matchers: Vec<Matcher>,
    /// For how long.
    pub lasts: Duration,
    /// Why.
    pub comment: String,
}

/// What a request began.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This order was given to the agent's sidecar.
    Order(Order),
    /// A rung of this incident is climbed.
    Incident(Arc<Incident>),
    /// What would become of each rung.
    Plan(Vec<Planned>),
    /// The agent has left the fleet.
    Forgotten(AgentId),
    /// A person takes care of this incident or notice.
    Acknowledged(IncidentId),
    /// A person takes care of this trouble of hbmonitor itself.
    TroubleAcknowledged(TroubleKind),
    /// The silence holds.
    Silenced(Box<Silence>),
    /// The silence is over.
    Unsilenced(IncidentId),
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
    /// No such silence.
    #[error("Silence not found")]
    NoSilence,
    /// The store cannot be reached: nothing can be ordered.
    #[error("hb cannot reach the store, so nothing can be ordered; try again when it is back")]
    Blind,
    /// Another monitor acts.
    #[error("{0} leads the monitors of this store: ask that one")]
    Follows(String),
    /// It is impossible now.
    #[error("{0}")]
    Impossible(String),
}

impl Ask {
    /// The agent that it is about; `None` for the whole fleet.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Restart(id)
            | Self::Unblock(id)
            | Self::Capture(id)
            | Self::Stop(id)
            | Self::Forget(id)
            | Self::Acknowledge(id) => Some(id),
            Self::Recover { agent, .. } => Some(agent),
            Self::AcknowledgeTrouble(_)
            | Self::Silence(_)
            | Self::Unsilence(_)
            | Self::Pause(_)
            | Self::Resume => None,
        }
    }

    /// The word of the command, the path and the audit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Restart(_) => "restart",
            Self::Recover { .. } => "recover",
            Self::Unblock(_) => "unblock",
            Self::Capture(_) => "capture",
            Self::Stop(_) => "stop",
            Self::Forget(_) => "forget",
            Self::Acknowledge(_) | Self::AcknowledgeTrouble(_) => "ack",
            Self::Silence(_) => "silence",
            Self::Unsilence(_) => "unsilence",
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
        }
    }
}
