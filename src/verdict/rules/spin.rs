//! Agents that move without getting anywhere: they burn, or do the same again and again.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::assessment::{Draft, reported};
use crate::verdict::finding::observed;
use crate::verdict::sample::{Output, Process, Sample};
use crate::verdict::self_report::Word;
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

/// Burns processor time in its first thread.
pub(in crate::verdict) fn burning(
    root: &Process,
    share: f64,
    burnt: Duration,
    over: bool,
) -> Draft {
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
        Draft {
            evidence,
            ..Draft::new("spinning", Verdict::Spinning, sentence)
        }
    } else {
        let sentence = format!("{} computes", root.title());
        Draft {
            evidence,
            ..Draft::new("working", Verdict::Working, sentence)
        }
    }
}

/// The agent reported the same action so many times in a row.
pub(in crate::verdict) fn repeated_word(word: &Word, times: u32, now: Moment) -> Option<Draft> {
    if times < thresholds::REPEATS || word.asks_patience(now).is_some() {
        return None;
    }
    let sentence = format!(
        "did the same thing {times} times in a row: {}",
        word.repeated
    );
    let said = reported("repeats", &format!("{times} × {}", word.repeated));
    Some(Draft {
        evidence: vec![said],
        ..Draft::new("repeats", Verdict::Looping, sentence)
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
pub(in crate::verdict) fn repeated_line(output: &Output) -> Draft {
    let sentence = format!("repeats itself without effect: {}", output.last);
    let seen = observed(
        "output.repeats",
        format!("{} × {}", output.repeats, output.last),
    );
    Draft {
        evidence: vec![seen],
        ..Draft::new("repeats", Verdict::Looping, sentence)
    }
}
