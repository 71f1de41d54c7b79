//! The fleet: the monitor's machine. Beats, events and what the store holds go in; transitions come out.
//!
//! One writer owns it. Readers get [`Fleet::snapshot`], an immutable copy that shares all its agents, so it costs the
//! same for ten agents and for a hundred thousand. Deadlines stand in an ordered index: a tick looks at the agents that
//! are due and at no others.
//!
//! Deliberately absent: a decision from an absent key or from a wall clock. Only observed silence, verified, and the
//! agent's own end change a state for the worse.

pub use crate::fleet::exchange::{BeatCounters, Change, Counts, Effect, Input};

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State, Taking, Transition};
use crate::fleet::detector::Silence;
use crate::fleet::run::{BeatOutcome, Run, Source};
use crate::wire::beat::{Beat, INTERVAL_DEFAULT};
use crate::wire::event::Event;
use crate::wire::roster::RosterEntry;
use imbl::{HashSet, OrdMap};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long the store may take to confirm a silence before the silence stands alone.
pub const VERIFY_WITHIN: Duration = Duration::from_secs(2);
/// A tick this late means that the observer itself stood still: silence during it proves nothing.
pub const TILT_AFTER: Duration = Duration::from_secs(2);

/// Beats that may wait until the stream was read.
const AHEAD_MAX: usize = 65_536;

/// What is fixed for a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// For producers that do not say their interval and whose hash has no time to live.
    pub interval_default: Duration,
    /// Newcomers beyond this many agents are refused and counted.
    pub agents_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval_default: INTERVAL_DEFAULT,
            agents_max: 200_000,
        }
    }
}

/// The fleet as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every agent, by id.
    pub agents: OrdMap<AgentId, Arc<Agent>>,
    /// Agents by state.
    pub counts: Counts,
    /// What became of beats.
    pub beats: BeatCounters,
    /// Whether the store can be heard.
    pub link_up: bool,
}

/// The monitor's machine.
#[derive(Debug)]
pub struct Fleet {
    policy: Policy,
    now: Snapshot,
    deadlines: BTreeSet<(Moment, AgentId)>,
    verifying: HashSet<AgentId>,
    /// Beats that wait until the stream has been read, in order.
    ahead: Vec<Beat>,
    /// Since when they wait.
    ahead_since: Option<Moment>,
    /// Agents whose state changed in the past, which is announced once as it is now.
    unannounced: BTreeSet<AgentId>,
    /// What the store holds has been read at least once.
    loaded: bool,
    last_tick: Moment,
}

