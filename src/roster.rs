//! The roster: who should be there, kept in the store for longer than any beat.

use crate::beat::Runtime;
use crate::number;
use serde::{Deserialize, Serialize};

/// One entry of the hash `hb:agents`, written at registration and at a clean end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RosterEntry {
    /// What sort of agent.
    #[serde(rename = "type", default)]
    pub agent_type: String,
    /// The machine it registered on.
    #[serde(default)]
    pub host: String,
    /// Time between its beats in milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub interval_ms: u64,
    /// Its registration.
    #[serde(deserialize_with = "number::count")]
    pub epoch: u64,
    /// When its first incarnation started, Unix milliseconds of the sender.
    #[serde(default, deserialize_with = "number::count")]
    pub started_at: u64,
    /// What it runs in.
    #[serde(default)]
    pub runtime: Option<Runtime>,
    /// When it ended cleanly, Unix milliseconds of the sender; a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
}

impl RosterEntry {
    /// Takes a value of the hash. The error names what is wrong; the entry is passed over and counted.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value for the hash.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
