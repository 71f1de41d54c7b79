//! The judgement: what the agent is doing, by which rule, how sure that is, and which finding outranks another.

use crate::base::moment::Moment;
use crate::verdict::finding::Fix;
use crate::verdict::rule::RuleId;
use crate::wire::activity::{Confidence, Evidence, Verdict, VerdictClass};

/// What the agent is doing, with the reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided.
    pub cause: RuleId,
    /// Since when the verdict holds.
    pub since: Moment,
    /// How sure it is.
    pub confidence: Confidence,
    /// For people.
    pub sentence: String,
    /// The reasons, the most significant first; at most [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    /// What can be done about it on this machine.
    pub fix: Fix,
    /// When a sleeping agent wakes by itself.
    pub until: Option<Moment>,
}

/// The most pieces of evidence that a judgement carries.
pub const EVIDENCE_MAX: usize = 6;

/// Which finding is published when several hold, lowest first. A proof outranks all. A person's turn outranks a suspicion: an
/// agent that waits for a person is never called stalled.
pub(super) fn rank(verdict: Verdict) -> u8 {
    match verdict.class() {
        VerdictClass::Proof => 0,
        VerdictClass::Person => 1,
        VerdictClass::Suspicion
        | VerdictClass::Progress
        | VerdictClass::Waiting
        | VerdictClass::Undecided => 2,
    }
}
