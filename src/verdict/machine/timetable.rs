//! When the next sample is due, and how deep it must be.

use super::VerdictMachine;
use crate::base::moment::Moment;
use crate::verdict::sample::{Process, Sample, SampleDepth, Until, Wait};
use crate::verdict::signals::Interval;
use crate::verdict::thresholds;

impl VerdictMachine {
    /// A connection that is shorter than the pause between two samples is seen only by a sample right after its owner woke.
    pub(super) fn aim(&mut self, sample: &Sample, interval: &Interval, now: Moment) {
        let silent = self.clock.unexcused_silence() >= self.clock.scaled(thresholds::AIM_AFTER);
        if self.progressed || !silent || !self.report.owes_work() {
            self.aimed = 0;
            return;
        }
        let main = sample.root().and_then(Process::main_wait);
        let until = main.map(Wait::until);
        let next = match until {
            Some(Until::In(left)) if self.aimed == 0 => now + left + thresholds::AIM_BEHIND,
            _ if self.aimed > 0 && interval.new_connection => now,
            _ => self.next,
        };
        let sooner = next < self.next && self.aimed <= thresholds::AIM_MAX;
        self.aimed = if sooner { self.aimed + 1 } else { 0 };
        self.next = if sooner { next } else { self.next };
    }

    pub(super) fn schedule(&mut self, sample: &Sample, now: Moment) {
        let cost = self
            .clock
            .scaled(sample.cost * thresholds::SAMPLE_COST_SHARE);
        let pause = self
            .clock
            .scaled(thresholds::SAMPLE_INTERVAL)
            .max(cost)
            .min(self.clock.scaled(thresholds::SAMPLE_INTERVAL_MAX));
        self.next = now + pause;
        self.depth = SampleDepth::Waits;
    }
}
