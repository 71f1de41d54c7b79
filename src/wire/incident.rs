//! Incidents: one failure of an agent, a host or the fleet from its opening to its end, as the store and the API show it.

use crate::base::id::AgentId;
use crate::base::number;
use crate::wire::activity::Evidence;
use crate::wire::life::Reason;
use crate::wire::record::{self, RecordError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The largest record that is read, in bytes: it names up to [`AGENTS_MAX`] agents.
pub const INCIDENT_BYTES_MAX: usize = 256 * 1024;
/// Agents that one incident names; further ones open another.
pub const AGENTS_MAX: usize = 1000;
/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 64;

/// A UUID of version 7: ids sort by the time of opening.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct IncidentId(Arc<str>);

/// Not an [`IncidentId`].
#[derive(Debug, thiserror::Error)]
#[error("an incident's id has 1 to {ID_BYTES_MAX} letters, digits and dashes")]
pub struct IncidentIdError;

/// What an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Several agents of one host, for one reason.
    Host,
    /// Many agents of several hosts at once.
    Fleet,
    /// One agent. Also what a scope of a newer version counts as.
    #[serde(other)]
    Agent,
}

/// Why nothing may be done automatically for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The monitor itself stood still.
    Tilt,
    /// The monitor cannot reach the store.
    Blind,
    /// Many agents fell silent at once.
    Storm,
    /// Many agents ended badly at once.
    MassCrash,
    /// A silence is in force.
    Silenced,
    /// A person paused all actions.
    Paused,
    /// A gate of a newer version.
    #[serde(other)]
    Unknown,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id, also the field of the hash.
    pub id: IncidentId,
    /// The agents that failed, in the order in which they did.
    pub agents: Vec<AgentId>,
    /// Whether it is about one agent, a host or the fleet.
    pub scope: Scope,
    /// The host, where all agents are of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Why the agents are not healthy.
    pub reason: Reason,
    /// For people.
    #[serde(default)]
    pub sentence: String,
    /// What shows it.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// Unix milliseconds of the store.
    #[serde(deserialize_with = "number::count")]
    pub opened_at: u64,
    /// Unix milliseconds of the store; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<u64>,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_by: Option<String>,
    /// What kept the monitor from acting when it opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateKind>,
    /// What was tried.
    #[serde(default)]
    pub rungs: Vec<Rung>,
    /// What happens next without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The incident that gave its id to the page of this one, once there is a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<IncidentId>,
    /// Which receivers know of it.
    #[serde(default)]
    pub notified: Vec<Notified>,
    /// Fields of a newer version: they are written back.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// One recovery step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rung {
    /// Its name.
    pub rung: String,
    /// The agent that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The registration and the incarnation that it acts upon.
    #[serde(default, deserialize_with = "number::count")]
    pub epoch: u64,
    /// See `epoch`.
    #[serde(default, deserialize_with = "number::count")]
    pub incarnation: u64,
    /// The fencing token that it was ordered with.
    #[serde(default, deserialize_with = "number::count")]
    pub token: u64,
    /// Unix milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub started_at: u64,
    /// Unix milliseconds; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What the monitor does next by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// What.
    pub what: String,
    /// When, Unix milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub at: u64,
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notified {
    /// Its receiver.
    pub receiver: String,
    /// Unix milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub at: u64,
    /// What became of it.
    pub outcome: String,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By what name the receiver knows it, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

impl IncidentId {
    /// The id of an incident that opens at `wall_ms`, Unix milliseconds; `random` makes it unique.
    pub fn new(wall_ms: u64, random: u128) -> Self {
        let time = u128::from(wall_ms & ((1 << 48) - 1)) << 80;
        let rest = random & ((0xfff << 64) | ((1 << 62) - 1));
        let hex = format!("{:032x}", time | (7 << 76) | (2 << 62) | rest);
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        Self(parts.join("-").into())
    }

    /// Takes an id from the store or a path.
    pub fn parse(text: &str) -> Result<Self, IncidentIdError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.chars().all(fits) {
            return Err(IncidentIdError);
        }
        Ok(Self(text.into()))
    }
}

impl<'de> Deserialize<'de> for IncidentId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rung {
    /// Whether it is for this agent; an older record does not say for which one.
    pub fn is_for(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|of| of.as_str() == agent)
    }
}

impl Incident {
    /// Takes a record of the hash.
    pub fn decode(record: &[u8]) -> Result<Self, RecordError> {
        record::decode(record, "an incident", INCIDENT_BYTES_MAX)
    }

    /// The record for the hash.
    pub fn encode(&self) -> String {
        record::encode(self)
    }

    /// What was tried for one of its agents.
    pub fn rungs_of(&self, agent: &AgentId) -> impl Iterator<Item = &Rung> {
        self.rungs.iter().filter(|rung| rung.is_for(agent.as_str()))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_7_and_sorts_by_time() {
        let id = |ms, random| IncidentId::new(ms, random).to_string();
        let first = id(0x0199_0000_0000, u128::MAX);
        assert_eq!(first, "01990000-0000-7fff-bfff-ffffffffffff");
        assert!(first < id(0x0199_0000_0001, 0));
    }

    #[test]
    fn fields_of_a_newer_version_are_written_back() {
        let text = r#"{"id":"a-1","agents":["w1"],"scope":"galaxy","reason":"tired","openedAt":5,"mood":{"x":1}}"#;
        let incident = Incident::decode(text.as_bytes()).unwrap();
        assert_eq!(
            (incident.scope, incident.reason),
            (Scope::Agent, Reason::Unknown)
        );
        assert!(incident.encode().contains(r#""mood":{"x":1}"#));
    }
}
