//! The fleet's inputs, effects, settings and view.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agents::Agents;
use crate::fleet::run::State;
use crate::fleet::versions::Versions;
use crate::fleet::watch::WatchView;
use crate::wire::beat::{Beat, Evidence, INTERVAL_DEFAULT, Verdict};
use crate::wire::event::Event;
use crate::wire::life::Reason;
use crate::wire::roster::RosterEntry;
use std::sync::Arc;
use std::time::Duration;

/// What is fixed for a fleet.
#[derive(Clone, Copy, Debug)]
pub struct FleetSettings {
    /// For producers that do not report their interval and whose hash has no time to live.
    pub interval_default: Duration,
    /// Beyond this many agents those that are over leave, and else newcomers are refused and counted.
    pub agents_max: usize,
    /// The same for the memory that all agents take, in bytes, estimated.
    pub bytes_max: usize,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            interval_default: INTERVAL_DEFAULT,
            agents_max: 200_000,
            bytes_max: 512 * 1024 * 1024,
        }
    }
}

/// The fleet as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every agent, by id.
    pub agents: Agents,
    /// Agents by state.
    pub counts: Counts,
    /// Agents by the version of their sidecar.
    pub versions: Versions,
    /// What became of beats.
    pub beats: BeatCounters,
    /// Whether the monitor is connected to the store.
    pub link_up: bool,
    /// How full the fleet is.
    pub bounds: Bounds,
    /// Gates, incidents and the link.
    pub watch: Arc<WatchView>,
}

/// How full the fleet is, and what that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Agents that are kept at most.
    pub agents_max: usize,
    /// Estimated memory of all agents, in bytes.
    pub bytes: usize,
    /// Its limit.
    pub bytes_max: usize,
    /// Agents that left because their time was over or the fleet was full.
    pub left: u64,
}

/// An input of the fleet.
#[derive(Clone, Debug)]
pub enum FleetInput {
    /// A beat from the channel.
    Beat(Box<Beat>),
    /// A beat that was written this long ago: read from a hash, or held up on its way here.
    AgedBeat(Box<Beat>, Duration),
    /// A lifecycle event.
    Event(Box<Event>),
    /// All events that were in the stream when [`FleetEffect::ReadEvents`] was asked for have been passed on.
    EventsRead,
    /// A roster entry.
    RosterEntry(AgentId, Box<RosterEntry>),
    /// What a hash holds that was registered and has no beat yet: it has a time to live, so it is young.
    Registered(AgentId, Box<RosterEntry>),
    /// An agent with an open incident that neither hash nor roster names: it failed, and did not come back.
    Remembered(AgentId),
    /// The full time to live of a hash that has just been written.
    TtlRead(AgentId, Duration),
    /// The hash of a silent agent was read, and what it holds has been passed on.
    Verified(AgentId),
    /// Everything that was published before this moment has arrived: a message of the monitor itself, published then, came back.
    Witnessed(Moment),
    /// For so long up to now nothing could be observed: this monitor stood still.
    Gap(Duration),
    /// The same, since the store answered so much later than it usually does: perhaps sidecars gave it up meanwhile.
    Stall(Duration),
    /// A person removes an agent that is over.
    Forget(AgentId),
    /// The store's wall clock, Unix milliseconds.
    StoreClock(u64),
    /// The store is connected (again) and what it holds has been passed on.
    LinkUp,
    /// The store could not be reached until now: sidecars are on their way back to it.
    StoreReturned,
    /// The store has just been started on this machine, with this monitor: its sidecars too are on their way.
    StoreStarted,
    /// Since the connection before, another server has become the store's master: sidecars may still write to the one before.
    StoreMoved,
    /// The connection to the store is lost.
    LinkDown,
    /// Time passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEffect {
    /// Read the agent's hash, pass on what is there, then send [`FleetInput::Verified`]. Silence counts once
    /// [`FleetInput::Witnessed`] has come for a moment that is not before this one.
    Verify(AgentId),
    /// Read the time to live of the agent's hash and send [`FleetInput::TtlRead`].
    ReadTtl(AgentId),
    /// A beat is ahead of the stream: read the stream to its end, pass the events on, then send [`FleetInput::EventsRead`].
    ReadEvents,
    /// A state or its reason changed. Announced once per change.
    Changed(Change),
    /// An agent began or ceased to need a person while its beats come.
    Turned(Turn),
    /// The agent of this epoch is over for good: remove it from the roster.
    Left(AgentId, u64),
    /// The roster holds an earlier state of an agent that has ended, as a store that came back from a backup does, and no sidecar
    /// is left to write it again: write this entry, unless the roster has a later registration.
    Enlist(AgentId, Box<RosterEntry>),
    /// The fleet is full: so many newcomers were refused up to now. At most once a minute.
    Refused(u64),
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The agent.
    pub agent: AgentId,
    /// The state announced before; `None` for a new agent. The same as `to` when only the reason changed.
    pub from: Option<State>,
    /// The state now.
    pub to: State,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// For people.
    pub sentence: String,
    /// The machine that it runs on, where that is known.
    pub host: Option<String>,
    /// Time between its beats.
    pub interval: Duration,
    /// What shows the state.
    pub evidence: Vec<Evidence>,
}

/// A change of the verdict to or from one that a person should see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The agent.
    pub agent: AgentId,
    /// The verdict before; `None` for none.
    pub from: Option<Verdict>,
    /// The verdict now.
    pub to: Option<Verdict>,
    /// For people.
    pub sentence: String,
}

/// Agents by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Beats come in time.
    pub healthy: usize,
    /// One beat overdue.
    pub missing: usize,
    /// Ended badly, hung, or three beats overdue.
    pub failed: usize,
    /// Ended cleanly.
    pub stopped: usize,
}

/// Beats of the channel since the start, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeatCounters {
    /// Beats that changed something.
    pub applied: u64,
    /// Beats whose content had been read from the hash before.
    pub known: u64,
    /// Beats that came over the channel twice, or after a later one: two producers, or a replay.
    pub duplicate: u64,
    /// Beats of an epoch that was replaced.
    pub outdated: u64,
    /// Beats with a number that cannot be (slot, sequence, epoch), or of a second producer.
    pub implausible: u64,
    /// Newcomers to a full fleet.
    pub refused: u64,
}

impl Counts {
    /// All agents.
    pub fn total(&self) -> usize {
        self.healthy + self.missing + self.failed + self.stopped
    }

    pub(super) fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Healthy => &mut self.healthy,
            State::Missing => &mut self.missing,
            State::Failed => &mut self.failed,
            State::Stopped => &mut self.stopped,
        }
    }
}