impl Fleet {
    /// A fleet of nobody, not yet connected.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self {
            policy,
            now: Snapshot::default(),
            deadlines: BTreeSet::new(),
            verifying: HashSet::new(),
            ahead: Vec::new(),
            ahead_since: None,
            unannounced: BTreeSet::new(),
            loaded: false,
            last_tick: now,
        }
    }

    /// Takes one input; what must be done comes back.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Beat(beat) => self.channel_beat(beat, now, &mut effects),
            Input::AgedBeat(beat, age) => self.beat(*beat, Source::Stored(age), now, &mut effects),
            Input::Event(event) => self.event(&event, now, &mut effects),
            Input::EventsRead => self.release(now, &mut effects),
            Input::RosterEntry(id, entry) => {
                let run = Run::unheard(entry.epoch, entry.interval(), now);
                self.enlisted(id, &entry, run, now, &mut effects);
            }
            Input::Registered(id, entry) => {
                let run = Run::begin(entry.epoch, entry.interval(), now);
                self.enlisted(id, &entry, run, now, &mut effects);
            }
            Input::TtlRead(id, time_to_live) => {
                self.learned(&id, time_to_live, now, &mut effects);
            }
            Input::Verified(id) => self.verified(&id, now, &mut effects),
            Input::LinkUp => self.link_up(now, &mut effects),
            // Beats that wait for the stream go on to wait: the next connection reads it first.
            Input::LinkDown => self.now.link_up = false,
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    /// When something next changes by itself. Nothing does while the store cannot be heard.
    pub fn deadline(&self) -> Option<Moment> {
        self.deadlines
            .first()
            .filter(|_| self.now.link_up)
            .map(|(at, _)| *at)
    }

    /// The fleet as it is now; shares its agents with the fleet.
    pub fn snapshot(&self) -> Snapshot {
        self.now.clone()
    }

    /// A beat that names a later step than the stream has brought so far waits until the stream was read: its sender
    /// stored the events before it, so they are there.
    fn channel_beat(&mut self, beat: Box<Beat>, now: Moment, effects: &mut Vec<Effect>) {
        let agent = self.now.agents.get(&beat.agent);
        let waits = self.ahead.iter().any(|waiting| waiting.agent == beat.agent);
        let (epoch, step) = agent.map_or((0, 0), |agent| (agent.run.epoch, agent.run.life.step));
        let behind = is_ahead(&beat, epoch, step);
        if (waits || behind) && self.ahead.len() < AHEAD_MAX {
            self.ahead.push(*beat);
            if self.ahead_since.is_none() {
                self.ahead_since = Some(now);
                effects.push(Effect::ReadEvents);
            }
            return;
        }
        self.beat(*beat, Source::Channel, now, effects);
    }

    /// Takes the beats that waited for the stream.
    fn release(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.ahead_since = None;
        for beat in std::mem::take(&mut self.ahead) {
            self.beat(beat, Source::Channel, now, effects);
        }
    }

    fn beat(&mut self, beat: Beat, source: Source, now: Moment, effects: &mut Vec<Effect>) {
        let id = beat.agent.clone();
        let interval = beat
            .hb
            .as_ref()
            .map_or(self.policy.interval_default, |hb| hb.interval);
        let unknown = || Agent::new(Run::begin(0, interval, now), now);
        let Some(mut agent) = self.take(&id, now, unknown) else {
            self.now.beats.refused += 1;
            return;
        };
        let learn = beat.hb.is_none() && agent.wants_interval();
        let mut story = Vec::new();
        let mut taking = self.taking(now, &mut story);
        let outcome = agent.beat(&Arc::new(beat), source, &mut taking);
        let beats = &mut self.now.beats;
        match outcome {
            BeatOutcome::Applied => beats.applied += 1,
            BeatOutcome::Known => beats.known += u64::from(source == Source::Channel),
            BeatOutcome::Duplicate => beats.duplicate += 1,
            BeatOutcome::Outdated => beats.outdated += u64::from(source == Source::Channel),
            BeatOutcome::ImplausibleSlot => beats.doubted += 1,
        }
        if agent.state == State::Healthy {
            self.verifying.remove(&id);
        }
        if learn {
            effects.push(Effect::ReadTtl(id.clone()));
        }
        let when = self.when();
        self.put(id, agent, (story, when), now, effects);
    }

    fn event(&mut self, event: &Event, now: Moment, effects: &mut Vec<Effect>) {
        if event.life().is_none() && !self.now.agents.contains_key(&event.agent) {
            return; // it does not say that there is an agent
        }
        let interval = self.policy.interval_default;
        let Some(mut agent) = self.take(&event.agent, now, || {
            Agent::new(Run::begin(0, interval, now), now)
        }) else {
            self.now.beats.refused += 1;
            return;
        };
        let mut story = Vec::new();
        let mut taking = self.taking(now, &mut story);
        agent.event(event, interval, &mut taking);
        let when = if event.detail.delayed_ms > 0 {
            When::Before
        } else {
            self.when()
        };
        self.put(event.agent.clone(), agent, (story, when), now, effects);
    }

    fn enlisted(
        &mut self,
        id: AgentId,
        entry: &RosterEntry,
        run: Run,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let unknown = || Agent::new(run.clone(), now);
        let Some(mut agent) = self.take(&id, now, unknown) else {
            self.now.beats.refused += 1;
            return;
        };
        let mut story = Vec::new();
        agent.enlisted(entry, &run, &mut self.taking(now, &mut story));
        let when = self.when();
        self.put(id, agent, (story, when), now, effects);
    }

    fn taking<'a>(&self, now: Moment, story: &'a mut Vec<Transition>) -> Taking<'a> {
        Taking {
            now,
            loading: !self.loaded,
            story,
        }
    }

    fn when(&self) -> When {
        if self.loaded { When::Now } else { When::Before }
    }

    fn learned(
        &mut self,
        id: &AgentId,
        time_to_live: Duration,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(agent) = self.now.agents.get(id) {
            let mut agent = Agent::clone(agent);
            agent.learned(time_to_live);
            self.put(id.clone(), agent, (Vec::new(), When::Now), now, effects);
        }
    }

    fn verified(&mut self, id: &AgentId, now: Moment, effects: &mut Vec<Effect>) {
        if self.verifying.remove(id).is_none() || !self.now.link_up {
            return;
        }
        self.declare(id, now, effects);
    }

    fn link_up(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.now.link_up = true;
        self.loaded = true;
        self.last_tick = now;
        self.observe_from(now, effects);
        self.release(now, effects);
        self.announce(now, effects);
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let late = now.since(self.last_tick) > TILT_AFTER;
        self.last_tick = now;
        if !self.now.link_up {
            return;
        }
        let waited = self.ahead_since.map(|since| now.since(since));
        if waited.is_some_and(|waited| waited >= VERIFY_WITHIN) {
            self.release(now, effects);
        }
        self.announce(now, effects);
        if late {
            self.observe_from(now, effects);
        }
        while let Some((at, id)) = self.deadlines.first().cloned().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id.clone()));
            self.due(&id, now, effects);
        }
    }

    fn due(&mut self, id: &AgentId, now: Moment, effects: &mut Vec<Effect>) {
        let Some(agent) = self.now.agents.get(id) else {
            return;
        };
        let silence = agent.run.detector.silence(now);
        if silence == Silence::Failed && agent.state == State::Missing {
            if self.verifying.contains(id) {
                self.verifying.remove(id);
                self.declare(id, now, effects);
            } else {
                self.verifying.insert(id.clone());
                self.deadlines.insert((now + VERIFY_WITHIN, id.clone()));
                effects.push(Effect::Verify(id.clone()));
            }
            return;
        }
        let mut agent = Agent::clone(agent);
        let mut story = Vec::new();
        agent.settle(&mut self.taking(now, &mut story));
        self.put(id.clone(), agent, (story, When::Now), now, effects);
    }

    /// The silence was looked into and stands.
    fn declare(&mut self, id: &AgentId, now: Moment, effects: &mut Vec<Effect>) {
        let Some(agent) = self.now.agents.get(id) else {
            return;
        };
        let mut agent = Agent::clone(agent);
        let mut story = Vec::new();
        let mut taking = self.taking(now, &mut story);
        if agent.run.detector.silence(now) == Silence::Failed {
            agent.lost(&mut taking);
        }
        self.put(id.clone(), agent, (story, When::Now), now, effects);
    }

    /// What was not observed proves nothing: every deadline moves behind a whole period of observation.
    fn observe_from(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.verifying = HashSet::new();
        let ids: Vec<AgentId> = self.now.agents.keys().cloned().collect();
        for id in ids {
            let Some(agent) = self.now.agents.get(&id) else {
                continue;
            };
            let mut agent = Agent::clone(agent);
            agent.run.detector.observe_from(now);
            self.put(id, agent, (Vec::new(), When::Now), now, effects);
        }
    }

    /// What changed in the past is announced as it is now, once.
    fn announce(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for id in std::mem::take(&mut self.unannounced) {
            let Some(agent) = self.now.agents.get(&id) else {
                continue;
            };
            let mut agent = Agent::clone(agent);
            let from = agent.announced.replace(agent.state);
            let unheard = agent.state == State::Missing && agent.run.is_unheard();
            if from != Some(agent.state) && !unheard {
                effects.push(Effect::Changed(Change {
                    agent: id.clone(),
                    from,
                    to: agent.state,
                    reason: agent.reason,
                    sentence: agent.sentence(now),
                }));
            }
            self.now.agents.insert(id, Arc::new(agent));
        }
    }

    fn take(&self, id: &AgentId, now: Moment, new: impl FnOnce() -> Agent) -> Option<Agent> {
        match self.now.agents.get(id) {
            Some(agent) => {
                let mut agent = Agent::clone(agent);
                if self.loaded && !self.now.link_up {
                    agent.run.detector.observe_from(now); // the silence so far was ours
                }
                Some(agent)
            }
            None if self.now.agents.len() < self.policy.agents_max => Some(new()),
            None => None,
        }
    }

    /// Puts an agent back, keeping counts, deadlines and announcements in step with it.
    fn put(
        &mut self,
        id: AgentId,
        mut agent: Agent,
        (story, when): (Vec<Transition>, When),
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(at) = agent.indexed_at.take() {
            self.deadlines.remove(&(at, id.clone()));
        }
        // While a silence is looked into, the index holds the end of that look and nothing else.
        let deadline = agent.run.deadline(now);
        if let Some(at) = deadline.filter(|_| !self.verifying.contains(&id)) {
            agent.indexed_at = Some(at);
            self.deadlines.insert((at, id.clone()));
        }
        let before = self.now.agents.get(&id).map(|agent| agent.state);
        if let Some(counter) = before.map(|state| self.now.counts.of(state)) {
            *counter -= 1;
        }
        *self.now.counts.of(agent.state) += 1;
        match when {
            When::Before => drop(self.unannounced.insert(id.clone())),
            When::Now if self.unannounced.contains(&id) => {
                self.now.agents.insert(id, Arc::new(agent));
                return self.announce(now, effects);
            }
            When::Now => {
                for Transition {
                    to,
                    reason,
                    sentence,
                } in story
                {
                    effects.push(Effect::Changed(Change {
                        agent: id.clone(),
                        from: agent.announced.replace(to),
                        to,
                        reason,
                        sentence,
                    }));
                }
            }
        }
        self.now.agents.insert(id, Arc::new(agent));
    }
}

