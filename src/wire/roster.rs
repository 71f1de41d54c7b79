//! The roster: which agents there are and where each one's process is, kept in the store for longer than any beat.

use crate::base::moment::millis;
use crate::base::number;
use crate::base::version::Version;
use crate::wire::beat::{INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN, Runtime};
use crate::wire::lenient;
use crate::wire::life::{Life, Phase};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::time::Duration;

/// One entry of the hash `hb:agents`, written at registration, at each start and at each end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RosterEntry {
    /// What sort of agent.
    #[serde(rename = "type", default, deserialize_with = "lenient::or_default")]
    pub agent_type: String,
    /// The machine it registered on.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub host: String,
    /// Time between its beats in milliseconds.
    #[serde(
        default = "interval_default",
        deserialize_with = "interval_of_any_shape"
    )]
    pub interval_ms: u64,
    /// Its registration.
    #[serde(deserialize_with = "number::count")]
    pub epoch: u64,
    /// When its first incarnation started, Unix milliseconds of the sender.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub started_at: u64,
    /// What it runs in.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub runtime: Option<Runtime>,
    /// The version of its sidecar.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub hb_version: Option<Version>,
    /// When it ended cleanly, Unix milliseconds of the sender; a tombstone.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "tombstone_of_any_shape"
    )]
    pub stopped_at: Option<u64>,
    /// Where its process is: written at each start and each end, so that it outlives the hash and the stream.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub life: Option<Life>,
}

impl RosterEntry {
    /// Takes a value of the hash. The error names what is wrong; the entry is dropped and counted.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        lenient::parse(text)
    }

    /// Where its process is; without a report of it, a tombstone is a clean end.
    pub fn life(&self) -> Life {
        self.life.clone().unwrap_or_else(|| Life {
            phase: match self.stopped_at {
                Some(_) => Phase::Ended,
                None => Phase::Running,
            },
            since: self.stopped_at.unwrap_or(self.started_at),
            ..Life::default()
        })
    }

    /// Time between its beats, within the allowed range.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms).clamp(INTERVAL_MIN, INTERVAL_MAX)
    }

    /// The value for the hash.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn interval_default() -> u64 {
    millis(INTERVAL_DEFAULT)
}

/// An entry without a readable interval names its agent all the same.
fn interval_of_any_shape<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    number::count_if_any(from).map(|read| read.unwrap_or_else(interval_default))
}

/// A tombstone whose time is unreadable is one all the same.
fn tombstone_of_any_shape<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    let is_there = !value.is_null();
    Ok(is_there.then(|| number::count_or_zero(value).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_odd_costs_itself_and_the_agent_is_known() {
        let entry = RosterEntry::decode(
            r#"{"type":7,"host":null,"intervalMs":"30s","epoch":4,"startedAt":-1,"runtime":"docker","hbVersion":"latest","stoppedAt":"yesterday","life":7}"#,
        )
        .unwrap();
        assert_eq!((entry.epoch, entry.interval()), (4, INTERVAL_DEFAULT));
        assert_eq!(
            (entry.stopped_at, entry.life().phase),
            (Some(0), Phase::Ended)
        );
    }
}
