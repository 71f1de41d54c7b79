//! Silences: for what and how long no one is notified and nothing is done by itself, as the hash `hb:silences` holds them.

use crate::base::number;
use crate::wire::incident::IncidentId;
use crate::wire::record::{self, RecordError};
use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// The largest record that is read, in bytes.
pub const SILENCE_BYTES_MAX: usize = 16 * 1024;
/// Matchers of one silence.
const MATCHERS_MAX: usize = 20;
/// The longest value of a matcher, in characters.
const VALUE_CHARS_MAX: usize = 500;
/// What a matcher can be about.
const LABELS: [&str; 6] = ["agent", "type", "host", "alertname", "reason", "severity"];
/// The largest program of a pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Why a record or a request is no silence.
#[derive(Debug, thiserror::Error)]
pub enum SilenceError {
    /// Too large, not JSON, or a field is missing.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// None, or too many.
    #[error("a silence has 1 to {MATCHERS_MAX} matchers")]
    Matchers,
    /// The name is not a label, the value too long, or the pattern wrong.
    #[error("matcher {0:?}: {1}")]
    Matcher(String, String),
}

/// A condition on one label, as Alertmanager has them: `=`, `!=`, `=~`, `!~`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Written")]
pub struct Matcher {
    /// The label: `agent`, `type`, `host`, `alertname`, `reason` or `severity`.
    pub name: String,
    /// What it is compared with.
    pub value: String,
    /// The value is a pattern for the whole label.
    pub is_regex: bool,
    /// It must fit; otherwise it must not.
    pub is_equal: bool,
    #[serde(skip)]
    pattern: Option<Regex>,
}

/// A matcher as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

/// One silence; it always has an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// Its id, also the field of the hash.
    pub id: IncidentId,
    /// All must fit.
    pub matchers: Vec<Matcher>,
    /// Unix milliseconds; one that is to come is a maintenance window.
    #[serde(deserialize_with = "number::count")]
    pub starts_at: u64,
    /// Unix milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub ends_at: u64,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// The labels of one agent in one matter.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a>(pub &'a [(&'static str, &'a str)]);

const fn yes() -> bool {
    true
}

impl Matcher {
    /// A condition that the label is this value.
    pub fn equal(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            is_regex: false,
            is_equal: true,
            pattern: None,
        }
    }

    /// A condition that the label fits this text, in which `*` stands for any characters.
    ///
    /// # Errors
    /// The name is not a label, or the text is too long.
    pub fn like(name: &str, text: &str) -> Result<Self, SilenceError> {
        let is_regex = text.contains('*');
        let parts: Vec<String> = text.split('*').map(regex_lite::escape).collect();
        let value = if is_regex {
            parts.join(".*")
        } else {
            text.to_owned()
        };
        Self::new(name.to_owned(), value, is_regex, true)
    }

    /// Any condition: that the label is this value, or fits it as a pattern, or the opposite.
    ///
    /// # Errors
    /// The name is not a label, the value too long, or no pattern.
    pub fn new(
        name: String,
        value: String,
        is_regex: bool,
        is_equal: bool,
    ) -> Result<Self, SilenceError> {
        let wrong = |why: &str| SilenceError::Matcher(name.clone(), why.to_owned());
        if !LABELS.contains(&&*name) {
            return Err(wrong(&format!("expected one of {}", LABELS.join(", "))));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(wrong(&format!(
                "the value may have {VALUE_CHARS_MAX} characters"
            )));
        }
        let pattern = is_regex.then(|| whole(&value)).transpose();
        let pattern = pattern.map_err(|error| wrong(&format!("no pattern: {error}")))?;
        Ok(Self {
            name,
            value,
            is_regex,
            is_equal,
            pattern,
        })
    }

    fn fits(&self, labels: Labels<'_>) -> bool {
        let found = labels.0.iter().find(|(name, _)| *name == self.name);
        // A label that is not there is empty.
        let label = found.map_or("", |(_, value)| value);
        let same = match &self.pattern {
            Some(pattern) => pattern.is_match(label),
            None => label == self.value,
        };
        same == self.is_equal
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        let all = |m: &Self| (m.name.clone(), m.value.clone(), m.is_regex, m.is_equal);
        all(self) == all(other)
    }
}

