//! The one word that a person reads of an agent: its state when that is not healthy, else its verdict. Page, terminal and
//! messages use the same words, glyphs and ranks; the API keeps the codes.

use crate::base::duration::format_duration;
use crate::base::foreign;
use crate::fleet::ladder::exchange::RungOutcome;
use crate::wire::beat::Verdict;
use crate::wire::incident::{GateKind, Rung};
use crate::wire::life::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Hosts that a sentence about gates names.
const HOSTS_NAMED: usize = 3;

/// The shown word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Failed, and a person is needed.
    Failed,
    /// Proof that it cannot go on, and hb does not act on it.
    Hung,
    /// Two living agents use the id.
    Duplicate,
    /// Work is owed and nothing moves.
    Stalled,
    /// Uses processor time without effect.
    Spinning,
    /// The same action again and again.
    Looping,
    /// Blocked on a person.
    WaitingInput,
    /// Held from outside, for longer than a moment.
    Paused,
    /// Failed, and hb is bringing it back.
    Returning,
    /// One beat is late.
    Missing,
    /// Held from outside since a moment ago.
    Held,
    /// What it does cannot be seen.
    Unknown,
    /// Not ready yet.
    Starting,
    /// Progress was seen.
    Working,
    /// A model owes an answer.
    WaitingModel,
    /// Its beats come; nothing reports what it does.
    Healthy,
    /// A timer.
    Sleeping,
    /// No work is owed.
    Idle,
    /// Ended as intended.
    Stopped,
}

/// How urgent a word is: what a list is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Only a person helps.
    NeedsYou,
    /// hb is looking after it.
    OnIt,
    /// Nothing is known.
    Unknown,
    /// At work.
    AtWork,
    /// At rest.
    AtRest,
    /// Stopped.
    Stopped,
}

/// The colour of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It works.
    Ok,
    /// It waits for something that comes by itself.
    Wait,
    /// It waits for a person.
    You,
    /// Something is odd.
    Warn,
    /// It failed.
    Bad,
    /// Nothing to see.
    Off,
}

impl Word {
    /// All words, in the order of the counts on the page.
    pub const ALL: [Self; 19] = [
        Self::Working,
        Self::WaitingModel,
        Self::Healthy,
        Self::WaitingInput,
        Self::Stalled,
        Self::Spinning,
        Self::Looping,
        Self::Hung,
        Self::Duplicate,
        Self::Paused,
        Self::Held,
        Self::Unknown,
        Self::Starting,
        Self::Sleeping,
        Self::Idle,
        Self::Missing,
        Self::Failed,
        Self::Returning,
        Self::Stopped,
    ];

