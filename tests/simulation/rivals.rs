//! Other ways to tell that an agent is silent, beside ours and over the same trace: a timer since the last beat, a poll of the
//! keys that expire, and an accrual detector. They see what the monitor sees, and are held against the same truth.

use crate::sidecar::{Process, Sidecar};
use crate::world::{FIRST, World};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::State;
use heartbeat::wire::beat::{Beat, Status};
use std::collections::BTreeMap;

/// Ours, and those beside it.
pub(crate) const NAMES: [&str; 4] = [
    "hb",
    "timer: no beat for three intervals",
    "poll: the key with a time to live has expired",
    "phi accrual: Akka's, threshold 8, scaled to the interval",
];
const OURS: usize = 0;
const TIMER: usize = 1;
const POLL: usize = 2;
const PHI: usize = 3;
/// Keys are polled this often, in milliseconds.
const POLL_EVERY: u64 = 5000;
/// Of the accrual detector.
const THRESHOLD: f64 = 8.0;

/// How one of them did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// Agents that were called failed while they ran.
    pub(crate) wrong: u64,
    /// After how many intervals each death was found, in hundredths.
    pub(crate) found: Vec<u64>,
    /// Deaths that were not found in the end.
    pub(crate) missed: u64,
}

#[derive(Debug)]
struct Known {
    interval: u64,
    last: u64,
    /// Of the times between two beats: their number, sum and sum of squares. A run has fewer than Akka's window holds.
    gaps: [f64; 3],
    failed: [bool; NAMES.len()],
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Rivals {
    known: BTreeMap<AgentId, Known>,
    polled_at: u64,
    pub(crate) scores: [Score; NAMES.len()],
}

impl Rivals {
    /// A beat arrives at the monitor.
    pub(crate) fn beat(&mut self, beat: &Beat, now: u64) {
        if beat.status == Status::Stopped {
            self.known.remove(&beat.agent);
            return;
        }
        let interval = beat.hb.as_ref().map(|hb| hb.interval.as_millis());
        let interval = interval
            .and_then(|ms| u64::try_from(ms).ok())
            .unwrap_or(30_000);
        let known = self.known.entry(beat.agent.clone()).or_insert(Known {
            interval,
            last: now,
            gaps: [0.0; 3],
            failed: [false; NAMES.len()],
        });
        // As Akka: the gap that ended a failure is no sample.
        if now > known.last && !known.failed[PHI] {
            let gap = (now - known.last) as f64;
            for (sum, power) in known.gaps.iter_mut().zip([1.0, gap, gap * gap]) {
                *sum += power;
            }
        }
        known.last = now;
        known.failed = [false; NAMES.len()];
    }

    /// The monitor was started again: they keep nothing.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

impl Known {
    fn phi(&self, now: u64) -> f64 {
        let interval = self.interval as f64;
        let [count, sum, squares] = self.gaps;
        let (mean, deviation) = if count < 2.0 {
            (interval, interval / 4.0)
        } else {
            let mean = sum / count;
            (mean, (squares / count - mean * mean).max(0.0).sqrt())
        };
        let y = (now.saturating_sub(self.last) as f64 - mean - 3.0 * interval)
            / deviation.max(interval / 10.0);
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        let later = if y > 0.0 {
            e / (1.0 + e)
        } else {
            1.0 - 1.0 / (1.0 + e)
        };
        -later.max(f64::MIN_POSITIVE).log10()
    }
}

impl World {
    /// Time passed, as the monitor sees it.
    pub(crate) fn tick_rivals(&mut self) {
        let now = self.now;
        let seat = &self.seats[FIRST];
        let is_up = seat
            .monitor
            .as_ref()
            .is_some_and(|monitor| !monitor.is_paused);
        if !is_up {
            return;
        }
        let polls = now >= self.rivals.polled_at + POLL_EVERY
            && seat.query.flows()
            && self.store.is_up
            && self.store.busy_until <= now;
        if polls {
            self.rivals.polled_at = now;
            self.store.expire(now);
        }
        let mut failed = Vec::new();
        for (id, known) in &mut self.rivals.known {
            let silent = [
                false,
                now.saturating_sub(known.last) > 3 * known.interval,
                polls && !self.store.data.hashes.contains_key(id),
                known.phi(now) > THRESHOLD,
            ];
            for which in [TIMER, POLL, PHI] {
                if silent[which] && !std::mem::replace(&mut known.failed[which], true) {
                    failed.push((id.clone(), which));
                }
            }
        }
        for (id, which) in failed {
            self.score(&id, which);
        }
    }

    /// Ours called it failed by silence.
    pub(crate) fn score_ours(&mut self, id: &AgentId) {
        self.score(id, OURS);
    }

    fn score(&mut self, id: &AgentId, which: usize) {
        let now = self.now;
        let of = |sidecar: &&Sidecar| sidecar.id == *id;
        let has = |process| {
            self.sidecars
                .iter()
                .filter(of)
                .any(|one| one.process == process)
        };
        if has(Process::Running) {
            self.rivals.scores[which].wrong += 1;
        } else if !has(Process::Paused)
            && let Some(last) = self.sidecars.iter().rfind(of)
            && let Some(at) = last.accepted.front()
        {
            let after = (now - at) * 100 / last.interval;
            self.rivals.scores[which].found.push(after);
        }
    }

    /// Deaths that were not found.
    pub(crate) fn score_end(&mut self) {
        let ours = self.seats[FIRST].monitor.as_ref();
        let ours = ours.map(|monitor| monitor.watch.view());
        for (id, (_, n)) in &self.judge.holders {
            if self.sidecars[*n].process != Process::Killed {
                continue;
            }
            let known = self.rivals.known.get(id);
            let state = ours
                .as_ref()
                .and_then(|view| view.agents.get(id))
                .map(|agent| agent.state);
            let found = |which| {
                if which == OURS {
                    state == Some(State::Failed) || state == Some(State::Stopped)
                } else {
                    known.is_some_and(|known| known.failed[which])
                }
            };
            for which in 0..NAMES.len() {
                self.rivals.scores[which].missed += u64::from(!found(which));
            }
        }
    }
}
