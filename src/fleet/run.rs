//! One registration of an agent: everything the monitor knows that belongs to it, as one value.
//!
//! A higher epoch replaces the whole value, whichever of beat, event, roster or hash brings it: no field of the run
//! before can stay. State and reason ([`Run::belief`]) are a function of these facts, so that no transition is forgotten.

use crate::base::moment::Moment;
use crate::base::version::Version;
use crate::fleet::detector::{Detector, Freshness, Silence, Stamp};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::learnt::Learnt;
use crate::fleet::producers::{Followed, Origin, Producers};
use crate::wire::beat::Verdict;
use crate::wire::beat::view::BeatView;
use crate::wire::life::{Life, Reason, Standing};
use crate::wire::roster::RosterEntry;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The state of an agent, as far as the monitor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Ended badly, stuck by proof, or three beats overdue.
    Failed,
    /// One beat overdue.
    Missing,
    /// Beats come.
    Healthy,
    /// Ended cleanly, or not watched.
    Stopped,
}

/// State and reason together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The state.
    pub state: State,
    /// Why it is not healthy; of a healthy one only [`Reason::Duplicate`].
    pub reason: Option<Reason>,
}

/// One registration.
#[derive(Clone, Debug)]
pub struct Run {
    /// The fencing number; 0 for a producer without epochs.
    pub epoch: u64,
    /// Where the process is, by the latest report.
    pub life: Life,
    /// When that report arrived.
    pub life_at: Moment,
    /// Its roster entry or registration.
    entry: Option<Arc<RosterEntry>>,
    /// The version of its sidecar, of that entry: here, since it is compared at each beat.
    hb_version: Option<Version>,
    /// The last beat that was applied.
    pub beat: Option<LastBeat>,
    /// The last beat with a process, when the last beat has none.
    before_end: Option<Box<LastBeat>>,
    /// When the last beat was written, on our clock.
    pub beat_at: Option<Moment>,
    /// Its freshness.
    pub detector: Detector,
    /// When the run was first known here.
    pub first_at: Moment,
    /// The highest sequence that came over the channel.
    channel_sequence: u64,
    /// Silence was verified: there is no beat.
    lost: bool,
    /// Known only from old data of the store: no sign of life yet.
    unconfirmed: bool,
    /// A beat is overdue, by this interval: a stretch that was not observed does not take it back.
    overdue: Option<Duration>,
    question: Question,
    producers: Producers,
    /// Of a producer that does not report its interval.
    learnt: Option<Box<Learnt>>,
}

/// The question to the store for a beat that the channel may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Not asked since the last beat.
    Due,
    Asked,
    Answered,
}

/// So long a beat that is late counts as not late while the store has not answered: one that stands still is given up within
/// 7 s (`observer.rs`), and until then its silence looks like that of every agent.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// So many beats may still be on their way over the channel when the hash shows a later one.
const READ_AHEAD_MAX: u64 = 64;

/// How a beat came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatSource {
    /// Over the channel, just now.
    Channel,
    /// From the hash, or held up on its way: it was written this long ago.
    Stored(Duration),
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatOutcome {
    /// It changed something.
    Applied,
    /// Its content was known already: read from the hash, or overtaken by a newer one that was.
    Known,
    /// The channel brought it, or a later one, before: two producers, or a replay.
    Duplicate,
    /// It belongs to a registration that was replaced.
    Outdated,
    /// Its slot or its sequence cannot be, or it is of a second producer; believed when what follows agrees.
    Implausible,
}

impl Run {
    /// A registration first known at `now`, with one beat every `interval`.
    pub fn begin(epoch: u64, interval: Duration, now: Moment) -> Self {
        Self {
            epoch,
            life: Life::default(),
            life_at: now,
            entry: None,
            hb_version: None,
            beat: None,
            before_end: None,
            beat_at: None,
            detector: Detector::new(interval, now),
            first_at: now,
            channel_sequence: 0,
            lost: false,
            unconfirmed: false,
            overdue: None,
            question: Question::Due,
            producers: Producers::default(),
            learnt: None,
        }
    }

    /// An agent of the roster without a beat yet: it counts as missing until one period of observation has passed.
    pub fn unconfirmed(epoch: u64, interval: Duration, now: Moment) -> Self {
        Self {
            detector: Detector::unconfirmed(interval, now),
            unconfirmed: true,
            ..Self::begin(epoch, interval, now)
        }
    }

