//! The monitor's machine as a whole: the fleet, the observer of the link, the gates and the ledger of incidents.
//!
//! Each is a machine of its own; here the effects of one become the inputs of the next. Deliberately absent: a decision.

mod by_hand;
mod exchange;
mod facts;
mod follows;
mod lead;
mod notices;
mod people;
mod quiet;
mod recovery;
mod restored;
mod surroundings;

pub use by_hand::unreachable;
pub use exchange::{WatchEffect, WatchInput, WatchView};

use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::agent::State;
use crate::fleet::election::{Election, ElectionInput};
use crate::fleet::gates::{Gate, Gates, GatesInput, STORM_WINDOW};
use crate::fleet::incidents::{Ledger, LedgerContext, LedgerEffect, LedgerInput};
use crate::fleet::machine::{
    Change, Fleet, FleetEffect, FleetInput, FleetSettings, Snapshot, TICK_MAX,
};
use crate::fleet::notices::{Notices, NoticesInput};
use crate::fleet::observer::{Observer, ObserverEffect, ObserverInput};
use crate::wire::beat::view::BeatView;
use crate::wire::incident::GateKind;
use crate::wire::life::Reason;
use follows::Follows;
use lead::{Held, MIRROR_EVERY};
use recovery::Recovery;
use std::sync::Arc;
use std::time::Duration;

/// The agents are counted for the gates this often while some are silent.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The same at most, while a silence is being verified.
const COUNT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The machine.
#[derive(Debug)]
pub struct Watch {
    fleet: Fleet,
    observer: Observer,
    gates: Gates,
    ledger: Ledger,
    election: Election,
    /// What waits until this monitor knows whether it still leads.
    held: Held,
    /// When the records of the store are read again.
    mirror_at: Option<Moment>,
    /// Records of the store that are not known here, and were read all the same: they cannot be understood.
    not_understood: usize,
    notices: Notices,
    /// When agents with a notice were last seen.
    seen_at: Moment,
    /// The store's wall clock and when it was read.
    store_clock: Option<(u64, Moment)>,
    /// When the agents are counted, if that could change a gate.
    count_at: Option<Moment>,
    counted_at: Moment,
    last_tick: Moment,
    shown: Arc<WatchView>,
    recovery: Recovery,
    /// Room for the effects of a beat; empty between two.
    produced: Vec<FleetEffect>,
}

impl Watch {
    /// An empty fleet, not yet connected. `seed` makes the ids of incidents unique among monitors.
    pub fn new(settings: FleetSettings, seed: u64, now: Moment) -> Self {
        Self {
            fleet: Fleet::new(settings, now),
            observer: Observer::default(),
            gates: Gates::default(),
            ledger: Ledger::new(seed),
            election: Election::default(),
            held: Held::default(),
            mirror_at: None,
            not_understood: 0,
            notices: Notices::default(),
            seen_at: now,
            store_clock: None,
            count_at: None,
            counted_at: now,
            last_tick: now,
            shown: Arc::default(),
            recovery: Recovery::default(),
            produced: Vec::new(),
        }
    }