    /// The word of a verdict of an agent whose beats come.
    pub fn of_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Starting => Self::Starting,
            Verdict::Working => Self::Working,
            Verdict::WaitingModel => Self::WaitingModel,
            Verdict::WaitingInput => Self::WaitingInput,
            Verdict::Sleeping => Self::Sleeping,
            Verdict::Idle => Self::Idle,
            Verdict::Paused => Self::Paused,
            Verdict::Stalled => Self::Stalled,
            Verdict::Spinning => Self::Spinning,
            Verdict::Looping => Self::Looping,
            Verdict::Hung => Self::Hung,
            Verdict::Unknown => Self::Unknown,
        }
    }

    /// As a person reads it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Failed | Self::Returning => "failed",
            Self::Hung => "hung",
            Self::Duplicate => "duplicate",
            Self::Stalled => "stalled",
            Self::Spinning => "spinning",
            Self::Looping => "looping",
            Self::WaitingInput => "waiting for you",
            Self::Paused | Self::Held => "paused",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Working => "working",
            Self::WaitingModel => "waiting for model",
            Self::Healthy => "healthy",
            Self::Sleeping => "sleeping",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
        }
    }

    /// A character of Unicode, and one of ASCII.
    pub fn glyph(self) -> (char, char) {
        match self {
            Self::Failed | Self::Hung => ('✖', 'X'),
            Self::Returning => ('↻', 'R'),
            Self::Missing => ('◌', ':'),
            Self::Stalled | Self::Spinning | Self::Looping | Self::Duplicate => ('▲', '!'),
            Self::WaitingInput => ('◆', '@'),
            Self::Paused | Self::Held => ('‖', '='),
            Self::Unknown => ('?', '?'),
            Self::Starting => ('◐', '+'),
            Self::Working | Self::Healthy => ('●', '*'),
            Self::WaitingModel => ('◔', '~'),
            Self::Sleeping => ('☾', 'z'),
            Self::Idle => ('○', 'o'),
            Self::Stopped => ('■', '-'),
        }
    }

    /// Its colour.
    pub fn tone(self) -> Tone {
        match self {
            Self::Failed | Self::Returning | Self::Hung => Tone::Bad,
            Self::Missing
            | Self::Stalled
            | Self::Spinning
            | Self::Looping
            | Self::Duplicate
            | Self::Paused
            | Self::Held => Tone::Warn,
            Self::WaitingInput => Tone::You,
            Self::Working | Self::Healthy => Tone::Ok,
            Self::Starting | Self::WaitingModel | Self::Sleeping => Tone::Wait,
            Self::Unknown | Self::Idle | Self::Stopped => Tone::Off,
        }
    }

    /// How urgent it is, unless hb is going to do something about it.
    pub fn rank(self) -> Rank {
        match self {
            Self::Failed
            | Self::Hung
            | Self::Duplicate
            | Self::Stalled
            | Self::Spinning
            | Self::Looping
            | Self::WaitingInput
            | Self::Paused => Rank::NeedsYou,
            Self::Returning | Self::Missing => Rank::OnIt,
            Self::Held | Self::Unknown => Rank::Unknown,
            Self::Starting | Self::Working | Self::WaitingModel | Self::Healthy => Rank::AtWork,
            Self::Sleeping | Self::Idle => Rank::AtRest,
            Self::Stopped => Rank::Stopped,
        }
    }

    /// Whether it is a suspicion, and no proof.
    pub fn is_suspicion(self) -> bool {
        matches!(self, Self::Stalled | Self::Spinning | Self::Looping)
    }

    /// What an agent of this word does, in the sentence that names those who need a person.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Failed => "has failed",
            Self::Returning => "is being brought back",
            Self::Hung => "hung",
            Self::Duplicate => "exists twice",
            Self::Stalled => "is stalled",
            Self::Spinning => "is spinning",
            Self::Looping => "is looping",
            Self::WaitingInput => "waits for you",
            Self::Paused | Self::Held => "is paused",
            Self::Missing => "is missing",
            Self::Unknown => "cannot be seen",
            Self::Starting => "is starting",
            Self::Working => "is working",
            Self::WaitingModel => "waits for its model",
            Self::Healthy => "is healthy",
            Self::Sleeping => "sleeps",
            Self::Idle => "is idle",
            Self::Stopped => "is stopped",
        }
    }
}

impl Rank {
    /// Whether the longest in its state comes first; else the order is by name, so that a flip between two verdicts moves
    /// nothing.
    pub fn is_by_age(self) -> bool {
        match self {
            Self::NeedsYou | Self::OnIt => true,
            Self::Unknown | Self::AtWork | Self::AtRest | Self::Stopped => false,
        }
    }
}

impl Tone {
    /// The class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ok => "s-ok",
            Self::Wait => "s-wait",
            Self::You => "s-you",
            Self::Warn => "s-warn",
            Self::Bad => "s-bad",
            Self::Off => "s-off",
        }
    }
}

/// What became of a rung that ended then, Unix milliseconds: `no fresh beat came within 1 min 24 s`.
pub fn rung_text(rung: &Rung, ended_at: u64) -> String {
    let outcome = rung.outcome.as_deref();
    let outcome = outcome.unwrap_or(RungOutcome::Unknown.as_str());
    let took = Duration::from_millis(ended_at.saturating_sub(rung.started_at));
    let took = format_duration(took);
    let known = [
        (RungOutcome::Recovered, format!("it is back after {took}")),
        (RungOutcome::Failed, format!("did not help after {took}")),
        (RungOutcome::NotApplicable, "cannot act on it".to_owned()),
        (
            RungOutcome::NoBeat,
            format!("no fresh beat came within {took}"),
        ),
        (RungOutcome::Unknown, "outcome not known".to_owned()),
    ];
    let mut known = known.into_iter();
    let text = known.find(|(known, _)| known.as_str() == outcome);
    text.map_or_else(|| foreign::visible(outcome).into_owned(), |(_, text)| text)
}

