//! Orders: what a monitor asks of a sidecar. Bound to one epoch and one incarnation, with an expiry.

use crate::number;
use serde::{Deserialize, Serialize};

/// The value of `hb:control:{agent:ID}` and the message on the channel of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Names the order; its outcome carries it back.
    pub id: String,
    /// What to do.
    pub action: Action,
    /// The registration it is meant for; another one drops it.
    #[serde(deserialize_with = "number::count")]
    pub epoch: u64,
    /// The incarnation it is meant for; another one drops it.
    #[serde(deserialize_with = "number::count")]
    pub incarnation: u64,
    /// Milliseconds from its receipt after which it must not be carried out any more.
    #[serde(deserialize_with = "number::count")]
    pub ttl_ms: u64,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// End the agent and start a new incarnation.
    Restart,
    /// End the agent for good.
    Stop,
    /// Beat at once.
    Ping,
}

impl Order {
    /// Takes a value from the store.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value for the store.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
