//! What an agent is doing, as a beat carries it: verdict, cause, confidence, sentence and evidence.
//!
//! Every list of verdicts that decides something is derived from [`Verdict::class`]. Decoding is lenient where a newer
//! sidecar may know more: an unknown verdict is `unknown`, an unreadable cause or confidence is left out, and nothing else
//! of the beat is lost.

use crate::base::number;
use crate::wire::lenient;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// What an agent is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// One of the verdicts.
    #[serde(deserialize_with = "lenient::or_default")]
    pub verdict: Verdict,
    /// Unix milliseconds of the sender.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub since: u64,
    /// The rule that decided; none from a sidecar that does not report it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub cause: Option<Cause>,
    /// How sure the verdict is; none from a sidecar that does not report it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub confidence: Option<Confidence>,
    /// For people.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "lenient::or_default"
    )]
    pub sentence: String,
    /// The reasons.
    #[serde(default, deserialize_with = "lenient::list")]
    pub evidence: Vec<Evidence>,
}

/// Working or stuck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not ready yet.
    Starting,
    /// Progress was reported or observed.
    Working,
    /// A peer that is alive has not answered yet, and is within its budget.
    WaitingModel,
    /// Blocked on a person.
    WaitingInput,
    /// A timer whose deadline is known.
    Sleeping,
    /// No work owed.
    Idle,
    /// Held by a debugger or in a frozen control group.
    Paused,
    /// Work is owed and nothing moves; no proof.
    Stalled,
    /// Uses processor time without effect.
    Spinning,
    /// The same action again and again.
    Looping,
    /// Proof that it cannot go on by itself.
    Hung,
    /// The evidence is unreadable, or this version does not know the verdict.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a verdict amounts to. Everything that is decided by verdict is decided by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictClass {
    /// Work moves.
    Progress,
    /// A harmless wait, or nothing to do.
    Waiting,
    /// A person must answer.
    Person,
    /// Probably stuck: alert.
    Suspicion,
    /// Provably stuck: recovery may act.
    Proof,
    /// Nothing is claimed: starting, paused from outside, or unreadable.
    Undecided,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It follows from what was observed.
    Proof,
    /// It is likely.
    Suspicion,
    /// Nothing is claimed.
    None,
}

/// The stable name of the rule that decided: kebab-case, at most [`CAUSE_CHARS_MAX`] characters. The name of a
/// rule that only a newer version knows passes through unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cause(Cow<'static, str>);

/// The longest name of a cause, in characters.
pub const CAUSE_CHARS_MAX: usize = 40;

/// One reason for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was sampled or reported.
    pub signal: String,
    /// What it showed.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a piece of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// From the agent's own status lines.
    Reported,
    /// From samples of its process tree. Also what a source of a newer version counts as.
    #[serde(other)]
    Observed,
}

impl Verdict {
    /// Each of them.
    pub const ALL: [Self; 12] = [
        Self::Starting,
        Self::Working,
        Self::WaitingModel,
        Self::WaitingInput,
        Self::Sleeping,
        Self::Idle,
        Self::Paused,
        Self::Stalled,
        Self::Spinning,
        Self::Looping,
        Self::Hung,
        Self::Unknown,
    ];

    /// What the verdict amounts to.
    pub fn class(self) -> VerdictClass {
        match self {
            Self::Working => VerdictClass::Progress,
            Self::WaitingModel | Self::Sleeping | Self::Idle => VerdictClass::Waiting,
            Self::WaitingInput => VerdictClass::Person,
            Self::Stalled | Self::Spinning | Self::Looping => VerdictClass::Suspicion,
            Self::Hung => VerdictClass::Proof,
            Self::Starting | Self::Paused | Self::Unknown => VerdictClass::Undecided,
        }
    }

    /// How sure a verdict of this class is.
    pub fn confidence(self) -> Confidence {
        match self.class() {
            VerdictClass::Proof => Confidence::Proof,
            VerdictClass::Suspicion => Confidence::Suspicion,
            VerdictClass::Progress
            | VerdictClass::Waiting
            | VerdictClass::Person
            | VerdictClass::Undecided => Confidence::None,
        }
    }

    /// Whether the verdict is a flag: a suspicion or a proof.
    pub fn is_flag(self) -> bool {
        self.confidence() != Confidence::None
    }
}

impl Confidence {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Suspicion => "suspicion",
            Self::None => "none",
        }
    }
}

impl Cause {
    /// A cause whose name is known when the program is built. The caller guarantees kebab-case.
    pub const fn known(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A name from outside; none when it is not kebab-case or too long.
    pub fn parse(name: &str) -> Option<Self> {
        is_cause(name).then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is a name of a cause.
pub(crate) fn is_cause(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= CAUSE_CHARS_MAX && name.bytes().all(fits)
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom("a cause is a kebab-case name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(more: &str) -> Activity {
        serde_json::from_str(&format!(r#"{{"verdict":"hung","since":1{more}}}"#)).unwrap()
    }

    #[test]
    fn a_verdict_of_a_newer_version_is_unknown() {
        let activity: Activity =
            serde_json::from_str(r#"{"verdict":"dreaming","since":1}"#).unwrap();
        assert_eq!(activity.verdict, Verdict::Unknown);
    }

    #[test]
    fn a_piece_of_evidence_that_is_unreadable_costs_itself() {
        let read = activity(
            r#","evidence":[1,{"signal":"s","value":7},{"signal":"s","value":"v","source":"observed"}]"#,
        );
        assert_eq!((read.verdict, read.evidence.len()), (Verdict::Hung, 1));
    }

    #[test]
    fn cause_and_confidence_are_optional() {
        let old = activity("");
        assert_eq!((&old.cause, old.confidence), (&None, None));
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(text, r#"{"verdict":"hung","since":1,"evidence":[]}"#);
        let new = activity(r#","cause":"mutex-ring","confidence":"proof""#);
        assert_eq!(new.cause, Some(Cause::known("mutex-ring")));
        assert_eq!(new.confidence, Some(Confidence::Proof));
    }

    #[test]
    fn an_unknown_cause_passes_through_and_an_unreadable_one_loses_nothing_else() {
        let newer = activity(r#","cause":"rule-of-tomorrow","confidence":"certainty""#);
        assert_eq!(
            newer.cause.as_ref().map(Cause::as_str),
            Some("rule-of-tomorrow")
        );
        assert_eq!((newer.verdict, newer.confidence), (Verdict::Hung, None));
        let long = format!(r#","cause":"{}""#, "x".repeat(CAUSE_CHARS_MAX + 1));
        for odd in [
            r#","cause":7,"confidence":null"#,
            r#","cause":"Not A Name","confidence":{}"#,
            r#","cause":["a"],"sentence":"s""#,
            &long,
        ] {
            let odd = activity(odd);
            assert_eq!((odd.verdict, &odd.cause), (Verdict::Hung, &None));
        }
    }
}
