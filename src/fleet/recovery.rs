//! What recovery asks of the world, and what comes back: the part of the watch's inputs and effects that acts.

use crate::base::id::AgentId;
use crate::fleet::by_hand::{Answer, AskRefusal, Asked};
use crate::fleet::ladder::exchange::{Claim, Performed, Ticket};
use crate::fleet::ladder::policy::Severity;
use crate::wire::audit::AuditEntry;
use crate::wire::beat::Runtime;
use crate::wire::incident::{Incident, IncidentId};
use crate::wire::life::Reason;
use crate::wire::order::Order;
use crate::wire::pause::Pause;
use crate::wire::silence::Silence;
use std::sync::Arc;

/// An input.
#[derive(Clone, Debug)]
pub enum RecoveryInput {
    /// The pause that the store holds.
    Pause(Option<Pause>),
    /// The silences that the store holds.
    Silences(Vec<Silence>),
    /// A person asks for something.
    Asked(Asked),
    /// What became of [`RecoveryEffect::Claim`].
    Claimed(Ticket, Claim),
    /// What became of [`RecoveryEffect::Begin`]: whether the store has the incident.
    Begun(Ticket, bool),
    /// What was found for [`RecoveryEffect::AskSurroundings`]: a sentence.
    Surroundings(IncidentId, String),
    /// What became of [`RecoveryEffect::Perform`].
    Performed(Ticket, Performed),
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
    /// Write the intent with this value unless there is one, and report whose it is: one of this value was granted before.
    Claim(Ticket, String),
    /// Write the incident, which shows the rung, and report when the store has it.
    Begin(Ticket, Arc<Incident>),
    /// Carry the rung out, beside everything else, and report its outcome.
    Perform(Box<Deed>),
    /// Ask what an agent of this incident runs in what it knows of the failure, where this monitor may ask. Nothing waits for
    /// the answer.
    AskSurroundings(IncidentId, Runtime),
    /// Remove the intents.
    Release(Vec<Ticket>),
    /// People must act.
    Page(Page),
}

/// Why people must act about an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The agent.
    pub agent: AgentId,
    /// Its incident.
    pub incident: IncidentId,
    /// For people.
    pub why: String,
    /// Of the agent's policy.
    pub severity: Severity,
}

/// One rung to be carried out, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Which, for which run of which agent.
    pub ticket: Ticket,
    /// The fencing token of this monitor.
    pub token: u64,
    /// The incident.
    pub incident: IncidentId,
    /// What sort of agent it is.
    pub agent_type: String,
    /// Its host.
    pub host: String,
    /// Why it is not healthy.
    pub reason: Reason,
    /// What it runs in, as it last reported it.
    pub runtime: Option<Runtime>,
    /// Never two of it.
    pub exclusive: bool,
    /// The policy's command, program first.
    pub exec: Vec<String>,
    /// The policy's image of a replacement.
    pub replace_image: Option<String>,
}
