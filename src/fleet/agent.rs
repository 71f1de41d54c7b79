//! One agent as the monitor knows it: its present registration, its state and what was announced of it.
//!
//! Reports of a replaced epoch, and reports with a lower step, change nothing: a late message is recognised by its
//! numbers, never by its time. How an agent is described stands in `explain`.

use crate::base::moment::Moment;
use crate::base::version::Version;
use crate::fleet::detector::Detector;
use crate::fleet::last_beat::LastBeat;
use crate::fleet::retention::Over;
use crate::fleet::run::{BeatOutcome, BeatSource, Belief, Run};
use crate::wire::beat::INTERVAL_DEFAULT;
use crate::wire::beat::view::BeatView;
use crate::wire::event::{Event, EventKind};
use crate::wire::life::{Life, NextStart, Phase, Reason};
use crate::wire::roster::RosterEntry;
use std::time::Duration;

pub use crate::fleet::run::State;

/// Memory of an agent without its beats, in bytes: the run, the roster entry, its places in the indexes.
const AGENT_BYTES: usize = 1024;

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What is known of its present registration.
    pub run: Run,
    /// The state.
    pub state: State,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// Since when the state holds.
    pub since: Since,
    /// The highest epoch that was ever seen of it.
    fence: u64,
    /// The state that was announced last.
    pub(crate) announced: Option<State>,
    /// No state was settled yet: the first one is a transition too.
    is_new: bool,
    /// It failed or stopped: when it leaves.
    pub(crate) over: Option<Over>,
    /// It was seen more than once.
    seen_again: bool,
    /// Beats that this monitor has received of it, whatever run they belong to.
    pub beats: u32,
}

/// When a state began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Observed by this monitor.
    Seen(Moment),
    /// By the sender's wall clock, Unix milliseconds: it happened before this monitor started.
    Reported(u64),
}

/// A change of state or reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) to: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) sentence: String,
}

/// What an input is applied with, and the transitions that it causes.
pub(crate) struct ApplyContext<'a> {
    pub(crate) now: Moment,
    /// The initial state is being loaded: what it shows happened before.
    pub(crate) loading: bool,
    /// No epoch that was honestly granted is beyond this: see [`Agent::admits`].
    pub(crate) epoch_max: u64,
    /// Changes, in order.
    pub(crate) transitions: &'a mut Vec<Transition>,
}

impl Agent {
    pub(crate) fn new(run: Run, now: Moment) -> Self {
        let Belief { state, reason } = run.belief(now);
        Self {
            fence: run.epoch,
            run,
            state,
            reason,
            since: Since::Seen(now),
            announced: None,
            is_new: true,
            over: None,
            seen_again: false,
            beats: 0,
        }
    }

    /// What stands in the place of an agent that has left: never due.
    pub(crate) fn gone() -> Self {
        let run = Run::begin(0, INTERVAL_DEFAULT, Moment::default());
        let mut agent = Self::new(run, Moment::default());
        agent.state = State::Stopped;
        agent
    }

    /// The version of its sidecar, unless it has stopped; then it counts for none.
    pub(crate) fn counted_version(&self) -> Option<Option<Version>> {
        (self.state != State::Stopped).then(|| self.run.hb_version())
    }

    /// Whether a process is there, as far as is known: only then has the agent figures, a task and an activity.
    pub fn is_alive(&self) -> bool {
        !self.is_over(self.state, self.reason)
    }

    /// Whether this state means that there is no process, as far as is known.
    fn is_over(&self, state: State, reason: Option<Reason>) -> bool {
        match state {
            State::Healthy | State::Missing => false,
            State::Stopped => true,
            State::Failed => match reason {
                Some(Reason::Hung | Reason::Unkillable | Reason::CrashLoop) => {
                    !self.run.life.has_process()
                }
                Some(
                    Reason::HeartbeatLost
                    | Reason::Exited
                    | Reason::Killed
                    | Reason::OomKilled
                    | Reason::Duplicate
                    | Reason::Fenced
                    | Reason::Operator
                    | Reason::Unknown,
                )
                | None => true,
            },
        }
    }

