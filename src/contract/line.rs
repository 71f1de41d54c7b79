//! Parses one line of the status contract, in any of its spellings.
//!
//! ```text
//! task="index repo" progress=42 state=working        logfmt
//! {"task":"index repo","progress":42}                one JSON object
//! READY=1 / STATUS=… / X_HB_TASK=index repo          sd_notify: the value extends to the end of the line
//! ```
//!
//! A line is taken whole or refused whole. A key that is given twice is refused: its value would be ambiguous.
//! `null` is as empty; empty clears what is kept and leaves counters alone.

mod json;
mod key;
mod reading;

use crate::wire::beat::cut;
use crate::wire::declared_state::DeclaredState;
use reading::Reading;
use std::borrow::Cow;
use std::time::Duration;

/// The longest line, in bytes, its end not counted.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// The longest silence that can be announced.
pub const EXPECT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much of a wrong value or an unknown key is repeated, in characters.
const QUOTED_CHARS_MAX: usize = 40;

/// What one line changes in a value that is kept until the next change.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    /// Nothing: what is kept stays.
    #[default]
    Kept,
    /// Forget it.
    Cleared,
    /// The new value.
    Set(T),
}

/// One parsed line. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// At most [`crate::wire::beat::TASK_CHARS_MAX`] characters; longer ones are cut.
    pub task: Field<String>,
    /// 0 to 100.
    pub progress: Field<f64>,
    /// Any text, as long as the line allows.
    pub step: Field<String>,
    /// The state that the agent declares.
    pub state: Field<DeclaredState>,
    /// How long silence will be normal, up to [`EXPECT_MAX`].
    pub expect: Field<Duration>,
    /// For how long the model's service asked the agent to wait, up to [`EXPECT_MAX`].
    pub limited: Field<Duration>,
    /// Tasks being worked on.
    pub active: Field<u64>,
    /// Tasks waiting.
    pub queue: Field<u64>,
    /// `STATUS` of sd_notify: for people, decides nothing. Cut like a task.
    pub status: Field<String>,
    /// Tokens used since the last line that reported some.
    pub tokens: u64,
    /// Errors since the last line that reported some; a text alone is one error.
    pub errors: u64,
    /// The last error's text. Cut like a task.
    pub error: Option<String>,
    /// Start-up is over.
    pub ready: bool,
    /// A clean end follows.
    pub stopping: bool,
    /// Alive, and nothing more.
    pub watchdog: bool,
    /// Unknown keys.
    pub unknown: u32,
    /// The first of them.
    pub unknown_key: Option<String>,
}

/// Why a line is refused. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// More than [`LINE_BYTES_MAX`].
    #[error("a line has at most {LINE_BYTES_MAX} bytes, this one has more")]
    TooLong,
    /// The sender went away in the middle of it.
    #[error("a line ends with a newline, this one has none")]
    Unended,
    /// Not text.
    #[error("a line is text; byte {0} is NUL")]
    Nul(usize),
    /// Not text.
    #[error("a line is UTF-8 text; byte {0} is not")]
    NotUtf8(usize),
    /// Starts like JSON.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// Text that is not a pair.
    #[error("{0:?} is no key=value; a value with spaces is quoted, as in task=\"index repo\"")]
    NotAPair(String),
    /// A value that cannot be.
    #[error("{key} is {wants}, not {got:?}")]
    Value {
        /// The key.
        key: &'static str,
        /// What would be right.
        wants: &'static str,
        /// What was given, cut.
        got: String,
    },
    /// The same key again.
    #[error("{0} is given twice")]
    Twice(&'static str),
}

impl LineError {
    /// A short stable word for counters, and for logging each kind once.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Unended => "unended",
            Self::Nul(_) => "nul",
            Self::NotUtf8(_) => "not_utf8",
            Self::NotJson(_) => "not_json",
            Self::NotAPair(_) => "not_a_pair",
            Self::Value { .. } => "value",
            Self::Twice(_) => "twice",
        }
    }
}

impl Line {
    /// Takes a line without its end, or a datagram of several lines that are taken or refused together.
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(LineError::Nul(at + 1));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            // As with systemd, a STATUS that is no text loses no READY or STOPPING beside it, and is shown as far as it is.
            Err(_) if bytes[0].is_ascii_uppercase() => String::from_utf8_lossy(bytes),
            Err(error) => return Err(LineError::NotUtf8(error.valid_up_to() + 1)),
        };
        let mut reading = Reading::default();
        // Some editors and shells put a byte order mark before a file.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            reading.object(text)?;
        } else {
            for line in text.lines().map(str::trim) {
                match line.as_bytes().first() {
                    Some(b'A'..=b'Z') => reading.assignment(line)?,
                    Some(_) => reading.pairs(line)?,
                    None => {}
                }
            }
        }
        Ok(reading.line)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<T> Field<T> {
    /// Changes what is kept.
    pub fn apply(self, kept: &mut Option<T>) {
        match self {
            Self::Kept => {}
            Self::Cleared => *kept = None,
            Self::Set(value) => *kept = Some(value),
        }
    }

    fn of<E>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        if text.is_empty() {
            Ok(Self::Cleared)
        } else {
            parse(text).map(Self::Set)
        }
    }
}

