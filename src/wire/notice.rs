//! Notices: an agent whose beats come and that a person should see, as the hash `hb:notices` holds it. Nothing has failed.

use crate::base::id::AgentId;
use crate::base::number;
use crate::wire::activity::{Evidence, Verdict, VerdictClass};
use crate::wire::incident::{IncidentId, Notified};
use crate::wire::record::{self, RecordError};
use serde::{Deserialize, Serialize};

/// The largest record that is read, in bytes.
pub const NOTICE_BYTES_MAX: usize = 64 * 1024;

/// What a notice is about. An agent has one notice for as long as its verdicts are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Probably stuck.
    Suspicion,
    /// A person must answer.
    Person,
    /// Held from outside.
    Paused,
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Its id, a UUID of version 7; also the field of the hash.
    pub id: IncidentId,
    /// The agent.
    pub agent: AgentId,
    /// Its machine, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
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
    /// The restart that follows unless the agent moves or a person takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<DueRestart>,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_by: Option<String>,
    /// The notice that gave its id to the message that names this one, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<IncidentId>,
    /// Which receivers know of it.
    #[serde(default)]
    pub notified: Vec<Notified>,
    /// Fields of a newer version: they are written back.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// A restart for a suspicion that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DueRestart {
    /// When, Unix milliseconds of the store.
    #[serde(deserialize_with = "number::count")]
    pub at: u64,
    /// Its sidecar does it by itself; otherwise hbmonitor orders it.
    #[serde(default)]
    pub by_sidecar: bool,
    /// It was ordered.
    #[serde(default)]
    pub ordered: bool,
}

impl NoticeKind {
    /// The kind of notice that an agent with this verdict gets, if any.
    pub fn of(verdict: Verdict) -> Option<Self> {
        match verdict.class() {
            // Proof without an incident: of a sidecar that is outdated by the time it is read.
            VerdictClass::Suspicion | VerdictClass::Proof => Some(Self::Suspicion),
            VerdictClass::Person => Some(Self::Person),
            VerdictClass::Undecided => (verdict == Verdict::Paused).then_some(Self::Paused),
            VerdictClass::Progress | VerdictClass::Waiting => None,
        }
    }
}

impl Notice {
    /// What it is about; `None` for a verdict that needs no notice, or of a newer version.
    pub fn kind(&self) -> Option<NoticeKind> {
        NoticeKind::of(self.verdict)
    }

    /// Takes a record of the hash.
    pub fn decode(record: &[u8]) -> Result<Self, RecordError> {
        record::decode(record, "a notice", NOTICE_BYTES_MAX)
    }

    /// The record for the hash.
    pub fn encode(&self) -> String {
        record::encode(self)
    }
}