/// Whether the stream must hold events that were not seen yet by somebody who knows this epoch and step of the agent.
fn is_ahead(beat: &Beat, epoch: u64, step: u64) -> bool {
    let life = beat.hb.as_ref().and_then(|hb| hb.life.as_ref());
    let known = if beat.epoch() > epoch { 0 } else { step };
    beat.epoch() >= epoch && life.is_some_and(|life| life.step > known + 1)
}

/// Whether a change happens now, or happened before this monitor could see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    Before,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::beat::{Exit, Extension, Metrics, Status};
    use crate::wire::event::{Detail, EventKind};

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
            }),
        }
    }

    fn event(kind: EventKind, epoch: u64, detail: Detail) -> Input {
        Input::Event(Box::new(Event {
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
        told: Vec<(u64, State)>,
        verified: usize,
    }

    impl Stage {
        /// A connected fleet that has heard `slots` beats of one agent from second 0 on.
        fn with_beats(slots: u64) -> Self {
            let mut fleet = Fleet::new(Policy::default(), at(0));
            fleet.handle(Input::LinkUp, at(0));
            let mut stage = Self {
                fleet,
                told: Vec::new(),
                verified: 0,
            };
            for slot in 0..slots {
                stage.tell(Input::Beat(Box::new(beat(1, slot))), slot * 30);
            }
            stage
        }

        fn tell(&mut self, input: Input, second: u64) {
            for effect in self.fleet.handle(input, at(second)) {
                match effect {
                    Effect::Changed(change) => self.told.push((second, change.to)),
                    Effect::Verify(id) => {
                        self.verified += 1;
                        self.tell(Input::Verified(id), second);
                    }
                    Effect::ReadEvents => self.tell(Input::EventsRead, second),
                    Effect::ReadTtl(id) => {
                        self.tell(Input::TtlRead(id, Duration::from_millis(3998)), second);
                    }
                }
            }
        }

        fn tick_through(&mut self, seconds: std::ops::RangeInclusive<u64>) {
            for second in seconds {
                self.tell(Input::Tick, second);
            }
        }

        fn state(&self) -> State {
            self.fleet.snapshot().agents[&id()].state
        }
    }

    #[test]
    fn a_silent_agent_is_missing_then_failed_and_each_is_told_once() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=300);
        let told = [
            (0, State::Healthy),
            (35, State::Missing),
            (95, State::Failed),
        ];
        assert_eq!((stage.told.as_slice(), stage.verified), (&told[..], 1));
    }

    #[test]
    fn a_beat_found_at_verification_prevents_the_failure() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        let effects = stage.fleet.handle(Input::Tick, at(95));
        assert_eq!(effects, [Effect::Verify(id())]);
        stage.tell(
            Input::AgedBeat(Box::new(beat(1, 3)), Duration::from_secs(5)),
            95,
        );
        stage.tell(Input::Verified(id()), 95);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn a_store_that_does_not_answer_the_question_delays_the_verdict_by_two_seconds_only() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=94);
        stage.fleet.handle(Input::Tick, at(95));
        stage.tick_through(96..=96);
        assert_eq!(stage.state(), State::Missing);
        stage.tick_through(97..=97);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn nobody_fails_while_the_store_cannot_be_heard_nor_right_after() {
        let mut stage = Stage::with_beats(1);
        stage.tell(Input::LinkDown, 10);
        stage.tick_through(11..=600);
        stage.tell(Input::LinkUp, 600);
        stage.tick_through(601..=634);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn an_agent_that_died_during_the_blindness_is_failed_one_period_after_it() {
        let mut stage = Stage::with_beats(1);
        stage.tell(Input::LinkDown, 10);
        stage.tell(Input::LinkUp, 600);
        stage.tick_through(601..=640);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn an_observer_that_stood_still_blames_nobody_for_it() {
        let mut stage = Stage::with_beats(1);
        stage.tick_through(1..=5);
        stage.tick_through(500..=534);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn an_exit_is_a_failure_at_once_and_a_late_beat_of_the_dead_does_not_undo_it() {
        let mut stage = Stage::with_beats(2);
        stage.tell(event(EventKind::Exited, 1, exit(3)), 31);
        stage.tell(Input::Beat(Box::new(beat(1, 2))), 32);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn the_next_incarnation_of_a_dead_agent_is_healthy() {
        let mut stage = Stage::with_beats(2);
        stage.tell(event(EventKind::Exited, 1, exit(3)), 31);
        let mut next = beat(1, 2);
        if let Some(hb) = &mut next.hb {
            hb.restarts = 1;
        }
        stage.tell(Input::Beat(Box::new(next)), 60);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn a_clean_end_is_stopped_and_stays_so() {
        let mut stage = Stage::with_beats(2);
        stage.tell(event(EventKind::Exited, 1, exit(0)), 31);
        stage.tell(event(EventKind::Stopped, 1, Detail::default()), 31);
        stage.tick_through(32..=400);
        assert_eq!(stage.state(), State::Stopped);
    }

    #[test]
    fn an_agent_that_a_person_has_suspended_is_stopped_and_healthy_when_it_goes_on() {
        let mut stage = Stage::with_beats(2);
        let mut last = beat(1, 2);
        last.status = Status::Stopped;
        stage.tell(Input::Beat(Box::new(last)), 40);
        stage.tick_through(41..=4000);
        assert_eq!(stage.state(), State::Stopped);
        stage.tell(Input::Beat(Box::new(beat(1, 134))), 4020);
        assert_eq!(stage.state(), State::Healthy);
    }

    #[test]
    fn beats_and_events_of_a_replaced_epoch_change_nothing() {
        let mut stage = Stage::with_beats(1);
        stage.tell(Input::Beat(Box::new(beat(2, 0))), 5);
        stage.tell(event(EventKind::Exited, 1, exit(3)), 6);
        stage.tell(Input::Beat(Box::new(beat(1, 1))), 30);
        assert_eq!(
            (stage.state(), stage.fleet.snapshot().beats.outdated),
            (State::Healthy, 1)
        );
    }

    fn roster(stopped_at: Option<u64>) -> Input {
        let entry = RosterEntry {
            agent_type: "test".into(),
            host: "h".into(),
            interval_ms: 30_000,
            epoch: 1,
            started_at: 0,
            runtime: None,
            stopped_at,
            life: None,
        };
        Input::RosterEntry(id(), Box::new(entry))
    }

    #[test]
    fn an_agent_that_died_while_no_monitor_ran_is_failed_within_40_seconds_of_the_start() {
        let mut stage = Stage::with_beats(0);
        stage.tell(roster(None), 0);
        stage.tick_through(1..=34);
        assert_eq!(stage.state(), State::Missing);
        stage.tick_through(35..=40);
        assert_eq!(stage.state(), State::Failed);
    }

    #[test]
    fn an_agent_that_stopped_cleanly_while_no_monitor_ran_is_stopped() {
        let mut stage = Stage::with_beats(0);
        stage.tell(roster(Some(5)), 0);
        stage.tick_through(1..=200);
        assert_eq!(stage.state(), State::Stopped);
    }

    #[test]
    fn a_producer_from_the_seed_is_judged_by_the_interval_its_hash_tells() {
        let mut stage = Stage::with_beats(0);
        let mut seed = beat(0, 0);
        seed.hb = None;
        stage.tell(Input::Beat(Box::new(seed)), 0);
        stage.tick_through(1..=4);
        let told = [(0, State::Healthy), (2, State::Missing), (4, State::Failed)];
        assert_eq!(stage.told, told, "1 s, not the default 30 s");
    }

    #[test]
    fn newcomers_to_a_full_fleet_are_refused_and_counted() {
        let policy = Policy {
            agents_max: 0,
            ..Policy::default()
        };
        let mut fleet = Fleet::new(policy, at(0));
        fleet.handle(Input::Beat(Box::new(beat(1, 0))), at(0));
        let snapshot = fleet.snapshot();
        assert_eq!((snapshot.counts.total(), snapshot.beats.refused), (0, 1));
    }

    #[test]
    fn counts_always_agree_with_the_agents() {
        let mut stage = Stage::with_beats(2);
        for second in (31..200).step_by(7) {
            stage.tell(Input::Tick, second);
            let snapshot = stage.fleet.snapshot();
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
}
