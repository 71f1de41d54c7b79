//! The outcome: what the agent is doing, how sure that is, and which verdict weighs more.

use crate::base::moment::Moment;
use crate::verdict::finding::{Confidence, Fix};
use crate::wire::beat::{Evidence, Verdict};

/// What the agent is doing, with the reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// One of the verdicts.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// How sure.
    pub confidence: Confidence,
    /// For people.
    pub sentence: String,
    /// Why, the most telling first; at most [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    /// What can be done about it here.
    pub fix: Fix,
    /// When a sleeper wakes by itself.
    pub until: Option<Moment>,
}

/// Pieces of evidence a judgement carries.
pub const EVIDENCE_MAX: usize = 6;

/// Whether the verdict needs somebody's attention: these are the flags.
pub fn is_flag(verdict: Verdict) -> bool {
    confidence(verdict) != Confidence::None
}

pub(super) fn confidence(verdict: Verdict) -> Confidence {
    match verdict {
        Verdict::Hung => Confidence::Proof,
        Verdict::Stalled | Verdict::Spinning | Verdict::Looping => Confidence::Suspicion,
        Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::WaitingInput
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Unknown => Confidence::None,
    }
}

/// Proof first, then a person's turn: who waits for a person is never called stalled.
pub(super) fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Hung => 0,
        Verdict::WaitingInput => 1,
        Verdict::Stalled
        | Verdict::Spinning
        | Verdict::Looping
        | Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Unknown => 2,
    }
}
