//! What each agent's figures were: processor, memory, progress and state of the last 40 minutes and of the last 24 hours. For
//! drawings, not for decisions: figures are rounded to a few percent.
//!
//! A span of time is a frame: three bytes of each agent, at the agent's place in the fleet. So a sample writes to two frames, a
//! span that is too old leaves as a whole, and time that is not known yet takes no memory: 22 bytes an agent at the start, 220
//! after a day.

use crate::base::id::AgentId;
use crate::fleet::agent::{Agent, State};
use crate::fleet::agents::{Agents, Place};
use std::collections::{BTreeMap, VecDeque};

/// Spans of two minutes.
pub const RECENT: usize = 20;
/// Half hours: a day.
pub const HALF_HOURS: usize = 48;
const RECENT_MINUTES: u32 = 2;
const HALF_HOUR_MINUTES: u32 = 30;
/// The smallest processor use that is not nothing, in percent of a core, and the ratio of two steps: up to 128 cores.
const CPU_LEAST: f64 = 0.1;
const CPU_RATIO: f64 = 1.21;
const CPU_STEPS: u8 = 63;
/// The same of memory, in MB: up to 4 TB.
const MEMORY_LEAST: f64 = 1.0;
const MEMORY_RATIO: f64 = 1.062;
const MEMORY_STEPS: u8 = 255;
/// No progress was reported.
const NONE: u8 = 255;

/// The history of a fleet.
#[derive(Debug)]
pub struct History {
    /// Whose figures stand at a place. An agent that has left stays until a newcomer has its place.
    agents: Vec<Option<AgentId>>,
    recent: Frames<RECENT>,
    day: Frames<HALF_HOURS>,
    /// States worse than well since the last sample, which takes them in.
    changed: BTreeMap<AgentId, Slot>,
}

/// What was seen of an agent, the worst of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Nothing was known, or it was stopped.
    Nothing,
    /// Its beats came.
    Well,
    /// A beat was late.
    Missing,
    /// It had failed.
    Failed,
}

/// One span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The worst of it.
    pub seen: Seen,
    /// The most processor use, percent of a core; none without a process.
    pub cpu_percent: Option<f64>,
    /// The most memory, MB; none without a process.
    pub memory_mb: Option<f64>,
    /// The last reported progress, 0 to 100.
    pub progress: Option<f64>,
}

/// The spans of one agent, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// One each two minutes.
    pub recent: [Point; RECENT],
    /// One each half hour.
    pub half_hours: [Point; HALF_HOURS],
}

/// The last spans of one length, oldest first.
#[derive(Debug)]
struct Frames<const KEPT: usize> {
    /// The length of a span.
    minutes: u32,
    /// The newest span, counted from the beginning of the monitor's clock.
    newest: u32,
    /// By place; a frame is as long as its span is known.
    kept: VecDeque<Vec<Slot>>,
}

/// Three bytes: what was seen in the upper two bits, the step of the processor use below, the step of memory, the progress.
#[derive(Clone, Copy, Debug)]
struct Slot([u8; 3]);

impl Slot {
    const EMPTY: Self = Self([0, 0, NONE]);

    fn of(agent: &Agent) -> Self {
        let seen = Seen::of(agent.state);
        let beat = agent.run.beat.as_ref().filter(|_| agent.is_alive());
        let cpu = beat.map_or(0, |beat| {
            step(beat.metrics.cpu_percent, CPU_LEAST, CPU_RATIO, CPU_STEPS)
        });
        let memory = beat.map_or(0, |beat| {
            let of = beat.metrics.memory_mb;
            step(of, MEMORY_LEAST, MEMORY_RATIO, MEMORY_STEPS)
        });
        let progress = beat.and_then(|beat| beat.task_progress);
        // Zero would be no process: one that uses nothing has a step of its own.
        let has_process = u8::from(beat.is_some());
        let done = progress.map_or(NONE, |done| done.clamp(0.0, 100.0).round() as u8);
        Self([
            (seen as u8) << 6 | cpu.max(has_process),
            memory.max(has_process),
            done,
        ])
    }

    fn of_state(state: State) -> Self {
        Self([(Seen::of(state) as u8) << 6, 0, NONE])
    }

    fn seen(self) -> Seen {
        match self.0[0] >> 6 {
            0 => Seen::Nothing,
            1 => Seen::Well,
            2 => Seen::Missing,
            _ => Seen::Failed,
        }
    }

