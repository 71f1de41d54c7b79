//! What recovery asks of the world, and what comes back: the part of the watch's inputs and effects that acts.

use crate::base::id::AgentId;
use crate::fleet::by_hand::{Answer, AskRefusal, Asked};
use crate::wire::audit::AuditEntry;
use crate::wire::incident::IncidentId;
use crate::wire::order::Order;
use crate::wire::pause::Pause;
use crate::wire::silence::Silence;

/// An input.
#[derive(Clone, Debug)]
pub enum RecoveryInput {
    /// The store granted this monitor its fencing token: orders are given with it.
    Token(u64),
    /// The pause that the store holds.
    Pause(Option<Pause>),
    /// The silences that the store holds.
    Silences(Vec<Silence>),
    /// A person asks for something.
    Asked(Asked),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryEffect {
    /// Write the order as pending and publish it.
    Order(AgentId, Order),
    /// Remove everything that the store holds of the agent but its epoch.
    Forget(AgentId),
    /// Write the pause, or remove it.
    StorePause(Option<Pause>),
    /// Write this silence.
    StoreSilence(Box<Silence>),
    /// Remove this silence.
    RemoveSilence(IncidentId),
    /// The silences in force and to come, for the alerts.
    Silences(Vec<Silence>),
    /// Write what a person asked for.
    Audit(AuditEntry),
    /// Answer the request of this number.
    Answer(u64, Result<Answer, AskRefusal>),
}
