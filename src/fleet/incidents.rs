//! The ledger of incidents: one failure of one agent, host or fleet from its opening to its end.
//!
//! An incident opens when an agent fails and closes when every agent of it has been healthy for one interval, has stopped
//! or is no longer known. The store is its memory: a record is written before anything is done about it, written again
//! when the store lost it, and read before the first verdict, so that a monitor that starts opens nothing twice.

mod climbs;
mod mirror;
mod notes;
mod open;
mod unsaved;

pub(crate) use notes::NOTIFIED_MAX;

use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::agent::State;
use crate::fleet::exchange::Change;
use crate::fleet::gates::STORM_MAX;
use crate::fleet::ladder::exchange::{RungOutcome, Ticket};
use crate::wire::incident::{GateKind, Incident, IncidentId, Notified};
use crate::wire::life::Reason;
use climbs::settle_rungs;
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use unsaved::Unsaved;

/// Failures of one host for one reason within this time have one cause.
const GROUP_WITHIN: Duration = Duration::from_secs(60);
/// Intervals after which two producers of one id would have been seen.
const DUPLICATE_INTERVALS: u32 = 6;
/// How long a closed incident is kept, and how many of them.
pub const CLOSED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// See [`CLOSED_KEPT`].
pub const CLOSED_MAX: usize = 10_000;

/// The machine.
#[derive(Debug)]
pub struct Ledger {
    random: u64,
    /// Another monitor records: its records are shown.
    follows: bool,
    /// The store was read: before that a failure may have its incident already.
    restored: bool,
    early: Vec<Change>,
    unsaved: Unsaved,
    open: BTreeMap<IncidentId, Open>,
    /// Shared with its readers.
    shown: IncidentsView,
    /// Agents that are healthy again, and since when that lasts one interval.
    recovering: BTreeMap<AgentId, Moment>,
    recovered_at: BTreeSet<(Moment, AgentId)>,
}

#[derive(Debug)]
struct Open {
    /// The one that is shown.
    incident: Arc<Incident>,
    /// Agents that have not recovered.
    unresolved: BTreeSet<AgentId>,
    /// When it opened here; `None` for one that was read from the store.
    opened: Option<Moment>,
}

/// When an input is applied, and what is known of the surroundings.
#[derive(Clone, Copy, Debug)]
pub struct LedgerContext {
    /// The monitor's clock.
    pub now: Moment,
    /// The store's wall clock, Unix milliseconds: written into records, shown.
    pub wall_ms: u64,
    /// What keeps the monitor from acting about the agent of this input.
    pub gate: Option<GateKind>,
    /// The whole fleet is in a storm: silent agents of all hosts have one cause.
    pub storm: bool,
}

/// An input of the ledger.
#[derive(Clone, Debug)]
pub enum LedgerInput {
    /// Another monitor records from now on: only its records are shown.
    Follow,
    /// This monitor records from now on; what the store holds follows.
    Lead,
    /// What the store holds.
    Restored(Vec<Incident>),
    /// The store is out of reach until it is read again.
    OutOfReach,
    /// The store has this record.
    Saved(Arc<Incident>),
    /// The store has this record no more.
    Removed(IncidentId),
    /// The store holds fewer records than were written: it lost some.
    Lost,
    /// A state changed.
    Changed(Box<Change>),
    /// The agent of an incident that was read from the store is in this state; its beats come every so often.
    Stands(AgentId, State, Duration),
    /// A rung begins, with this fencing token.
    RungBegan(Ticket, u64),
    /// It has ended.
    RungEnded(Ticket, RungOutcome, String),
    /// What happens next without a person, at this time of the store's clock.
    Next(AgentId, String, u64),
    /// The agent is no longer in the fleet.
    Left(AgentId),
    /// These incidents are part of the page of that one.
    Paged(Vec<IncidentId>, IncidentId),
    /// This person takes care of this incident.
    Acked(IncidentId, String),
    /// What surrounds an agent of this incident says this of it: a sentence.
    Surroundings(IncidentId, String),
    /// What became of a notification about these incidents.
    Notified(Vec<IncidentId>, Notified),
    /// Time passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerEffect {
    /// Write this record.
    Store(Arc<Incident>),
    /// Remove this record.
    Remove(IncidentId),
    /// Something changed, for those who follow.
    Changed(IncidentChange),
    /// This agent has an incident now.
    Joined(AgentId),
    /// The incident of this agent has another reason now.
    OtherReason(AgentId),
    /// This agent has none any more.
    Resolved(AgentId),
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentChange {
    /// What happened.
    pub kind: IncidentChangeKind,
    /// The incident after it.
    pub incident: Arc<Incident>,
}

/// What can happen to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentChangeKind {
    /// It began.
    Opened,
    /// An agent joined it, or its reason changed.
    Updated,
    /// All its agents recovered.
    Closed,
}

