//! Parses pairs and assignments into a line.

use crate::base::number::COUNT_MAX;
use crate::contract::line::json::Object;
use crate::contract::line::key::Key;
use crate::contract::line::{EXPECT_MAX, Field, Line, LineError, quoted};
use crate::wire::beat::{TASK_CHARS_MAX, percentage};
use crate::wire::declared_state::DeclaredState;
use crate::wire::lenient;
use serde::de::DeserializeSeed;
use std::borrow::Cow;
use std::time::Duration;

/// A line while it is read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) line: Line,
    seen: u32,
}

impl Reading {
    /// `KEY=VALUE` to the end of the line.
    pub(super) fn assignment(&mut self, line: &str) -> Result<(), LineError> {
        match line.split_once('=') {
            Some((name, value)) => self.pair(name, value),
            None => Err(LineError::NotAPair(quoted(line))),
        }
    }

    /// `key=value key="a value" …`; a flag may stand alone.
    pub(super) fn pairs(&mut self, mut rest: &str) -> Result<(), LineError> {
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| c == '=' || c.is_whitespace())
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            rest = match after.strip_prefix('=') {
                Some(after) => {
                    let (value, after) = value(after)?;
                    self.pair(name, &value)?;
                    after
                }
                None if matches!(name, "ready" | "stopping" | "watchdog") => {
                    self.pair(name, "1")?;
                    after
                }
                None => return Err(LineError::NotAPair(quoted(name))),
            }
            .trim_start();
        }
        Ok(())
    }

    pub(super) fn object(&mut self, text: &str) -> Result<(), LineError> {
        let text = lenient::whole_characters(text);
        let mut json = serde_json::Deserializer::from_str(&text);
        let mut failed = None;
        let read = Object {
            reading: self,
            failed: &mut failed,
        }
        .deserialize(&mut json);
        match (failed, read.and_then(|()| json.end())) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(LineError::NotJson(error.to_string())),
            (None, Ok(())) => Ok(()),
        }
    }

    fn pair(&mut self, name: &str, value: &str) -> Result<(), LineError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(LineError::NotAPair(quoted(name)));
        }
        match Key::named(name) {
            Some(key) => self.set(key, value),
            None => {
                self.ignore(name);
                Ok(())
            }
        }
    }

    pub(super) fn ignore(&mut self, name: &str) {
        self.line.unknown += 1;
        self.line.unknown_key.get_or_insert_with(|| quoted(name));
    }

    pub(super) fn set(&mut self, key: Key, value: &str) -> Result<(), LineError> {
        let bit = 1 << key as u32;
        if self.seen & bit != 0 {
            return Err(LineError::Twice(key.name()));
        }
        self.seen |= bit;
        let wrong = || key.error(value);
        let line = &mut self.line;
        match key {
            Key::Task => line.task = text_field(value),
            Key::Status => line.status = text_field(value),
            Key::Step => line.step = Field::of::<LineError>(value, |v| Ok(v.to_owned()))?,
            Key::Progress => {
                line.progress = Field::of(value, |v| {
                    v.parse().ok().and_then(percentage).ok_or_else(wrong)
                })?
            }
            Key::State => {
                line.state = Field::of(value, |v| DeclaredState::parse(v).ok_or_else(wrong))?
            }
            Key::Expect => line.expect = Field::of(value, |v| silence(v, 1.0).ok_or_else(wrong))?,
            Key::Limited => line.limited = Field::of(value, |v| silence(v, 1.0).ok_or_else(wrong))?,
            Key::ExtendTimeout => {
                line.expect = Field::of(value, |v| silence(v, 1e-6).ok_or_else(wrong))?;
            }
            Key::Active => line.active = Field::of(value, |v| count(v).ok_or_else(wrong))?,
            Key::Queue => line.queue = Field::of(value, |v| count(v).ok_or_else(wrong))?,
            Key::Tokens => line.tokens = delta(value).ok_or_else(wrong)?,
            Key::Errors => line.errors = delta(value).ok_or_else(wrong)?,
            Key::Error => self.error(Some(text(value)).filter(|text| !text.is_empty())),
            Key::Errno => {
                let number = delta(value).ok_or_else(wrong)?;
                self.error((number != 0).then(|| format!("errno {number}")));
            }
            Key::Barrier => drop(flag(value).ok_or_else(wrong)?),
            Key::Ready => line.ready = flag(value).ok_or_else(wrong)?,
            Key::Stopping => line.stopping = flag(value).ok_or_else(wrong)?,
            // The agent's own watchdog has given up on it: an error, reported by the agent itself.
            Key::Watchdog if value == "trigger" => self.error(Some("watchdog: trigger".to_owned())),
            Key::Watchdog => line.watchdog = flag(value).ok_or_else(wrong)?,
        }
        // A text alone is one error, `errors=0 error=…` counts as none.
        let counted = self.seen & (1 << Key::Errors as u32) != 0;
        if self.line.error.is_some() && !counted {
            self.line.errors = 1;
        }
        Ok(())
    }

    fn error(&mut self, text: Option<String>) {
        if text.is_some() {
            self.line.error = text;
        }
    }
}

/// The value at the start of `rest`, and what follows it.
fn value(rest: &str) -> Result<(Cow<'_, str>, &str), LineError> {
    let Some(inside) = rest.strip_prefix('"') else {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        return if value.contains('"') {
            Err(LineError::NotAPair(quoted(value)))
        } else {
            Ok((value.into(), after))
        };
    };
    let mut unescaped = String::new();
    let mut from = 0;
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let after = &inside[at + 1..];
                if !(after.is_empty() || after.starts_with(char::is_whitespace)) {
                    break;
                }
                let tail = &inside[from..at];
                return Ok(if from == 0 {
                    (tail.into(), after)
                } else {
                    ((unescaped + tail).into(), after)
                });
            }
            '\\' => {
                let Some((next, escaped)) = chars.next() else {
                    break;
                };
                unescaped.push_str(&inside[from..at]);
                unescaped.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
                from = next + escaped.len_utf8();
            }
            _ => {}
        }
    }
    Err(LineError::NotAPair(quoted(rest)))
}

fn text_field(value: &str) -> Field<String> {
    let text = text(value);
    if text.is_empty() {
        Field::Cleared
    } else {
        Field::Set(text)
    }
}

/// What people are shown: on one line, without control characters, not too long.
fn text(value: &str) -> String {
    let tame = value
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    tame.take(TASK_CHARS_MAX).collect()
}

fn amount(value: &str, max: f64) -> Option<f64> {
    let number: f64 = value.parse().ok()?;
    // -0 is in the range and would be shown with its sign.
    (0.0..=max).contains(&number).then_some(number.abs())
}

/// Whole numbers; JavaScript and Python may write them with a fraction, which is dropped.
fn count(value: &str) -> Option<u64> {
    match value.parse::<u64>() {
        Ok(number) => (number <= COUNT_MAX).then_some(number),
        Err(_) => amount(value, COUNT_MAX as f64).map(|number| number as u64),
    }
}

/// Empty is nothing.
fn delta(value: &str) -> Option<u64> {
    if value.is_empty() {
        Some(0)
    } else {
        count(value)
    }
}

fn silence(value: &str, unit: f64) -> Option<Duration> {
    amount(value, EXPECT_MAX.as_secs_f64() / unit).map(|n| Duration::from_secs_f64(n * unit))
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "" | "0" | "false" => Some(false),
        _ => None,
    }
}
