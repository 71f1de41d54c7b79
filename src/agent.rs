//! One agent as the monitor believes it to be.
//!
//! Beats and events of a replaced epoch, and beats of an incarnation that is known to have ended, change nothing: what
//! comes late is defused by its numbers, never by its time.

use crate::beat::{Beat, Exit, INTERVAL_MAX, INTERVAL_MIN, Status, Verdict};
use crate::detector::{Detector, Freshness, Silence, Stamp};
use crate::event::{Detail, Event, EventKind};
use crate::keys;
use crate::moment::{Moment, millis};
use crate::roster::RosterEntry;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A producer's interval is taken from this many readings of its hash: the longest is the least worn.
const READINGS: u8 = 3;
/// Learnt intervals are rounded to this: a reading comes some milliseconds after the write.
const LEARN_STEP_MS: u64 = 50;

/// The monitor's belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Dead, or three beats overdue.
    Failed,
    /// One beat overdue.
    Missing,
    /// Beats come.
    Healthy,
    /// Ended cleanly.
    Stopped,
}

/// Why a state is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Silence.
    HeartbeatLost,
    /// The process ended with a code that is no success.
    Exited,
    /// A signal ended the process.
    Killed,
    /// The kernel ended it for memory.
    OomKilled,
    /// Proof that it cannot go on by itself.
    Hung,
    /// It dies again and again.
    CrashLoop,
    /// A living holder has the id.
    Duplicate,
    /// A higher epoch has the id.
    Fenced,
    /// A person wanted it so.
    Operator,
    /// It survives every signal.
    Unkillable,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The belief.
    pub state: State,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// Since when the state holds.
    pub since: Moment,
    /// Its freshness.
    pub detector: Detector,
    /// The last beat that was taken.
    pub beat: Option<Arc<Beat>>,
    /// When that beat was written, on our clock.
    pub heard_at: Option<Moment>,
    /// Its registration; 0 for a producer without epochs.
    pub epoch: u64,
    /// How its last incarnation ended.
    pub exit: Option<Exit>,
    /// From the roster, for agents that were never heard.
    pub roster: Option<Arc<RosterEntry>>,
    /// The highest incarnation of this epoch that is known to have ended.
    pub(crate) ended: Option<u64>,
    /// Where the fleet's index of deadlines has it.
    pub(crate) indexed_at: Option<Moment>,
    /// Whether its state has been counted and told.
    pub(crate) told: bool,
    readings: u8,
    first_at: Moment,
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Applied,
    Duplicate,
    Outdated,
    Doubted,
}

impl Agent {
    pub(crate) fn new(interval: Duration, now: Moment) -> Self {
        Self {
            state: State::Missing,
            reason: None,
            since: now,
            detector: Detector::new(interval, now),
            beat: None,
            heard_at: None,
            epoch: 0,
            exit: None,
            roster: None,
            ended: None,
            indexed_at: None,
            told: false,
            readings: 0,
            first_at: now,
        }
    }

    /// How long the agent has been up, as far as it is known to have been.
    pub fn uptime(&self, now: Moment) -> Duration {
        let Some(beat) = &self.beat else {
            return Duration::ZERO;
        };
        let heard_at = self.heard_at.unwrap_or(self.first_at);
        let until_beat = match &beat.hb {
            // Both of the sender's clock: the difference is a duration, not a comparison of clocks.
            Some(hb) => Duration::from_millis(beat.timestamp_ms.saturating_sub(hb.started_at_ms)),
            None => heard_at.since(self.first_at),
        };
        match self.state {
            State::Healthy | State::Missing => until_beat + now.since(heard_at),
            State::Failed | State::Stopped => until_beat,
        }
    }