    /// The machine that it runs on, where that is known.
    pub fn host(&self) -> Option<&str> {
        let beat = self.run.beat.as_ref().and_then(LastBeat::host);
        let entry = self.run.entry();
        beat.or(entry.map(|entry| entry.host.as_str()))
            .filter(|host| !host.is_empty())
    }

    /// How long the agent's process has been up; zero without a process.
    pub fn uptime(&self, now: Moment) -> Duration {
        if self.is_alive() {
            self.run.uptime(now)
        } else {
            Duration::ZERO
        }
    }

    /// When time alone next changes something, and what; may be past, then it is due now.
    pub(crate) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let run = &self.run;
        match self.state {
            State::Healthy if run.depends_on_silence() => {
                let silent = match run.question_at() {
                    Some(at) => (at, "question"),
                    None => (run.missing_at(), "missing"),
                };
                let alone = run.duplicate_until().map(|at| (at, "end of a duplicate"));
                alone.filter(|alone| alone.0 < silent.0).or(Some(silent))
            }
            State::Missing if run.depends_on_silence() => {
                Some((run.detector.failed_at(), "verification"))
            }
            State::Failed | State::Stopped => self.over.map(|over| (over.until(), "retention")),
            State::Healthy | State::Missing => None,
        }
    }

    /// Estimated memory, in bytes: what is fixed, and the texts that grow.
    pub(crate) fn weight(&self) -> usize {
        let kept = self.run.kept();
        let texts: usize = kept.map(LastBeat::weight).sum();
        AGENT_BYTES + texts
    }

    pub(crate) fn wants_interval(&self) -> bool {
        self.run.wants_interval()
    }

    pub(crate) fn beat(
        &mut self,
        beat: &BeatView<'_>,
        source: BeatSource,
        context: &mut ApplyContext<'_>,
    ) -> BeatOutcome {
        let arrival = self.arrival(beat, source, context.now);
        if beat.is_fenced() {
            self.run.beside(beat, arrival);
            self.settle(context);
            return BeatOutcome::Known;
        }
        let life = beat.life();
        if let Some(refused) = self.refusal(beat, context) {
            if beat.hb.is_none() || !self.run.yields_to(beat, source, arrival) {
                return refused;
            }
            self.fence = beat.epoch();
        }
        if beat.epoch() != self.run.epoch {
            let known = (self.run.detector.interval(), Duration::ZERO);
            let hb = beat.hb.as_ref();
            let (interval, age) = hb.map_or(known, |hb| (hb.interval, hb.slot_age));
            let mut run = Run::begin(beat.epoch(), interval, arrival);
            run.detector = Detector::new(interval, arrival - age.min(interval));
            run.detector.observe_from(context.now);
            self.replace(run, &life, context);
        }
        let first = self.run.beat.is_none() && self.run.entry().is_none();
        let outcome = self.run.beat(beat, source, arrival);
        self.seen_again |= !first;
        self.beats = self
            .beats
            .saturating_add(u32::from(outcome == BeatOutcome::Applied));
        if outcome != BeatOutcome::Applied {
            // A plain producer stops by its hash: the status changes, and no beat follows.
            if beat.hb.is_none() && outcome == BeatOutcome::Known && !life.has_process() {
                self.follow(life.into_owned(), context);
            }
            return outcome;
        }
        // A producer without epochs has no steps: each of its beats reports its whole state.
        if life.is_after(&self.run.life) || beat.hb.is_none() {
            self.follow(life.into_owned(), context);
        }
        if context.loading {
            self.run.mark_unconfirmed_if_stale(context.now);
        }
        self.settle(context);
        BeatOutcome::Applied
    }

    /// Applies an event. A late one changes nothing.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        interval: Duration,
        context: &mut ApplyContext<'_>,
    ) {
        if !self.admits(event.epoch, context) {
            return;
        }
        let entry = event.detail.registration.as_deref();
        let life = event.life();
        if event.epoch != self.run.epoch {
            let interval = entry.map_or(interval, RosterEntry::interval);
            let begun = life.clone().unwrap_or_default();
            self.replace(
                Run::begin(event.epoch, interval, context.now),
                &begun,
                context,
            );
        }
        if let Some(entry) = entry.filter(|_| event.kind == EventKind::Registered) {
            let epoch = event.epoch;
            self.run.register(RosterEntry {
                epoch,
                ..entry.clone()
            });
        }
        if let Some(life) = life.filter(|life| life.is_after(&self.run.life)) {
            self.run.sign_of_life();
            if life.has_process() {
                // A process that was just started has a whole interval for its first beat.
                self.run.detector.observe_from(context.now);
            }
            self.follow(life, context);
            self.settle(context);
        }
    }

    /// Applies a roster entry, or a hash without a beat; `run` is the run that a new registration begins with.
    pub(crate) fn roster_entry(
        &mut self,
        entry: &RosterEntry,
        run: &Run,
        context: &mut ApplyContext<'_>,
    ) {
        if !self.admits(entry.epoch, context) {
            return;
        }
        let life = entry.life();
        if entry.epoch != self.run.epoch {
            self.replace(run.clone(), &life, context);
        }
        // The roster knows more than a hash that was only registered.
        if entry.life.is_some() || self.run.entry().is_none() {
            self.run.register(entry.clone());
        }
        if life.is_after(&self.run.life) {
            self.follow(life, context);
        }
        self.settle(context);
    }

    /// What the roster is to hold, where this entry of it knows nothing of the agent's end.
    pub(crate) fn end_beyond(&self, entry: &RosterEntry) -> Option<RosterEntry> {
        let (epoch, life) = (self.run.epoch, &self.run.life);
        let is_later =
            epoch > entry.epoch || (epoch == entry.epoch && life.is_after(&entry.life()));
        let is_over = life.phase == Phase::Ended;
        (is_later && is_over).then(|| RosterEntry {
            epoch,
            stopped_at: life.stopped_at(),
            life: Some(life.clone()),
            ..self.run.entry().unwrap_or(entry).clone()
        })
    }

    pub(crate) fn learned(&mut self, time_to_live: Duration) {
        if self.run.epoch != 0 {
            return; // a sidecar reports its interval; the hash may be another producer's too
        }
        self.run.learn(time_to_live);
    }

    /// The store answered the question for a beat that the channel may have lost.
    pub(crate) fn answered(&mut self, context: &mut ApplyContext<'_>) {
        self.run.answered();
        self.settle(context);
    }

    /// The silence was verified.
    pub(crate) fn lost(&mut self, context: &mut ApplyContext<'_>) {
        if self.state == State::Missing {
            self.run.confirm_lost();
            self.settle(context);
        }
    }

    /// Brings the state into step with what is known.
    pub(crate) fn settle(&mut self, context: &mut ApplyContext<'_>) {
        self.run.note_silence(context.now);
        let Belief { state, reason } = self.run.belief(context.now);
        self.over = self.is_over(state, reason).then(|| Over {
            seen_again: self.seen_again || self.run.entry().is_some(),
            since: self.over.map_or(context.now, |over| over.since),
        });
        let is_new = std::mem::take(&mut self.is_new);
        if !is_new && (self.state, self.reason) == (state, reason) {
            return;
        }
        if is_new || self.state != state {
            self.since = Since::Seen(context.now);
        }
        (self.state, self.reason) = (state, reason);
        // An end is reported with its time: every monitor shows the same, also one that starts later.
        if !self.run.life.is_watched() && self.run.life.since > 0 {
            self.since = Since::Reported(self.run.life.since);
        }
        if state == State::Missing && self.run.is_unconfirmed() {
            return; // an agent of the roster without any beat yet is not announced
        }
        context.transitions.push(Transition {
            to: state,
            reason,
            sentence: self.sentence(context.now).into_owned(),
        });
    }

    /// When the beat was written, on our clock. The hash of a plain producer does not say how old it is: the sender's own
    /// clock says how long after its last beat it was.
    fn arrival(&self, beat: &BeatView<'_>, source: BeatSource, now: Moment) -> Moment {
        let age = match source {
            BeatSource::Channel => return now,
            BeatSource::Stored(age) => age,
        };
        let last = self.run.beat.as_ref().zip(self.run.beat_at);
        match last.filter(|_| beat.hb.is_none() && age.is_zero()) {
            // Without a time of the sender's it is no later than its last beat.
            Some((last, at)) if last.timestamp_ms == 0 || beat.timestamp_ms == 0 => at,
            Some((last, at)) if beat.timestamp_ms >= last.timestamp_ms => {
                let later = Duration::from_millis(beat.timestamp_ms - last.timestamp_ms);
                (at + later).min(now)
            }
            Some(_) | None => now - age,
        }
    }

    /// Why a beat is none of this agent's present, if it is not.
    fn refusal(&mut self, beat: &BeatView<'_>, context: &ApplyContext<'_>) -> Option<BeatOutcome> {
        if beat.hb.is_none() {
            // It follows a registration that is over, and one such producer another.
            let over = self.run.epoch == 0 || matches!(self.state, State::Failed | State::Stopped);
            return (!over).then_some(BeatOutcome::Outdated);
        }
        if beat.epoch() > context.epoch_max && self.fence <= context.epoch_max && !self.is_new {
            return Some(BeatOutcome::Implausible);
        }
        (!self.admits(beat.epoch(), context)).then_some(BeatOutcome::Outdated)
    }

    /// Whether a message of this epoch counts: a lower one than the highest is of the past. An epoch beyond the plausible
    /// replaces no registration whose beats come, and gives way to every plausible one, so that one such number costs only
    /// the message that carried it.
    fn admits(&mut self, epoch: u64, context: &ApplyContext<'_>) -> bool {
        let plausible = |epoch: u64| epoch <= context.epoch_max;
        if plausible(epoch) && !plausible(self.fence) {
            self.fence = epoch;
            return true;
        }
        if !plausible(epoch) && plausible(self.fence) {
            return self.is_new || self.state != State::Healthy;
        }
        epoch >= self.fence
    }

    /// A new registration replaces everything of the one before. The start of its process is announced, even when the
    /// report that brings it is of the end.
    fn replace(&mut self, run: Run, life: &Life, context: &mut ApplyContext<'_>) {
        self.fence = self.fence.max(run.epoch);
        let confirmed = !run.is_unconfirmed();
        self.run = run;
        if life.had_process() && confirmed {
            self.settle(context);
        }
    }

    /// Applies a report of the process, preceded by the transition that it shows to be missing, if any.
    fn follow(&mut self, life: Life, context: &mut ApplyContext<'_>) {
        let between = self.missing_report(&life);
        for life in between.into_iter().chain([life]) {
            self.run.report(life, context.now);
            self.settle(context);
        }
    }

    /// The end before a start, or the start before an end, whose own report did not arrive.
    fn missing_report(&self, life: &Life) -> Option<Life> {
        let known = &self.run.life;
        let end = life.end.as_ref()?;
        let between = Life {
            step: known.step,
            incarnation: end.incarnation,
            ..Life::default()
        };
        if life.has_process() {
            let news = known.has_process()
                && end.incarnation >= known.incarnation
                && life.incarnation > known.incarnation;
            return news.then(|| Life {
                phase: Phase::Restarting,
                end: Some(end.clone()),
                restart: Some(NextStart::AT_ONCE),
                ..between
            });
        }
        let started = end.incarnation > known.incarnation && !end.not_started;
        (started && !known.has_process()).then_some(between)
    }
}
