//! What each agent's figures were: processor, memory, progress and state of the last 40 minutes and of the last 24 hours, in a
//! ring of less than 300 bytes an agent. For drawings, not for decisions: figures are rounded to a few percent.

use crate::base::id::AgentId;
use crate::fleet::agent::{Agent, State};
use crate::fleet::machine::Snapshot;
use std::collections::HashMap;

/// Minutes of the fine ring.
pub const MINUTES: usize = 40;
/// Half hours of the coarse ring: a day.
pub const HALF_HOURS: usize = 48;
const MINUTES_A_SLOT: u32 = 30;
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
#[derive(Debug, Default)]
pub struct History {
    /// Boxed: a table has more places than entries, and moves them all when it grows.
    agents: HashMap<AgentId, Box<Ring>>,
    /// The minute of the last sample, of the monitor's clock.
    minute: u32,
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
    /// One a minute.
    pub minutes: [Point; MINUTES],
    /// One each half hour.
    pub half_hours: [Point; HALF_HOURS],
}

#[derive(Clone, Debug)]
struct Ring {
    minutes: [Slot; MINUTES],
    half_hours: [Slot; HALF_HOURS],
    /// The minute of its last sample: the slots behind it are of an earlier round.
    minute: u32,
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

impl Ring {
    const fn empty(minute: u32) -> Self {
        Self {
            minutes: [Slot::EMPTY; MINUTES],
            half_hours: [Slot::EMPTY; HALF_HOURS],
            minute,
        }
    }

    /// Empties the slots between the last sample and this minute.
    fn advance(&mut self, to: u32) {
        let from = self.minute.min(to);
        self.minute = to;
        let steps = to.saturating_sub(from);
        for minute in to - steps.min(MINUTES as u32)..to {
            self.minutes[place(minute + 1, MINUTES)] = Slot::EMPTY;
        }
        let (from, to) = (from / MINUTES_A_SLOT, to / MINUTES_A_SLOT);
        let steps = to.saturating_sub(from);
        for slot in to - steps.min(HALF_HOURS as u32)..to {
            self.half_hours[place(slot + 1, HALF_HOURS)] = Slot::EMPTY;
        }
    }

    fn add(&mut self, minute: u32, new: Slot) {
        self.advance(minute);
        for slot in [
            &mut self.minutes[place(minute, MINUTES)],
            &mut self.half_hours[place(minute / MINUTES_A_SLOT, HALF_HOURS)],
        ] {
            *slot = slot.and(new);
        }
    }
}

fn place(number: u32, of: usize) -> usize {
    number as usize % of
}

impl History {
    /// Adds what a snapshot shows. `minute`: of the monitor's clock, it never goes back. Agents that have left are forgotten.
    pub fn sample(&mut self, snapshot: &Snapshot, minute: u32) {
        self.advance(minute);
        #[expect(
            clippy::disallowed_methods,
            reason = "each ring by itself: no order shows"
        )]
        self.agents
            .retain(|id, _| snapshot.agents.get(id).is_some());
        for (id, agent) in snapshot.agents.iter() {
            self.add(id, Slot::of(agent));
        }
    }

    /// A state changed: also what lasts less than a minute shows.
    pub fn changed(&mut self, agent: &AgentId, to: State, minute: u32) {
        self.advance(minute);
        self.add(agent, Slot::of_state(to));
    }

    /// The history of an agent; none of one that was never sampled.
    pub fn of(&self, agent: &AgentId) -> Option<Curve> {
        let mut ring = Ring::clone(self.agents.get(agent)?);
        ring.advance(self.minute);
        let (minute, slot) = (self.minute, self.minute / MINUTES_A_SLOT);
        Some(Curve {
            minutes: std::array::from_fn(|n| {
                ring.minutes[place(minute + 1 + n as u32, MINUTES)].point()
            }),
            half_hours: std::array::from_fn(|n| {
                ring.half_hours[place(slot + 1 + n as u32, HALF_HOURS)].point()
            }),
        })
    }

    fn advance(&mut self, minute: u32) {
        self.minute = self.minute.max(minute);
    }

    fn add(&mut self, agent: &AgentId, slot: Slot) {
        let minute = self.minute;
        match self.agents.get_mut(agent) {
            Some(ring) => ring.add(minute, slot),
            None => {
                let mut ring = Box::new(Ring::empty(minute));
                ring.add(minute, slot);
                self.agents.insert(agent.clone(), ring);
            }
        }
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

    fn id() -> AgentId {
        AgentId::parse("w1").unwrap()
    }

    fn used(cpu: f64, memory: f64, done: u8) -> Slot {
        let cpu = step(cpu, CPU_LEAST, CPU_RATIO, CPU_STEPS);
        let memory = step(memory, MEMORY_LEAST, MEMORY_RATIO, MEMORY_STEPS);
        Slot([(Seen::Well as u8) << 6 | cpu, memory, done])
    }

    #[test]
    fn a_ring_of_an_agent_and_its_name_take_less_than_300_bytes() {
        assert!(size_of::<(AgentId, Ring)>() <= 300);
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
        let mut history = History::default();
        for (minute, to) in [(100, State::Healthy), (103, State::Failed)] {
            history.changed(&id(), to, minute);
        }
        let seen = |history: &History| {
            let minutes = history.of(&id()).unwrap().minutes;
            minutes[MINUTES - 5..]
                .iter()
                .map(|p| p.seen)
                .collect::<Vec<_>>()
        };
        use Seen::{Failed, Nothing, Well};
        assert_eq!(seen(&history), [Nothing, Well, Nothing, Nothing, Failed]);
        history.advance(104);
        assert_eq!(seen(&history), [Well, Nothing, Nothing, Failed, Nothing]);
        assert_eq!(history.of(&id()).unwrap().hours().last(), Some(Failed));
        history.advance(103 + 24 * 60 + 60);
        assert_eq!(history.of(&id()).unwrap().alive_share(), None);
    }
}
