//! Agents that are active without effect: CPU-bound, or repeating the same action.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::assessment::Assessment;
use crate::verdict::finding::{observed, reported};
use crate::verdict::rule::RuleId;
use crate::verdict::rules::words;
use crate::verdict::sample::{Output, Process, Sample};
use crate::verdict::self_report::SelfReport;
use crate::verdict::signals::Interval;
use crate::verdict::thresholds;
use std::time::Duration;

/// Since when the main thread of the root has been CPU-bound.
#[derive(Clone, Debug, Default)]
pub(in crate::verdict) struct CpuBoundTracker {
    /// On the active clock.
    cpu_bound_since: Option<Duration>,
    /// The last sample was not CPU-bound: one such sample is a pause, two are an end.
    interrupted: bool,
}

impl CpuBoundTracker {
    /// Takes one interval. Returns for how long the thread has been CPU-bound without progress.
    pub(in crate::verdict) fn observe(
        &mut self,
        interval: &Interval,
        clock: &ActiveClock,
    ) -> Option<Duration> {
        if !interval.cpu_bound {
            if interval.granted >= 1.0 && std::mem::replace(&mut self.interrupted, true) {
                self.cpu_bound_since = None;
            }
            return None;
        }
        self.interrupted = false;
        let start = clock.elapsed().saturating_sub(interval.elapsed);
        let since = *self.cpu_bound_since.get_or_insert(start);
        let lasted = clock.elapsed().saturating_sub(since);
        Some(lasted.min(clock.since_progress()))
    }
}

/// Since when one thread of one child has used a core without any effect.
#[derive(Clone, Debug, Default)]
pub(in crate::verdict) struct LoneCpuTracker(Option<(u32, Duration)>);

impl LoneCpuTracker {
    /// Takes one interval, and the child with its share of a core. Returns for how long it has lasted.
    pub(in crate::verdict) fn observe(
        &mut self,
        lone: Option<(u32, f64)>,
        interval: &Interval,
        clock: &ActiveClock,
    ) -> Option<Duration> {
        let Some((pid, _)) = lone else {
            if interval.granted >= 1.0 {
                self.0 = None;
            }
            return None;
        };
        let start = clock.elapsed().saturating_sub(interval.elapsed);
        let since = match self.0 {
            Some((known, since)) if known == pid => since,
            Some(_) | None => start,
        };
        self.0 = Some((pid, since));
        Some(clock.elapsed().saturating_sub(since))
    }
}

/// The main thread uses processor time; `over`: for longer than any computation without an effect takes.
pub(in crate::verdict) fn cpu_bound(
    root: &Process,
    share: f64,
    lasted: Duration,
    limit: Duration,
    over: bool,
) -> Assessment {
    let percent = format!("{:.0} % of a core in one thread", share * 100.0);
    let mut evidence = vec![observed("cpu", percent)];
    if over {
        evidence.push(observed(
            "effect",
            "no data, no files, no output, no new processes",
        ));
        let sentence = format!(
            "{} has used processor time for {} without visible effect (limit {})",
            root.title(),
            format_duration(lasted),
            format_duration(limit)
        );
        Assessment {
            evidence,
            ..Assessment::new(RuleId::Spinning, sentence)
        }
    } else {
        let sentence = format!("{} computes in its main thread", root.title());
        Assessment {
            evidence,
            ..Assessment::new(RuleId::Progress, sentence)
        }
    }
}

/// The agent reported the same action or error this many times in a row.
pub(in crate::verdict) fn repeated_report(
    report: &SelfReport,
    times: u32,
    now: Moment,
) -> Option<Assessment> {
    if times < thresholds::REPEATS_MIN || report.announced_silence(now).is_some() {
        return None;
    }
    let sentence = format!(
        "reported the same {times} times in a row (limit {}): {}",
        thresholds::REPEATS_MIN,
        report.repeated
    );
    let evidence = reported("repeats", format!("{times} × {}", report.repeated));
    Some(Assessment {
        evidence: vec![evidence],
        ..Assessment::new(RuleId::SameReportAgain, sentence)
    })
}

/// Output that ends in the same tool call or failure, three times or more. Any other repeated line is only liveness.
pub(in crate::verdict) fn repeated(sample: &Sample) -> Option<&Output> {
    let acts = |o: &&Output| is_call(o) || words::names_failure(&o.last);
    sample.outputs.iter().find(|o| o.repeats >= 3 && acts(o))
}

/// Whether the line is a tool call.
pub(in crate::verdict) fn is_call(output: &Output) -> bool {
    words::names_call(&output.last)
}

/// The same program is started again and again.
pub(in crate::verdict) fn same_call(call: &str, times: u32, lasted: Duration) -> Assessment {
    let lasted = format_duration(lasted);
    let least = thresholds::REPEATS_MIN;
    let sentence = format!(
        "starts the same tool again and again: {times} times in {lasted} (limit {least}): {call}"
    );
    Assessment {
        evidence: vec![observed("tool.repeats", format!("{times} × {call}"))],
        ..Assessment::new(RuleId::SameCallAgain, sentence)
    }
}

/// The output repeats the same tool call or failure.
pub(in crate::verdict) fn repeated_line(output: &Output) -> Assessment {
    let (rule, what) = if is_call(output) {
        (RuleId::SameCallAgain, "tool call")
    } else {
        (RuleId::RetryStorm, "failure")
    };
    let sentence = format!(
        "repeats the same {what} {} times without effect (limit {}): {}",
        output.repeats,
        thresholds::REPEATS_MIN,
        output.last
    );
    let seen = observed(
        "output.repeats",
        format!("{} × {}", output.repeats, output.last),
    );
    Assessment {
        evidence: vec![seen],
        ..Assessment::new(rule, sentence)
    }
}
