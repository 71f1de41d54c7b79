//! The bodies of the actions: each has its own fields, and what is not one of them is refused. A word that is spelt wrong and
//! left out would make an action of a dry run.

use hbshell::command_line::duration;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::by_hand::{Ask, Quiet, WHO_CHARS_MAX};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::silence::Matcher;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// What the rung `sidecar` does below a restart; asked for by its own word.
const UNBLOCK: &str = "unblock";
/// The shortest and the longest silence, and the shortest pause. `0` ends a silence.
const QUIET_MIN: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest reason for a silence, in characters; what is longer is cut.
const COMMENT_CHARS_MAX: usize = 500;
/// Conditions of one silence.
const MATCHERS_MAX: usize = 20;
/// Who asks when the request does not name anyone.
const UNNAMED: &str = "an unnamed user of the token";

/// Of the actions that need nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
    #[serde(default)]
    pub(super) by: Who,
}

/// Of `recover`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Recover {
    #[serde(default)]
    pub(super) by: Who,
    /// Which rung; none: the next one.
    rung: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Of `silence`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SilenceAgent {
    #[serde(default)]
    pub(super) by: Who,
    #[serde(rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    comment: String,
}

/// Of `POST /v1/silences`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Silence {
    #[serde(default)]
    pub(super) by: Who,
    #[serde(rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    matchers: Vec<Object<Condition>>,
}

/// Of `pause`; without a time it lasts until it is resumed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    #[serde(default)]
    pub(super) by: Who,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

/// A matcher as it is asked for: as the store has it, but nothing unknown is skipped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Condition {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

/// The person that asks, as the client names it: one line, bounded.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Who(pub(super) String);

/// Takes an object alone; derived types also take arrays, whose places would be fields.
#[derive(Debug)]
struct Object<T>(T);

const fn yes() -> bool {
    true
}

/// The body of an action; an empty one is an object without fields.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = body.trim_ascii();
    let body = if body.is_empty() { b"{}" } else { body };
    let parsed: Result<Object<T>, _> = serde_json::from_slice(body);
    parsed
        .map(|Object(wish)| wish)
        .map_err(|error| format!("the body must be a JSON object: {error}"))
}

impl Recover {
    pub(super) fn ask(&self, agent: AgentId) -> Result<Ask, String> {
        let rung = match self.rung.as_deref() {
            Some(UNBLOCK) if self.dry_run => {
                return Err("rung: what unblock does is the remedy that the agent's verdict names; it has no dry run".to_owned());
            }
            Some(UNBLOCK) => return Ok(Ask::Unblock(agent)),
            Some(word) => Some(known_rung(word)?),
            None => None,
        };
        let dry_run = self.dry_run;
        Ok(Ask::Recover {
            agent,
            rung,
            dry_run,
        })
    }
}

fn known_rung(word: &str) -> Result<Rung, String> {
    Rung::parse(word).ok_or_else(|| {
        let known = Rung::ALL.map(Rung::as_str).join(", ");
        format!("rung: expected one of {known}, {UNBLOCK}, got {word:?}")
    })
}

impl SilenceAgent {
    pub(super) fn quiet(&self, agent: &AgentId) -> Result<Quiet, String> {
        Ok(Quiet {
            matchers: vec![Matcher::equal("agent", agent.as_str())],
            lasts: silence_time(self.lasts.as_deref())?,
            comment: comment(&self.comment),
        })
    }
}

impl Silence {
    pub(super) fn quiet(self) -> Result<Quiet, String> {
        if !(1..=MATCHERS_MAX).contains(&self.matchers.len()) {
            return Err(format!(
                "matchers: a silence has 1 to {MATCHERS_MAX}, as in [{{\"name\":\"host\",\"value\":\"node-3\"}}]"
            ));
        }
        let matchers = self.matchers.into_iter().map(|Object(one)| {
            let matcher = Matcher::new(one.name, one.value, one.is_regex, one.is_equal);
            matcher.map_err(|error| error.to_string())
        });
        Ok(Quiet {
            matchers: matchers.collect::<Result<_, _>>()?,
            lasts: silence_time(self.lasts.as_deref())?,
            comment: comment(&self.comment),
        })
    }
}

impl Pause {
    pub(super) fn lasts(&self) -> Result<Option<Duration>, String> {
        self.lasts.as_deref().map(pause_time).transpose()
    }
}

/// How long a silence lasts, which always has an end; zero ends it.
pub(crate) fn silence_time(text: Option<&str>) -> Result<Duration, String> {
    let lasts = match text {
        None => return Err("for: a silence needs a time, as in 1h".to_owned()),
        Some("0") => return Ok(Duration::ZERO),
        Some(text) => time(text)?,
    };
    if lasts > SILENCE_MAX {
        return Err("for: a silence lasts 30d at most".to_owned());
    }
    Ok(lasts)
}

/// How long a pause lasts.
pub(crate) fn pause_time(text: &str) -> Result<Duration, String> {
    time(text)
}

fn time(text: &str) -> Result<Duration, String> {
    let lasts = duration(text).map_err(|error| format!("for: {error}"))?;
    if lasts < QUIET_MIN {
        return Err("for: must be at least 1s".to_owned());
    }
    Ok(lasts)
}

