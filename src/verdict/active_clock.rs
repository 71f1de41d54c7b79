//! Time as the agent could have used it, and what has lasted for how long on that clock.
//!
//! It stands still while the machine slept or starved the agent, and while the observer was late.

use crate::base::moment::Moment;
use crate::verdict::finding::{Finding, Hold};
use crate::verdict::rules::waiting;
use crate::verdict::sample::Sample;
use crate::verdict::thresholds;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The counted clock of one incarnation.
#[derive(Clone, Debug)]
pub(super) struct Time {
    patience: f64,
    /// A one-off diagnosis: what follows from the waits alone need last no longer.
    glance: Option<Duration>,
    /// Time that counted, since the start.
    clock: Duration,
    /// When, on that clock, progress was last seen.
    moved: Duration,
    /// The same, without output of which nothing is known.
    acted: Duration,
    /// When, on that clock, somebody it waits for was last seen at work.
    excused: Duration,
    /// When, on that clock, each finding was first seen, and in how many looks since the last time it was not.
    holds: BTreeMap<String, (Duration, u32)>,
    still: BTreeMap<(u32, u32), (u64, Duration)>,
    sleeps: BTreeMap<(u32, u32), Sleep>,
    /// The last look, and how long the machine had slept by then.
    last: Option<(Moment, Duration)>,
}

/// One thread's sleep.
#[derive(Clone, Copy, Debug)]
struct Sleep {
    turns: u64,
    until: Moment,
    /// As it was first seen.
    length: Duration,
}

impl Time {
    pub(super) fn new(patience: f64, glance: Option<Duration>) -> Self {
        Self {
            patience,
            glance,
            clock: Duration::ZERO,
            moved: Duration::ZERO,
            acted: Duration::ZERO,
            excused: Duration::ZERO,
            holds: BTreeMap::new(),
            still: BTreeMap::new(),
            sleeps: BTreeMap::new(),
            last: None,
        }
    }

