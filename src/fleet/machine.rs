//! The fleet: the monitor's machine. Beats, events and what the store holds go in; transitions come out.
//!
//! One writer owns it. Readers get [`Fleet::view`], an immutable copy that shares all its agents; one that changes while a
//! copy holds it is copied then. Deadlines stand in an ordered index: a tick looks at the agents that are due and at no
//! others.
//!
//! Deliberately absent: a decision from an absent key or from a wall clock. Only observed silence, verified, and the
//! agent's own end change a state for the worse.

mod room;
mod silence;
mod stored;
mod turns;

pub use crate::fleet::exchange::{
    BeatCounters, Bounds, Change, Counts, FleetEffect, FleetInput, FleetSettings, Snapshot, Turn,
};
pub use crate::fleet::observation::RETURN_WITHIN;

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, ApplyContext, State};
use crate::fleet::agents::{Place, Slab};
use crate::fleet::deadlines::Deadlines;
use crate::fleet::observation::Observation;
use crate::fleet::retention::Retention;
use crate::fleet::run::{BeatOutcome, BeatSource, Run};
use crate::fleet::stream_wait::StreamWait;
use crate::fleet::versions::Versions;
use crate::wire::beat::view::{BeatView, Owned};
use crate::wire::event::Event;
use silence::Verification;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long beats wait for the events that were stored before them.
const EVENTS_WITHIN: Duration = Duration::from_secs(2);
/// The longest time between two ticks: what is more is a gap in the observation.
pub const TICK_MAX: Duration = Duration::from_secs(1);
/// Deadlines of one agent that may be due at one moment: question, missing, verification.
const STEPS_MAX: usize = 3;
/// Deadlines that one tick looks at, some milliseconds: those of a fleet that was loaded, or seen again, at one moment are due
/// at one moment. The rest is due at the next tick.
const LOOKED_AT_MAX: usize = 10_000;
/// How often a full fleet is reported.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// An epoch is granted from the store's clock in milliseconds; beyond it by more than this no epoch was granted.
const EPOCH_AHEAD_MAX_MS: u64 = 24 * 3600 * 1000;

/// How long changes of the past are collected before they are announced as they are now: what was delayed comes in a burst.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(250);

/// The monitor's machine.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    agents: Slab,
    counts: Counts,
    versions: Versions,
    beats: BeatCounters,
    link_up: bool,
    deadlines: Deadlines,
    /// Agents whose silence is being verified with the store.
    verifying: BTreeMap<AgentId, Verification>,
    /// What was published before this has arrived.
    witnessed: Moment,
    observation: Observation,
    retention: Retention,
    bounds: Bounds,
    /// When a full fleet was last reported.
    refused_at: Option<Moment>,
    /// No epoch that was honestly granted is beyond this.
    epoch_max: u64,
    /// Beats that wait until the stream has been read.
    ahead: StreamWait,
    /// Agents whose state changed in the past, which is announced once as it is now.
    unannounced: BTreeSet<AgentId>,
    /// When those are announced.
    announce_at: Option<Moment>,
    /// What the store holds has been read at least once.
    loaded: bool,
    last_tick: Moment,
}

impl Fleet {
    /// An empty fleet, not yet connected.
    pub fn new(settings: FleetSettings, now: Moment) -> Self {
        Self {
            settings,
            agents: Slab::default(),
            counts: Counts::default(),
            versions: Versions::default(),
            beats: BeatCounters::default(),
            link_up: false,
            deadlines: Deadlines::default(),
            verifying: BTreeMap::new(),
            witnessed: now,
            observation: Observation::default(),
            retention: Retention::default(),
            bounds: Bounds {
                agents_max: settings.agents_max,
                bytes_max: settings.bytes_max,
                ..Bounds::default()
            },
            refused_at: None,
            epoch_max: u64::MAX,
            ahead: StreamWait::default(),
            unannounced: BTreeSet::new(),
            announce_at: None,
            loaded: false,
            last_tick: now,
        }
    }

    /// Applies one input and returns what the caller must do.
    pub fn handle(&mut self, input: FleetInput, now: Moment) -> Vec<FleetEffect> {
        let mut effects = Vec::new();
        match input {
            FleetInput::Beat(beat) => self.beat(&Owned::from(beat).view(), now, &mut effects),
            FleetInput::AgedBeat(beat, age) => {
                let source = BeatSource::Stored(age);
                let found = self.agents.find(beat.agent.as_str());
                self.apply_beat(found, &Owned::from(beat).view(), source, now, &mut effects);
            }
            FleetInput::Event(event) => self.event(&event, now, &mut effects),
            FleetInput::EventsRead => self.release(now, &mut effects),
            FleetInput::RosterEntry(id, entry) => {
                let run = Run::unconfirmed(entry.epoch, entry.interval(), now);
                self.roster_entry(id, &entry, run, now, &mut effects);
            }
            FleetInput::Registered(id, entry) => {
                let run = Run::begin(entry.epoch, entry.interval(), now);
                self.roster_entry(id, &entry, run, now, &mut effects);
            }
            FleetInput::Remembered(id) => {
                let run = || Run::unconfirmed(0, self.settings.interval_default, now);
                self.remembered(&id, run(), now, &mut effects);
            }
            FleetInput::TtlRead(id, time_to_live) => {
                self.learned(&id, time_to_live, now, &mut effects);
            }
            FleetInput::Verified(id) => self.verified(&id, now, &mut effects),
            FleetInput::Witnessed(at) => self.witnessed(at, now, &mut effects),
            FleetInput::Gap(length) => self.observation.gap(length, now),
            FleetInput::Stall(length) => self.observation.stall(length, now),
            FleetInput::Forget(id) => {
                if let Some(place) = self.agents.find(id.as_str()) {
                    self.leave(place, &mut effects);
                }
            }
            FleetInput::StoreClock(wall_ms) => self.store_clock(wall_ms),
            FleetInput::LinkUp => self.link_up(now, &mut effects),
            FleetInput::StoreReturned => self.observation.returned(now),
            FleetInput::StoreStarted => self.observation.started(now),
            FleetInput::StoreMoved => self.observation.moved(now),
            // Beats that wait for the stream keep waiting: the next connection reads it first.
            FleetInput::LinkDown => self.link_up = false,
            FleetInput::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    /// Applies a beat from the channel and adds what the caller must do: [`FleetInput::Beat`] without a copy of the beat.
    ///
    /// A beat that names a later step than the stream has brought so far waits until the stream was read: its sender
    /// stored the events before it, so they are there.
    pub fn beat(&mut self, beat: &BeatView<'_>, now: Moment, effects: &mut Vec<FleetEffect>) {
        let found = self.agents.find(beat.agent);
        let run = found.map(|place| &self.agents.agent(place).run);
        let (epoch, step) = run.map_or((0, 0), |run| (run.epoch, run.life.step));
        if beat.is_fenced() && found.is_none() {
            return; // the holder shows that the agent exists
        }
        if !beat.is_fenced() && self.ahead.holds(beat, epoch, step) {
            let is_first = beat
                .to_owned()
                .is_some_and(|beat| self.ahead.push(beat, now));
            effects.extend(is_first.then_some(FleetEffect::ReadEvents));
            return;
        }
        self.apply_beat(found, beat, BeatSource::Channel, now, effects);
    }

    /// When a tick may next change something, and why; `None` when nothing is due. Nothing changes by itself while the
    /// monitor is not connected to the store. A tick before this moment changes nothing, unless the tick itself is late; one at
    /// this moment may find that its agent is due later.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        if !self.link_up {
            return None;
        }
        let agent = self.deadlines.first();
        let agent = agent.map(|(at, place)| (at, self.due_for(place)));
        let stream = self.ahead.deadline(EVENTS_WITHIN).map(|at| (at, "stream"));
        let announce = self.announce_at.map(|at| (at, "announce"));
        [agent, stream, announce]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The agent of this id.
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        let place = self.agents.find(id.as_str())?;
        Some(self.agents.agent(place))
    }