    /// Both of one span: the worst state, the most of the figures, the later progress.
    fn and(self, later: Self) -> Self {
        let seen = self.seen().max(later.seen()) as u8;
        let cpu = (self.0[0] & CPU_STEPS).max(later.0[0] & CPU_STEPS);
        let done = if later.0[2] == NONE {
            self.0[2]
        } else {
            later.0[2]
        };
        Self([seen << 6 | cpu, self.0[1].max(later.0[1]), done])
    }

    fn point(self) -> Point {
        let [packed, memory, done] = self.0;
        let cpu = packed & CPU_STEPS;
        Point {
            seen: self.seen(),
            cpu_percent: (cpu > 0).then(|| value(cpu, CPU_LEAST, CPU_RATIO)),
            memory_mb: (memory > 0).then(|| value(memory, MEMORY_LEAST, MEMORY_RATIO)),
            progress: (done != NONE).then_some(f64::from(done)),
        }
    }
}

/// Step 1 is less than `least`; each further one is larger by `ratio`.
fn step(of: f64, least: f64, ratio: f64, steps: u8) -> u8 {
    if of < least {
        return 1;
    }
    let step = ((of / least).ln() / ratio.ln()).round() + 2.0;
    step.min(f64::from(steps)) as u8
}

fn value(step: u8, least: f64, ratio: f64) -> f64 {
    match step {
        0 | 1 => 0.0,
        step => least * ratio.powi(i32::from(step) - 2),
    }
}

impl Seen {
    fn of(state: State) -> Self {
        match state {
            State::Healthy => Self::Well,
            State::Missing => Self::Missing,
            State::Failed => Self::Failed,
            State::Stopped => Self::Nothing,
        }
    }
}

impl<const KEPT: usize> Frames<KEPT> {
    fn of_minutes(minutes: u32) -> Self {
        Self {
            minutes,
            newest: 0,
            kept: VecDeque::from([Vec::new()]),
        }
    }

    /// Begins the span of this minute. Spans in between are not known.
    fn advance(&mut self, minute: u32) {
        let newest = self.newest.max(minute / self.minutes);
        let begun = std::mem::replace(&mut self.newest, newest);
        let begin = usize::try_from(newest - begun).unwrap_or(KEPT).min(KEPT);
        self.kept.extend((0..begin).map(|_| Vec::new()));
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
    }

    /// Makes room for so many places.
    fn reserve(&mut self, places: usize) {
        if let Some(frame) = self.kept.back_mut() {
            frame.reserve_exact(places.saturating_sub(frame.len()));
        }
    }

    fn add(&mut self, place: Place, new: Slot) {
        let Some(frame) = self.kept.back_mut() else {
            return;
        };
        if frame.len() <= place.number() {
            frame.resize(place.number() + 1, Slot::EMPTY);
        }
        let slot = &mut frame[place.number()];
        *slot = slot.and(new);
    }

    /// Nothing is known of the newcomer at this place.
    fn clear(&mut self, place: Place) {
        let slots = self.kept.iter_mut();
        for slot in slots.filter_map(|frame| frame.get_mut(place.number())) {
            *slot = Slot::EMPTY;
        }
    }

    /// What is known of a place, and what was seen since.
    fn points(&self, place: Option<Place>, since: Slot) -> [Point; KEPT] {
        let unknown = KEPT - self.kept.len();
        std::array::from_fn(|n| {
            let frame = n.checked_sub(unknown).and_then(|n| self.kept.get(n));
            let slot = place.and_then(|place| frame?.get(place.number()).copied());
            let slot = slot.unwrap_or(Slot::EMPTY);
            let is_newest = n + 1 == KEPT;
            if is_newest { slot.and(since) } else { slot }.point()
        })
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            agents: Vec::new(),
            recent: Frames::of_minutes(RECENT_MINUTES),
            day: Frames::of_minutes(HALF_HOUR_MINUTES),
            changed: BTreeMap::new(),
        }
    }
}

impl History {
    /// Adds what `count` agents are like, from this place on, and returns the place where the next call goes on: of a large
    /// fleet it takes long. `None` when all have been sampled. `minute`: of the monitor's clock, it never goes back.
    pub fn sample(
        &mut self,
        agents: &Agents,
        minute: u32,
        from: usize,
        count: usize,
    ) -> Option<usize> {
        self.advance(minute);
        let places = agents.places();
        self.agents
            .reserve_exact(places.saturating_sub(self.agents.len()));
        self.recent.reserve(places);
        self.day.reserve(places);
        for (place, id, agent) in agents.standing(from).take(count) {
            self.occupy(place, id);
            let changed = self.changed.remove(id).unwrap_or(Slot::EMPTY);
            let new = changed.and(Slot::of(agent));
            self.recent.add(place, new);
            self.day.add(place, new);
        }
        let next = from + count;
        if next < places {
            return Some(next);
        }
        // Those that have left meanwhile.
        self.changed.retain(|id, _| agents.place(id).is_some());
        None
    }

