//! A verdict on the way to become the judgement.

use crate::base::moment::Moment;
use crate::verdict::finding::{Finding, Fix, observed};
use crate::verdict::sample::{Process, RunState, Sample};
use crate::wire::beat::{Evidence, Source, Verdict};

/// What will be judged, without its time.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    pub(super) key: String,
    pub(super) verdict: Verdict,
    pub(super) sentence: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) fix: Fix,
    pub(super) until: Option<Moment>,
}

impl Assessment {
    pub(super) fn new(key: &str, verdict: Verdict, sentence: String) -> Self {
        Self {
            key: key.to_owned(),
            verdict,
            sentence,
            evidence: Vec::new(),
            fix: Fix::None,
            until: None,
        }
    }

    pub(super) fn working(sentence: String, evidence: Vec<Evidence>) -> Self {
        Self {
            evidence,
            ..Self::new("working", Verdict::Working, sentence)
        }
    }
}

impl From<Finding> for Assessment {
    fn from(finding: Finding) -> Self {
        Self {
            key: finding.key,
            verdict: finding.verdict,
            sentence: finding.sentence,
            evidence: finding.evidence,
            fix: finding.fix,
            until: None,
        }
    }
}

/// A debugger holds it, or its control group is frozen: then nothing else about it means anything.
pub(super) fn paused(sample: &Sample) -> Option<Assessment> {
    let traced = |p: &&Process| p.state == RunState::Traced || p.tracer.is_some();
    let found = if let Some(process) = sample.processes.iter().find(traced) {
        let by = process
            .tracer
            .map(|pid| format!(" (process {pid})"))
            .unwrap_or_default();
        let sentence = format!("a debugger{by} holds {}", process.title());
        let seen = observed("process.tracer", sentence.clone());
        (sentence, seen)
    } else {
        let process = sample.processes.iter().find(|p| p.frozen)?;
        let sentence = format!("the control group of {} is frozen", process.title());
        (sentence.clone(), observed("cgroup.freeze", sentence))
    };
    let (sentence, seen) = found;
    Some(Assessment {
        evidence: vec![seen],
        ..Assessment::new("paused", Verdict::Paused, sentence)
    })
}

/// The root cannot be seen.
pub(super) fn unseen(sample: &Sample) -> Assessment {
    let why = sample
        .gaps
        .first()
        .map_or("it is gone", |gap| gap.why.describe());
    let sentence = format!("process {} cannot be seen: {why}", sample.root);
    Assessment::new("unseen", Verdict::Unknown, sentence)
}

/// Evidence in the agent's own words.
pub(super) fn reported(signal: &str, value: &str) -> Evidence {
    Evidence {
        signal: signal.to_owned(),
        value: value.to_owned(),
        source: Source::Reported,
    }
}