    /// Agents by state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the monitor is connected to the store.
    pub fn is_link_up(&self) -> bool {
        self.link_up
    }

    fn due_for(&self, place: Place) -> &'static str {
        if self.verifying.contains_key(self.agents.id(place)) {
            return "verification again";
        }
        let deadline = self.agents.agent(place).deadline();
        deadline.map_or("missing", |(_, why)| why)
    }

    /// The fleet as it is now; shares its agents with the fleet.
    pub fn view(&self) -> Snapshot {
        Snapshot {
            agents: self.agents.view(),
            counts: self.counts,
            versions: self.versions.clone(),
            beats: self.beats,
            link_up: self.link_up,
            bounds: self.bounds,
            watch: Arc::default(),
        }
    }

    /// Takes the beats that waited for the stream.
    fn release(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) {
        for beat in self.ahead.take() {
            let found = self.agents.find(beat.agent().as_str());
            self.apply_beat(found, &beat.view(), BeatSource::Channel, now, effects);
        }
    }

    fn apply_beat(
        &mut self,
        found: Option<Place>,
        beat: &BeatView<'_>,
        source: BeatSource,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
    ) {
        let interval = beat
            .hb
            .as_ref()
            .map_or(self.settings.interval_default, |hb| hb.interval);
        let begun = || Run::begin(0, interval, now);
        let Some(place) = self.place(found, beat.agent, now, begun, effects) else {
            return;
        };
        let mut without = None;
        let beat = if self.is_heavy() {
            without.insert(beat.without_evidence())
        } else {
            beat
        };
        let before = turns::verdict(self.agents.agent(place));
        let (outcome, wants_interval) =
            self.apply(place, self.occurred(), now, effects, |agent, context| {
                (agent.beat(beat, source, context), agent.wants_interval())
            });
        self.turned(place, before, now, effects);
        let beats = &mut self.beats;
        match outcome {
            BeatOutcome::Applied => beats.applied += 1,
            BeatOutcome::Known => beats.known += u64::from(source == BeatSource::Channel),
            BeatOutcome::Duplicate => beats.duplicate += 1,
            BeatOutcome::Outdated => beats.outdated += u64::from(source == BeatSource::Channel),
            BeatOutcome::Implausible => beats.implausible += 1,
        }
        if beat.hb.is_none() && outcome == BeatOutcome::Applied && wants_interval {
            effects.push(FleetEffect::ReadTtl(self.agents.id(place).clone()));
        }
    }

    fn event(&mut self, event: &Event, now: Moment, effects: &mut Vec<FleetEffect>) {
        let id = event.agent.as_str();
        let found = self.agents.find(id);
        if event.life().is_none() && found.is_none() {
            return; // it does not show that the agent exists
        }
        let interval = self.settings.interval_default;
        let Some(place) = self.place(found, id, now, || Run::begin(0, interval, now), effects)
        else {
            return;
        };
        let when = if event.detail.delayed_ms > 0 {
            Occurred::Earlier
        } else {
            self.occurred()
        };
        self.apply(place, when, now, effects, |agent, context| {
            agent.event(event, interval, context);
        });
    }

    fn occurred(&self) -> Occurred {
        if self.loaded {
            Occurred::Now
        } else {
            Occurred::Earlier
        }
    }

    fn link_up(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) {
        self.link_up = true;
        let again = std::mem::replace(&mut self.loaded, true);
        self.last_tick = now;
        self.observation.begin(now, again);
        self.verifying.clear();
        self.release(now, effects);
        self.announce(now, effects);
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) {
        let gap = now.since(self.last_tick).saturating_sub(TICK_MAX);
        self.observation.gap(gap, now);
        self.last_tick = now;
        if !self.link_up {
            return;
        }
        let answer_due = self.ahead.deadline(EVENTS_WITHIN);
        if answer_due.is_some_and(|at| at <= now) {
            self.release(now, effects);
        }
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce(now, effects);
        }
        let mut most = LOOKED_AT_MAX;
        for _ in 0..STEPS_MAX {
            for place in self.take_due(now, &mut most) {
                self.due(place, now, effects);
            }
        }
    }

    /// What changed in the past is announced as it is now, once.
    fn announce(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) {
        self.announce_at = None;
        for id in std::mem::take(&mut self.unannounced) {
            let Some(place) = self.agents.find(id.as_str()) else {
                continue;
            };
            let agent = self.agents.agent_mut(place);
            let from = agent.announced.replace(agent.state);
            let unconfirmed = agent.state == State::Missing && agent.run.is_unconfirmed();
            if from != Some(agent.state) && !unconfirmed {
                let change = agent.change(id, from, None, now);
                effects.push(FleetEffect::Changed(change));
            }
        }
    }

    fn store_clock(&mut self, wall_ms: u64) {
        let plausible = wall_ms.saturating_add(EPOCH_AHEAD_MAX_MS);
        // A clock that goes back takes no epoch's plausibility away.
        let known = Some(self.epoch_max).filter(|max| *max < u64::MAX);
        self.epoch_max = known.unwrap_or(0).max(plausible);
    }

    /// Changes an agent, keeping counts, deadlines and announcements in step with it.
    fn apply<T>(
        &mut self,
        place: Place,
        when: Occurred,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
        change: impl FnOnce(&mut Agent, &mut ApplyContext<'_>) -> T,
    ) -> T {
        let mut transitions = Vec::new();
        let agent = self.agents.agent_mut(place);
        let (before, weighed, over) = (agent.state, agent.weight(), agent.over);
        let version = agent.counted_version();
        let mut context = ApplyContext {
            now,
            loading: !self.loaded,
            epoch_max: self.epoch_max,
            transitions: &mut transitions,
        };
        let changed = change(agent, &mut context);
        *self.counts.of(before) -= 1;
        *self.counts.of(agent.state) += 1;
        self.versions.change(version, agent.counted_version());
        self.bounds.bytes = self.bounds.bytes - weighed + agent.weight();
        let (state, is_over) = (agent.state, agent.over);
        if over != is_over {
            self.retention.update(self.agents.id(place), over, is_over);
        }
        if state != State::Missing && !self.verifying.is_empty() {
            self.verifying.remove(self.agents.id(place));
        }
        let due = due_at(&self.agents, &self.verifying, place);
        self.deadlines.set(place, due);
        match when {
            Occurred::Earlier => {
                self.unannounced.insert(self.agents.id(place).clone());
                self.announce_at.get_or_insert(now + ANNOUNCE_AFTER);
            }
            Occurred::Now if self.is_unannounced(place) => self.announce(now, effects),
            Occurred::Now => {
                for transition in transitions {
                    let id = self.agents.id(place).clone();
                    let agent = self.agents.agent_mut(place);
                    let from = agent.announced.replace(transition.to);
                    let change = agent.change(id, from, Some(transition), now);
                    effects.push(FleetEffect::Changed(change));
                }
            }
        }
        changed
    }

    fn is_unannounced(&self, place: Place) -> bool {
        !self.unannounced.is_empty() && self.unannounced.contains(self.agents.id(place))
    }
}