    /// A waiting time with the user's patience.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.patience)
    }

    /// Now, on this clock.
    pub(super) fn clock(&self) -> Duration {
        self.clock
    }

    /// Since progress was last seen.
    pub(super) fn quiet(&self) -> Duration {
        self.clock.saturating_sub(self.moved)
    }

    /// The same, without the time in which somebody else was at work for it.
    pub(super) fn unexcused(&self) -> Duration {
        self.clock.saturating_sub(self.moved.max(self.excused))
    }

    /// Somebody it waits for is at work.
    pub(super) fn excuse(&mut self) {
        self.excused = self.clock;
    }

    /// Progress was seen: no more than some output, or anything else.
    pub(super) fn progress(&mut self, output_only: bool) {
        self.moved = self.clock;
        if !output_only {
            self.acted = self.clock;
        }
        self.holds.clear();
    }

    /// The output of so long has turned out to be the frames of a spinner.
    pub(super) fn take_back_output(&mut self, of: Duration) {
        let since = self.acted.max(self.clock.saturating_sub(of));
        self.moved = self.moved.min(since);
    }

    /// Whether this look only looks closer at what the last one saw.
    pub(super) fn is_at_once(&self, now: Moment) -> bool {
        self.last
            .is_some_and(|(at, _)| now.since(at) < self.scaled(thresholds::LOOK_EVERY) / 4)
    }

    /// The first look of an incarnation: nothing of the one before counts.
    pub(super) fn restart(&mut self, sample: &Sample) {
        self.last = Some((sample.at, sample.host.suspended));
        self.holds.clear();
        self.still.clear();
        self.sleeps.clear();
        self.moved = self.clock;
        self.acted = self.clock;
        self.notice_still(sample);
        self.notice_sleeps(sample);
    }

    /// Adds the time since the last look, if the agent could have used it.
    pub(super) fn count(&mut self, sample: &Sample, starved: bool) {
        let now = sample.at;
        let (at, suspended) = self.last.unwrap_or((now, sample.host.suspended));
        let slept = sample.host.suspended.saturating_sub(suspended) > Duration::from_secs(1);
        let usual = self.scaled(thresholds::LOOK_EVERY_MAX) + self.scaled(thresholds::LOOK_EVERY);
        if !slept && !starved {
            self.clock += now.since(at).min(usual);
        }
        self.last = Some((now, sample.host.suspended));
        self.notice_still(sample);
    }

    /// Since when, on the counted clock, each thread did not wake.
    fn notice_still(&mut self, sample: &Sample) {
        let mut still = BTreeMap::new();
        for process in &sample.processes {
            for thread in &process.threads {
                let key = (process.pid, thread.tid);
                let since = match self.still.get(&key) {
                    Some((turns, since)) if *turns == thread.turns => *since,
                    Some(_) | None => self.clock,
                };
                still.insert(key, (thread.turns, since));
            }
        }
        self.still = still;
    }

    /// When threads wake by themselves, by the earliest reading of each wait.
    pub(super) fn notice_sleeps(&mut self, sample: &Sample) {
        let now = sample.at;
        let mut sleeps = BTreeMap::new();
        for (key, turns, time) in waiting::sleepers(sample) {
            let aside = key.0 != key.1;
            let long = self.scaled(if aside {
                thresholds::SLEEP_ASIDE
            } else {
                thresholds::SLEEP
            });
            let known = self.sleeps.get(&key).filter(|sleep| sleep.turns == turns);
            if known.is_some() || time >= long {
                // A limit that counts from the call looks the same in every look: the first one is the nearest.
                let until = known.map_or(now + time, |sleep| sleep.until.min(now + time));
                let length = known.map_or(time, |sleep| sleep.length);
                sleeps.insert(
                    key,
                    Sleep {
                        turns,
                        until,
                        length,
                    },
                );
            }
        }
        self.sleeps = sleeps;
    }

    /// Who sleeps longest. A timer that comes again and again hides a stall no longer than a stall may take, and in these
    /// processes, for which an answer may be under way, it hides none.
    pub(super) fn asleep(
        &self,
        stall_after: Duration,
        asking: &BTreeSet<u32>,
        now: Moment,
    ) -> Option<((u32, u32), Moment)> {
        let young = self.unexcused() < self.scaled(stall_after);
        let meant = |sleep: &Sleep| young || sleep.length >= self.scaled(thresholds::SLEEP_MEANT);
        let due = |sleep: &Sleep| now < sleep.until + self.scaled(thresholds::OVERSLEPT);
        let recurs =
            |pid: &u32, sleep: &Sleep| asking.contains(pid) && sleep.length <= thresholds::TIMER;
        let sleeps = self
            .sleeps
            .iter()
            .filter(|(_, sleep)| meant(sleep) && due(sleep))
            .filter(|((pid, _), sleep)| !recurs(pid, sleep));
        sleeps
            .map(|(key, sleep)| (*key, sleep.until))
            .max_by_key(|(_, until)| *until)
    }

    /// Keeps since when each finding was seen. One look without it does not end it, unless there was progress: a thread
    /// may just have been awake.
    pub(super) fn remember(&mut self, findings: &[Finding]) {
        let missed = |(key, (since, missed)): (String, (Duration, u32))| (key, (since, missed + 1));
        self.holds = std::mem::take(&mut self.holds)
            .into_iter()
            .map(missed)
            .filter(|(_, (_, missed))| *missed <= 2)
            .collect();
        for finding in findings {
            self.holds
                .entry(finding.key.clone())
                .or_insert((self.clock, 0))
                .1 = 0;
        }
    }

    /// Whether it has lasted long enough.
    pub(super) fn is_ripe(&self, finding: &Finding) -> bool {
        let since = match &finding.hold {
            Hold::Done => return true,
            Hold::Seen => self.holds.get(&finding.key).map(|(since, _)| *since),
            Hold::Still(threads) => threads
                .iter()
                .map(|key| self.still.get(key).map_or(self.clock, |(_, s)| *s))
                .max(),
        };
        let lasted = self.clock.saturating_sub(since.unwrap_or(self.clock));
        let needed = match self.glance {
            Some(glance) if finding.logical => glance.min(self.scaled(finding.after)),
            Some(_) | None => self.scaled(finding.after),
        };
        lasted >= needed
    }
}