/// Incidents at one moment; cheap to share.
#[derive(Clone, Debug, Default)]
pub struct IncidentsView {
    /// Those that are open, by id: oldest first.
    pub open: OrdMap<IncidentId, Arc<Incident>>,
    /// Those that were closed lately.
    pub closed: OrdMap<IncidentId, Arc<Incident>>,
    /// The open incident of each agent.
    pub of_agent: OrdMap<AgentId, IncidentId>,
}

impl Ledger {
    /// An empty ledger; `seed` makes ids unique among monitors.
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed,
            follows: false,
            restored: false,
            early: Vec::new(),
            unsaved: Unsaved::default(),
            open: BTreeMap::new(),
            shown: IncidentsView::default(),
            recovering: BTreeMap::new(),
            recovered_at: BTreeSet::new(),
        }
    }

    /// Applies one input and returns what the caller must do, in this order.
    pub fn handle(&mut self, input: LedgerInput, context: LedgerContext) -> Vec<LedgerEffect> {
        let mut effects = Vec::new();
        match input {
            LedgerInput::Follow => self.begin_again(true),
            LedgerInput::Lead => self.begin_again(false),
            LedgerInput::Restored(records) if self.follows => self.mirror(records, &mut effects),
            other if self.follows => drop(other), // its leader records it
            LedgerInput::Restored(records) => self.restore(records, context, &mut effects),
            LedgerInput::OutOfReach => self.unsaved.out_of_reach(),
            LedgerInput::Saved(incident) => self.unsaved.saved(&incident),
            LedgerInput::Removed(id) => self.unsaved.removed(&id),
            LedgerInput::Lost => self.store_all(&mut effects),
            LedgerInput::Changed(change) if !self.restored => self.early.push(*change),
            LedgerInput::Changed(change) => self.changed(&change, context, &mut effects),
            LedgerInput::Stands(agent, state, interval) => {
                self.stands(&agent, state, interval, context, &mut effects);
            }
            LedgerInput::RungBegan(ticket, token) => {
                self.rung_began(&ticket, token, context, &mut effects);
            }
            LedgerInput::RungEnded(ticket, outcome, detail) => {
                self.rung_ended(&ticket, outcome, detail, context, &mut effects);
            }
            LedgerInput::Next(agent, what, at) => self.next(&agent, what, at, &mut effects),
            LedgerInput::Left(agent) => self.left(&agent, context, &mut effects),
            LedgerInput::Paged(ids, page) => self.paged(&ids, &page, &mut effects),
            LedgerInput::Acked(id, by) => self.acked(&id, &by, &mut effects),
            LedgerInput::Surroundings(id, said) => self.surroundings(&id, &said, &mut effects),
            LedgerInput::Notified(ids, notified) => self.notified(&ids, &notified, &mut effects),
            LedgerInput::Tick => self.tick(context, &mut effects),
        }
        self.unsaved.keep(&effects, context.now);
        effects
    }

    /// When a tick next closes an incident or writes one again, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let recovered = self.recovered_at.first().map(|(at, _)| (*at, "recovery"));
        let again = self.unsaved.again_at().map(|at| (at, "write again"));
        [recovered, again]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Whether the open incident of this agent was read from the store, and a storm that it may belong to is over.
    pub fn is_of_the_past(&self, agent: &AgentId, wall_ms: u64) -> bool {
        let incident = self.shown.of_agent.get(agent);
        let open = incident.and_then(|id| self.open.get(id));
        open.is_some_and(|open| {
            let storm_over = open.incident.opened_at.saturating_add(millis(STORM_MAX));
            open.opened.is_none() && storm_over <= wall_ms
        })
    }

    /// Whether the records of the store are known.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Whether the store has everything, as far as it has answered.
    pub fn is_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// All incidents.
    pub fn view(&self) -> IncidentsView {
        self.shown.clone()
    }

    /// An id that no other monitor gives: of an order, as of an incident.
    pub fn new_id(&mut self, wall_ms: u64) -> IncidentId {
        IncidentId::new(wall_ms, self.next_random())
    }

    /// Records that the store should hold.
    pub fn records(&self) -> usize {
        self.open.len() + self.shown.closed.len()
    }

    /// Agents with an open incident.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.shown.of_agent.keys()
    }

    fn restore(
        &mut self,
        records: Vec<Incident>,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let mut held: BTreeMap<IncidentId, Incident> = BTreeMap::new();
        for record in records {
            let known =
                self.open.contains_key(&record.id) || self.shown.closed.contains_key(&record.id);
            if known {
                held.insert(record.id.clone(), record);
            } else {
                held.insert(record.id.clone(), record.clone());
                self.adopt(record, context, effects);
            }
        }
        let open = self.open.values().map(|open| &open.incident);
        let again = open.chain(self.shown.closed.values());
        let again = again.filter(|incident| {
            held.get(&incident.id)
                .is_none_or(|held| self.unsaved.is_newer(incident, held))
        });
        effects.extend(again.map(|incident| LedgerEffect::Store(Arc::clone(incident))));
        self.unsaved.in_reach();
        self.restored = true;
        for change in std::mem::take(&mut self.early) {
            self.changed(&change, context, effects);
        }
        self.prune(context, effects);
    }

    /// Takes a record of the store. One whose agents all have another is of a monitor that led beside this one: it is over.
    fn adopt(
        &mut self,
        mut record: Incident,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let id = record.id.clone();
        if record.is_closed() {
            self.shown.closed.insert(id, Arc::new(record));
            return;
        }
        let mut unresolved: BTreeSet<AgentId> = record.agents.iter().cloned().collect();
        // Of two records of one agent the older one stands.
        unresolved.retain(|agent| !self.shown.of_agent.contains_key(agent));
        if unresolved.is_empty() {
            record.closed_at = Some(context.wall_ms.max(record.opened_at));
            record.next = None;
            return self.publish(IncidentChangeKind::Closed, Arc::new(record), effects);
        }
        for agent in &unresolved {
            self.shown.of_agent.insert(agent.clone(), id.clone());
        }
        let incident = Arc::new(record);
        self.shown.open.insert(id.clone(), Arc::clone(&incident));
        let open = Open {
            incident,
            unresolved,
            opened: None,
        };
        self.open.insert(id, open);
    }

    fn store_all(&self, effects: &mut Vec<LedgerEffect>) {
        let open = self.open.values().map(|open| &open.incident);
        let all = open.chain(self.shown.closed.values());
        effects.extend(all.map(|incident| LedgerEffect::Store(Arc::clone(incident))));
    }

    fn changed(
        &mut self,
        change: &Change,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        match change.to {
            State::Healthy if change.reason == Some(Reason::Duplicate) => {
                self.failed(change, context, effects);
            }
            State::Failed => self.failed(change, context, effects),
            State::Healthy | State::Missing | State::Stopped => {
                self.stands(&change.agent, change.to, change.interval, context, effects);
            }
        }
    }

    fn stands(
        &mut self,
        agent: &AgentId,
        state: State,
        interval: Duration,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        if !self.shown.of_agent.contains_key(agent) {
            return;
        }
        match state {
            State::Healthy => {
                let at = context.now + interval * self.intervals_to_recover(agent);
                if !self.recovering.contains_key(agent) {
                    self.recovering.insert(agent.clone(), at);
                    self.recovered_at.insert((at, agent.clone()));
                }
            }
            State::Missing | State::Failed => self.relapse(agent),
            State::Stopped => self.resolve(agent, context, effects),
        }
    }

    /// One healthy interval; a new monitor needs more to see a duplicate again.
    fn intervals_to_recover(&self, agent: &AgentId) -> u32 {
        let incident = self.shown.of_agent.get(agent);
        let open = incident.and_then(|id| self.open.get(id));
        match open.map(|open| open.incident.reason) {
            Some(Reason::Duplicate) => DUPLICATE_INTERVALS,
            Some(_) | None => 1,
        }
    }

    fn relapse(&mut self, agent: &AgentId) {
        if let Some(at) = self.recovering.remove(agent) {
            self.recovered_at.remove(&(at, agent.clone()));
        }
    }

    fn resolve(
        &mut self,
        agent: &AgentId,
        context: LedgerContext,
        effects: &mut Vec<LedgerEffect>,
    ) {
        self.relapse(agent);
        let Some(id) = self.shown.of_agent.remove(agent) else {
            return;
        };
        effects.push(LedgerEffect::Resolved(agent.clone()));
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.unresolved.remove(agent);
        settle_rungs(Arc::make_mut(&mut open.incident), agent, context.wall_ms);
        if !open.unresolved.is_empty() {
            return;
        }
        let Some(mut open) = self.open.remove(&id) else {
            return;
        };
        let incident = Arc::make_mut(&mut open.incident);
        incident.closed_at = Some(context.wall_ms.max(incident.opened_at));
        incident.next = None;
        self.publish(IncidentChangeKind::Closed, open.incident, effects);
        self.prune(context, effects);
    }

    /// The fleet has forgotten this agent. A record that still named it would bring it back with the next monitor.
    fn left(&mut self, agent: &AgentId, context: LedgerContext, effects: &mut Vec<LedgerEffect>) {
        let id = self.shown.of_agent.get(agent).cloned();
        self.resolve(agent, context, effects);
        let Some(open) = id.and_then(|id| self.open.get_mut(&id)) else {
            return;
        };
        let incident = Arc::make_mut(&mut open.incident);
        incident.agents.retain(|named| named != agent);
        let incident = Arc::clone(&open.incident);
        self.publish(IncidentChangeKind::Updated, incident, effects);
    }

    fn tick(&mut self, context: LedgerContext, effects: &mut Vec<LedgerEffect>) {
        self.unsaved.again(context.now, effects);
        while let Some((at, agent)) = self.recovered_at.pop_first() {
            if at > context.now {
                self.recovered_at.insert((at, agent));
                return;
            }
            self.resolve(&agent, context, effects);
        }
    }

    /// Closed incidents leave after their time, the oldest first when there are too many.
    fn prune(&mut self, context: LedgerContext, effects: &mut Vec<LedgerEffect>) {
        let kept = millis(CLOSED_KEPT);
        let over = |incident: &Incident| {
            let at = incident.closed_at.unwrap_or(incident.opened_at);
            context.wall_ms > at.saturating_add(kept)
        };
        let mut gone: Vec<IncidentId> = Vec::new();
        for (id, incident) in &self.shown.closed {
            let too_many = self.shown.closed.len() - gone.len() > CLOSED_MAX;
            if too_many || over(incident) {
                gone.push(id.clone());
            }
        }
        for id in gone {
            self.shown.closed.remove(&id);
            effects.push(LedgerEffect::Remove(id));
        }
    }

    fn publish(
        &mut self,
        kind: IncidentChangeKind,
        incident: Arc<Incident>,
        effects: &mut Vec<LedgerEffect>,
    ) {
        effects.push(LedgerEffect::Store(Arc::clone(&incident)));
        match kind {
            IncidentChangeKind::Opened | IncidentChangeKind::Updated => {
                self.shown
                    .open
                    .insert(incident.id.clone(), Arc::clone(&incident));
            }
            IncidentChangeKind::Closed => {
                self.shown.open.remove(&incident.id);
                self.shown
                    .closed
                    .insert(incident.id.clone(), Arc::clone(&incident));
            }
        }
        effects.push(LedgerEffect::Changed(IncidentChange { kind, incident }));
    }
}
