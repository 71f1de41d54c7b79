//! Inputs, effects and the view of the alerts.

use crate::alerts::matter::Matter;
use crate::base::histogram::Histogram;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::wire::incident::{GateKind, IncidentId, Notified};
use crate::wire::notification::{Message, Notification, ReceiverName, Severity};
use crate::wire::silence::Silence;
use std::collections::BTreeMap;
use std::time::Duration;

/// When an input is applied: on the clock that decides, and on the one that is written into records.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monitor's clock.
    pub at: Moment,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

/// A receiver, as far as routing and delivery are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: ReceiverName,
    /// What it gets.
    pub severities: Vec<Severity>,
    /// Who gets what this one does not take.
    pub fallback: Option<ReceiverName>,
    /// It keeps open and closed apart, so it also wants to know that a notice is over.
    pub tracks: bool,
    /// It takes repairs as changes, whatever their severity.
    pub takes_changes: bool,
    /// Several messages may become one.
    pub digests: bool,
    /// It forgets what is not repeated each [`RENEW_EVERY`].
    pub renews: bool,
    /// Receivers with the same pace share one message a second.
    pub pace: Option<String>,
}

/// How often a receiver that [renews](Receiver::renews) gets all that is open.
pub const RENEW_EVERY: Duration = Duration::from_secs(60);

/// Whether an agent of an open incident beats again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is healthy again; its incident closes when that lasts.
    Up,
    /// It is not.
    Down,
}

/// An input.
#[derive(Clone, Debug)]
pub enum AlertsInput {
    /// The receivers of the configuration, at the start and after each reload.
    Receivers(Vec<Receiver>),
    /// What the store holds, each time it was read: incidents and the outbox.
    Restored {
        /// Incidents that are open, and those that were closed within a day.
        matters: Vec<Matter>,
        /// The outbox.
        outbox: Vec<Notification>,
    },
    /// An incident, a notice or a trouble of hbmonitor itself: it began, changed or ended.
    Matter(Box<Matter>),
    /// An agent of an open incident recovers or relapses.
    Agent(AgentId, Standing),
    /// A gate closed or opened; of a host or of the whole fleet.
    Gate(GateKind, Option<String>, bool),
    /// Silences in force and to come.
    Silences(Vec<Silence>),
    /// The store is connected.
    LinkUp,
    /// It is not.
    LinkDown,
    /// The record of this notification is written.
    Stored(String),
    /// A delivery has ended.
    Delivered(Delivered),
    /// Time passed.
    Tick,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The receiver.
    pub receiver: ReceiverName,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Taken,
    /// The receiver has it, and knows it by this name from now on.
    Posted(String),
    /// Try again, not before the time that the receiver named.
    Later {
        /// Why, for people; without secrets.
        error: String,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// The receiver will never take it.
    Refused {
        /// Why, for people; without secrets.
        error: String,
    },
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertsEffect {
    /// Write this record of the outbox, then send [`AlertsInput::Stored`].
    Store(Box<Notification>),
    /// Remove this record.
    Remove(String),
    /// Write into these incidents that they are part of the page of that one.
    Paged(Vec<IncidentId>, IncidentId),
    /// Write into these incidents what became of a notification.
    Notified(Vec<IncidentId>, Notified),
    /// Bring these to their receiver, in one message if there are several, then send [`AlertsInput::Delivered`].
    Deliver(Vec<Notification>),
    /// Repeat all that is open to a receiver that forgets; nothing is sent back.
    Renew(ReceiverName, Vec<Message>),
    /// A receiver takes nothing any more (with the reason), or takes messages again.
    ReceiverChanged(ReceiverName, Option<String>),
}

/// What is shown of the alerts.
#[derive(Clone, Debug, Default)]
pub struct AlertsView {
    /// Every receiver.
    pub receivers: Vec<ReceiverView>,
    /// Pages that are out.
    pub pages: usize,
    /// The same by severity; each is there.
    pub firing: BTreeMap<Severity, usize>,
    /// Pages that are held back: grouped, inhibited, acknowledged, flapping or repaired before they were due.
    pub muted: usize,
    /// What was not sent since the start, by why; each is there.
    pub suppressed: BTreeMap<Suppressed, u64>,
}

/// Why a page, or a part of one, is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suppressed {
    /// A person takes care of it.
    Acknowledged,
    /// It opens again and again.
    Flapping,
    /// It became part of another page.
    Grouped,
    /// A page about its host explains it.
    Inhibited,
    /// It was over before it was due: no person was needed.
    Recovered,
    /// A silence holds for it.
    Silenced,
}

impl Suppressed {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Acknowledged,
        Self::Flapping,
        Self::Grouped,
        Self::Inhibited,
        Self::Recovered,
        Self::Silenced,
    ];

    /// The word of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acked",
            Self::Flapping => "flapping",
            Self::Grouped => "grouped",
            Self::Inhibited => "inhibited",
            Self::Recovered => "recovered",
            Self::Silenced => "silenced",
        }
    }
}

/// A receiver at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverView {
    /// Its name.
    pub name: ReceiverName,
    /// Notifications that wait for it.
    pub queued: usize,
    /// Notifications that it took, and failed attempts, since the start.
    pub delivered: u64,
    /// See `delivered`.
    pub failed: u64,
    /// When it last took one, Unix milliseconds.
    pub delivered_at: Option<u64>,
    /// Why it takes none, while that is so.
    pub error: Option<String>,
    /// From when notifications were due to when it took them.
    pub latency: Histogram,
}
