//! The active clock: time that the agent could have used, and for how long each condition has lasted on it.
//!
//! It stops while the machine is suspended or starves the agent, and while hbsidecar samples late.

use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::verdict::finding::{Finding, FindingId, Persistence};
use crate::verdict::rules::timers::Sleeper;
use crate::verdict::sample::Sample;
use crate::verdict::thresholds;
use std::collections::BTreeMap;
use std::time::Duration;

/// The active clock of one incarnation.
#[derive(Clone, Debug)]
pub(super) struct ActiveClock {
    patience: Patience,
    /// In a one-off diagnosis, a finding that follows from the waits alone need last no longer than this.
    one_off: Option<Duration>,
    /// Active time since the start.
    elapsed: Duration,
    /// When progress was last seen, on this clock.
    progressed: Duration,
    /// The same, without output whose content is unknown.
    progressed_beyond_output: Duration,
    /// When a program that it waits for was last seen at work, on this clock.
    silence_excused: Duration,
    /// When each finding was first seen, on this clock, and how many samples in a row have lacked it.
    findings: BTreeMap<FindingId, (Duration, u32)>,
    asleep_since: BTreeMap<(u32, u32), (u64, Duration)>,
    timers: BTreeMap<(u32, u32), Timer>,
    /// When the root was last seen to fall asleep for as long as who looks for something now and then.
    polled: Option<Pause>,
    /// When the last sample was taken, and for how long the machine had been suspended by then.
    last: Option<(Moment, Duration)>,
}

/// A pause between two looks for something.
#[derive(Clone, Copy, Debug)]
struct Pause {
    turns: u64,
    /// When it ends, on this clock.
    until: Duration,
    /// A plain sleep, as long as a deliberate one.
    deliberate: bool,
}

/// One thread's timer.
#[derive(Clone, Copy, Debug)]
struct Timer {
    turns: u64,
    until: Moment,
    /// Time left when it was first seen.
    length: Duration,
    /// Of an event loop.
    loops: bool,
}

impl ActiveClock {
    pub(super) fn new(patience: Patience, one_off: Option<Duration>) -> Self {
        Self {
            patience,
            one_off,
            elapsed: Duration::ZERO,
            progressed: Duration::ZERO,
            progressed_beyond_output: Duration::ZERO,
            silence_excused: Duration::ZERO,
            findings: BTreeMap::new(),
            asleep_since: BTreeMap::new(),
            timers: BTreeMap::new(),
            polled: None,
            last: None,
        }
    }

    /// Whether a one-off diagnosis is made.
    pub(super) fn is_one_off(&self) -> bool {
        self.one_off.is_some()
    }

