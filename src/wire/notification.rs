//! Notifications: what must still reach a receiver, as the hash `hb:outbox` holds it and as a webhook delivers it.

use crate::base::id::AgentId;
use crate::base::number;
use crate::wire::incident::IncidentId;
use crate::wire::record::{self, RecordError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The largest record that is read, in bytes.
pub const NOTIFICATION_BYTES_MAX: usize = 64 * 1024;
/// Agents that a message names; further ones are counted.
pub const NAMED_MAX: usize = 20;
/// Incidents that a message names.
pub const INCIDENTS_MAX: usize = 100;
/// The longest name of a page or a receiver, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How severe a failure is for those who are paged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Soon.
    Warning,
    /// Now. Also what a severity of a newer version counts as.
    #[default]
    #[serde(other)]
    Critical,
}

/// What identifies a page at its receivers from the first message to the last: letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PageId(Arc<str>);

/// The name of a receiver: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ReceiverName(Arc<str>);

/// Not the name of a page or a receiver.
#[derive(Debug, thiserror::Error)]
#[error("a name has 1 to {NAME_BYTES_MAX} letters, digits, dashes and underscores")]
pub struct NameError;

/// What a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// People are needed.
    Firing,
    /// They still are: further agents, or the time of a reminder has come.
    Updated,
    /// A person takes care of it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// hb brought it back, no one is needed.
    Repaired,
    /// A suspicion, or an agent that waits for a person.
    Notice,
    /// A person tries the receiver. Also what an occasion of a newer version counts as.
    #[serde(other)]
    Test,
}

/// What a page is about; receivers that know classes or alert names get one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// No beats.
    HeartbeatMissed,
    /// Its process ended badly.
    Crash,
    /// It ends again and again.
    CrashLoop,
    /// Proof that it cannot go on, or it cannot be ended.
    Hung,
    /// Two agents use one id, or a newer run took over.
    Duplicate,
    /// A suspicion.
    Stalled,
    /// A person must answer.
    WaitingForInput,
    /// Held from outside.
    Paused,
    /// hbmonitor cannot reach its store.
    StoreUnavailable,
    /// Another trouble of hbmonitor itself. Also what a subject of a newer version counts as.
    #[serde(other)]
    Monitor,
}

/// How it looks at one glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Failed.
    Failed,
    /// hb brought it back.
    Repaired,
    /// Suspicious, or hb itself.
    Warning,
    /// It waits for a person.
    Person,
    /// Well again.
    Healthy,
    /// None. Also what a mark of a newer version counts as.
    #[serde(other)]
    Plain,
}

/// What is reported, the same for every receiver; each renders it in its own format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// What it reports.
    pub occasion: Occasion,
    /// The page that it belongs to.
    pub page: PageId,
    /// How urgent.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// At one glance.
    pub mark: Mark,
    /// One line that stands alone, without a glyph.
    pub title: String,
    /// What is the matter; may be empty.
    #[serde(default)]
    pub what: String,
    /// Since when, Unix milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub since: u64,
    /// Until when, where it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// What shows it.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// What was tried.
    #[serde(default)]
    pub tried: Vec<String>,
    /// What happens without a person.
    #[serde(default)]
    pub next: String,
    /// The first [`NAMED_MAX`] agents.
    #[serde(default)]
    pub agents: Vec<AgentId>,
    /// How many there are.
    #[serde(default)]
    pub agents_total: usize,
    /// Their host, if they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The word for the reason.
    #[serde(default)]
    pub reason: String,
    /// When the last beat came, Unix milliseconds, where it is about one agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<u64>,
    /// The incidents that it is about, [`INCIDENTS_MAX`] at most.
    #[serde(default)]
    pub incidents: Vec<IncidentId>,
}

