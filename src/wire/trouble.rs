//! Troubles of hbmonitor itself, as the hash `hb:troubles` holds them: a monitor that starts repeats none, and ends those that
//! are over.

use crate::base::number;
use crate::wire::incident::{IncidentId, Notified};
use crate::wire::notification::ReceiverName;
use crate::wire::record::{self, RecordError};
use serde::{Deserialize, Serialize};

/// The largest record that is read, in bytes.
pub const TROUBLE_BYTES_MAX: usize = 16 * 1024;
/// What a trouble with a receiver begins with; its name follows.
const RECEIVER: &str = "receiver-";
const CONFIGURATION: &str = "configuration";
const DISK: &str = "disk";

/// What the trouble is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum TroubleKind {
    /// This receiver takes nothing.
    Receiver(ReceiverName),
    /// The configuration that was read again cannot be used.
    Configuration,
    /// The store cannot write to its disk.
    Disk,
}

/// One trouble that lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What it is; also the field of the hash.
    pub name: TroubleKind,
    /// Unix milliseconds of hbmonitor.
    #[serde(deserialize_with = "number::count")]
    pub since: u64,
    /// For people.
    #[serde(default)]
    pub sentence: String,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_by: Option<String>,
    /// The id of its message, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<IncidentId>,
    /// Which receivers know of it.
    #[serde(default)]
    pub notified: Vec<Notified>,
    /// Fields of a newer version: they are written back.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl TroubleKind {
    /// The field of the hash.
    pub fn field(&self) -> String {
        match self {
            Self::Receiver(name) => format!("{RECEIVER}{name}"),
            Self::Configuration => CONFIGURATION.to_owned(),
            Self::Disk => DISK.to_owned(),
        }
    }

    /// The id of its message: the same each time it happens.
    pub fn id(&self) -> IncidentId {
        let id = format!("hb-{}", self.field().replace('_', "--"));
        // Longer than an id may be: of the longest names of receivers the end is enough.
        let start = id.len().saturating_sub(64);
        IncidentId::parse(&id[start..]).unwrap_or_else(|_| IncidentId::new(0, 0))
    }
}

impl From<TroubleKind> for String {
    fn from(kind: TroubleKind) -> Self {
        kind.field()
    }
}

impl TryFrom<String> for TroubleKind {
    type Error = String;

    fn try_from(field: String) -> Result<Self, String> {
        let receiver = field.strip_prefix(RECEIVER).map(ReceiverName::parse);
        match (receiver, &*field) {
            (Some(Ok(name)), _) => Ok(Self::Receiver(name)),
            (None, CONFIGURATION) => Ok(Self::Configuration),
            (None, DISK) => Ok(Self::Disk),
            (Some(Err(_)) | None, _) => Err(format!("{field:?} is no known trouble")),
        }
    }
}

impl Trouble {
    /// One that begins.
    pub fn new(name: TroubleKind, sentence: &str, since: u64) -> Self {
        Self {
            name,
            since,
            sentence: sentence.to_owned(),
            acked_by: None,
            page: None,
            notified: Vec::new(),
            more: serde_json::Map::new(),
        }
    }

    /// Takes a record of the hash.
    pub fn decode(record: &[u8]) -> Result<Self, RecordError> {
        record::decode(record, "a trouble", TROUBLE_BYTES_MAX)
    }

    /// The record for the hash.
    pub fn encode(&self) -> String {
        record::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_read_and_written_the_same_and_names_its_receiver() {
        let text =
            r#"{"name":"receiver-team_slack","since":5,"sentence":"s","notified":[],"mood":1}"#;
        let trouble = Trouble::decode(text.as_bytes()).unwrap();
        let name = ReceiverName::parse("team_slack").unwrap();
        assert_eq!(trouble.name, TroubleKind::Receiver(name));
        assert_eq!(trouble.name.id().to_string(), "hb-receiver-team--slack");
        let again = Trouble::decode(trouble.encode().as_bytes()).unwrap();
        assert_eq!(again, trouble);
    }

    #[test]
    fn what_only_a_newer_version_knows_is_left_to_it() {
        for name in ["weather", "receiver-", "receiver-a b"] {
            let text = format!(r#"{{"name":"{name}","since":5}}"#);
            assert!(Trouble::decode(text.as_bytes()).is_err(), "{name}");
        }
    }
}
