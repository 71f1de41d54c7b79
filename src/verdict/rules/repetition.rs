//! Repetition: whether the same output or report again and again is a loop, or the slow polling of a long job.

use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::self_report::SelfReport;
use crate::verdict::thresholds;
use std::time::Duration;

/// What repeats, in output and in reports.
#[derive(Clone, Debug, Default)]
pub(in crate::verdict) struct RepetitionTracker {
    output: Option<Repeated>,
    /// How often in a row the agent reported the same at a quick pace.
    quick_reports: u32,
    /// The number of repeats in its last report.
    reported: u32,
    reported_at: Option<Moment>,
}

/// Since when the output repeats itself, and when it last did, on the active clock.
#[derive(Clone, Copy, Debug)]
struct Repeated {
    since: Duration,
    last: Duration,
    call: bool,
}

impl RepetitionTracker {
    /// Takes a deep sample. `repeats`: the output ends in the same line again, which is a tool call or not. `grew`: there is
    /// more of it than before.
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

    /// Takes a report.
    pub(in crate::verdict) fn observe_report(
        &mut self,
        report: &SelfReport,
        now: Moment,
        clock: &ActiveClock,
    ) {
        if report.repeats == self.reported {
            return;
        }
        // Fewer repeats than before: something else repeats now.
        let more = report
            .repeats
            .checked_sub(self.reported)
            .unwrap_or(report.repeats);
        let goes_on = report.repeats > self.reported && self.reported_recently(now, clock);
        let before = if goes_on { self.quick_reports } else { 0 };
        self.quick_reports = before.saturating_add(more);
        self.reported = report.repeats;
        self.reported_at = Some(now);
    }

    /// How often in a row it reported the same at a quick pace.
    pub(in crate::verdict) fn report_repeats(&self) -> u32 {
        self.quick_reports
    }

    /// Whether its last repeated report is recent.
    pub(in crate::verdict) fn reported_recently(&self, now: Moment, clock: &ActiveClock) -> bool {
        let recent = clock.scaled(thresholds::REPETITION_GAP_MAX);
        self.reported_at.is_some_and(|at| now.since(at) <= recent)
    }

    /// Whether the output may be about to loop.
    pub(in crate::verdict) fn is_suspected(&self) -> bool {
        self.output.is_some()
    }

    /// Whether the output has repeated itself for long enough to be a loop.
    pub(in crate::verdict) fn has_lasted(&self, clock: &ActiveClock) -> bool {
        let long = clock.scaled(thresholds::REPETITION);
        self.output
            .is_some_and(|r| r.last.saturating_sub(r.since) >= long)
    }

    /// Whether the loop is one of tool calls.
    pub(in crate::verdict) fn is_of_tool_calls(&self, clock: &ActiveClock) -> bool {
        self.has_lasted(clock) && self.output.is_some_and(|r| r.call)
    }
}