/// A reason as it is kept.
pub(crate) fn comment(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(COMMENT_CHARS_MAX).collect()
}

impl Default for Who {
    fn default() -> Self {
        Self(UNNAMED.to_owned())
    }
}

impl From<String> for Who {
    fn from(text: String) -> Self {
        let plain = text.chars().filter(|c| !c.is_control());
        let plain: String = plain.take(WHO_CHARS_MAX).collect();
        if plain.trim().is_empty() {
            Self::default()
        } else {
            Self(plain)
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AnObject(PhantomData))
    }
}

struct AnObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnObject<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, as in {\"by\":\"ann\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: DeserializeOwned + fmt::Debug>(body: &str) -> String {
        parse::<T>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_body_is_an_object_and_an_empty_one_is_without_fields() {
        for body in ["", "  \n", "{}", r#"{"by":""}"#] {
            assert_eq!(parse::<Plain>(body.as_bytes()).unwrap().by.0, UNNAMED);
        }
        for body in [
            "[]",
            r#"["ann"]"#,
            "null",
            "1",
            "\"ann\"",
            "for=1h",
            "{",
            "{} {}",
        ] {
            let why = refused::<Plain>(body);
            assert!(
                why.starts_with("the body must be a JSON object"),
                "{body}: {why}"
            );
        }
    }

    #[test]
    fn a_field_of_another_action_or_spelt_wrong_is_refused_with_those_that_there_are() {
        let why = refused::<Recover>(r#"{"dryrun":true}"#);
        assert!(
            why.contains("`dryrun`") && why.contains("`dryRun`"),
            "{why}"
        );
        assert!(refused::<Plain>(r#"{"rung":"docker"}"#).contains("`rung`"));
        assert!(refused::<Pause>(r#"{"comment":"x"}"#).contains("`for`"));
        assert!(refused::<SilenceAgent>(r#"{"for":"1h","for":"2h"}"#).contains("duplicate"));
        for body in [r#"{"by":5}"#, r#"{"by":null}"#, r#"{"by":["ann"]}"#] {
            refused::<Plain>(body);
        }
        for body in [r#"{"dryRun":"yes"}"#, r#"{"dryRun":null}"#, r#"{"rung":1}"#] {
            refused::<Recover>(body);
        }
    }

    #[test]
    fn an_unknown_rung_is_refused_with_those_that_there_are() {
        let agent = AgentId::parse("w1").unwrap();
        let ask = |body: &str| {
            parse::<Recover>(body.as_bytes())
                .unwrap()
                .ask(agent.clone())
        };
        let why = ask(r#"{"rung":"dokcer"}"#).unwrap_err();
        assert!(why.contains("docker") && why.contains("unblock"), "{why}");
        assert!(ask(r#"{"rung":"unblock","dryRun":true}"#).is_err());
        assert_eq!(
            ask(r#"{"rung":"unblock"}"#),
            Ok(Ask::Unblock(agent.clone()))
        );
        assert!(ask(r#"{"rung":null}"#).is_ok() && ask("{}").is_ok());
    }

    #[test]
    fn a_silence_has_conditions_that_are_right_and_an_end() {
        let quiet = |body: &str| parse::<Silence>(body.as_bytes())?.quiet();
        let host = r#"[{"name":"host","value":"node-(3|4)","isRegex":true}]"#;
        assert!(quiet(&format!(r#"{{"for":"1h","matchers":{host}}}"#)).is_ok());
        for (body, says) in [
            (format!(r#"{{"matchers":{host}}}"#), "as in 1h"),
            (format!(r#"{{"for":null,"matchers":{host}}}"#), "as in 1h"),
            (format!(r#"{{"for":"31d","matchers":{host}}}"#), "30d"),
            (format!(r#"{{"for":"5ns","matchers":{host}}}"#), "1s"),
            (
                format!(r#"{{"for":"soon","matchers":{host}}}"#),
                "as in 30s",
            ),
            (r#"{"for":"1h"}"#.to_owned(), "1 to 20"),
            (
                r#"{"for":"1h","matchers":[["host","a"]]}"#.to_owned(),
                "object",
            ),
            (
                r#"{"for":"1h","matchers":[{"name":"host","value":"a","regex":true}]}"#.to_owned(),
                "`isRegex`",
            ),
            (
                r#"{"for":"1h","matchers":[{"name":"mood","value":"a"}]}"#.to_owned(),
                "expected one of agent",
            ),
            (
                r#"{"for":"1h","matchers":[{"name":"host","value":"a)|(b","isRegex":true}]}"#
                    .to_owned(),
                "host",
            ),
        ] {
            let why = quiet(&body).unwrap_err();
            assert!(why.contains(says), "{body}: {why}");
        }
    }

    #[test]
    fn a_name_is_one_bounded_line() {
        let long = format!(r#"{{"by":"a\n{}"}}"#, "x".repeat(500));
        let by = parse::<Plain>(long.as_bytes()).unwrap().by.0;
        assert_eq!(
            (by.chars().count(), by.contains('\n')),
            (WHO_CHARS_MAX, false)
        );
    }
}
