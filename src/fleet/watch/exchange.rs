//! What goes into the watch, what it wants done, and what it shows beside the agents.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::gates::Gate;
use crate::fleet::incidents::{IncidentChange, IncidentsView};
use crate::fleet::ladder::exchange::Next;
use crate::fleet::machine::{FleetEffect, FleetInput};
use crate::fleet::notices::NoticesView;
use crate::fleet::recovery::{RecoveryEffect, RecoveryInput};
use crate::wire::incident::{Incident, IncidentId, Notified};
use crate::wire::leader::{Leader, Standing};
use crate::wire::notice::Notice;
use crate::wire::pause::Pause;
use crate::wire::silence::Silence;
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// An input.
#[derive(Clone, Debug)]
pub enum WatchInput {
    /// Of the fleet; ticks and the link are for all machines.
    Fleet(FleetInput),
    /// The canary of this number came back.
    CanaryBack(u64),
    /// A question to the store was answered after this time.
    Answered(Duration),
    /// What the store answered to the wish to lead, which was asked at this moment.
    Stands(Moment, Standing),
    /// The store lets none lead: it refused the question of this moment.
    LeadRefused(Moment),
    /// The incidents that the store holds, before anything else that it holds is passed on.
    Incidents(Vec<Incident>),
    /// How many incidents the store holds.
    IncidentsHeld(usize),
    /// The notices that the store holds, before the incidents.
    Notices(Vec<Notice>),
    /// How many notices the store holds.
    NoticesHeld(usize),
    /// The store has taken this record.
    IncidentSaved(Arc<Incident>),
    /// The store has removed this record.
    IncidentRemoved(IncidentId),
    /// These incidents or notices are part of the page of that one.
    Paged(Vec<IncidentId>, IncidentId),
    /// What became of a notification about these incidents or notices.
    Notified(Vec<IncidentId>, Notified),
    /// Of recovery.
    Recovery(RecoveryInput),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEffect {
    /// Of the fleet.
    Fleet(FleetEffect),
    /// Publish this number on the canary's channel.
    SendCanary(u64),
    /// The link is dead: connect again.
    Reconnect,
    /// Ask the store for the lead.
    AskForLead,
    /// Read the records that the store holds: outbox, silences, pause and, last, the incidents.
    ReadRecords,
    /// This monitor records and alerts from now on, and the records of before are known.
    TookOver,
    /// Another one records and alerts from now on.
    SteppedDown,
    /// Write this record, before anything is done about it.
    StoreIncident(Arc<Incident>),
    /// Remove this record.
    RemoveIncident(IncidentId),
    /// An incident changed, for those who follow.
    IncidentChanged(IncidentChange),
    /// Write this notice, before anyone is notified.
    StoreNotice(Arc<Notice>),
    /// Remove this notice.
    RemoveNotice(IncidentId),
    /// A notice opened, changed or closed, for those who follow.
    NoticeChanged(Arc<Notice>),
    /// A gate closed.
    GateClosed(Gate),
    /// A gate opened.
    GateOpened(Gate),
    /// Of recovery.
    Recovery(RecoveryEffect),
}

/// What is shown beside the agents.
#[derive(Clone, Debug, Default)]
pub struct WatchView {
    /// Gates that are closed.
    pub gates: Vec<Gate>,
    /// Incidents.
    pub incidents: IncidentsView,
    /// Notices.
    pub notices: NoticesView,
    /// What recovery does next for each agent of an incident.
    pub next: OrdMap<AgentId, Next>,
    /// How many agents are acted upon.
    pub acting: usize,
    /// Whether this monitor leads those of its store.
    pub leads: bool,
    /// Which one leads, where that is known.
    pub leader: Option<Leader>,
    /// All actions are paused.
    pub pause: Option<Pause>,
    /// Silences in force and to come.
    pub silences: BTreeMap<IncidentId, Silence>,
    /// The time that answers of the store usually take.
    pub round_trip: Option<Duration>,
    /// The time after which a missing answer means a dead link.
    pub answer_limit: Duration,
}

impl From<FleetInput> for WatchInput {
    fn from(input: FleetInput) -> Self {
        Self::Fleet(input)
    }
}

impl From<RecoveryInput> for WatchInput {
    fn from(input: RecoveryInput) -> Self {
        Self::Recovery(input)
    }
}