    /// A state changed: also a failure that lasts less than the time between two samples shows.
    pub fn changed(&mut self, agent: &AgentId, to: State, minute: u32) {
        self.advance(minute);
        if Seen::of(to) <= Seen::Well {
            return;
        }
        let slot = self.changed.entry(agent.clone()).or_insert(Slot::EMPTY);
        *slot = slot.and(Slot::of_state(to));
    }

    /// The history of one of these agents; none of one that was never seen.
    pub fn of(&self, agents: &Agents, id: &AgentId) -> Option<Curve> {
        let place = agents.place(id).filter(|place| self.is_at(*place, id));
        let changed = self.changed.get(id);
        if place.is_none() && changed.is_none() {
            return None;
        }
        let since = changed.copied().unwrap_or(Slot::EMPTY);
        Some(Curve {
            recent: self.recent.points(place, since),
            half_hours: self.day.points(place, since),
        })
    }

    fn advance(&mut self, minute: u32) {
        self.recent.advance(minute);
        self.day.advance(minute);
    }

    fn is_at(&self, place: Place, id: &AgentId) -> bool {
        let known = self.agents.get(place.number());
        known.is_some_and(|known| known.as_ref() == Some(id))
    }

    fn occupy(&mut self, place: Place, id: &AgentId) {
        if self.is_at(place, id) {
            return;
        }
        self.recent.clear(place);
        self.day.clear(place);
        if self.agents.len() <= place.number() {
            self.agents.resize(place.number() + 1, None);
        }
        self.agents[place.number()] = Some(id.clone());
    }
}

