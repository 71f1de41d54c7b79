//! What a row's beats are worth: found or missed, in time, for the right reason; or a flag where none may be.

use crate::table::{Check, Row};
use heartbeat::wire::beat::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// One beat's activity as the harness received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Seconds since the mark; negative before it.
    pub(crate) at: f64,
    pub(crate) verdict: Verdict,
    /// The rule that found it, where the sidecar reports one.
    pub(crate) cause: Option<Arc<str>>,
    /// The whole of `hb.activity`, in small letters.
    pub(crate) text: Arc<str>,
    /// Its evidence, for people.
    pub(crate) shown: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The right verdict with the evidence it must quote.
    Found,
    /// No flag, as it must be.
    Quiet,
    /// No flag, but mostly a verdict that it must not have.
    Other,
    /// Not found within its time.
    Missed,
    /// Missed as known_misses.txt has it.
    KnownMiss,
    /// Found although known_misses.txt has it as missed.
    FoundAtLast,
    /// Missed, or quiet with another verdict, where that is only listed.
    Listed,
    /// The right verdict without the evidence it must quote, or by another rule.
    WrongReason,
    /// Flagged before there was anything to see.
    Early,
    /// A flag that may never be.
    FalseFlag,
    /// No verdict was ever sent.
    NoVerdict,
    /// The row itself could not be run.
    Broken,
}

/// What a miss of a row means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// It fails.
    Fails,
    /// known_misses.txt has it: finding it fails, until its line is removed.
    Known,
    /// It is listed: real agents change with each of their releases.
    Listed,
}

#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) outcome: Outcome,
    pub(crate) got: String,
    pub(crate) evidence: String,
    pub(crate) at: Option<f64>,
}

impl Score {
    pub(crate) fn of(outcome: Outcome, got: impl Into<String>) -> Self {
        Self {
            outcome,
            got: got.into(),
            evidence: String::new(),
            at: None,
        }
    }

    /// The same score where a miss means this.
    pub(crate) fn against(mut self, miss: Miss) -> Self {
        self.outcome = match (miss, self.outcome) {
            (Miss::Known, Outcome::Missed | Outcome::WrongReason) => Outcome::KnownMiss,
            (Miss::Known, Outcome::Found) => Outcome::FoundAtLast,
            (Miss::Listed, Outcome::Missed | Outcome::Other) => Outcome::Listed,
            (Miss::Fails | Miss::Known | Miss::Listed, outcome) => outcome,
        };
        self
    }

    /// Whether the zoo fails by it.
    pub(crate) fn fails(&self) -> bool {
        match self.outcome {
            Outcome::Found | Outcome::Quiet | Outcome::KnownMiss | Outcome::Listed => false,
            Outcome::Missed
            | Outcome::FoundAtLast
            | Outcome::Other
            | Outcome::WrongReason
            | Outcome::Early
            | Outcome::FalseFlag
            | Outcome::NoVerdict
            | Outcome::Broken => true,
        }
    }
}

/// Evaluates the beats so far. `over`: the row's time is up. None: wait on.
pub(crate) fn score(
    row: &Row,
    evidence: &[String],
    received: &[Received],
    due: Duration,
    over: bool,
) -> Option<Score> {
    let alarm = received.iter().find(|beat| is_false_flag(row, beat));
    if let Some(beat) = alarm {
        let early = row.sick() && beat.at < 0.0;
        return Some(scored(
            if early {
                Outcome::Early
            } else {
                Outcome::FalseFlag
            },
            beat,
        ));
    }
    let right = |beat: &&Received| row.expect.is_empty() || row.expect.contains(&beat.verdict);
    let proved = |beat: &&Received| {
        let quoted = evidence.iter().all(|words| quotes(&beat.text, words));
        quoted && caused(row, beat)
    };
    if row.sick() {
        let in_time = |beat: &&Received| beat.at >= 0.0 && beat.at <= due.as_secs_f64();
        if let Some(beat) = received.iter().filter(in_time).filter(right).find(proved) {
            return Some(scored(Outcome::Found, beat));
        }
    }
    let last = match received.last() {
        None => return over.then(|| Score::of(Outcome::NoVerdict, "no verdict")),
        Some(last) => over.then_some(last)?,
    };
    let first_right = received.iter().filter(|beat| beat.at >= 0.0).find(right);
    Some(match (row.sick(), first_right) {
        (true, Some(beat)) if !row.expect.is_empty() && !proved(&beat) => {
            scored(Outcome::WrongReason, beat)
        }
        (true, _) => scored(Outcome::Missed, loudest(received).unwrap_or(last)),
        (false, _) => {
            let beat = longest(received).unwrap_or(last);
            let outcome = match row.expect.is_empty() || row.expect.contains(&beat.verdict) {
                true => Outcome::Quiet,
                false => Outcome::Other,
            };
            Score {
                at: Some(last.at),
                ..scored(outcome, beat)
            }
        }
    })
}