impl TryFrom<Written> for Matcher {
    type Error = SilenceError;

    fn try_from(written: Written) -> Result<Self, SilenceError> {
        let Written {
            name,
            value,
            is_regex,
            is_equal,
        } = written;
        Self::new(name, value, is_regex, is_equal)
    }
}

/// The pattern for the whole label. It is also checked alone: `a)|(b` is none, and between brackets it would fit parts.
fn whole(value: &str) -> Result<Regex, regex_lite::Error> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
    };
    build(value)?;
    build(&format!("^(?:{value})$"))
}

impl Silence {
    /// Takes a record of the hash.
    pub fn decode(record: &[u8]) -> Result<Self, SilenceError> {
        let silence: Self = record::decode(record, "a silence", SILENCE_BYTES_MAX)?;
        silence.check()?;
        Ok(silence)
    }

    /// Whether it has as many matchers as it may.
    pub fn check(&self) -> Result<(), SilenceError> {
        let fits = (1..=MATCHERS_MAX).contains(&self.matchers.len());
        fits.then_some(()).ok_or(SilenceError::Matchers)
    }

    /// The record for the hash.
    pub fn encode(&self) -> String {
        record::encode(self)
    }

    /// Whether it holds for these labels at this time.
    pub fn covers(&self, labels: Labels<'_>, wall_ms: u64) -> bool {
        let in_force = (self.starts_at..self.ends_at).contains(&wall_ms);
        in_force && self.matchers.iter().all(|matcher| matcher.fits(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_is_a_pattern() {
        let fits = |text: &str, id: &str| {
            let matcher = Matcher::like("agent", text).unwrap();
            matcher.fits(Labels(&[("agent", id)]))
        };
        assert!(fits("writer-*", "writer-12") && !fits("writer-*", "a-writer-1"));
        assert!(fits("a.b", "a.b") && !fits("a.b*", "axb1"));
        assert!(Matcher::like("agent", &"x".repeat(VALUE_CHARS_MAX + 1)).is_err());
    }

    fn silence(matchers: &str) -> Result<Silence, SilenceError> {
        let text = format!(r#"{{"id":"s-1","matchers":{matchers},"startsAt":10,"endsAt":20}}"#);
        Silence::decode(text.as_bytes())
    }

    #[test]
    fn the_four_matchers_of_alertmanager_fit_as_there() {
        let labels = Labels(&[("agent", "writer-1"), ("host", "h1")]);
        for (matcher, fits) in [
            (r#"{"name":"agent","value":"writer-1"}"#, true),
            (
                r#"{"name":"agent","value":"writer-1","isEqual":false}"#,
                false,
            ),
            (
                r#"{"name":"agent","value":"writer-.*","isRegex":true}"#,
                true,
            ),
            (r#"{"name":"agent","value":"writer","isRegex":true}"#, false),
            (
                r#"{"name":"agent","value":"reader.*","isRegex":true,"isEqual":false}"#,
                true,
            ),
            (r#"{"name":"type","value":""}"#, true),
        ] {
            let silence = silence(&format!("[{matcher}]")).unwrap();
            assert_eq!(silence.covers(labels, 10), fits, "{matcher}");
            assert!(
                !silence.covers(labels, 20) && !silence.covers(labels, 9),
                "it has an end"
            );
        }
    }

    #[test]
    fn a_silence_without_a_condition_or_with_a_wrong_one_is_refused() {
        for matchers in [
            "[]",
            r#"[{"name":"mood","value":"x"}]"#,
            r#"[{"name":"agent","value":"(","isRegex":true}]"#,
            r#"[{"name":"agent","value":"a)|(b","isRegex":true}]"#,
        ] {
            assert!(silence(matchers).is_err(), "{matchers}");
        }
    }
}
