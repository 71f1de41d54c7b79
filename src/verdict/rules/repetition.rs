//! Repetition: whether the same output or report again and again is a loop, or the slow polling of a long job.

use crate::base::moment::Moment;
use crate::verdict::ToolCall;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::self_report::SelfReport;
use crate::verdict::thresholds;
use std::collections::VecDeque;
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
    calls: Calls,
}

/// The last tool calls, newest last.
#[derive(Clone, Debug, Default)]
struct Calls(VecDeque<(Moment, ToolCall)>);

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

    /// Takes tool calls.
    pub(in crate::verdict) fn observe_calls(&mut self, calls: Vec<ToolCall>, now: Moment) {
        let calls = calls.into_iter().map(|call| (now, call));
        self.calls.0.extend(calls);
        while self.calls.0.len() > thresholds::CALLS_KEPT {
            self.calls.0.pop_front();
        }
    }

    /// Whether one tool call follows another like it.
    pub(in crate::verdict) fn repeats_calls(&self) -> bool {
        self.calls.run().count() >= thresholds::CALLS_SUSPECTED
    }

    /// The tool call that is made again and again, how often it was seen, and over which time. `known`: of a known agent.
    pub(in crate::verdict) fn same_call(
        &self,
        known: bool,
        now: Moment,
        clock: &ActiveClock,
    ) -> Option<(String, usize, Duration)> {
        let times = self.calls.run().count();
        let (last, call) = self.calls.0.back()?;
        // Most of those that are too short to be seen are missing, so the pace is quicker than it looks.
        let pace = match (known, self.calls.run().all(|(_, call)| call.fleeting)) {
            (true, _) => thresholds::CALL_PACE,
            (false, true) => thresholds::CALL_PACE_FLEETING,
            (false, false) => thresholds::CALL_PACE_UNKNOWN,
        };
        let (first, _) = self.calls.run().last()?;
        let (lasted, least) = (last.since(*first), clock.scaled(thresholds::REPETITION));
        let quick = lasted <= pace * u32::try_from(times).unwrap_or(u32::MAX);
        let goes_on =
            now.since(*last) <= (pace * 4).max(clock.scaled(thresholds::REPETITION_GAP_MAX));
        let is_loop =
            times >= thresholds::REPEATS_MIN as usize && lasted >= least && quick && goes_on;
        is_loop.then(|| (call.command.clone(), times, lasted))
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

impl Calls {
    /// The last calls, newest first, as long as they are the same one or the same two: a shell that becomes the program it was
    /// asked to run may be seen as either.
    fn run(&self) -> impl Iterator<Item = &(Moment, ToolCall)> {
        let mut known: Vec<&str> = Vec::new();
        self.0.iter().rev().take_while(move |(_, call)| {
            let is_known = known.contains(&call.command.as_str());
            if !is_known {
                known.push(&call.command);
            }
            is_known || known.len() <= 2
        })
    }
}
