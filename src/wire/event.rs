//! Lifecycle events: what must not be lost. They go through a stream, not through the channel of beats.

use crate::base::id::{AgentId, IdError};
use crate::base::number::{self, COUNT_MAX};
use crate::wire::beat::Exit;
use crate::wire::evidence_snapshot::EvidenceSnapshot;
use crate::wire::lenient;
use crate::wire::life::{End, Life, Phase, Reason};
use crate::wire::order::OrderReport;
use crate::wire::roster::RosterEntry;
use serde::{Deserialize, Serialize};

/// One entry of the stream `hb:events`: the fields `event agent epoch at detail`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The kind of event.
    pub kind: EventKind,
    /// The agent.
    pub agent: AgentId,
    /// In which registration; 0 when none was granted.
    pub epoch: u64,
    /// Unix milliseconds of the sender: shown, never compared.
    pub at_ms: u64,
    /// The rest, as JSON.
    pub detail: Detail,
}

/// What can happen to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An epoch was granted.
    Registered,
    /// Start-up is over.
    Ready,
    /// A process ended; the detail says how.
    Exited,
    /// A new incarnation was started.
    Restarted,
    /// Proof that it cannot go on by itself.
    Hung,
    /// Owed work makes no progress.
    Stalled,
    /// It makes progress again.
    Recovered,
    /// A clean end.
    Stopped,
    /// A higher epoch holds the id.
    Fenced,
    /// An order was carried out or refused.
    Order,
    /// Its restarts are used up: the sidecar leaves it to the monitor.
    CrashLoop,
    /// Processes of it survive KILL.
    Unkillable,
    /// A second sidecar requested an id whose holder is alive.
    Duplicate,
    /// What was sampled before it was killed, or when a person asked for it.
    Evidence,
    /// It waits for a person's answer.
    WaitingInput,
    /// A kind of a newer version: only its detail counts.
    #[serde(other)]
    Unknown,
}

/// The details of an event; absent fields are left out, and so is what is unreadable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detail {
    /// How a process ended.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub exit: Option<Exit>,
    /// Which incarnation of the epoch.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub incarnation: Option<u64>,
    /// The process.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub pid: Option<u32>,
    /// The machine.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub host: Option<String>,
    /// The program, without its arguments: those may hold secrets.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub command: Option<String>,
    /// The cause of the end, where more is known than its exit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub reason: Option<Reason>,
    /// Whether the end, or the evidence, was asked for.
    #[serde(
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub requested: bool,
    /// For people.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub message: Option<String>,
    /// Where the process is after this event.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub life: Option<Box<Life>>,
    /// What the roster holds, at [`EventKind::Registered`].
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub registration: Option<Box<RosterEntry>>,
    /// Milliseconds for which the event waited for an unreachable store; more than 0: later events are queued behind it.
    #[serde(
        skip_serializing_if = "is_zero",
        deserialize_with = "number::count_or_zero"
    )]
    pub delayed_ms: u64,
    /// What became of an order, at [`EventKind::Order`].
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub order: Option<OrderReport>,
    /// The sample, at [`EventKind::Evidence`] and where a verdict began to need attention.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub card: Option<Box<EvidenceSnapshot>>,
}

/// Why a stream entry is no event. The entry is dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A field is not there.
    #[error("an event needs the field {0}")]
    Missing(&'static str),
    /// A field is there but means nothing.
    #[error("the event's field {0} is invalid: {1:?}")]
    Field(&'static str, String),
    /// The agent's id.
    #[error("the event's agent: {0}")]
    Agent(#[from] IdError),
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Event {
    /// Where the agent's process is after this event; `None` when the event does not report it.
    pub fn life(&self) -> Option<Life> {
        if let Some(life) = &self.detail.life {
            return Some(Life::clone(life));
        }
        let incarnation = self.detail.incarnation.unwrap_or(0);
        let (phase, reason, trouble) = match self.kind {
            EventKind::Exited | EventKind::Stopped => (Phase::Ended, self.detail.reason, None),
            EventKind::CrashLoop => (Phase::Ended, Some(Reason::CrashLoop), None),
            EventKind::Ready | EventKind::Restarted => (Phase::Running, None, None),
            EventKind::Unkillable => (Phase::Running, None, Some(Reason::Unkillable)),
            EventKind::Registered
            | EventKind::Hung
            | EventKind::Stalled
            | EventKind::Recovered
            | EventKind::Fenced
            | EventKind::Order
            | EventKind::Duplicate
            | EventKind::Evidence
            | EventKind::WaitingInput
            | EventKind::Unknown => return None,
        };
        let end = (phase == Phase::Ended).then(|| End {
            incarnation,
            exit: self.detail.exit.unwrap_or(Exit::UNKNOWN),
            reason,
            requested: self.detail.requested || self.kind == EventKind::Stopped,
            not_started: false,
        });
        Some(Life {
            phase,
            since: self.at_ms,
            incarnation,
            end,
            trouble,
            ..Life::default()
        })
    }

    /// The stream entry's fields and values.
    pub fn encode(&self) -> [(&'static str, String); 5] {
        [
            ("event", crate::wire::word(&self.kind)),
            ("agent", self.agent.to_string()),
            ("epoch", self.epoch.to_string()),
            ("at", self.at_ms.to_string()),
            (
                "detail",
                serde_json::to_string(&self.detail).unwrap_or_default(),
            ),
        ]
    }

    /// Takes an entry; `field` looks a value up by name. Unknown fields do not matter.
    pub fn decode<'a>(field: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, EventError> {
        let need = |name| field(name).ok_or(EventError::Missing(name));
        let wrong =
            |name, text: &str| EventError::Field(name, crate::wire::beat::cut(text.into(), 80));
        let number = |name| {
            let text = need(name)?;
            text.parse::<u64>()
                .ok()
                .filter(|n| *n <= COUNT_MAX)
                .ok_or_else(|| wrong(name, text))
        };
        let kind = need("event")?;
        let detail = field("detail").and_then(|text| serde_json::from_str(text).ok());
        let at = need("at")?.parse().unwrap_or(0);
        Ok(Self {
            kind: serde_json::from_value(serde_json::Value::from(kind))
                .map_err(|_| wrong("event", kind))?,
            agent: AgentId::parse(need("agent")?)?,
            epoch: number("epoch")?,
            at_ms: Some(at).filter(|at| *at <= COUNT_MAX).unwrap_or(0),
            detail: detail.unwrap_or_default(),
        })
    }
}