impl Curve {
    /// The share of the day, of what is known of it, in which its beats came: 0 to 1. A half hour with a failure in it counts
    /// as half lost.
    pub fn alive_share(&self) -> Option<f64> {
        let known = self.half_hours.iter().filter(|p| p.seen != Seen::Nothing);
        let weight = |point: &Point| match point.seen {
            Seen::Nothing => 0.0,
            Seen::Well => 1.0,
            Seen::Missing | Seen::Failed => 0.5,
        };
        let (count, sum) = known.fold((0_u32, 0.0), |(n, sum), p| (n + 1, sum + weight(p)));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The worst of each hour of the day, oldest first.
    pub fn hours(&self) -> impl Iterator<Item = Seen> {
        let pairs = self.half_hours.chunks(2);
        pairs.map(|pair| {
            pair.iter()
                .map(|point| point.seen)
                .max()
                .unwrap_or(Seen::Nothing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::moment::Moment;
    use crate::fleet::machine::{Fleet, FleetInput, FleetSettings};
    use crate::wire::beat::Beat;

    const NOW: Moment = Moment::from_millis(1000);

    fn id(number: usize) -> AgentId {
        AgentId::parse(&format!("w{number}")).unwrap()
    }

    /// So many agents, each with another progress.
    fn fleet(agents: usize) -> Fleet {
        let mut fleet = Fleet::new(FleetSettings::default(), NOW);
        fleet.handle(FleetInput::LinkUp, NOW);
        for number in 0..agents {
            let json = format!(
                r#"{{"agentId":"w{number}","timestamp":5,"sequence":1,"status":"busy","taskProgress":{number}}}"#
            );
            let beat = Box::new(Beat::decode(json.as_bytes()).unwrap());
            fleet.handle(FleetInput::Beat(beat), NOW);
        }
        fleet
    }

    fn sample(history: &mut History, fleet: &Fleet, minute: u32) {
        assert_eq!(history.sample(&fleet.view().agents, minute, 0, 1000), None);
    }

    fn newest(history: &History, fleet: &Fleet, number: usize) -> Option<Point> {
        let curve = history.of(&fleet.view().agents, &id(number))?;
        curve.recent.last().copied()
    }

    fn used(cpu: f64, memory: f64, done: u8) -> Slot {
        let cpu = step(cpu, CPU_LEAST, CPU_RATIO, CPU_STEPS);
        let memory = step(memory, MEMORY_LEAST, MEMORY_RATIO, MEMORY_STEPS);
        Slot([(Seen::Well as u8) << 6 | cpu, memory, done])
    }

    #[test]
    fn a_day_of_an_agent_takes_220_bytes_and_its_beginning_22() {
        let (mut history, fleet) = (History::default(), fleet(100));
        let bytes = |history: &History| {
            let frames = history.recent.kept.iter().chain(&history.day.kept);
            let slots: usize = frames.map(Vec::capacity).sum();
            (slots * size_of::<Slot>() + history.agents.capacity() * size_of::<AgentId>()) / 100
        };
        sample(&mut history, &fleet, 1);
        assert_eq!(bytes(&history), 22);
        for minute in 2..3000 {
            sample(&mut history, &fleet, minute);
        }
        assert_eq!(bytes(&history), 220);
    }

    #[test]
    fn a_sample_in_pieces_is_that_of_the_whole() {
        let fleet = fleet(10);
        let (mut whole, mut pieces) = (History::default(), History::default());
        sample(&mut whole, &fleet, 7);
        let mut from = Some(0);
        while let Some(place) = from {
            from = pieces.sample(&fleet.view().agents, 7, place, 3);
        }
        for number in 0..10 {
            let done = newest(&whole, &fleet, number).unwrap();
            assert_eq!(done.progress, Some(number as f64));
            assert_eq!(newest(&pieces, &fleet, number), Some(done));
        }
    }

    #[test]
    fn a_newcomer_has_nothing_of_the_agent_that_had_its_place() {
        let (mut history, mut fleet) = (History::default(), fleet(2));
        sample(&mut history, &fleet, 7);
        history.changed(&id(1), State::Failed, 7);
        fleet.handle(FleetInput::Forget(id(1)), NOW);
        let json = r#"{"agentId":"w5","timestamp":5,"sequence":1,"status":"busy"}"#;
        let beat = Box::new(Beat::decode(json.as_bytes()).unwrap());
        fleet.handle(FleetInput::Beat(beat), NOW);
        assert_eq!(newest(&history, &fleet, 5), None);
        sample(&mut history, &fleet, 8);
        let point = newest(&history, &fleet, 5).unwrap();
        assert_eq!((point.seen, point.progress), (Seen::Well, None));
        assert!(history.changed.is_empty(), "what has left is forgotten");
    }

    #[test]
    fn figures_are_kept_to_a_few_percent() {
        for (cpu, memory) in [
            (0.0, 0.0),
            (0.3, 1.0),
            (3.1, 182.0),
            (64.0, 6200.0),
            (12_000.0, 2e6),
        ] {
            let point = used(cpu, memory, 42).point();
            let near = |kept: Option<f64>, of: f64, share: f64| {
                assert!((kept.unwrap() - of).abs() <= of * share, "{of}: {kept:?}");
            };
            near(point.cpu_percent, cpu, 0.11);
            near(point.memory_mb, memory, 0.04);
            assert_eq!((point.seen, point.progress), (Seen::Well, Some(42.0)));
        }
    }

    #[test]
    fn a_span_shows_its_worst_state_its_most_use_and_its_last_progress() {
        let both = used(50.0, 100.0, 10).and(used(1.0, 300.0, 20));
        assert_eq!(both.and(Slot::of_state(State::Failed)).seen(), Seen::Failed);
        let point = both.point();
        assert!(point.cpu_percent.unwrap() > 40.0 && point.memory_mb.unwrap() > 280.0);
        assert_eq!(point.progress, Some(20.0));
    }

    #[test]
    fn time_that_passes_without_a_sample_is_empty_and_a_day_later_all_is() {
        let (mut history, fleet) = (History::default(), fleet(2));
        sample(&mut history, &fleet, 100);
        history.changed(&id(1), State::Failed, 106);
        let agents = fleet.view().agents;
        let curve = |history: &History| history.of(&agents, &id(1)).unwrap();
        let seen = |history: &History| curve(history).recent[RECENT - 5..].to_vec();
        let seen = |history: &History| seen(history).iter().map(|p| p.seen).collect::<Vec<_>>();
        use Seen::{Failed, Nothing, Well};
        assert_eq!(seen(&history), [Nothing, Well, Nothing, Nothing, Failed]);
        sample(&mut history, &fleet, 106);
        history.advance(108);
        assert_eq!(seen(&history), [Well, Nothing, Nothing, Failed, Nothing]);
        assert_eq!(curve(&history).hours().last(), Some(Failed));
        history.advance(106 + 24 * 60 + 60);
        assert_eq!(curve(&history).alive_share(), None);
    }
}
