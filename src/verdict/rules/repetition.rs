//! Repetition: whether the same output or report again and again is a loop, or the slow polling of a long job.

use crate::base::moment::Moment;
use crate::verdict::ToolCall;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::known_programs::{is_shell, only_pauses};
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
    /// Since that report a tool was called as none of those that are known: what it does is not the same again.
    other_call: bool,
    /// When files were last written, on the active clock.
    wrote_files: Option<Duration>,
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
        let goes_on = report.repeats > self.reported
            && self.reported_recently(now, clock)
            && !std::mem::take(&mut self.other_call);
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

    /// Takes tool calls. Who only lets some time pass, as between two looks at something, calls no tool; what a shell has
    /// become is a part of a call.
    pub(in crate::verdict) fn observe_calls(&mut self, calls: Vec<ToolCall>, now: Moment) {
        let is_call = |call: &ToolCall| call.is_tail || !only_pauses(&call.command);
        for call in calls.into_iter().filter(is_call) {
            self.other_call |= !self.calls.knows(&call);
            self.calls.0.push_back((now, call));
        }
        while self.calls.0.len() > thresholds::CALLS_KEPT {
            self.calls.0.pop_front();
        }
    }

    /// Takes note that files were written: the same call again then has an effect.
    pub(in crate::verdict) fn observe_files(&mut self, clock: &ActiveClock) {
        self.wrote_files = Some(clock.elapsed());
    }

    /// Whether one tool call follows another like it, and the last one is recent.
    pub(in crate::verdict) fn repeats_calls(&self, now: Moment, clock: &ActiveClock) -> bool {
        self.calls.run().count() >= thresholds::CALLS_SUSPECTED
            && self.calls.are_recent(thresholds::CALL_PACE, now, clock)
    }

    /// The tool call that is made again and again, how often it was seen, and over which time. `known`: of a known agent.
    /// What another program does that writes files meanwhile is a job after the other.
    pub(in crate::verdict) fn same_call(
        &self,
        known: bool,
        now: Moment,
        clock: &ActiveClock,
    ) -> Option<(String, u32, Duration)> {
        let least = clock.scaled(thresholds::REPETITION);
        let pace = if known {
            thresholds::CALL_PACE
        } else {
            thresholds::CALL_PACE_UNKNOWN
        };
        let written = |at: Duration| clock.elapsed().saturating_sub(at) < least;
        let has_effect = !known && self.wrote_files.is_some_and(written);
        if has_effect || !self.calls.are_recent(pace, now, clock) {
            return None;
        }
        let (_, call) = self.calls.0.back()?;
        let in_shells = self.calls.ends_in_shells(call);
        let stretches = self.calls.stretches().filter(|stretch| {
            // A known agent has helpers, which may be what ended unseen.
            let made = if known { stretch.seen } else { stretch.made };
            let quick = stretch.lasted <= pace * made;
            let often = stretch.seen >= thresholds::REPEATS_MIN;
            let whole = stretch.of_shells >= thresholds::CALLS_WHOLE_MIN
                || !(in_shells || stretch.has_tails);
            often && quick && stretch.lasted >= least && whole
        });
        let longest = stretches.last()?;
        Some((call.command.clone(), longest.seen, longest.lasted))
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

/// Some calls in a row that look like one another, up to the last one.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    seen: u32,
    /// With those that were too short to be seen.
    made: u32,
    lasted: Duration,
    /// Of shells, and so whole.
    of_shells: usize,
    /// What a shell has become.
    has_tails: bool,
}

impl Stretch {
    fn with(mut self, call: &ToolCall, lasted: Duration) -> Self {
        self.seen += 1;
        self.made = self.made.saturating_add(1);
        self.lasted = lasted;
        self.of_shells += usize::from(!call.is_tail && starts_shell(&call.command));
        self.has_tails |= call.is_tail;
        self
    }
}

/// Whether the first word of this command line is a shell.
fn starts_shell(command: &str) -> bool {
    command.split(' ').next().is_some_and(is_shell)
}

impl Calls {
    /// Whether the last call is as recent as the next one like it would be.
    fn are_recent(&self, pace: Duration, now: Moment, clock: &ActiveClock) -> bool {
        let recent = (pace * 4).max(clock.scaled(thresholds::REPETITION_GAP_MAX));
        let last = self.0.back();
        last.is_some_and(|(last, _)| now.since(*last) <= recent)
    }

    /// Whether a shell was seen that may have become this call: not each shell marks what it becomes.
    fn ends_in_shells(&self, call: &ToolCall) -> bool {
        let mut commands = self.0.iter().map(|(_, known)| &known.command);
        commands.any(|known| starts_shell(known) && known.contains(&call.command))
    }

    fn knows(&self, call: &ToolCall) -> bool {
        let mut commands = self.0.iter().map(|(_, known)| &known.command);
        commands.any(|known| *known == call.command)
    }

    /// The last call alone, the last two, and so on, as long as they look like one another.
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let last = self.0.back().map_or_else(Moment::default, |(at, _)| *at);
        self.run()
            .scan(Stretch::default(), move |stretch, (at, call)| {
                let until_here = stretch.with(call, last.since(*at));
                *stretch = until_here;
                // What ended unseen before this call belongs to the stretch that goes on to the one before it.
                stretch.made = stretch.made.saturating_add(call.unseen);
                Some(until_here)
            })
    }

    /// The last calls, newest first, as long as they are the same one or the same two: a shell that becomes the program it was
    /// asked to run may be seen as either.
    fn run(&self) -> impl Iterator<Item = &(Moment, ToolCall)> {
        let mut known: Vec<(&str, &str)> = Vec::new();
        self.0.iter().rev().take_while(move |(_, call)| {
            let what = (call.command.as_str(), place(call));
            let is_known = known.contains(&what);
            if !is_known {
                known.push(what);
            }
            is_known || known.len() <= 2
        })
    }
}

/// Where a call works: the same command elsewhere is another one. A shell that goes elsewhere is seen before or after.
fn place(call: &ToolCall) -> &str {
    if starts_shell(&call.command) && call.command.contains("cd ") {
        ""
    } else {
        &call.directory
    }
}