    /// What is the matter, for people.
    pub fn sentence(&self, now: Moment) -> String {
        let ago = match self.heard_at {
            Some(at) => format!("last beat {} ago", words(now.since(at))),
            None => "no beat heard since this monitor started".to_owned(),
        };
        let activity = self
            .beat
            .as_ref()
            .and_then(|b| b.hb.as_ref()?.activity.as_ref());
        let seen = activity
            .map(|a| a.sentence.as_str())
            .filter(|s| !s.is_empty());
        match (self.state, self.reason) {
            (State::Healthy, _) => {
                let beats = format!("beats come every {}", words(self.detector.interval()));
                seen.map_or(beats, str::to_owned)
            }
            (State::Missing, _) => format!("{} overdue; {ago}", beats(self.detector.missed(now))),
            (State::Stopped, _) => match self.beat.as_ref().and_then(|beat| beat.hb.as_ref()) {
                Some(hb) if hb.pid != 0 => {
                    "its process is there and its sidecar does not watch: suspended at its terminal (Ctrl-Z), or left"
                        .to_owned()
                }
                Some(_) | None => "ended cleanly".to_owned(),
            },
            (State::Failed, Some(Reason::HeartbeatLost) | None) => {
                format!("silent for three intervals; {ago}")
            }
            (State::Failed, Some(Reason::Exited)) => match self.exit.and_then(|e| e.code) {
                Some(code) => format!("its process exited with code {code}"),
                None => "its process ended; the exit code could not be read".to_owned(),
            },
            (State::Failed, Some(Reason::Killed)) => match self.exit.and_then(|e| e.signal) {
                Some(signal) => format!("its process was ended by signal {signal}"),
                None => "its process was killed".to_owned(),
            },
            (State::Failed, Some(Reason::OomKilled)) => {
                "the kernel killed its process for memory".to_owned()
            }
            (State::Failed, Some(Reason::Hung)) => {
                seen.unwrap_or("it cannot go on by itself").to_owned()
            }
            (State::Failed, Some(Reason::CrashLoop)) => "it dies again and again".to_owned(),
            (State::Failed, Some(Reason::Duplicate)) => "a living holder has its id".to_owned(),
            (State::Failed, Some(Reason::Fenced)) => "a higher epoch has its id".to_owned(),
            (State::Failed, Some(Reason::Operator)) => "a person ended it".to_owned(),
            (State::Failed, Some(Reason::Unkillable)) => "it survives every signal".to_owned(),
        }
    }

    /// What will happen by itself, and when.
    pub fn next(&self, now: Moment) -> Option<String> {
        let at = self.deadline()?;
        let next = match self.state {
            State::Healthy => "missing",
            State::Missing => "failed",
            State::Failed | State::Stopped => return None,
        };
        Some(format!(
            "{next} in {} unless a beat arrives",
            words(at.since(now))
        ))
    }

    /// The state that has been counted and told, if any.
    pub(crate) fn before(&self) -> Option<State> {
        self.told.then_some(self.state)
    }

    pub(crate) fn wants_interval(&self) -> bool {
        self.readings < READINGS
    }

