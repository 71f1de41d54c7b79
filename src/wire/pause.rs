//! The pause of all automatic actions, as the store keeps it: `hb:pause`.

use crate::base::number;
use serde::{Deserialize, Serialize};

/// A person switched recovery off for the whole fleet. Kept without a time to live: an embedded store keeps it over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when, Unix milliseconds of the store.
    #[serde(deserialize_with = "number::count")]
    pub since: u64,
    /// Until when, Unix milliseconds of the store; absent: until a person resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Who asked for it.
    #[serde(default)]
    pub by: String,
}

impl Pause {
    /// Takes the value of the key.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value for the store.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