    /// Applies one input and returns what the caller must do, in this order.
    pub fn handle(&mut self, input: WatchInput, now: Moment) -> Vec<WatchEffect> {
        let mut effects = Vec::new();
        let Some(input) = self.held_back(input, now) else {
            return effects;
        };
        match input {
            WatchInput::Fleet(input) => self.fleet_input(input, now, &mut effects),
            WatchInput::CanaryBack(number) => {
                self.observe(ObserverInput::CanaryBack(number), now, &mut effects);
            }
            WatchInput::Answered(took) => {
                self.observe(ObserverInput::Answered(took), now, &mut effects);
            }
            WatchInput::Stands(asked_at, standing) => {
                let input = ElectionInput::Answered(asked_at, standing);
                self.elect(input, now, &mut effects);
            }
            WatchInput::LeadRefused(asked_at) => {
                self.elect(ElectionInput::Refused(asked_at), now, &mut effects);
            }
            WatchInput::Incidents(records) => self.incidents_read(records, now, &mut effects),
            WatchInput::Notices(records) => {
                self.notice(NoticesInput::Restored(records), now, &mut effects);
            }
            WatchInput::NoticesHeld(held) => {
                self.notice(NoticesInput::Held(held), now, &mut effects);
            }
            WatchInput::Paged(ids, page) => {
                let notices = NoticesInput::Paged(ids.clone(), page.clone());
                self.notice(notices, now, &mut effects);
                self.record(LedgerInput::Paged(ids, page), None, now, &mut effects);
            }
            WatchInput::Notified(ids, notified) => {
                let notices = NoticesInput::Notified(ids.clone(), notified.clone());
                self.notice(notices, now, &mut effects);
                let incidents = LedgerInput::Notified(ids, notified);
                self.record(incidents, None, now, &mut effects);
            }
            WatchInput::IncidentsHeld(held) => {
                // What is being written may not be counted yet.
                if self.election.records() && self.ledger.is_saved() {
                    self.incidents_counted(held, now, &mut effects);
                }
            }
            WatchInput::IncidentSaved(incident) => {
                self.record(LedgerInput::Saved(incident), None, now, &mut effects);
            }
            WatchInput::IncidentRemoved(id) => {
                self.record(LedgerInput::Removed(id), None, now, &mut effects);
            }
            WatchInput::Recovery(input) => self.recovery_input(input, now, &mut effects),
        }
        effects
    }

    /// Applies a beat from the channel and adds what the caller must do.
    pub fn beat(&mut self, beat: &BeatView<'_>, now: Moment, effects: &mut Vec<WatchEffect>) {
        let mut produced = std::mem::take(&mut self.produced);
        self.fleet.beat(beat, now, &mut produced);
        self.fleet_effects(produced.drain(..), now, effects);
        self.produced = produced;
        self.recovery_beat(beat, now, effects);
    }