    /// Whether only old data of the store names it.
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed
    }

    /// Its roster entry or registration.
    pub fn entry(&self) -> Option<&RosterEntry> {
        self.entry.as_deref()
    }

    /// The version of its sidecar, where that is reported.
    pub fn hb_version(&self) -> Option<Version> {
        self.hb_version
    }

    /// It was registered like this.
    pub fn register(&mut self, entry: RosterEntry) {
        self.hb_version = entry.hb_version;
        self.entry = Some(Arc::new(entry));
    }

    /// State and reason at `now`.
    pub fn belief(&self, now: Moment) -> Belief {
        let belief = |state, reason| Belief { state, reason };
        let was_overdue = self.overdue == Some(self.detector.interval());
        let silence = match self.silence(now) {
            Silence::None if self.unconfirmed || was_overdue => Silence::Missing,
            silence @ (Silence::None | Silence::Missing | Silence::Failed) => silence,
        };
        match self.life.standing() {
            Standing::Off => belief(State::Stopped, self.life.stopped_by()),
            Standing::Down(reason) => belief(State::Failed, Some(reason)),
            Standing::Stopping => match silence {
                Silence::None => belief(State::Healthy, None),
                Silence::Missing | Silence::Failed => belief(State::Stopped, None),
            },
            Standing::Up | Standing::Troubled(_) if self.lost => {
                belief(State::Failed, Some(Reason::HeartbeatLost))
            }
            Standing::Troubled(reason) => belief(State::Failed, Some(reason)),
            // It sends beats and is hung: freshness and activity are two clocks that are never mixed.
            Standing::Up if self.is_hung() => belief(State::Failed, Some(Reason::Hung)),
            Standing::Up => match silence {
                // Both live: a failure would call for a restart of one that works.
                Silence::None if self.is_duplicate() => {
                    belief(State::Healthy, Some(Reason::Duplicate))
                }
                Silence::None => belief(State::Healthy, None),
                Silence::Missing | Silence::Failed => belief(State::Missing, None),
            },
        }
    }

    fn silence(&self, now: Moment) -> Silence {
        if now < self.missing_at() {
            Silence::None
        } else {
            self.detector.silence(now)
        }
    }

    /// Notes that a beat is overdue, where one is.
    pub(crate) fn note_silence(&mut self, now: Moment) {
        match self.silence(now) {
            Silence::None => {}
            Silence::Missing | Silence::Failed => self.overdue = Some(self.detector.interval()),
        }
    }

    /// Whether silence decides the state: a process is there, and nothing else is known against it.
    pub fn depends_on_silence(&self) -> bool {
        match self.life.standing() {
            Standing::Up => !self.is_hung(),
            Standing::Stopping => true,
            Standing::Troubled(_) | Standing::Off | Standing::Down(_) => false,
        }
    }

    /// Whether the proof of a hang stands.
    pub fn is_hung(&self) -> bool {
        let hb = self.beat.as_ref().and_then(|beat| beat.hb);
        // A beat of an incarnation that has ended proves nothing of the next one.
        hb.filter(|hb| hb.restarts == self.life.incarnation)
            .is_some_and(|hb| hb.verdict == Some(Verdict::Hung))
    }

    /// The last beat that a process was there for: what an agent that ended was doing last.
    pub fn last_alive(&self) -> Option<&LastBeat> {
        let last = self.beat.as_ref().filter(|beat| beat.has_process());
        last.or(self.before_end.as_deref())
    }

    /// Whether two living producers use the id and the epoch.
    pub fn is_duplicate(&self) -> bool {
        self.producers.is_duplicate()
    }

    /// The machine of the other one of two producers, where it reports one.
    pub fn rival_host(&self) -> Option<&str> {
        self.producers.rival_host()
    }

    /// When one of two producers counts as gone; `None` while there is one.
    pub fn duplicate_until(&self) -> Option<Moment> {
        let detector = &self.detector;
        let silent = detector.interval() * 3 + detector.slack();
        self.producers.rival_at().map(|at| at + silent)
    }

    /// One of two producers is gone.
    pub(crate) fn end_duplicate(&mut self) {
        self.producers.forget_rival();
    }

    /// When the store is to be asked for a beat that the channel did not bring, before the agent counts as missing.
    pub(crate) fn question_at(&self) -> Option<Moment> {
        (self.question == Question::Due).then(|| self.detector.question_at())
    }

    /// The store is being asked.
    pub(crate) fn question(&mut self) {
        self.question = Question::Asked;
    }

    /// The store has answered, and what it holds was applied.
    pub(crate) fn answered(&mut self) {
        if self.question == Question::Asked {
            self.question = Question::Answered;
        }
    }

    /// When the agent counts as missing: a question that is under way is waited for.
    pub(crate) fn missing_at(&self) -> Moment {
        let due = self.detector.missing_at();
        match self.question {
            Question::Asked => due + ANSWER_WITHIN,
            Question::Due | Question::Answered => due,
        }
    }

    /// Takes a beat of this registration, which was written at `arrival`.
    pub fn beat(
        &mut self,
        beat: &BeatView<'_>,
        source: BeatSource,
        arrival: Moment,
    ) -> BeatOutcome {
        let origin = self.origin(beat, source, arrival);
        match origin {
            Origin::Followed => {}
            Origin::Past => {
                self.stored_interval(beat, source);
                return self.known(beat, source);
            }
            // Of a plain producer each message is a sign of life: it has no slot that could tell an old one.
            Origin::Stray if beat.hb.is_none() && source == BeatSource::Channel => {}
            Origin::Stray => return BeatOutcome::Implausible,
            Origin::Successor => {
                self.detector.restart_timetable();
                self.channel_sequence = 0;
            }
        }
        let stamp = match &beat.hb {
            Some(hb) => Stamp::Slot(hb.slot, hb.interval, hb.slot_age),
            None => {
                self.learn_from_beat(beat, origin, arrival);
                Stamp::Arrival
            }
        };
        if source == BeatSource::Channel {
            self.channel_sequence = beat.sequence;
        }
        if self.detector.beat(stamp, arrival) == Freshness::Implausible {
            // Its number cannot be; that it came shows that it is sent. Our own clock may have stood still.
            if source == BeatSource::Channel {
                self.detector.observe_from(arrival);
                self.overdue = None;
            }
            return BeatOutcome::Implausible;
        }
        self.keep(beat);
        self.beat_at = Some(arrival.max(self.beat_at.unwrap_or(arrival)));
        self.sign_of_life();
        self.question = Question::Due;
        BeatOutcome::Applied
    }

    /// Takes a beat of a sidecar that does not hold the id: its agent lives beside this one.
    pub(crate) fn beside(&mut self, beat: &BeatView<'_>, arrival: Moment) {
        let interval = self.detector.interval();
        self.producers.beside(beat, interval, arrival);
    }

    /// Takes a report of the process; the caller has seen that it is news.
    pub fn report(&mut self, life: Life, now: Moment) {
        let step = life.step.max(self.life.step);
        self.life = Life { step, ..life };
        self.life_at = now;
    }

    /// A report that comes at this moment, and not from what the store kept, is a sign of life.
    pub fn sign_of_life(&mut self) {
        self.lost = false;
        self.unconfirmed = false;
        self.overdue = None;
    }

    /// Silence was verified: there is no beat.
    pub fn confirm_lost(&mut self) {
        self.lost = true;
    }

    /// Data of the store is no sign of life when it is older than one interval and the slack, or when the agent was asked
    /// to stop.
    pub fn mark_unconfirmed_if_stale(&mut self, now: Moment) {
        let stopping = match self.life.standing() {
            Standing::Stopping => true,
            Standing::Up | Standing::Troubled(_) | Standing::Off | Standing::Down(_) => false,
        };
        self.unconfirmed = stopping || self.detector.is_stale(now);
    }

    /// Takes a time to live that was read from the hash of a producer that does not report its interval.
    pub(crate) fn learn(&mut self, time_to_live: Duration) {
        self.learnt
            .get_or_insert_default()
            .time_to_live(time_to_live);
        self.take_learnt();
    }

    /// Whether the time to live of its hash should be read.
    pub(crate) fn wants_interval(&self) -> bool {
        let learnt = self.learnt.as_deref();
        learnt.is_none_or(Learnt::wants_time_to_live)
    }

    /// The beats that are kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &LastBeat> {
        let kept = [self.beat.as_ref(), self.before_end.as_deref()];
        kept.into_iter().flatten()
    }

    /// How many incarnations came before the present or last one.
    pub fn restarts(&self) -> u64 {
        let hb = self.beat.as_ref().and_then(|beat| beat.hb);
        self.life.incarnation.max(hb.map_or(0, |hb| hb.restarts))
    }

    /// How long the agent's process has been up, if it is there.
    pub fn uptime(&self, now: Moment) -> Duration {
        let (Some(beat), Some(beat_at)) = (&self.beat, self.beat_at) else {
            return Duration::ZERO;
        };
        if beat
            .hb
            .is_some_and(|hb| hb.restarts < self.life.incarnation)
        {
            return now.since(self.life_at); // the first beat of this incarnation has not come yet
        }
        let until_beat = match &beat.hb {
            // Both of the sender's clock: the difference is a duration, not a comparison of clocks.
            Some(hb) => Duration::from_millis(beat.timestamp_ms.saturating_sub(hb.started_at_ms)),
            None => beat_at.since(self.first_at),
        };
        until_beat + now.since(beat_at)
    }

    fn keep(&mut self, beat: &BeatView<'_>) {
        let Some(last) = &mut self.beat else {
            self.beat = Some(LastBeat::new(beat));
            return;
        };
        if beat.hb.as_ref().is_none_or(|hb| hb.pid != 0) {
            self.before_end = None;
        } else if last.has_process() {
            self.before_end = Some(Box::new(last.clone()));
        }
        last.replace(beat);
    }

    /// Whether this beat, whose epoch is of the past or cannot be, begins what is known of the agent again: see [`Producers`].
    pub(super) fn yields_to(
        &mut self,
        beat: &BeatView<'_>,
        source: BeatSource,
        arrival: Moment,
    ) -> bool {
        let stored = source != BeatSource::Channel;
        let interval = self.detector.interval();
        let followed = self.beat.as_ref().zip(self.beat_at);
        followed.is_some_and(|(last, at)| {
            let followed = Followed { last, at, interval };
            self.producers
                .is_odd_epoch_alive(beat, followed, arrival, stored)
        })
    }

    fn origin(&mut self, beat: &BeatView<'_>, source: BeatSource, arrival: Moment) -> Origin {
        let (Some(last), Some(at)) = (self.beat.as_ref(), self.beat_at) else {
            return Origin::Followed;
        };
        // The hash brought later ones; this one comes over the channel for the first time.
        let read_before = last.sequence.saturating_sub(READ_AHEAD_MAX)..=last.sequence;
        let caught_up = source == BeatSource::Channel
            && beat.hb.is_some()
            && beat.sequence > self.channel_sequence
            && read_before.contains(&beat.sequence);
        if caught_up {
            return Origin::Past;
        }
        let followed = Followed {
            last,
            at,
            interval: self.detector.interval(),
        };
        let stored = source != BeatSource::Channel;
        self.producers.origin(beat, followed, arrival, stored)
    }

    /// The hash holds the last beat, or one before a wrong one that only the channel brought.
    fn stored_interval(&mut self, beat: &BeatView<'_>, source: BeatSource) {
        if let Some(hb) = &beat.hb
            && source != BeatSource::Channel
        {
            self.detector.stored_interval(hb.interval);
        }
    }

    /// What a beat is that is not news.
    fn known(&self, beat: &BeatView<'_>, source: BeatSource) -> BeatOutcome {
        if source == BeatSource::Channel && beat.sequence <= self.channel_sequence {
            BeatOutcome::Duplicate
        } else {
            BeatOutcome::Known
        }
    }

    fn learn_from_beat(&mut self, beat: &BeatView<'_>, origin: Origin, arrival: Moment) {
        let (Some(last), Some(at)) = (&self.beat, self.beat_at) else {
            return;
        };
        match origin {
            Origin::Followed if beat.sequence == last.sequence + 1 => {
                let gap = arrival.since(at);
                self.learnt.get_or_insert_default().gap(gap);
            }
            Origin::Followed => return,
            // A producer that counts from the start again may have another interval too.
            Origin::Stray | Origin::Successor | Origin::Past => self.learnt = None,
        }
        self.take_learnt();
    }

    fn take_learnt(&mut self) {
        let learnt = self.learnt.as_deref();
        if let Some(interval) = learnt.and_then(Learnt::interval) {
            self.detector.set_interval(interval);
        }
    }
}