/// A message that must reach a receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Unique, the same at each attempt: receivers that know it take the message once. Also the field of the hash.
    pub id: String,
    /// Who gets it.
    pub receiver: ReceiverName,
    /// When it was made, Unix milliseconds, made unique: a receiver gets them in this order.
    #[serde(deserialize_with = "number::count")]
    pub order: u64,
    /// Attempts that failed.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The receiver that should have got it and does not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<ReceiverName>,
    /// Its receiver's fallback has it too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fell_back: bool,
    /// By what name the receiver knows the page, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What is reported.
    pub message: Message,
    /// Fields of a newer version: they are written back.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Severity {
    /// The word in configuration and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Subject {
    /// The name of the alert, as Alertmanager knows it.
    pub const fn alert_name(self) -> &'static str {
        match self {
            Self::HeartbeatMissed => "AgentHeartbeatMissed",
            Self::Crash => "AgentCrashed",
            Self::CrashLoop => "AgentCrashLooping",
            Self::Hung => "AgentHung",
            Self::Duplicate => "AgentDuplicate",
            Self::Stalled => "AgentStuck",
            Self::WaitingForInput => "AgentWaitingForInput",
            Self::Paused => "AgentPaused",
            Self::StoreUnavailable => "HbStoreUnavailable",
            Self::Monitor => "HbMonitorDegraded",
        }
    }

    /// Nothing has failed: one notice, no page.
    pub const fn is_notice(self) -> bool {
        match self {
            Self::Stalled | Self::WaitingForInput | Self::Paused => true,
            Self::HeartbeatMissed
            | Self::Crash
            | Self::CrashLoop
            | Self::Hung
            | Self::Duplicate
            | Self::StoreUnavailable
            | Self::Monitor => false,
        }
    }
}

impl Mark {
    /// The glyph in front of a title; none for a plain one.
    pub const fn glyph(self) -> Option<char> {
        match self {
            Self::Failed => Some('✖'),
            Self::Repaired => Some('↻'),
            Self::Warning => Some('▲'),
            Self::Person => Some('◆'),
            Self::Healthy => Some('●'),
            Self::Plain => None,
        }
    }
}

impl Message {
    /// The title with its glyph.
    pub fn headline(&self) -> String {
        match self.mark.glyph() {
            Some(glyph) => format!("{glyph} {}", self.title),
            None => self.title.clone(),
        }
    }
}

impl Notification {
    /// A message that tries a receiver.
    pub fn test(receiver: ReceiverName, wall_ms: u64) -> Self {
        let message = Message {
            occasion: Occasion::Test,
            page: PageId("hb-test".into()),
            severity: Severity::Info,
            subject: Subject::Monitor,
            mark: Mark::Plain,
            title: "hb: test message, nothing is wrong".to_owned(),
            what: String::new(),
            since: wall_ms,
            until: None,
            evidence: Vec::new(),
            tried: Vec::new(),
            next: String::new(),
            agents: Vec::new(),
            agents_total: 0,
            host: None,
            reason: String::new(),
            last_heartbeat: None,
            incidents: Vec::new(),
        };
        Self {
            id: format!("hb-test-{receiver}-{wall_ms}"),
            receiver,
            order: wall_ms,
            attempts: 0,
            last_error: None,
            instead_of: None,
            fell_back: false,
            receipt: None,
            message,
            more: serde_json::Map::new(),
        }
    }

    /// Takes a record of the hash.
    pub fn decode(record: &[u8]) -> Result<Self, RecordError> {
        record::decode(record, "a notification", NOTIFICATION_BYTES_MAX)
    }

    /// The record for the hash.
    pub fn encode(&self) -> String {
        record::encode(self)
    }
}

fn name(text: &str, more: &[char]) -> Result<Arc<str>, NameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || more.contains(&c);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(fits) {
        return Err(NameError);
    }
    Ok(text.into())
}

impl PageId {
    /// Takes an id.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Ok(Self(name(text, &[])?))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&IncidentId> for PageId {
    fn from(id: &IncidentId) -> Self {
        Self(id.to_string().into())
    }
}

impl ReceiverName {
    /// Takes a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Ok(Self(name(text, &['_'])?))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PageId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ReceiverName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ReceiverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields_of_a_newer_version_cost_only_themselves() {
        let text = r#"{"id":"n1","receiver":"team-slack","order":7,"mood":1,"message":{"occasion":"sung","page":"p-1",
            "severity":"deadly","subject":"weather","mark":"star","title":"t","since":3}}"#;
        let record = Notification::decode(text.as_bytes()).unwrap();
        let message = &record.message;
        assert_eq!(
            (message.occasion, message.severity, message.subject),
            (Occasion::Test, Severity::Critical, Subject::Monitor)
        );
        assert!(record.encode().contains(r#""mood":1"#));
    }

    #[test]
    fn a_name_that_could_leave_its_field_is_refused() {
        for name in ["", "a b", "a/b", "a.b", "ä", "a\n"] {
            assert!(ReceiverName::parse(name).is_err(), "{name:?}");
        }
        assert!(PageId::parse("a_b").is_err() && ReceiverName::parse("a_b").is_ok());
    }
}