/// Of the verdict that most beats after the mark carry: beats come in equal intervals.
fn longest(received: &[Received]) -> Option<&Received> {
    let after = || received.iter().filter(|beat| beat.at >= 0.0);
    let beats = |verdict| after().filter(|beat| beat.verdict == verdict).count();
    after().rev().max_by_key(|beat| beats(beat.verdict))
}

/// Whether the row's rule found it; true where the row or the sidecar names none.
fn caused(row: &Row, beat: &Received) -> bool {
    let cause = row.cause.as_ref().zip(beat.cause.as_ref());
    cause.is_none_or(|(wanted, cause)| **wanted == **cause)
}

/// `stalled spinning looping hung`: a person is alerted, or the agent is restarted.
pub(crate) fn flags(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Stalled | Verdict::Spinning | Verdict::Looping | Verdict::Hung => true,
        Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::WaitingInput
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Unknown => false,
    }
}

/// In small letters, as it stands in a beat.
pub(crate) fn word(verdict: Verdict) -> String {
    let quoted = serde_json::to_string(&verdict).unwrap_or_default();
    quoted.trim_matches('"').to_owned()
}

fn is_false_flag(row: &Row, beat: &Received) -> bool {
    let expected = row.expect.contains(&beat.verdict);
    if row.sick() {
        // Before the mark nothing is wrong yet. Who waits for a person must not be restarted.
        let waits = row.expect == [Verdict::WaitingInput] && beat.verdict == Verdict::Hung;
        return waits || (beat.at < 0.0 && flags(beat.verdict) && row.check == Check::Verdict);
    }
    !expected && (flags(beat.verdict) || beat.verdict == Verdict::WaitingInput)
}

fn quotes(text: &str, words: &str) -> bool {
    words
        .split('|')
        .any(|word| text.contains(&word.to_lowercase()))
}

fn loudest(received: &[Received]) -> Option<&Received> {
    received.iter().rev().find(|beat| flags(beat.verdict))
}