    /// When a tick next changes something, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let machines = [
            self.fleet.deadline(),
            self.observer.deadline(),
            self.gates.deadline(),
            self.ledger.deadline(),
            self.notices.deadline(),
            self.recovery.deadline(),
            self.election.deadline(),
            self.mirror_at.map(|at| (at, "records of the leader")),
            self.count_at.map(|at| (at, "count")),
        ];
        machines.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The agents as they are now.
    pub fn view(&self) -> Snapshot {
        let mut view = self.fleet.view();
        view.watch = Arc::clone(&self.shown);
        view
    }

    /// Gates, incidents and the link as they are now.
    pub fn shown(&self) -> &Arc<WatchView> {
        &self.shown
    }

    fn fleet_input(&mut self, input: FleetInput, now: Moment, effects: &mut Vec<WatchEffect>) {
        let follows = Follows::of(&input);
        if let FleetInput::StoreClock(wall_ms) = input {
            self.store_clock = Some((wall_ms, now));
        }
        if let Follows::Tick = follows {
            let late = now.since(self.last_tick).saturating_sub(TICK_MAX);
            self.last_tick = now;
            self.gate(GatesInput::LateTick(late), now, effects);
        }
        let produced = self.fleet.handle(input, now);
        self.fleet_effects(produced, now, effects);
        match follows {
            Follows::Nothing => {}
            Follows::LinkUp => {
                self.last_tick = now;
                self.elect(ElectionInput::LinkUp, now, effects);
                self.mirror_at.get_or_insert(now + MIRROR_EVERY);
                self.remember_failed(now, effects);
                self.record_unrecorded(now, effects);
                self.observe(ObserverInput::LinkUp, now, effects);
                self.gate(GatesInput::Sighted, now, effects);
                self.recovery_restored(now, effects);
                self.attend_all(now, effects);
            }
            Follows::LinkDown => {
                self.elect(ElectionInput::LinkDown, now, effects);
                self.observe(ObserverInput::LinkDown, now, effects);
                self.gate(GatesInput::Blind, now, effects);
                self.record(LedgerInput::OutOfReach, None, now, effects);
            }
            Follows::Tick => self.tick(now, effects),
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        self.observe(ObserverInput::Tick, now, effects);
        if self.count_at.is_some_and(|at| at <= now) {
            let ledger = &self.ledger;
            let wall_ms = self.store_wall(now);
            let is_known = |id: &AgentId| ledger.is_of_the_past(id, wall_ms);
            let census = self.fleet.view().census(STORM_WINDOW, now, is_known);
            self.counted_at = now;
            let news = census.fleet.newly_silent > 0;
            self.gate(GatesInput::Counted(census), now, effects);
            // A storm may begin or end without any further change.
            let goes_on = news || self.gates.has_storms();
            self.count_at = goes_on.then_some(now + COUNT_EVERY);
        }
        self.gate(GatesInput::Tick, now, effects);
        self.elect(ElectionInput::Tick, now, effects);
        self.read_again(now, effects);
        if self.election.records() && !self.election.is_in_doubt(now) {
            self.expire_silences(now, effects);
            self.record(LedgerInput::Tick, None, now, effects);
            self.notices_tick(now, effects);
            self.recovery_tick(now, effects);
        }
    }

    fn observe(&mut self, input: ObserverInput, now: Moment, effects: &mut Vec<WatchEffect>) {
        for effect in self.observer.handle(input, now) {
            match effect {
                ObserverEffect::SendCanary(number) => effects.push(WatchEffect::SendCanary(number)),
                ObserverEffect::Gap(length) => {
                    let produced = self.fleet.handle(FleetInput::Stall(length), now);
                    self.fleet_effects(produced, now, effects);
                }
                ObserverEffect::Witnessed(at) => {
                    let produced = self.fleet.handle(FleetInput::Witnessed(at), now);
                    self.fleet_effects(produced, now, effects);
                }
                ObserverEffect::Reconnect => {
                    let produced = self.fleet.handle(FleetInput::LinkDown, now);
                    self.fleet_effects(produced, now, effects);
                    self.elect(ElectionInput::LinkDown, now, effects);
                    self.gate(GatesInput::Blind, now, effects);
                    self.record(LedgerInput::OutOfReach, None, now, effects);
                    effects.push(WatchEffect::Reconnect);
                }
            }
        }
        self.show();
    }

    fn fleet_effects(
        &mut self,
        produced: impl IntoIterator<Item = FleetEffect>,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        for effect in produced {
            if let FleetEffect::Changed(change) = &effect {
                self.changed(change.clone(), now, effects);
            }
            if let FleetEffect::Left(agent, _) = &effect {
                self.record(LedgerInput::Left(agent.clone()), None, now, effects);
            }
            if let FleetEffect::Verify(_) = &effect {
                self.observer.handle(ObserverInput::Wanted, now);
                // Before the answer makes a failure of the silence it is known whether it is one of many.
                let soon = self.counted_at + COUNT_AGAIN_AFTER;
                let soon = soon.max(now);
                self.count_at = Some(self.count_at.map_or(soon, |at| at.min(soon)));
            }
            let seen = match &effect {
                FleetEffect::Changed(change) => Some(change.agent.clone()),
                FleetEffect::Turned(turn) => Some(turn.agent.clone()),
                FleetEffect::Left(agent, _) => Some(agent.clone()),
                FleetEffect::Verify(_)
                | FleetEffect::ReadTtl(_)
                | FleetEffect::ReadEvents
                | FleetEffect::Enlist(..)
                | FleetEffect::Refused(_) => None,
            };
            effects.push(WatchEffect::Fleet(effect));
            if let Some(agent) = seen {
                self.attend(&agent, now, effects);
            }
        }
    }

    fn changed(&mut self, change: Change, now: Moment, effects: &mut Vec<WatchEffect>) {
        if change.to != State::Healthy {
            let soon = self.counted_at + COUNT_EVERY;
            self.count_at.get_or_insert(soon.max(now));
        }
        let crashed = match change.reason {
            Some(Reason::Exited | Reason::Killed | Reason::OomKilled | Reason::CrashLoop) => {
                change.to == State::Failed
            }
            Some(
                Reason::HeartbeatLost
                | Reason::Hung
                | Reason::Duplicate
                | Reason::Fenced
                | Reason::Operator
                | Reason::Unkillable
                | Reason::Unknown,
            )
            | None => false,
        };
        if crashed {
            self.gate(GatesInput::Crashed(change.agent.clone()), now, effects);
        }
        let Some(change) = self.held_back_change(change, now) else {
            return;
        };
        self.recovery_changed(&change, now, effects);
        self.record_change(change, now, effects);
    }

    fn record_change(&mut self, change: Change, now: Moment, effects: &mut Vec<WatchEffect>) {
        let host = change.host.clone();
        let input = LedgerInput::Changed(Box::new(change));
        self.record(input, host.as_deref(), now, effects);
    }

    fn gate(&mut self, input: GatesInput, now: Moment, effects: &mut Vec<WatchEffect>) {
        self.gates.handle(input, now);
        let closed = self.gates.view();
        let is = |a: &Gate, b: &Gate| (a.gate, &a.host) == (b.gate, &b.host);
        let before = &self.shown.gates;
        if *before == closed {
            return;
        }
        let new = closed
            .iter()
            .filter(|gate| !before.iter().any(|old| is(old, gate)));
        effects.extend(new.cloned().map(WatchEffect::GateClosed));
        let over = before
            .iter()
            .filter(|gate| !closed.iter().any(|new| is(new, gate)));
        effects.extend(over.cloned().map(WatchEffect::GateOpened));
        Arc::make_mut(&mut self.shown).gates = closed;
    }

    fn record(
        &mut self,
        input: LedgerInput,
        host: Option<&str>,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) {
        let mut gate = self.gates.veto(host);
        if let LedgerInput::Changed(change) = &input
            && self.is_silenced(&change.agent, now)
        {
            gate.get_or_insert(GateKind::Silenced);
        }
        let context = LedgerContext {
            now,
            wall_ms: self.store_wall(now),
            gate,
            storm: self.gates.is_storm(),
        };
        let restored = matches!(input, LedgerInput::Restored(_));
        let produced = self.ledger.handle(input, context);
        if produced.is_empty() && !restored {
            return;
        }
        Arc::make_mut(&mut self.shown).incidents = self.ledger.view();
        for effect in produced {
            match effect {
                LedgerEffect::Store(incident) => effects.push(WatchEffect::StoreIncident(incident)),
                LedgerEffect::Remove(id) => effects.push(WatchEffect::RemoveIncident(id)),
                LedgerEffect::Changed(change) => effects.push(WatchEffect::IncidentChanged(change)),
                LedgerEffect::Joined(agent) => {
                    self.ask_surroundings(&agent, effects);
                    self.incident_joined(agent, now);
                }
                LedgerEffect::OtherReason(agent) => self.ask_surroundings(&agent, effects),
                LedgerEffect::Resolved(agent) => self.incident_resolved(&agent, now, effects),
            }
        }
    }

    fn show(&mut self) {
        let (round_trip, limit) = (self.observer.round_trip(), self.observer.limit());
        if (self.shown.round_trip, self.shown.answer_limit) != (round_trip, limit) {
            let shown = Arc::make_mut(&mut self.shown);
            (shown.round_trip, shown.answer_limit) = (round_trip, limit);
        }
    }

    /// The store's wall clock, Unix milliseconds; 0 before it was read.
    pub fn store_wall(&self, now: Moment) -> u64 {
        let read = self.store_clock;
        read.map_or(0, |(wall_ms, at)| wall_ms + millis(now.since(at)))
    }
}
