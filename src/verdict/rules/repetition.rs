//! The same again and again: whether that is a circle, or somebody who asks now and then how a long job goes.

use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::self_report::SelfReport;
use crate::verdict::thresholds;
use std::time::Duration;

/// What repeats, in output and by the agent's word.
#[derive(Clone, Debug, Default)]
pub(in crate::verdict) struct RepetitionTracker {
    output: Option<Repeated>,
    /// By its word: how often in a row at a quick pace, of how many in all, and when last.
    words: (u32, u32),
    said_at: Option<Moment>,
}

/// Since when the output repeats itself, and when last; on the counted clock.
#[derive(Clone, Copy, Debug)]
struct Repeated {
    since: Duration,
    last: Duration,
    call: bool,
}

impl RepetitionTracker {
    /// A close look. `repeats`: the output ends in the same again, a call or not; `grew`: there is more of it now.
    pub(in crate::verdict) fn observe_output(
        &mut self,
        repeats: Option<bool>,
        grew: bool,
        clock: &ActiveClock,
    ) {
        let now = clock.elapsed();
        let recent = clock.scaled(thresholds::REPETITION_GAP_MAX);
        self.output = repeats.and_then(|call| {
            let goes_on = |r: &Repeated| r.call == call && now.saturating_sub(r.last) <= recent;
            let known = self.output.filter(goes_on);
            let since = known.map_or(now, |r| r.since);
            let more = Repeated {
                since,
                last: now,
                call,
            };
            if grew { Some(more) } else { known }
        });
    }

    /// The agent spoke.
    pub(in crate::verdict) fn observe_report(
        &mut self,
        report: &SelfReport,
        now: Moment,
        clock: &ActiveClock,
    ) {
        let (quick, all) = self.words;
        if report.repeats == all {
            return;
        }
        // Fewer than before: something else repeats now.
        let more = report.repeats.checked_sub(all).unwrap_or(report.repeats);
        let goes_on = report.repeats > all && self.repeats_recently(now, clock);
        let before = if goes_on { quick } else { 0 };
        self.words = (before.saturating_add(more), report.repeats);
        self.said_at = Some(now);
    }

    /// How often in a row it reported the same, at a quick pace.
    pub(in crate::verdict) fn report_repeats(&self) -> u32 {
        self.words.0
    }

    /// It reported the same not long ago.
    pub(in crate::verdict) fn repeats_recently(&self, now: Moment, clock: &ActiveClock) -> bool {
        let recent = clock.scaled(thresholds::REPETITION_GAP_MAX);
        self.said_at.is_some_and(|at| now.since(at) <= recent)
    }

    /// The output may become one.
    pub(in crate::verdict) fn is_suspected(&self) -> bool {
        self.output.is_some()
    }

    /// The output has gone round for long enough.
    pub(in crate::verdict) fn has_lasted(&self, clock: &ActiveClock) -> bool {
        let long = clock.scaled(thresholds::REPETITION);
        self.output
            .is_some_and(|r| r.last.saturating_sub(r.since) >= long)
    }

    /// And it is the call of a tool that repeats.
    pub(in crate::verdict) fn is_of_tool_calls(&self, clock: &ActiveClock) -> bool {
        self.has_lasted(clock) && self.output.is_some_and(|r| r.call)
    }
}
