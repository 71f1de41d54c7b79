//! Which of several monitors acts: the value of `hb:leader`, and what the store answers to one that wants to lead.

use crate::base::number;
use crate::wire::lease::Holder;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the lead lasts without a renewal.
pub const LEAD_LASTS: Duration = Duration::from_secs(15);
/// The longest host of an instance, in characters.
const HOST_CHARS_MAX: usize = 64;

/// The monitor that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// One monitor process: see [`instance`].
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

    /// The process that leads, as its machine knows it; `None` for one that another program wrote.
    pub fn process(&self) -> Option<Holder> {
        Holder::decode(&self.instance)
    }

    /// The process that leads, for people.
    pub fn describe(&self) -> String {
        match self.process() {
            Some(process) => format!("process {} on {}", process.pid, process.host),
            None => self.instance.clone(),
        }
    }

    /// The value of the key.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The name of a monitor process among those of its store: where the machine of both is the same, another one can prove it dead
/// by it. JSON needs no escape for it.
pub fn instance(process: &Holder) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = process.host.chars().filter(fits);
    let host = host.take(HOST_CHARS_MAX).collect();
    let process = process.clone();
    Holder { host, ..process }.encode()
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
    fn the_name_of_a_monitor_needs_no_escape_and_names_its_process() {
        let process = Holder {
            host: "no\"de\\-1\n.x".to_owned(),
            boot: "b-1".to_owned(),
            pid_namespace: 4,
            pid: 7,
            started: 99,
        };
        let leader = Leader {
            instance: instance(&process),
            since: 1,
            fence: 2,
        };
        assert_eq!(leader.instance, "b-1 4 7 99 node-1.x");
        assert_eq!(leader.describe(), "process 7 on node-1.x");
        assert_eq!(leader.process().unwrap().started, 99);
    }
}