fn scored(outcome: Outcome, beat: &Received) -> Score {
    Score {
        outcome,
        got: word(beat.verdict),
        evidence: beat.shown.to_string(),
        at: Some(beat.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Duration = Duration::from_secs(5);

    fn row(name: &str) -> Row {
        crate::table::rows()
            .into_iter()
            .find(|row| row.name == name)
            .unwrap()
    }

    fn beat(at: f64, verdict: Verdict, text: &str) -> Received {
        Received {
            at,
            verdict,
            cause: None,
            text: text.into(),
            shown: "".into(),
        }
    }

    fn outcome(name: &str, received: &[Received]) -> (Outcome, bool) {
        let row = row(name);
        let score = score(&row, &row.evidence, received, DUE, true).unwrap();
        (score.outcome, score.fails())
    }

    #[test]
    fn the_right_verdict_with_its_proof_in_time_is_found() {
        let received = [
            beat(1.0, Verdict::Working, ""),
            beat(2.0, Verdict::Hung, "write into a pipe"),
        ];
        assert_eq!(
            outcome("h12_pipe_full_wait", &received),
            (Outcome::Found, false)
        );
    }

    #[test]
    fn the_right_verdict_for_a_wrong_reason_fails() {
        let received = [beat(2.0, Verdict::Hung, "it is quiet")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &received),
            (Outcome::WrongReason, true)
        );
    }

    #[test]
    fn a_missed_hang_and_a_missed_stall_fail() {
        let received = [beat(1.0, Verdict::Working, "")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &received),
            (Outcome::Missed, true)
        );
        assert_eq!(
            outcome("h02_stream_stall", &received),
            (Outcome::Missed, true)
        );
        let late = [beat(9.0, Verdict::Hung, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &late),
            (Outcome::Missed, true)
        );
    }

    #[test]
    fn a_known_miss_may_be_missed_and_must_be_struck_from_the_list_when_it_is_found() {
        let of = |outcome, miss| {
            let score = Score::of(outcome, "").against(miss);
            (score.outcome, score.fails())
        };
        assert_eq!(
            of(Outcome::Missed, Miss::Known),
            (Outcome::KnownMiss, false)
        );
        assert_eq!(
            of(Outcome::Found, Miss::Known),
            (Outcome::FoundAtLast, true)
        );
        assert_eq!(of(Outcome::Early, Miss::Known), (Outcome::Early, true));
        assert_eq!(of(Outcome::Missed, Miss::Fails), (Outcome::Missed, true));
        assert_eq!(of(Outcome::Found, Miss::Fails), (Outcome::Found, false));
        assert_eq!(of(Outcome::Missed, Miss::Listed), (Outcome::Listed, false));
        assert_eq!(
            of(Outcome::FalseFlag, Miss::Listed),
            (Outcome::FalseFlag, true)
        );
        assert!(!crate::table::known_misses().contains(&"h12_pipe_full_wait"));
    }

    #[test]
    fn the_right_verdict_by_another_rule_fails() {
        let mut row = row("h12_pipe_full_wait");
        row.cause = Some("full-pipe".into());
        let mut received = [beat(2.0, Verdict::Hung, "write into a pipe")];
        let mut outcome = |cause: Option<&str>| {
            received[0].cause = cause.map(Into::into);
            let score = score(&row, &row.evidence, &received, DUE, true);
            score.map(|score| score.outcome)
        };
        assert_eq!(outcome(Some("full-pipe")), Some(Outcome::Found));
        assert_eq!(outcome(Some("mutex-ring")), Some(Outcome::WrongReason));
        assert_eq!(outcome(None), Some(Outcome::Found));
    }

    #[test]
    fn a_quiet_row_must_mostly_have_the_verdict_that_it_names() {
        let mut received = vec![beat(1.0, Verdict::Idle, ""); 100];
        received[50].verdict = Verdict::Working;
        assert_eq!(
            outcome("g02_slow_tokens_py", &received),
            (Outcome::Other, true)
        );
        assert_eq!(
            outcome("g11_idle_queue", &received),
            (Outcome::Quiet, false)
        );
    }

    #[test]
    fn a_suspicion_is_no_proof() {
        let received = [beat(1.0, Verdict::Stalled, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &received),
            (Outcome::Missed, true)
        );
    }

    #[test]
    fn one_flag_among_many_beats_is_a_false_flag() {
        let mut received = vec![beat(1.0, Verdict::Working, ""); 100];
        assert_eq!(
            outcome("g02_slow_tokens_py", &received),
            (Outcome::Quiet, false)
        );
        received[50].verdict = Verdict::Stalled;
        assert_eq!(
            outcome("g02_slow_tokens_py", &received),
            (Outcome::FalseFlag, true)
        );
        received[50].verdict = Verdict::WaitingInput;
        assert_eq!(
            outcome("g02_slow_tokens_py", &received),
            (Outcome::FalseFlag, true)
        );
    }

    #[test]
    fn a_flag_before_the_mark_is_early() {
        let received = [beat(-0.5, Verdict::Hung, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &received),
            (Outcome::Early, true)
        );
    }

    #[test]
    fn who_waits_for_a_person_must_not_be_called_hung() {
        let received = [beat(1.0, Verdict::Hung, "tty")];
        assert_eq!(
            outcome("h14_tty_password", &received),
            (Outcome::FalseFlag, true)
        );
    }

    #[test]
    fn a_mute_computation_may_be_called_spinning_and_nothing_worse() {
        assert_eq!(
            outcome("g07b_cpu_compute_mute", &[beat(1.0, Verdict::Spinning, "")]),
            (Outcome::Quiet, false)
        );
        assert_eq!(
            outcome("g07b_cpu_compute_mute", &[beat(1.0, Verdict::Hung, "")]),
            (Outcome::FalseFlag, true)
        );
    }

    #[test]
    fn silence_of_the_sidecar_is_no_success() {
        assert_eq!(
            outcome("g02_slow_tokens_py", &[]),
            (Outcome::NoVerdict, true)
        );
        assert_eq!(
            outcome("h12_pipe_full_wait", &[]),
            (Outcome::NoVerdict, true)
        );
    }
}