    /// When silence next changes the state; may be past, then it is due now.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Healthy => Some(self.detector.missing_at()),
            State::Missing => Some(self.detector.failed_at()),
            State::Failed | State::Stopped => None,
        }
    }

    pub(crate) fn beat(&mut self, beat: Beat, arrival: Moment, now: Moment) -> Taken {
        if self.is_outdated(&beat) {
            return Taken::Outdated;
        }
        if beat.epoch() != self.epoch {
            self.new_epoch(&beat);
        } else if self.is_duplicate(&beat) {
            return Taken::Duplicate;
        }
        let stamp = beat
            .hb
            .as_ref()
            .map_or(Stamp::Arrival, |hb| Stamp::Slot(hb.slot));
        if self.detector.beat(stamp, arrival) == Freshness::Doubted {
            return Taken::Doubted;
        }
        if beat.hb.is_none()
            && self
                .beat
                .as_ref()
                .is_some_and(|b| beat.sequence < b.sequence)
        {
            self.readings = 0;
        }
        let beat = Arc::new(beat);
        self.beat = Some(Arc::clone(&beat));
        self.heard_at = Some(arrival.max(self.heard_at.unwrap_or(arrival)));
        self.follow(&beat, now);
        Taken::Applied
    }

    /// Takes an event; false when it is of the past.
    pub(crate) fn event(&mut self, event: &Event, now: Moment) -> bool {
        if event.epoch < self.epoch {
            return false;
        }
        if event.epoch > self.epoch {
            self.epoch = event.epoch;
            self.ended = None;
            self.detector.new_timetable(self.detector.interval());
        }
        match event.kind {
            EventKind::Exited => {
                let incarnation = event.detail.incarnation.unwrap_or(0);
                let newer = self
                    .beat
                    .as_ref()
                    .and_then(|b| b.hb.as_ref())
                    .is_some_and(|hb| hb.epoch == event.epoch && hb.restarts > incarnation);
                if newer {
                    return false;
                }
                self.process_ended(&event.detail, incarnation, now);
            }
            EventKind::Stopped => self.turn(State::Stopped, None, now),
            EventKind::CrashLoop => self.turn(State::Failed, Some(Reason::CrashLoop), now),
            EventKind::Unkillable => self.turn(State::Failed, Some(Reason::Unkillable), now),
            EventKind::Hung => self.turn(State::Failed, Some(Reason::Hung), now),
            EventKind::Registered
            | EventKind::Ready
            | EventKind::Restarted
            | EventKind::Stalled
            | EventKind::Recovered
            | EventKind::Fenced
            | EventKind::Order
            | EventKind::Duplicate
            | EventKind::Evidence
            | EventKind::WaitingInput => {}
        }
        true
    }

    pub(crate) fn known(&mut self, entry: &RosterEntry, interval: Duration, now: Moment) {
        if entry.epoch < self.epoch {
            return;
        }
        if entry.epoch > self.epoch {
            self.epoch = entry.epoch;
            self.ended = None;
            self.detector.new_timetable(interval);
        }
        self.roster = Some(Arc::new(entry.clone()));
        if self.beat.is_none() {
            self.detector = Detector::unheard(interval, now);
        }
        if entry.stopped_at.is_some() {
            self.turn(State::Stopped, None, now);
        }
    }

    pub(crate) fn learned(&mut self, time_to_live: Duration) {
        let millis = millis(keys::interval_of(time_to_live));
        let rounded = (millis + LEARN_STEP_MS / 2) / LEARN_STEP_MS * LEARN_STEP_MS;
        let learnt = Duration::from_millis(rounded).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let longest = if self.readings == 0 {
            learnt
        } else {
            learnt.max(self.detector.interval())
        };
        self.readings = self.readings.saturating_add(1);
        self.detector.set_interval(longest);
    }

    /// Silence alone makes nobody more than missing; [`Agent::lost`] follows its verification.
    pub(crate) fn silent(&mut self, silence: Silence, now: Moment) {
        match (self.state, silence) {
            (State::Healthy, Silence::Missing | Silence::Failed) => {
                self.turn(State::Missing, None, now);
            }
            (State::Missing, Silence::None) if self.beat.is_some() => {
                self.turn(State::Healthy, None, now);
            }
            (State::Healthy, Silence::None)
            | (State::Missing | State::Failed | State::Stopped, _) => {}
        }
    }

    pub(crate) fn lost(&mut self, now: Moment) {
        if self.state == State::Missing {
            self.turn(State::Failed, Some(Reason::HeartbeatLost), now);
        }
    }

    fn is_outdated(&self, beat: &Beat) -> bool {
        let over = matches!(self.state, State::Failed | State::Stopped);
        beat.epoch() < self.epoch && !(beat.hb.is_none() && over)
    }

    fn is_duplicate(&self, beat: &Beat) -> bool {
        let Some(last) = &self.beat else { return false };
        match beat.hb {
            Some(_) => beat.sequence <= last.sequence,
            None => (beat.sequence, beat.timestamp_ms) == (last.sequence, last.timestamp_ms),
        }
    }

    fn new_epoch(&mut self, beat: &Beat) {
        self.epoch = beat.epoch();
        self.ended = None;
        self.exit = None;
        self.beat = None;
        self.readings = 0;
        let interval = beat
            .hb
            .as_ref()
            .map_or(self.detector.interval(), |hb| hb.interval);
        self.detector.new_timetable(interval);
    }

    fn follow(&mut self, beat: &Beat, now: Moment) {
        if beat.status == Status::Stopped {
            self.exit = beat.hb.as_ref().and_then(|hb| hb.exit).or(self.exit);
            self.turn(State::Stopped, None, now);
            return;
        }
        if let Some(hb) = &beat.hb {
            self.detector.set_interval(hb.interval);
            if hb.pid == 0 && hb.exit.is_some() {
                let end = Detail {
                    exit: hb.exit,
                    ..Detail::default()
                };
                self.process_ended(&end, hb.restarts, now);
            }
            if self.ended.is_some_and(|ended| hb.restarts <= ended) {
                return;
            }
            // It beats, and it cannot go on: two clocks that are never mixed.
            if hb
                .activity
                .as_ref()
                .is_some_and(|a| a.verdict == Verdict::Hung)
            {
                return self.turn(State::Failed, Some(Reason::Hung), now);
            }
        }
        match self.detector.silence(now) {
            Silence::None => self.turn(State::Healthy, None, now),
            Silence::Missing | Silence::Failed => self.silent(Silence::Missing, now),
        }
    }

    fn process_ended(&mut self, end: &Detail, incarnation: u64, now: Moment) {
        let known = self.ended.is_some_and(|ended| incarnation <= ended);
        self.exit = end.exit;
        self.ended = self.ended.max(Some(incarnation));
        let exit = end.exit.unwrap_or(Exit {
            code: None,
            signal: None,
        });
        let clean = end.requested || exit.code == Some(0) || self.state == State::Stopped;
        // The event may have said more of this end than the beat that follows it.
        if clean || (known && self.state == State::Failed) {
            return;
        }
        let seen = if exit.signal.is_some() {
            Reason::Killed
        } else {
            Reason::Exited
        };
        self.turn(State::Failed, Some(end.reason.unwrap_or(seen)), now);
    }

    fn turn(&mut self, state: State, reason: Option<Reason>, now: Moment) {
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.reason = reason;
    }
}

/// A duration as people say it: `0.8 s`, `35 s`, `4 m 12 s`, `3 h 5 m`, `2 d 4 h`.
pub fn words(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..10 if of.subsec_millis() >= 100 => format!("{:.1} s", of.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn beats(n: u64) -> String {
    if n == 1 {
        "1 beat".to_owned()
    } else {
        format!("{n} beats")
    }
}