    /// A waiting time scaled by patience.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        self.patience.scale(time)
    }

    /// The present reading.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Active time since progress was last seen.
    pub(super) fn since_progress(&self) -> Duration {
        self.elapsed.saturating_sub(self.progressed)
    }

    /// The same, without time in which a program it waits for was at work.
    pub(super) fn unexcused_silence(&self) -> Duration {
        self.elapsed
            .saturating_sub(self.progressed.max(self.silence_excused))
    }

    /// A program that it waits for is at work.
    pub(super) fn excuse_silence(&mut self) {
        self.silence_excused = self.elapsed;
    }

    /// Progress was seen; `output_only`: nothing but output whose content is unknown.
    pub(super) fn progress(&mut self, output_only: bool) {
        self.progressed = self.elapsed;
        if !output_only {
            self.progressed_beyond_output = self.elapsed;
        }
        self.findings.clear();
    }

    /// The output of this last stretch has turned out to be the frames of a spinner.
    pub(super) fn discount_output(&mut self, of: Duration) {
        let since = self
            .progressed_beyond_output
            .max(self.elapsed.saturating_sub(of));
        self.progressed = self.progressed.min(since);
    }

    /// Whether this sample only deepens the one before it.
    pub(super) fn is_immediate_resample(&self, now: Moment) -> bool {
        self.last
            .is_some_and(|(at, _)| now.since(at) < self.scaled(thresholds::SAMPLE_INTERVAL) / 4)
    }

    /// The first sample of an incarnation: nothing of the one before counts.
    pub(super) fn restart(&mut self, sample: &Sample) {
        self.last = Some((sample.at, sample.host.suspended));
        self.findings.clear();
        self.asleep_since.clear();
        self.timers.clear();
        self.polled = None;
        self.progressed = self.elapsed;
        self.progressed_beyond_output = self.elapsed;
        self.track_sleeping_threads(sample);
    }

    /// Adds the time since the last sample, as far as the machine granted it, 0-1. Returns whether the agent could not use it.
    pub(super) fn advance(&mut self, sample: &Sample, granted: f64) -> bool {
        let now = sample.at;
        let (at, suspended) = self.last.unwrap_or((now, sample.host.suspended));
        let slept = sample.host.suspended.saturating_sub(suspended) > Duration::from_secs(1);
        let usual =
            self.scaled(thresholds::SAMPLE_INTERVAL_MAX) + self.scaled(thresholds::SAMPLE_INTERVAL);
        if !slept {
            self.elapsed += now.since(at).min(usual).mul_f64(granted);
        }
        self.last = Some((now, sample.host.suspended));
        self.track_sleeping_threads(sample);
        slept || granted < 1.0
    }

    /// Since when each thread has not woken.
    fn track_sleeping_threads(&mut self, sample: &Sample) {
        let mut still = BTreeMap::new();
        for process in &sample.processes {
            for thread in &process.threads {
                let key = (process.pid, thread.tid);
                let since = match self.asleep_since.get(&key) {
                    Some((turns, since)) if *turns == thread.turns => *since,
                    Some(_) | None => self.elapsed,
                };
                still.insert(key, (thread.turns, since));
            }
        }
        self.asleep_since = still;
    }

    /// When threads wake by themselves, by the earliest reading of each timer.
    pub(super) fn track_timers(&mut self, sleepers: &[Sleeper], now: Moment) {
        let mut timers = BTreeMap::new();
        for sleeper in sleepers {
            let key = sleeper.key;
            let aside = key.0 != key.1;
            let long = self.scaled(if aside {
                thresholds::SLEEP_HELPER_THREAD
            } else {
                thresholds::SLEEP
            });
            let known = self.timers.get(&key);
            let known = known.filter(|timer| timer.turns == sleeper.turns);
            let until = now + sleeper.left;
            if known.is_some() || sleeper.left >= long {
                let timer = Timer {
                    turns: sleeper.turns,
                    // A limit that counts from the call reads the same in every sample: the first reading is the nearest.
                    until: known.map_or(until, |timer| timer.until.min(until)),
                    length: known.map_or(sleeper.left, |timer| timer.length),
                    loops: sleeper.loops,
                };
                timers.insert(key, timer);
            }
        }
        self.timers = timers;
    }

    /// Takes the sleep of the root.
    pub(super) fn track_polling(&mut self, sleeper: Option<Sleeper>) {
        let Some(sleeper) = sleeper else { return };
        let is_known = self
            .polled
            .is_some_and(|pause| pause.turns == sleeper.turns);
        if !is_known && sleeper.left >= self.scaled(thresholds::POLL_SLEEP) {
            let sleeps = sleeper.left.min(self.scaled(thresholds::POLLING_BUDGET));
            let long = sleeper.left >= self.scaled(thresholds::SLEEP_DELIBERATE);
            self.polled = Some(Pause {
                turns: sleeper.turns,
                until: self.elapsed + sleeps,
                deliberate: long && !sleeper.loops,
            });
        }
    }

    /// Whether it looks for something now and then.
    pub(super) fn polls(&self) -> bool {
        self.pause().is_some()
    }

    /// Whether it does so after pauses that are deliberate each: between two of them it is awake.
    pub(super) fn pauses(&self) -> bool {
        self.pause().is_some_and(|pause| pause.deliberate)
    }

    /// Whether this thread of a process has woken within the time in which who works shows it.
    pub(super) fn woke_recently(&self, thread: (u32, u32)) -> bool {
        let recent = self.scaled(thresholds::POLL_RECENT);
        let since = self.asleep_since.get(&thread).map(|(_, since)| *since);
        since.is_some_and(|since| self.elapsed.saturating_sub(since) < recent)
    }

    fn pause(&self) -> Option<Pause> {
        let recent = self.scaled(thresholds::POLL_RECENT);
        self.polled
            .filter(|pause| self.elapsed <= pause.until + recent)
    }

    /// The thread with the latest timer. A short timer that recurs explains silence no longer than `stall_after`. One of an
    /// event loop may be any of its timers: it explains no more than an answer may take, unless it is as long as the limit.
    pub(super) fn longest_timer(
        &self,
        stall_after: Duration,
        now: Moment,
    ) -> Option<((u32, u32), Moment)> {
        let silence = self.unexcused_silence();
        let stall_after = self.scaled(stall_after);
        let within = silence < self.scaled(thresholds::ANSWER_BUDGET);
        let meant = |timer: &Timer| {
            silence < stall_after
                || timer.length >= self.scaled(thresholds::SLEEP_DELIBERATE)
                    && (!timer.loops || within || timer.length >= stall_after)
        };
        let due = |timer: &Timer| now < timer.until + self.scaled(thresholds::OVERSLEPT);
        let timers = self.timers.iter();
        timers
            .filter(|(_, timer)| meant(timer) && due(timer))
            .map(|(key, timer)| (*key, timer.until))
            .max_by_key(|(_, until)| *until)
    }

    /// Records since when each finding has been seen. Up to two samples without it do not end it, because a thread may just
    /// have been awake; progress ends it.
    pub(super) fn track(&mut self, findings: &[Finding]) {
        let missed =
            |(id, (since, missed)): (FindingId, (Duration, u32))| (id, (since, missed + 1));
        self.findings = std::mem::take(&mut self.findings)
            .into_iter()
            .map(missed)
            .filter(|(_, (_, missed))| *missed <= 2)
            .collect();
        for finding in findings {
            self.findings
                .entry(finding.id)
                .or_insert((self.elapsed, 0))
                .1 = 0;
        }
    }

    /// Whether a finding has lasted as long as its rule asks.
    pub(super) fn has_persisted(&self, finding: &Finding) -> bool {
        let since = match &finding.persistence {
            Persistence::KernelCounted => return true,
            Persistence::Observed => self.findings.get(&finding.id).map(|(since, _)| *since),
            Persistence::ThreadsAsleep(threads) => threads
                .iter()
                .map(|key| self.asleep_since.get(key).map_or(self.elapsed, |(_, s)| *s))
                .max(),
        };
        let lasted = self.elapsed.saturating_sub(since.unwrap_or(self.elapsed));
        let needed = match self.one_off {
            Some(one_off) if finding.logical => one_off.min(self.scaled(finding.lasts)),
            Some(_) | None => self.scaled(finding.lasts),
        };
        lasted >= needed
    }
}
