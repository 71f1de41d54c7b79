//! Agents that move without getting anywhere: they burn, or do the same again and again.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::assessment::{Assessment, reported};
use crate::verdict::finding::observed;
use crate::verdict::sample::{Output, Process, Sample};
use crate::verdict::self_report::SelfReport;
use crate::verdict::signals::Interval;
use crate::verdict::thresholds;
use crate::wire::beat::Verdict;
use std::time::Duration;

/// Words of a failing action.
const FAILURES: [&str; 14] = [
    "error",
    "retry",
    "refused",
    "timed out",
    "timeout",
    "failed",
    "overloaded",
    "rate limit",
    "429",
    "500",
    "502",
    "503",
    "529",
    "exception",
];
/// Keys of a tool call in a stream of JSON lines.
const CALLS: [&str; 5] = [
    "tool_use",
    "\"tool\"",
    "tool_call",
    "\"command\"",
    "function_call",
];

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
            if !interval.starved && std::mem::replace(&mut self.interrupted, true) {
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

/// The main thread uses processor time; `over`: for longer than any computation without an effect takes.
pub(in crate::verdict) fn cpu_bound(
    root: &Process,
    share: f64,
    burnt: Duration,
    over: bool,
) -> Assessment {
    let percent = format!("{:.0} % of a core in the first thread", share * 100.0);
    let mut evidence = vec![observed("cpu", percent)];
    if over {
        evidence.push(observed(
            "effect",
            "no data, no files, no output, no new processes",
        ));
        let sentence = format!(
            "{} has burnt processor time for {} without visible effect",
            root.title(),
            format_duration(burnt)
        );
        Assessment {
            evidence,
            ..Assessment::new("spinning", Verdict::Spinning, sentence)
        }
    } else {
        let sentence = format!("{} computes", root.title());
        Assessment {
            evidence,
            ..Assessment::new("working", Verdict::Working, sentence)
        }
    }
}

/// The agent reported the same action so many times in a row.
pub(in crate::verdict) fn repeated_word(
    report: &SelfReport,
    times: u32,
    now: Moment,
) -> Option<Assessment> {
    if times < thresholds::REPEATS_MIN || report.patience_until(now).is_some() {
        return None;
    }
    let sentence = format!(
        "did the same thing {times} times in a row: {}",
        report.repeated
    );
    let said = reported("repeats", &format!("{times} × {}", report.repeated));
    Some(Assessment {
        evidence: vec![said],
        ..Assessment::new("repeats", Verdict::Looping, sentence)
    })
}

/// Output that ends in the same action or failure, three times or more. A plain line is only a sign of life.
pub(in crate::verdict) fn repeated(sample: &Sample) -> Option<&Output> {
    let acts = |o: &&Output| is_call(o) || names(o, &FAILURES);
    sample.outputs.iter().find(|o| o.repeats >= 3 && acts(o))
}

/// Whether it is the call of a tool.
pub(in crate::verdict) fn is_call(output: &Output) -> bool {
    names(output, &CALLS)
}

fn names(output: &Output, words: &[&str]) -> bool {
    let line = output.last.to_lowercase();
    words.iter().any(|word| line.contains(word))
}

/// The output says the same again and again.
pub(in crate::verdict) fn repeated_line(output: &Output) -> Assessment {
    let sentence = format!("repeats itself without effect: {}", output.last);
    let seen = observed(
        "output.repeats",
        format!("{} × {}", output.repeats, output.last),
    );
    Assessment {
        evidence: vec![seen],
        ..Assessment::new("repeats", Verdict::Looping, sentence)
    }
}
