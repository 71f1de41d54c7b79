//! An assessment: the outcome of evaluating one input, before it is timestamped and published as a judgement.

use crate::base::moment::Moment;
use crate::verdict::finding::{Finding, FindingId, Fix, observed};
use crate::verdict::judgement::EVIDENCE_MAX;
use crate::verdict::rule::RuleId;
use crate::verdict::sample::{Process, RunState, Sample, Subject};
use crate::wire::activity::{Evidence, Verdict, VerdictClass};

/// What is to be published, without its time.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    /// What makes it another one than the last.
    pub(super) id: FindingId,
    pub(super) verdict: Verdict,
    pub(super) sentence: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) fix: Fix,
    pub(super) until: Option<Moment>,
}

impl Assessment {
    /// About the whole tree.
    pub(super) fn new(rule: RuleId, sentence: String) -> Self {
        Self {
            id: FindingId {
                rule,
                subject: Subject::Tree,
                object: 0,
            },
            verdict: rule.rule().verdict,
            sentence,
            evidence: Vec::new(),
            fix: Fix::None,
            until: None,
        }
    }

    /// Starting, unless the agent waits or is stuck: start-up explains work, nothing to do, and nothing readable.
    pub(super) fn of_one_that_starts(self) -> Self {
        let explained = match self.verdict.class() {
            VerdictClass::Progress => true,
            VerdictClass::Waiting => self.verdict == Verdict::Idle,
            VerdictClass::Undecided => self.verdict == Verdict::Unknown,
            VerdictClass::Person | VerdictClass::Suspicion | VerdictClass::Proof => false,
        };
        if !explained {
            return self;
        }
        let sentence = "starting: has not reported that it is ready".to_owned();
        Self {
            evidence: self.evidence,
            ..Self::new(RuleId::Starting, sentence)
        }
    }

    /// Its evidence as it is published: cut to its length, with the remedy that is offered, and the notes beside any verdict.
    pub(super) fn evidence_beside(&self, notes: &[Evidence]) -> Vec<Evidence> {
        let offered = self.verdict.is_flag() && self.fix.is_offered();
        let mut evidence = self.evidence.clone();
        evidence.truncate(EVIDENCE_MAX - notes.len() - usize::from(offered));
        if offered {
            let value = format!("the order `unblock` would {}", self.fix.describe());
            evidence.push(observed("remedy", value));
        }
        evidence.extend(notes.iter().cloned());
        evidence
    }

    pub(super) fn working(sentence: String, evidence: Vec<Evidence>) -> Self {
        Self {
            evidence,
            ..Self::new(RuleId::Progress, sentence)
        }
    }
}

impl From<Finding> for Assessment {
    fn from(finding: Finding) -> Self {
        Self {
            id: finding.id,
            verdict: finding.verdict,
            sentence: finding.sentence,
            evidence: finding.evidence,
            fix: finding.fix,
            until: None,
        }
    }
}

/// Held by a debugger, or in a frozen control group: nothing else about the tree is meaningful then.
///
/// A tracer lets its process run most of the time, as `strace` does: only one that stands still is held. `still` tells which
/// do; a tracer that belongs to the tree is one of its programs and holds no more than itself.
pub(super) fn paused(sample: &Sample, still: impl Fn(&Process) -> bool) -> Option<Assessment> {
    let inside = |p: &Process| p.tracer.is_some_and(|pid| sample.process(pid).is_some());
    let traced =
        |p: &&Process| p.state == RunState::Traced && p.tracer.is_some() && !inside(p) && still(p);
    let (rule, signal, sentence) = if let Some(process) = sample.processes.iter().find(traced) {
        let by = process
            .tracer
            .map(|pid| format!(" (process {pid})"))
            .unwrap_or_default();
        let sentence = format!("a debugger{by} holds {}", process.title());
        (RuleId::Debugger, "process.tracer", sentence)
    } else {
        let process = sample.processes.iter().find(|p| p.frozen)?;
        let sentence = format!("the control group of {} is frozen", process.title());
        (RuleId::Frozen, "cgroup.freeze", sentence)
    };
    Some(Assessment {
        evidence: vec![observed(signal, sentence.clone())],
        ..Assessment::new(rule, sentence)
    })
}

/// The root cannot be sampled.
pub(super) fn unseen(sample: &Sample) -> Assessment {
    let why = sample
        .gaps
        .first()
        .map_or("it has ended", |gap| gap.why.describe());
    let sentence = format!("process {} cannot be sampled: {why}", sample.root);
    Assessment::new(RuleId::Unseen, sentence)
}
