//! Which of several monitors acts: the value of `hb:leader`, and what the store answers to one that wants to lead.

use crate::base::number;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the lead lasts without a renewal.
pub const LEAD_LASTS: Duration = Duration::from_secs(15);
/// The longest instance, in characters.
const INSTANCE_CHARS_MAX: usize = 128;

/// The monitor that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// One monitor process: its host and a random number.
    pub instance: String,
    /// Since when it leads, Unix milliseconds of the store.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub since: u64,
    /// Its fencing token: orders are given with it.
    #[serde(deserialize_with = "number::count")]
    pub fence: u64,
}

/// What a monitor is among those of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads.
    Leads(Leader),
    /// Another one leads.
    Follows(Leader),
    /// The lead was given up.
    Free,
}

/// Why an answer of the store is no standing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unexpected answer of the store to a monitor: {0:?}; check that the store runs hb's script unchanged"
)]
pub struct StandingError(String);

impl Standing {
    /// Takes the answer of the script `leader.lua`.
    pub fn decode(word: &str, value: &str) -> Result<Self, StandingError> {
        let leader = || Leader::decode(value);
        let standing = match word {
            "leads" => leader().map(Self::Leads),
            "follows" => leader().map(Self::Follows),
            "free" => Some(Self::Free),
            _ => None,
        };
        standing
            .ok_or_else(|| StandingError(crate::wire::beat::cut(format!("{word} {value}"), 160)))
    }
}

impl Leader {
    /// The leader that a value of the key names, if any.
    pub fn decode(text: &str) -> Option<Self> {
        let leader: Self = serde_json::from_str(text).ok()?;
        (leader.fence > 0).then_some(leader)
    }

    /// The value of the key.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The name of a monitor process: what a host name may be and JSON needs no escape for.
pub fn instance(host: &str, random: u64) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host: String = host
        .chars()
        .filter(fits)
        .take(INSTANCE_CHARS_MAX - 17)
        .collect();
    format!("{host}/{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_standing_or_shows_what_came() {
        let value = r#"{"instance":"node-1/07","since":5,"fence":9}"#;
        let leader = Leader::decode(value).unwrap();
        assert_eq!(leader.encode(), value);
        let read = |word, value| Standing::decode(word, value);
        assert_eq!(read("leads", value), Ok(Standing::Leads(leader.clone())));
        assert_eq!(read("follows", value), Ok(Standing::Follows(leader)));
        assert_eq!(read("free", ""), Ok(Standing::Free));
        for (word, value) in [("leads", "{}"), ("follows", "garbage"), ("rules", value)] {
            let error = read(word, value).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_name_of_a_monitor_needs_no_escape() {
        assert_eq!(instance("no\"de\\-1\n.x", 10), "node-1.x/000000000000000a");
        assert_eq!(instance(&"n".repeat(500), 0).len(), INSTANCE_CHARS_MAX);
    }
}
