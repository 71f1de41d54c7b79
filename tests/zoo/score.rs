//! What a row's beats are worth: found or missed, in time, for the right reason; or a flag where none may be.

use crate::table::{Check, Row};
use heartbeat::wire::beat::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// One beat's activity as the harness heard it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Seconds since the mark; negative before it.
    pub(crate) at: f64,
    pub(crate) verdict: Verdict,
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
    /// No flag, but another word than the expected one.
    Other,
    /// Not found within its time.
    Missed,
    /// The right verdict, and nothing of what proves it.
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

    /// Whether the zoo fails by it.
    pub(crate) fn fails(&self, row: &Row) -> bool {
        match self.outcome {
            Outcome::Found | Outcome::Quiet | Outcome::Other => false,
            Outcome::Missed => row.must(),
            Outcome::WrongReason
            | Outcome::Early
            | Outcome::FalseFlag
            | Outcome::NoVerdict
            | Outcome::Broken => true,
        }
    }
}

/// Judges what was heard so far. `over`: the row's time is up. None: wait on.
pub(crate) fn score(
    row: &Row,
    evidence: &[String],
    heard: &[Heard],
    due: Duration,
    over: bool,
) -> Option<Score> {
    let alarm = heard.iter().find(|beat| is_false_flag(row, beat));
    if let Some(beat) = alarm {
        let early = row.sick() && beat.at < 0.0;
        return Some(told(
            if early {
                Outcome::Early
            } else {
                Outcome::FalseFlag
            },
            beat,
        ));
    }
    let right = |beat: &&Heard| row.expect.is_empty() || row.expect.contains(&beat.verdict);
    let proved = |beat: &&Heard| evidence.iter().all(|words| quotes(&beat.text, words));
    if row.sick() {
        let in_time = |beat: &&Heard| beat.at >= 0.0 && beat.at <= due.as_secs_f64();
        if let Some(beat) = heard.iter().filter(in_time).filter(right).find(proved) {
            return Some(told(Outcome::Found, beat));
        }
    }
    let last = match heard.last() {
        None => return over.then(|| Score::of(Outcome::NoVerdict, "no verdict")),
        Some(last) => over.then_some(last)?,
    };
    let first_right = heard.iter().filter(|beat| beat.at >= 0.0).find(right);
    Some(match (row.sick(), first_right) {
        (true, Some(beat)) if !row.expect.is_empty() && !proved(&beat) => {
            told(Outcome::WrongReason, beat)
        }
        (true, _) => told(Outcome::Missed, loudest(heard).unwrap_or(last)),
        (false, Some(beat)) => Score {
            at: Some(last.at),
            ..told(Outcome::Quiet, beat)
        },
        (false, None) => told(Outcome::Other, last),
    })
}

/// `stalled spinning looping hung`: somebody is alerted, or worse.
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

fn is_false_flag(row: &Row, beat: &Heard) -> bool {
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

fn loudest(heard: &[Heard]) -> Option<&Heard> {
    heard.iter().rev().find(|beat| flags(beat.verdict))
}

fn told(outcome: Outcome, beat: &Heard) -> Score {
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

    fn beat(at: f64, verdict: Verdict, text: &str) -> Heard {
        Heard {
            at,
            verdict,
            text: text.into(),
            shown: "".into(),
        }
    }

    fn outcome(name: &str, heard: &[Heard]) -> (Outcome, bool) {
        let row = row(name);
        let score = score(&row, &row.evidence, heard, DUE, true).unwrap();
        (score.outcome, score.fails(&row))
    }

    #[test]
    fn the_right_verdict_with_its_proof_in_time_is_found() {
        let heard = [
            beat(1.0, Verdict::Working, ""),
            beat(2.0, Verdict::Hung, "write into a pipe"),
        ];
        assert_eq!(
            outcome("h12_pipe_full_wait", &heard),
            (Outcome::Found, false)
        );
    }

    #[test]
    fn the_right_verdict_for_a_wrong_reason_fails() {
        let heard = [beat(2.0, Verdict::Hung, "it is quiet")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &heard),
            (Outcome::WrongReason, true)
        );
    }

    #[test]
    fn a_missed_hang_fails_and_a_missed_stall_is_listed() {
        let heard = [beat(1.0, Verdict::Working, "")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &heard),
            (Outcome::Missed, true)
        );
        assert_eq!(
            outcome("h02_stream_stall", &heard),
            (Outcome::Missed, false)
        );
        let late = [beat(9.0, Verdict::Hung, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &late),
            (Outcome::Missed, true)
        );
    }

    #[test]
    fn a_suspicion_is_no_proof() {
        let heard = [beat(1.0, Verdict::Stalled, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &heard),
            (Outcome::Missed, true)
        );
    }

    #[test]
    fn one_flag_among_many_beats_is_a_false_flag() {
        let mut heard = vec![beat(1.0, Verdict::Working, ""); 100];
        assert_eq!(
            outcome("g02_slow_tokens_py", &heard),
            (Outcome::Quiet, false)
        );
        heard[50].verdict = Verdict::Stalled;
        assert_eq!(
            outcome("g02_slow_tokens_py", &heard),
            (Outcome::FalseFlag, true)
        );
        heard[50].verdict = Verdict::WaitingInput;
        assert_eq!(
            outcome("g02_slow_tokens_py", &heard),
            (Outcome::FalseFlag, true)
        );
    }

    #[test]
    fn a_flag_before_the_mark_is_early() {
        let heard = [beat(-0.5, Verdict::Hung, "write into a pipe")];
        assert_eq!(
            outcome("h12_pipe_full_wait", &heard),
            (Outcome::Early, true)
        );
    }

    #[test]
    fn who_waits_for_a_person_must_not_be_called_hung() {
        let heard = [beat(1.0, Verdict::Hung, "tty")];
        assert_eq!(
            outcome("h14_tty_password", &heard),
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
