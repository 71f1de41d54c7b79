//! Agents that move without getting anywhere: they burn, or do the same again and again.

use super::draft::{Draft, reported};
use super::finding::observed;
use super::limits;
use super::word::Word;
use crate::agent::words;
use crate::beat::Verdict;
use crate::evidence::{Output, Process, Sample};
use crate::moment::Moment;
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
pub(super) fn burning(root: &Process, share: f64, burnt: Duration, over: bool) -> Draft {
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
            words(burnt)
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

/// The agent reported the same action again and again.
pub(super) fn repeated_word(word: &Word, now: Moment) -> Option<Draft> {
    if word.repeats < limits::REPEATS || word.asks_patience(now).is_some() {
        return None;
    }
    let sentence = format!(
        "did the same thing {} times in a row: {}",
        word.repeats, word.repeated
    );
    let said = reported("repeats", &format!("{} × {}", word.repeats, word.repeated));
    Some(Draft {
        evidence: vec![said],
        ..Draft::new("repeats", Verdict::Looping, sentence)
    })
}

/// Output that ends in a call of a tool, three times or more.
pub(super) fn repeated_call(sample: &Sample) -> Option<&Output> {
    let calls = |line: &str| CALLS.iter().any(|word| line.contains(word));
    let repeats = |o: &&Output| o.repeats >= 3 && calls(&o.last.to_lowercase());
    sample.outputs.iter().find(repeats)
}

/// The output says the same again and again, and it is an action or a failure. A plain line is only a sign of life.
pub(super) fn repeated_line(output: &Output) -> Option<Draft> {
    let line = output.last.to_lowercase();
    let acts = FAILURES
        .iter()
        .chain(&CALLS)
        .any(|word| line.contains(word));
    let sentence = format!("repeats itself without effect: {}", output.last);
    let seen = observed(
        "output.repeats",
        format!("{} × {}", output.repeats, output.last),
    );
    acts.then(|| Draft {
        evidence: vec![seen],
        ..Draft::new("repeats", Verdict::Looping, sentence)
    })
}