/// When the agent is due: its verification, else its silence.
fn due_at(
    agents: &Slab,
    verifying: &BTreeMap<AgentId, Verification>,
    place: Place,
) -> Option<Moment> {
    if !verifying.is_empty()
        && let Some(verification) = verifying.get(agents.id(place))
    {
        return Some(verification.again_at);
    }
    agents.agent(place).deadline().map(|(at, _)| at)
}

/// Whether a change happens now, or happened before this monitor could see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occurred {
    Now,
    Earlier,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::beat::{Beat, Exit, Extension, Metrics, Status};
    use crate::wire::event::{Detail, EventKind};
    use crate::wire::life::Phase;
    use crate::wire::roster::RosterEntry;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn id() -> AgentId {
        AgentId::parse("a1").unwrap()
    }

    fn beat(epoch: u64, slot: u64) -> Beat {
        Beat {
            agent: id(),
            agent_type: "test".into(),
            timestamp_ms: 1_764_000_000_000 + slot * 30_000,
            sequence: slot + 1,
            status: Status::Healthy,
            metrics: Metrics::default(),
            current_task: None,
            task_progress: None,
            hb: Some(Extension {
                interval: INTERVAL,
                epoch,
                slot,
                slot_age: Duration::ZERO,
                instance: "i".into(),
                host: "h".into(),
                pid: 7,
                started_at_ms: 1_764_000_000_000,
                restarts: 0,
                ready: true,
                status_text: None,
                activity: None,
                runtime: None,
                exit: None,
                life: None,
                order: None,
                store_refuses: false,
                fenced: false,
            }),
        }
    }

    fn event(kind: EventKind, epoch: u64, detail: Detail) -> FleetInput {
        FleetInput::Event(Box::new(Event {
            kind,
            agent: id(),
            epoch,
            at_ms: 0,
            detail,
        }))
    }

    fn exit(code: u8) -> Detail {
        Detail {
            exit: Some(Exit {
                code: Some(code),
                signal: None,
            }),
            ..Detail::default()
        }
    }

    struct Stage {
        fleet: Fleet,
        announced: Vec<(u64, State)>,
        verified: usize,
        enlisted: Vec<Phase>,
    }

    impl Stage {
        /// A connected fleet that has received `slots` beats of one agent from second 0 on.
        fn with_beats(slots: u64) -> Self {
            let mut fleet = Fleet::new(FleetSettings::default(), at(0));
            fleet.handle(FleetInput::LinkUp, at(0));
            let mut stage = Self {
                fleet,
                announced: Vec::new(),
                verified: 0,
                enlisted: Vec::new(),
            };
            for slot in 0..slots {
                stage.apply(FleetInput::Beat(Box::new(beat(1, slot))), slot * 30);
            }
            stage
        }

        fn apply(&mut self, input: FleetInput, second: u64) {
            for effect in self.fleet.handle(input, at(second)) {
                match effect {
                    FleetEffect::Changed(change) => self.announced.push((second, change.to)),
                    FleetEffect::Verify(id) => {
                        self.verified += 1;
                        self.apply(FleetInput::Verified(id), second);
                        self.apply(FleetInput::Witnessed(at(second)), second);
                    }
                    FleetEffect::ReadEvents => self.apply(FleetInput::EventsRead, second),
                    FleetEffect::Enlist(_, entry) => self.enlisted.push(entry.life().phase),
                    FleetEffect::Left(..) | FleetEffect::Refused(_) | FleetEffect::Turned(_) => {}
                    FleetEffect::ReadTtl(id) => {
                        self.apply(FleetInput::TtlRead(id, Duration::from_millis(3998)), second);
                    }
                }
            }
        }

        fn tick_through(&mut self, seconds: std::ops::RangeInclusive<u64>) {
            for second in seconds {
                self.apply(FleetInput::Tick, second);
            }
        }

        fn state(&self) -> State {
            self.fleet.view().agents[&id()].state
        }
    }

    #[test]
    fn a_silent_agent_is_missing_then_failed_and_each_is_announced_once() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=300);
        let announced = [
            (0, State::Healthy),
            (35, State::Missing),
            (95, State::Failed),
        ];
        assert_eq!(
            (stage.announced.as_slice(), stage.verified),
            (&announced[..], 2),
            "before it is missing and before it is failed"
        );
    }

    #[test]
    fn a_beat_found_at_verification_prevents_the_failure() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        let effects = stage.fleet.handle(FleetInput::Tick, at(95));
        assert_eq!(effects, [FleetEffect::Verify(id())]);
        stage.apply(
            FleetInput::AgedBeat(Box::new(beat(1, 3)), Duration::from_secs(5)),
            95,
        );
        stage.apply(FleetInput::Verified(id()), 95);
        stage.apply(FleetInput::Witnessed(at(95)), 95);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn silence_counts_only_as_far_as_the_channel_is_known_to_be_alive() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        stage.fleet.handle(FleetInput::Tick, at(95));
        stage.apply(FleetInput::Verified(id()), 95);
        stage.apply(FleetInput::Witnessed(at(94)), 95);
        assert_eq!(stage.state(), State::Missing);
        stage.apply(FleetInput::Witnessed(at(95)), 96);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn a_question_that_is_not_answered_is_no_verdict_and_is_asked_again() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        let mut asked = 0;
        for second in 95..=600 {
            for effect in stage.fleet.handle(FleetInput::Tick, at(second)) {
                assert_eq!(effect, FleetEffect::Verify(id()));
                asked += 1;
            }
        }
        assert_eq!((stage.state(), asked), (State::Missing, 102));
        stage.apply(FleetInput::Witnessed(at(95)), 600);
        assert_eq!(stage.state(), State::Missing);
        stage.apply(FleetInput::Verified(id()), 600);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn an_answer_after_a_gap_in_the_observation_is_no_verdict() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        for second in 95..=107 {
            stage.fleet.handle(FleetInput::Tick, at(second));
        }
        stage.apply(FleetInput::Gap(Duration::from_secs(12)), 107);
        stage.apply(FleetInput::Verified(id()), 107);
        stage.apply(FleetInput::Witnessed(at(107)), 107);
        assert_eq!(stage.state(), State::Missing);
        stage.tick_through(108..=143);
        assert_eq!(stage.state(), State::Failed, "35 s after the gap");
    }

    #[test]
    fn a_gap_in_the_observation_takes_no_silence_back() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=40);
        stage.apply(FleetInput::Gap(Duration::from_secs(12)), 41);
        stage.tick_through(41..=60);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 2))), 61);
        let states = [State::Healthy, State::Missing, State::Healthy];
        let announced: Vec<State> = stage.announced.iter().map(|(_, to)| *to).collect();
        assert_eq!((announced, stage.announced[2].0), (states.to_vec(), 61));
    }

    #[test]
    fn a_beat_that_only_the_channel_lost_makes_no_agent_look_missing() {
        let mut stage = Stage::with_beats(1);
        for second in 1..=40 {
            for effect in stage.fleet.handle(FleetInput::Tick, at(second)) {
                assert_eq!(effect, FleetEffect::Verify(id()));
                let age = Duration::from_secs(second - 30);
                stage.apply(FleetInput::AgedBeat(Box::new(beat(1, 1)), age), second);
                stage.apply(FleetInput::Verified(id()), second);
            }
        }
        assert_eq!(stage.announced, [(0, State::Healthy)]);
    }

    #[test]
    fn no_agent_fails_while_the_store_is_unreachable_nor_right_after() {
        let mut stage = Stage::with_beats(1);
        stage.apply(FleetInput::LinkDown, 10);
        stage.tick_through(11..=600);
        stage.apply(FleetInput::LinkUp, 600);
        stage.tick_through(601..=634);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn an_agent_that_died_during_the_blindness_is_failed_one_period_after_it() {
        let mut stage = Stage::with_beats(1);
        stage.apply(FleetInput::LinkDown, 10);
        stage.apply(FleetInput::LinkUp, 600);
        stage.tick_through(601..=640);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn a_monitor_that_stood_still_fails_no_agent_for_it() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=5);
        stage.tick_through(500..=534);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn an_exit_is_a_failure_at_once_and_a_late_beat_of_the_dead_does_not_undo_it() {
        let mut stage = Stage::with_beats(2);
        stage.apply(event(EventKind::Exited, 1, exit(3)), 31);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 2))), 32);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn the_next_incarnation_of_a_dead_agent_is_healthy() {
        let mut stage = Stage::with_beats(2);
        stage.apply(event(EventKind::Exited, 1, exit(3)), 31);
        let mut next = beat(1, 2);
        if let Some(hb) = &mut next.hb {
            hb.restarts = 1;
        }
        stage.apply(FleetInput::Beat(Box::new(next)), 60);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn a_clean_end_is_stopped_and_stays_so() {
        let mut stage = Stage::with_beats(2);
        stage.apply(event(EventKind::Exited, 1, exit(0)), 31);
        stage.apply(event(EventKind::Stopped, 1, Detail::default()), 31);
        stage.tick_through(32..=400);
        assert_eq!(stage.state(), State::Stopped);
    }

    #[test]
    fn an_agent_that_a_person_has_suspended_is_stopped_and_healthy_when_it_goes_on() {
        let mut stage = Stage::with_beats(2);
        let mut last = beat(1, 2);
        last.status = Status::Stopped;
        stage.apply(FleetInput::Beat(Box::new(last)), 40);
        stage.tick_through(41..=4000);
        assert_eq!(stage.state(), State::Stopped);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 134))), 4020);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn beats_and_events_of_a_replaced_epoch_change_nothing() {
        let mut stage = Stage::with_beats(1);
        stage.apply(FleetInput::Beat(Box::new(beat(2, 0))), 5);
        stage.apply(event(EventKind::Exited, 1, exit(3)), 6);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 1))), 30);
        assert_eq!(
            (stage.state(), stage.fleet.view().beats.outdated),
            (State::Healthy, 1)
        );
    }

    /// An agent with a later epoch that was silent until it had failed.
    fn failed_in_epoch(epoch: u64) -> Stage {
        let mut stage = Stage::with_beats(0);
        stage.apply(FleetInput::Beat(Box::new(beat(epoch, 9))), 0);
        stage.tick_through(1..=96);
        assert_eq!(stage.state(), State::Failed);
        stage
    }

    #[test]
    fn a_copy_with_an_earlier_epoch_is_followed_when_the_later_one_is_silent() {
        let mut stage = failed_in_epoch(9);
        let mut states = Vec::new();
        for slot in 13..=14 {
            stage.apply(FleetInput::Beat(Box::new(beat(2, slot))), slot * 10);
            states.push(stage.state());
            stage.tick_through(slot * 10..=slot * 10 + 20);
        }
        assert_eq!(states, [State::Failed, State::Failed], "not at its pace");
        stage.apply(FleetInput::Beat(Box::new(beat(2, 15))), 170);
        assert_eq!(
            (stage.state(), stage.fleet.view().agents[&id()].run.epoch),
            (State::Healthy, 2)
        );
    }

    #[test]
    fn old_beats_that_are_replayed_with_holes_bring_no_earlier_epoch_back() {
        let mut stage = failed_in_epoch(9);
        for (n, slot) in [1, 2, 4, 5, 7, 8].into_iter().enumerate() {
            let second = 130 + 30 * n as u64;
            stage.apply(FleetInput::Beat(Box::new(beat(2, slot))), second);
        }
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn the_hash_of_an_earlier_epoch_counts_when_it_is_news_by_the_senders_own_clock() {
        for (slot, state) in [(12, State::Healthy), (8, State::Failed)] {
            let mut stage = Stage::with_beats(0);
            stage.apply(FleetInput::Beat(Box::new(beat(9, 9))), 0);
            stage.tick_through(1..=94);
            stage.fleet.handle(FleetInput::Tick, at(95));
            let held = Box::new(beat(2, slot));
            stage.apply(FleetInput::AgedBeat(held, Duration::from_secs(5)), 95);
            stage.apply(FleetInput::Verified(id()), 95);
            stage.apply(FleetInput::Witnessed(at(95)), 95);
            assert_eq!(stage.state(), state, "slot {slot}");
        }
    }

    #[test]
    fn an_earlier_epoch_beside_one_that_beats_changes_nothing() {
        let mut stage = Stage::with_beats(0);
        for slot in 9..=20 {
            let second = (slot - 9) * 30;
            stage.apply(FleetInput::Beat(Box::new(beat(9, slot))), second);
            stage.apply(FleetInput::Beat(Box::new(beat(2, slot))), second + 1);
        }
        let agent = &stage.fleet.view().agents[&id()];
        assert_eq!(
            (agent.state, agent.reason, agent.run.epoch),
            (State::Healthy, None, 9)
        );
    }

    fn roster(stopped_at: Option<u64>) -> FleetInput {
        let entry = RosterEntry {
            agent_type: "test".into(),
            host: "h".into(),
            interval_ms: 30_000,
            epoch: 1,
            started_at: 0,
            runtime: None,
            hb_version: None,
            stopped_at,
            life: None,
        };
        FleetInput::RosterEntry(id(), Box::new(entry))
    }

    #[test]
    fn an_agent_that_died_while_no_monitor_ran_is_failed_within_40_seconds_of_the_start() {
        let mut stage = Stage::with_beats(0);
        stage.apply(roster(None), 0);
        stage.tick_through(1..=34);
        assert_eq!(stage.state(), State::Missing);
        stage.tick_through(35..=40);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn an_agent_that_stopped_cleanly_while_no_monitor_ran_is_stopped() {
        let mut stage = Stage::with_beats(0);
        stage.apply(roster(Some(5)), 0);
        stage.tick_through(1..=200);
        assert_eq!(stage.state(), State::Stopped);
    }

    #[test]
    fn a_store_that_has_lost_the_end_of_an_agent_gets_it_again() {
        let mut stage = Stage::with_beats(0);
        stage.apply(roster(None), 0);
        stage.apply(roster(Some(5)), 10);
        stage.apply(roster(Some(5)), 20);
        assert_eq!(stage.enlisted, [], "the roster knows as much, or more");
        stage.apply(roster(None), 30);
        assert_eq!(
            (stage.enlisted.clone(), stage.state()),
            (vec![Phase::Ended], State::Stopped)
        );
    }

    #[test]
    fn a_producer_from_the_seed_is_measured_by_the_interval_of_its_hash() {
        let mut stage = Stage::with_beats(0);
        let mut seed = beat(0, 0);
        seed.hb = None;
        stage.apply(FleetInput::Beat(Box::new(seed)), 0);
        stage.tick_through(1..=5);
        let announced = [(0, State::Healthy), (2, State::Missing), (5, State::Failed)];
        assert_eq!(
            stage.announced, announced,
            "1.35 s at most, not the default 30 s"
        );
    }

    #[test]
    fn newcomers_to_a_full_fleet_are_refused_and_counted() {
        let settings = FleetSettings {
            agents_max: 0,
            ..FleetSettings::default()
        };
        let mut fleet = Fleet::new(settings, at(0));
        fleet.handle(FleetInput::Beat(Box::new(beat(1, 0))), at(0));
        let snapshot = fleet.view();
        assert_eq!((snapshot.counts.total(), snapshot.beats.refused), (0, 1));
    }

    /// One beat of each of these agents, then silence or an end.
    fn named(name: &str, slot: u64) -> FleetInput {
        let mut beat = beat(1, slot);
        beat.agent = AgentId::parse(name).unwrap();
        FleetInput::Beat(Box::new(beat))
    }

    fn exited(name: &str) -> FleetInput {
        FleetInput::Event(Box::new(Event {
            kind: EventKind::Exited,
            agent: AgentId::parse(name).unwrap(),
            epoch: 1,
            at_ms: 0,
            detail: exit(3),
        }))
    }

    fn names(fleet: &Fleet) -> Vec<String> {
        let view = fleet.view();
        view.agents.iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn a_failed_agent_leaves_after_a_week_and_an_id_that_was_seen_once_after_an_hour() {
        let mut fleet = Stage::with_beats(0).fleet;
        for input in [named("agent", 0), named("agent", 1), exited("agent")] {
            fleet.handle(input, at(0));
        }
        for input in [named("stray", 0), exited("stray")] {
            fleet.handle(input, at(0));
        }
        fleet.handle(FleetInput::Tick, at(3599));
        assert_eq!(names(&fleet), ["agent", "stray"]);
        let effects = fleet.handle(FleetInput::Tick, at(3600));
        let left = FleetEffect::Left(AgentId::parse("stray").unwrap(), 1);
        assert_eq!(
            (effects, names(&fleet)),
            (vec![left], vec!["agent".to_owned()])
        );
        fleet.handle(FleetInput::Tick, at(7 * 24 * 3600 - 1));
        assert_eq!(names(&fleet), ["agent"]);
        fleet.handle(FleetInput::Tick, at(7 * 24 * 3600));
        assert_eq!((names(&fleet).len(), fleet.view().counts.total()), (0, 0));
        fleet.handle(named("new", 0), at(7 * 24 * 3600));
        assert_eq!(names(&fleet), ["new"]);
    }

    #[test]
    fn in_a_full_fleet_the_oldest_that_is_over_makes_room_and_a_living_one_never_does() {
        let settings = FleetSettings {
            agents_max: 3,
            ..FleetSettings::default()
        };
        let mut fleet = Fleet::new(settings, at(0));
        fleet.handle(FleetInput::LinkUp, at(0));
        for (second, name) in [(1, "b"), (2, "a"), (3, "c")] {
            for slot in 0..2 {
                fleet.handle(named(name, slot), at(second));
            }
        }
        fleet.handle(exited("b"), at(4));
        fleet.handle(exited("a"), at(5));
        fleet.handle(named("new-1", 0), at(6));
        assert_eq!(names(&fleet), ["a", "c", "new-1"]);
        fleet.handle(named("new-2", 0), at(7));
        assert_eq!(names(&fleet), ["c", "new-1", "new-2"]);
        let effects = fleet.handle(named("new-3", 0), at(8));
        assert_eq!(effects, [FleetEffect::Refused(1)]);
        assert_eq!(fleet.handle(named("new-4", 0), at(9)), [], "once a minute");
        assert_eq!((names(&fleet).len(), fleet.view().beats.refused), (3, 2));
    }

    #[test]
    fn the_memory_of_a_fleet_is_bounded_and_a_heavy_one_keeps_no_evidence() {
        let settings = FleetSettings {
            bytes_max: 100_000,
            ..FleetSettings::default()
        };
        let mut fleet = Fleet::new(settings, at(0));
        fleet.handle(FleetInput::LinkUp, at(0));
        let fat = |n: u64, slot: u64| {
            let mut beat = beat(1, slot);
            beat.agent = AgentId::parse(&format!("f{n}")).unwrap();
            beat.hb.as_mut().unwrap().activity = Some(crate::wire::beat::Activity {
                sentence: "x".repeat(6000),
                ..serde_json::from_str(r#"{"verdict":"working","since":1}"#).unwrap()
            });
            FleetInput::Beat(Box::new(beat))
        };
        for n in 0..1000 {
            fleet.handle(fat(n, 0), at(0));
        }
        let bounds = fleet.view().bounds;
        assert!(bounds.bytes < bounds.bytes_max + 10_000, "{bounds:?}");
        let known = fleet.view().counts.total();
        assert!(known > 5 && known < 20, "{known}");
        for slot in 1..10 {
            for n in 0..1000 {
                fleet.handle(fat(n, slot), at(slot * 30));
            }
        }
        let view = fleet.view();
        assert!(
            view.bounds.bytes < bounds.bytes_max + 10_000,
            "{:?}",
            view.bounds
        );
        assert_eq!((view.counts.healthy, view.counts.total()), (known, known));
    }

    #[test]
    fn counts_always_agree_with_the_agents() {
        let mut stage = Stage::with_beats(2);
        for second in (31..200).step_by(7) {
            stage.apply(FleetInput::Tick, second);
            let snapshot = stage.fleet.view();
            let healthy = snapshot
                .agents
                .values()
                .filter(|a| a.state == State::Healthy)
                .count();
            assert_eq!(
                (snapshot.counts.total(), snapshot.counts.healthy),
                (1, healthy)
            );
        }
    }

    /// One agent that sends what `change` makes of its beats, from second 0 on.
    fn beating(
        stage: &mut Stage,
        slots: std::ops::Range<u64>,
        change: impl Fn(&mut Beat, &mut Extension),
    ) {
        for slot in slots {
            let mut next = beat(1, slot);
            let mut hb = next.hb.take().unwrap();
            change(&mut next, &mut hb);
            next.hb = Some(hb);
            stage.tick_through((slot * 30).saturating_sub(29)..=slot * 30);
            stage.apply(FleetInput::Beat(Box::new(next)), slot * 30);
        }
    }

    #[test]
    fn no_number_that_cannot_be_makes_later_beats_old() {
        let far = crate::base::number::COUNT_MAX;
        type Change = fn(&mut Beat, &mut Extension);
        let poison: [(&str, Change); 5] = [
            ("epoch", |_, hb| hb.epoch = crate::base::number::COUNT_MAX),
            ("sequence", |beat, _| {
                beat.sequence = crate::base::number::COUNT_MAX
            }),
            ("slot", |_, hb| hb.slot = crate::base::number::COUNT_MAX),
            ("interval", |_, hb| hb.interval = Duration::from_secs(3600)),
            ("plausible sequence", |beat, _| beat.sequence += 500),
        ];
        for (what, change) in poison {
            let mut stage = Stage::with_beats(0);
            stage.apply(FleetInput::StoreClock(1_764_000_000_000), 0);
            beating(&mut stage, 0..5, |_, _| {});
            beating(&mut stage, 5..6, change);
            let registered = event(EventKind::Registered, far, Detail::default());
            stage.apply(registered, 151);
            beating(&mut stage, 6..20, |_, _| {});
            assert_eq!(stage.state(), State::Healthy, "{what}");
            stage.tick_through(571..=571 + 100);
            assert_eq!(
                stage.state(),
                State::Failed,
                "the end is detected after {what}"
            );
            let failures = stage
                .announced
                .iter()
                .filter(|(_, to)| *to == State::Failed);
            assert_eq!(failures.count(), 1, "{what}: {:?}", stage.announced);
        }
    }

    #[test]
    fn a_clock_of_ours_that_stood_still_makes_no_agent_silent_whose_beats_come() {
        let mut stage = Stage::with_beats(2);
        stage.tick_through(31..=110);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 9))), 111);
        stage.tick_through(111..=140);
        stage.apply(FleetInput::Beat(Box::new(beat(1, 10))), 141);
        let failed = stage.announced.iter().any(|(_, to)| *to == State::Failed);
        assert_eq!((stage.state(), failed), (State::Healthy, false));
    }

    #[test]
    fn an_epoch_that_cannot_be_gives_a_silent_agent_no_new_beginning() {
        let mut stage = Stage::with_beats(0);
        let epoch = 1_764_000_000_000;
        stage.apply(FleetInput::StoreClock(epoch), 0);
        stage.apply(FleetInput::Beat(Box::new(beat(epoch, 0))), 0);
        stage.tick_through(1..=60);
        for odd in [1 << 50, 1 << 51] {
            stage.apply(FleetInput::Beat(Box::new(beat(odd, 0))), 60);
        }
        let mut slower = beat(epoch, 0);
        slower.hb.as_mut().unwrap().interval = Duration::from_secs(3600);
        stage.apply(FleetInput::Beat(Box::new(slower)), 61);
        stage.tick_through(61..=96);
        assert_eq!(stage.state(), State::Failed, "{:?}", stage.announced);
    }

    #[test]
    fn a_registration_from_a_clock_that_was_far_ahead_is_followed_by_those_of_the_corrected_one() {
        let mut stage = Stage::with_beats(0);
        stage.apply(FleetInput::StoreClock(1_764_000_000_000), 0);
        stage.apply(FleetInput::Beat(Box::new(beat(1 << 50, 0))), 0);
        assert_eq!(stage.state(), State::Healthy);
        stage.apply(FleetInput::Beat(Box::new(beat(1_764_000_000_001, 0))), 5);
        assert_eq!(
            stage.fleet.view().agents[&id()].run.epoch,
            1_764_000_000_001
        );
    }

    #[test]
    fn a_count_that_starts_again_is_a_producer_that_started_again() {
        let mut stage = Stage::with_beats(0);
        beating(&mut stage, 0..40, |_, _| {});
        beating(&mut stage, 40..60, |beat, hb| {
            beat.sequence -= 40;
            hb.slot -= 40;
        });
        let failed = stage.announced.iter().any(|(_, to)| *to == State::Failed);
        assert_eq!(
            (stage.state(), failed),
            (State::Healthy, false),
            "{:?}",
            stage.announced
        );
    }

    #[test]
    fn two_living_producers_of_one_epoch_are_a_duplicate_once_until_one_is_gone() {
        let mut stage = Stage::with_beats(0);
        for slot in 0..20 {
            let mut other = beat(1, slot);
            other.sequence += 5000;
            other.hb.as_mut().unwrap().instance = "j".into();
            stage.apply(FleetInput::Beat(Box::new(beat(1, slot))), slot * 30);
            stage.apply(FleetInput::Beat(Box::new(other)), slot * 30 + 9);
            stage.tick_through(slot * 30 + 10..=slot * 30 + 29);
        }
        let states: Vec<State> = stage.announced.iter().map(|(_, to)| *to).collect();
        assert_eq!(
            states,
            [State::Healthy, State::Healthy],
            "one word of it, no flip"
        );
        let reason = |stage: &Stage| stage.fleet.view().agents[&id()].reason;
        assert_eq!(reason(&stage), Some(crate::wire::life::Reason::Duplicate));
        beating(&mut stage, 20..30, |_, _| {});
        assert_eq!((stage.state(), reason(&stage)), (State::Healthy, None));
    }

    #[test]
    fn an_agent_that_lives_beside_the_holder_is_a_duplicate_and_never_takes_its_place() {
        let mut stage = Stage::with_beats(0);
        let beside = |slot| {
            let mut beat = beat(1, slot);
            let hb = beat.hb.as_mut().unwrap();
            (hb.instance, hb.host, hb.fenced) = ("j".into(), "g".into(), true);
            FleetInput::Beat(Box::new(beat))
        };
        stage.apply(beside(0), 0);
        let unknown = stage.fleet.view().agents.is_empty();
        for slot in 0..10 {
            stage.apply(FleetInput::Beat(Box::new(beat(2, slot))), slot * 30);
            stage.apply(beside(slot), slot * 30 + 9);
            stage.tick_through(slot * 30 + 10..=slot * 30 + 29);
        }
        let said = stage.fleet.view().agents[&id()]
            .sentence(at(300))
            .into_owned();
        for slot in 10..20 {
            stage.apply(beside(slot), slot * 30);
            stage.tick_through(slot * 30..=slot * 30 + 29);
        }
        let two = "Two living agents use this id: one on h, one on g.";
        assert_eq!(
            (unknown, said.as_str(), stage.state()),
            (true, two, State::Failed),
            "{:?}",
            stage.announced
        );
    }

    #[test]
    fn an_interval_that_changes_starts_another_timetable() {
        for (before, after) in [(150, 30), (30, 150)] {
            let mut stage = Stage::with_beats(0);
            let mut second = 0;
            for (sequence, (interval, slot)) in (0..5)
                .map(|slot| (before, 1000 + slot))
                .chain((0..20).map(|slot| (after, 1005 + slot)))
                .enumerate()
            {
                let mut next = beat(1, slot);
                next.sequence = sequence as u64;
                next.hb.as_mut().unwrap().interval = Duration::from_secs(interval);
                stage.apply(FleetInput::Beat(Box::new(next)), second);
                stage.tick_through(second + 1..=second + interval - 1);
                second += interval;
            }
            assert_eq!(
                stage.announced,
                [(0, State::Healthy)],
                "{before} s to {after} s"
            );
        }
    }

    #[test]
    fn a_plain_producer_that_stops_by_its_hash_is_stopped_and_not_missing() {
        let mut stage = Stage::with_beats(0);
        let plain = |sequence: u64| {
            let mut plain = beat(0, sequence);
            plain.hb = None;
            plain
        };
        for sequence in 0..5 {
            stage.apply(FleetInput::Beat(Box::new(plain(sequence))), sequence);
        }
        let mut second = 4;
        while stage.state() == State::Healthy {
            second += 1;
            for effect in stage.fleet.handle(FleetInput::Tick, at(second)) {
                assert_eq!(effect, FleetEffect::Verify(id()));
                let mut last = plain(4);
                last.status = Status::Stopped;
                let stored = FleetInput::AgedBeat(Box::new(last), Duration::ZERO);
                stage.apply(stored, second);
                stage.apply(FleetInput::Verified(id()), second);
            }
        }
        let states: Vec<State> = stage.announced.iter().map(|(_, to)| *to).collect();
        assert_eq!(states, [State::Healthy, State::Stopped]);
    }

    /// Ticks every millisecond up to each deadline; the first effect, when it came, and why it was due.
    fn effect_at_deadline(
        fleet: &mut Fleet,
        mut from: Moment,
    ) -> (Moment, &'static str, Vec<FleetEffect>) {
        loop {
            let (due, why) = fleet.deadline().unwrap();
            for millis in from.as_millis()..due.as_millis() {
                let early = fleet.handle(FleetInput::Tick, Moment::from_millis(millis));
                assert_eq!(early, [], "{} ms before {why}", due.as_millis() - millis);
            }
            let effects = fleet.handle(FleetInput::Tick, due);
            if !effects.is_empty() {
                return (due, why, effects);
            }
            let next = fleet.deadline().unwrap().0;
            assert!(next > due, "a deadline that was too early is corrected");
            from = due;
        }
    }

    #[test]
    fn no_tick_before_a_deadline_changes_anything_and_deadlines_lead_to_every_change() {
        let mut fleet = Stage::with_beats(1).fleet;
        let (due, why, effects) = effect_at_deadline(&mut fleet, at(0));
        assert_eq!(
            (due, why),
            (at(32) + Duration::from_millis(500), "question")
        );
        assert_eq!(effects, [FleetEffect::Verify(id())]);
        fleet.handle(FleetInput::Verified(id()), due);
        let (due, why, effects) = effect_at_deadline(&mut fleet, due);
        assert_eq!((due, why, effects.len()), (at(35), "missing", 1));
        let (due, why, effects) = effect_at_deadline(&mut fleet, due);
        assert_eq!((due, why), (at(95), "verification"));
        assert_eq!(effects, [FleetEffect::Verify(id())]);
        let (due, why, effects) = effect_at_deadline(&mut fleet, due);
        assert_eq!((due, why), (at(100), "verification again"));
        assert_eq!(effects, [FleetEffect::Verify(id())]);
    }

    #[test]
    fn a_question_that_is_under_way_is_waited_for_before_an_agent_looks_missing() {
        let mut fleet = Stage::with_beats(1).fleet;
        let (due, _, _) = effect_at_deadline(&mut fleet, at(0));
        let (due, why, effects) = effect_at_deadline(&mut fleet, due);
        assert_eq!((due, why, effects.len()), (at(43), "missing", 1));
    }

    #[test]
    fn an_agent_that_was_verified_leaves_no_deadline_of_the_verification_behind() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=95);
        assert_eq!(
            (stage.state(), stage.fleet.deadline().map(|(_, why)| why)),
            (State::Failed, Some("retention"))
        );
    }

    #[test]
    fn beats_that_wait_for_the_stream_are_released_at_their_deadline() {
        let mut fleet = Stage::with_beats(1).fleet;
        let mut ahead = beat(1, 1);
        let life = crate::wire::life::Life {
            step: 3,
            phase: crate::wire::life::Phase::Ended,
            ..crate::wire::life::Life::default()
        };
        ahead.hb.as_mut().unwrap().life = Some(life);
        let effects = fleet.handle(FleetInput::Beat(Box::new(ahead)), at(1));
        assert_eq!(effects, [FleetEffect::ReadEvents]);
        let (due, why, effects) = effect_at_deadline(&mut fleet, at(1));
        assert_eq!((due, why, effects.len()), (at(3), "stream", 1));
    }

    #[test]
    fn a_change_that_was_reported_late_is_announced_at_its_deadline() {
        let mut fleet = Stage::with_beats(1).fleet;
        let delayed = Detail {
            delayed_ms: 5000,
            ..exit(3)
        };
        let effects = fleet.handle(event(EventKind::Exited, 1, delayed), at(1));
        assert_eq!(effects, []);
        let (due, why, effects) = effect_at_deadline(&mut fleet, at(1));
        assert_eq!(
            (due, why, effects.len()),
            (at(1) + ANNOUNCE_AFTER, "announce", 1)
        );
    }

    #[test]
    fn nothing_is_due_while_the_store_is_unreachable() {
        let mut stage = Stage::with_beats(1);
        stage.apply(FleetInput::LinkDown, 1);
        assert_eq!(stage.fleet.deadline(), None);
    }
}