/// A reason as a person reads it.
pub fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::HeartbeatLost => "no heartbeat",
        Reason::Exited => "exited",
        Reason::Killed => "killed",
        Reason::OomKilled => "killed for memory",
        Reason::Hung => "hung",
        Reason::CrashLoop => "crash loop",
        Reason::Duplicate => "two agents use this id",
        Reason::Fenced => "replaced by a newer run",
        Reason::Operator => "stopped by a person",
        Reason::Unkillable => "cannot be killed",
        Reason::Unknown => "a newer reason",
    }
}

/// A gate as a person reads it, in short.
pub fn gate_text(gate: GateKind) -> &'static str {
    match gate {
        GateKind::Tilt => "TILT",
        GateKind::Blind => "BLIND",
        GateKind::Storm => "STORM",
        GateKind::MassCrash => "MASS CRASH",
        GateKind::Silenced => "SILENCED",
        GateKind::Paused => "PAUSED",
        GateKind::Unknown => "a newer gate",
    }
}

/// The code of a filter: `waiting_input` as it is, `waiting-for-you` and `waiting for you` as `waiting_input`.
pub fn code(text: &str) -> String {
    let plain = text.trim().to_lowercase().replace(['-', ' '], "_");
    match plain.as_str() {
        "waiting_for_you" => "waiting_input".to_owned(),
        "waiting_for_model" => "waiting_model".to_owned(),
        _ => plain,
    }
}

/// Where gates of one kind are closed beside the one that is shown: `Also on node-1, node-2 and 498 more hosts.`; empty for none.
pub fn also_on(hosts: &[String]) -> String {
    let named = hosts
        .iter()
        .take(HOSTS_NAMED)
        .map(|host| foreign::visible(host));
    let named: Vec<_> = named.collect();
    let rest = hosts.len() - named.len();
    match (named.as_slice(), rest) {
        ([], _) => String::new(),
        (all, 0) => format!("Also on {}.", all.join(", ")),
        (all, rest) => format!("Also on {} and {rest} more hosts.", all.join(", ")),
    }
}

/// The verdict that a filter names, by its code or its shown word; `None` when it names none.
pub fn verdict(text: &str) -> Option<Verdict> {
    let code = code(text);
    let known: Option<Verdict> = serde_json::from_value(code.as_str().into()).ok();
    known.filter(|verdict| crate::wire::word(verdict) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_is_counted_once() {
        let all: BTreeSet<Word> = Word::ALL.into_iter().collect();
        assert_eq!(all.len(), Word::ALL.len());
    }

    #[test]
    fn many_hosts_are_named_in_one_short_sentence() {
        let hosts: Vec<String> = (1..=501).map(|n| format!("node-{n}")).collect();
        assert_eq!(also_on(&[]), "");
        assert_eq!(also_on(&hosts[..2]), "Also on node-1, node-2.");
        assert_eq!(
            also_on(&hosts),
            "Also on node-1, node-2, node-3 and 498 more hosts."
        );
    }

    #[test]
    fn a_filter_names_a_verdict_or_none() {
        assert_eq!(verdict("waiting-for-you"), Some(Verdict::WaitingInput));
        assert_eq!(verdict("unknown"), Some(Verdict::Unknown));
        assert_eq!((verdict("stuck"), verdict("")), (None, None));
    }

    #[test]
    fn a_filter_takes_the_code_and_the_shown_word() {
        for text in ["waiting_input", "waiting-for-you", "Waiting for you"] {
            assert_eq!(code(text), "waiting_input");
        }
        assert_eq!(code("failed"), "failed");
    }
}