/// `key=value` as [`Line::parse`] reads it back, quoted where it must be.
pub fn pair(key: &str, value: &str) -> String {
    let plain = |c: char| !(c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\'));
    if value.chars().all(plain) {
        return format!("{key}={value}");
    }
    let mut quoted = format!("{key}=\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn quoted(value: &str) -> String {
    cut(
        value.chars().take(QUOTED_CHARS_MAX + 1).collect(),
        QUOTED_CHARS_MAX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(text.as_bytes()).unwrap()
    }

    fn why(text: impl AsRef<[u8]>) -> String {
        Line::parse(text.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn the_three_spellings_say_the_same() {
        let parsed = line(r#"task="index repo" progress=42 state=working tokens=7"#);
        assert_eq!(parsed.task, Field::Set("index repo".into()));
        assert_eq!(
            (&parsed.progress, &parsed.state, parsed.tokens),
            (&Field::Set(42.0), &Field::Set(DeclaredState::Working), 7)
        );
        assert_eq!(
            line(r#"{"task":"index repo","progress":42,"state":"working","tokens":7.0}"#),
            parsed
        );
        assert_eq!(
            line("X_HB_TASK=index repo\nX_HB_PROGRESS=42\nX_HB_STATE=working\nX_HB_TOKENS=7\n"),
            parsed
        );
    }

    #[test]
    fn a_byte_order_mark_costs_nothing() {
        for text in ["progress=42", r#"{"progress":42}"#, "X_HB_PROGRESS=42"] {
            assert_eq!(line(&format!("\u{feff}{text}")), line("progress=42"));
        }
    }

    #[test]
    fn sd_notify_keeps_its_meaning() {
        let parsed = line(
            "READY=1\nSTATUS=41 ok, 1 stuck: writer=3\nEXTEND_TIMEOUT_USEC=2500000\nWATCHDOG=1",
        );
        assert!(parsed.ready && parsed.watchdog && !parsed.stopping);
        assert_eq!(parsed.status, Field::Set("41 ok, 1 stuck: writer=3".into()));
        assert_eq!(parsed.expect, Field::Set(Duration::from_millis(2500)));
        assert!(line("STOPPING=1").stopping);
        let failed = line("ERRNO=12");
        assert_eq!(
            (failed.errors, failed.error.as_deref()),
            (1, Some("errno 12"))
        );
        let gave_up = line("WATCHDOG=trigger");
        assert_eq!((gave_up.watchdog, gave_up.errors), (false, 1));
        assert_eq!(line("MAINPID=7\nBARRIER=1\nFDSTORE=1").unknown, 2);
    }

    #[test]
    fn quotes_hold_spaces_escapes_and_equals_signs() {
        for (text, task) in [
            (r#"task="a b=c""#, "a b=c"),
            (r#"task="a \"b\" \\ c""#, r#"a "b" \ c"#),
            (r#"task="a\nb""#, "a b"),
            ("task=a=b", "a=b"),
            ("task=ä", "ä"),
            ("  task=x\t progress=1 ", "x"),
        ] {
            assert_eq!(line(text).task, Field::Set(task.into()), "{text}");
        }
    }

    #[test]
    fn a_pair_that_was_written_is_read_back() {
        for step in [
            "",
            "a",
            "a b",
            "\"",
            "\\",
            "a\\",
            "a\nb\tc\rd",
            "=\"=",
            "ä\u{2028}",
            "'",
            "{",
        ] {
            let read = line(&pair("step", step)).step;
            let wanted = if step.is_empty() {
                Field::Cleared
            } else {
                Field::Set(step.to_owned())
            };
            assert_eq!(read, wanted, "{step:?}");
        }
    }

    #[test]
    fn empty_and_null_forget_what_is_kept_and_count_nothing() {
        for text in [
            "task= progress= tokens=",
            r#"{"task":null,"progress":null,"tokens":null}"#,
            r#"task="" progress="" tokens="""#,
        ] {
            let parsed = line(text);
            assert_eq!(
                (&parsed.task, &parsed.progress, parsed.tokens),
                (&Field::Cleared, &Field::Cleared, 0),
                "{text}"
            );
        }
        for nothing in ["", "  ", "\n", "{}", "ready=0"] {
            assert!(line(nothing).is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn errors_are_counted_and_a_text_alone_is_one() {
        for (text, errors) in [
            ("error=x", 1),
            ("errors=3", 3),
            ("errors=3 error=x", 3),
            ("error=x errors=3", 3),
            ("error=", 0),
        ] {
            assert_eq!(line(text).errors, errors, "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_ignored_counted_and_the_first_is_named() {
        let deep = format!(
            r#"{{"mood":{}{},"progress":1,"a":2}}"#,
            "[".repeat(4000),
            "]".repeat(4000)
        );
        for text in ["mood=good progress=1 a=\"b c\"", &deep] {
            let parsed = line(text);
            assert_eq!(
                (
                    &parsed.progress,
                    parsed.unknown,
                    parsed.unknown_key.as_deref()
                ),
                (&Field::Set(1.0), 2, Some("mood"))
            );
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_would_be_right() {
        for (text, expected) in [
            (
                "progress=150",
                r#"progress is a number from 0 to 100, not "150""#,
            ),
            ("progress=-1", "0 to 100"),
            ("progress=NaN", "0 to 100"),
            ("progress=inf", "0 to 100"),
            ("progress=1e999", "0 to 100"),
            ("progress=42%", "0 to 100"),
            (r#"{"progress":150}"#, r#"not "150""#),
            (r#"{"progress":[1]}"#, r#"not "a list""#),
            (r#"{"progress":{"x":1}}"#, r#"not "an object""#),
            (r#"{"progress":true}"#, r#"not "true""#),
            ("state=busy", "waiting_model"),
            ("expect=604801", "a week"),
            ("EXTEND_TIMEOUT_USEC=-1", "microseconds"),
            ("tokens=-5", "whole number"),
            ("tokens=9007199254740992", "whole number"),
            ("tokens=99999999999999999999", "whole number"),
            ("active=many", "active is a whole number"),
            ("ready=yes", "ready is 1"),
            (r#"{"task":"a\u0000b"}"#, "task is a text"),
        ] {
            let error = why(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn lines_that_are_none_are_refused_with_a_hint() {
        for (text, kind) in [
            ("hello", "not_a_pair"),
            ("task='index repo'", "not_a_pair"),
            ("task=\"open", "not_a_pair"),
            ("task=\"a\"b", "not_a_pair"),
            ("task=\"a\\", "not_a_pair"),
            ("=1", "not_a_pair"),
            ("READY", "not_a_pair"),
            ("Hello world=1", "not_a_pair"),
            ("[1]", "not_a_pair"),
            ("{", "not_json"),
            (r#"{"task":"a"} x"#, "not_json"),
            (r#"{"progress":NaN}"#, "not_json"),
            (r#"{"task":"cut of"#, "not_json"),
            ("task=a task=b", "twice"),
            (r#"{"task":"a","task":"b"}"#, "twice"),
            ("READY=1\nX_HB_READY=1", "twice"),
            ("a\0b", "nul"),
        ] {
            assert_eq!(
                Line::parse(text.as_bytes()).unwrap_err().kind(),
                kind,
                "{text}"
            );
        }
        assert!(why("task=index repo").contains(r#"task="index repo""#));
        assert_eq!(Line::parse(b"task=\xff"), Err(LineError::NotUtf8(6)));
    }

    #[test]
    fn a_text_that_is_cut_within_a_character_loses_nothing_beside_it() {
        let stopping = Line::parse(b"STOPPING=1\nSTATUS=caf\xe9").unwrap();
        assert_eq!(
            (stopping.stopping, stopping.status),
            (true, Field::Set("caf\u{fffd}".to_owned()))
        );
        let cut = line(r#"{"task":"half \ud83d","state":"working"}"#);
        assert_eq!(cut.task, Field::Set("half \u{fffd}".to_owned()));
    }

    #[test]
    fn a_progress_that_was_rounded_is_a_progress() {
        for (text, progress) in [("100.00000000000001", 100.0), ("-0.0001", 0.0)] {
            assert_eq!(
                line(&format!("progress={text}")).progress,
                Field::Set(progress)
            );
        }
    }

    #[test]
    fn eight_kib_are_a_line_and_a_byte_more_is_none() {
        let step = "s".repeat(LINE_BYTES_MAX - "step=".len());
        assert_eq!(line(&format!("step={step}")).step, Field::Set(step.clone()));
        assert_eq!(
            Line::parse(format!("step={step}x").as_bytes()),
            Err(LineError::TooLong)
        );
    }

    #[test]
    fn json_without_bottom_in_a_known_key_is_refused_and_not_followed() {
        let text = format!(r#"{{"task":{}"#, "[".repeat(8000));
        assert!(why(text).contains("task is a text"));
    }

    #[test]
    fn a_text_is_shown_on_one_line_and_not_longer_than_two_hundred_characters() {
        let Field::Set(task) = line(&format!("X_HB_TASK=\u{1b}[31m{}", "ä".repeat(300))).task
        else {
            panic!("no task")
        };
        assert_eq!(
            (task.chars().count(), task.contains('\u{1b}')),
            (200, false)
        );
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_what_was_wrong() {
        assert!(why(format!("progress={}", "9".repeat(8000))).len() < 200);
        assert!(why("x".repeat(8000)).len() < 200);
    }
}
