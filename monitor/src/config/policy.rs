//! `[[policy]]` and `[verify]` of the configuration file: which rungs which agents get, and how long each may take to show
//! its effect.

use hbshell::command_line::duration;
use heartbeat::fleet::ladder::policy::{Glob, Matcher, Policies, Policy, Severity};
use heartbeat::fleet::ladder::rung::{Rung, VerifyTimes};
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Words that a mistyped one may stand for.
pub(super) const WORDS: [&str; 26] = [
    "policy",
    "match",
    "type",
    "id",
    "host",
    "ladder",
    "exec",
    "replace_image",
    "auto",
    "severity",
    "info",
    "warning",
    "critical",
    "verify",
    "sidecar",
    "container",
    "replace",
    "docker",
    "pod",
    "kubernetes",
    "systemd",
    "alert",
    "true",
    "false",
    "on_stalled",
    "restart",
];

/// One `[[policy]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    #[serde(default, rename = "match")]
    matcher: MatchTable,
    ladder: Option<Vec<RungWord>>,
    #[serde(default)]
    exec: Vec<String>,
    replace_image: Option<String>,
    auto: Option<bool>,
    #[serde(default)]
    severity: SeverityWord,
    #[serde(default)]
    on_stalled: ReactionWord,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MatchTable {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    host: Option<String>,
}

/// `[verify]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VerifyTable {
    sidecar: Option<Time>,
    container: Option<Time>,
    replace: Option<Time>,
}

#[derive(Debug)]
struct Time(Duration);

#[derive(Debug, Clone, Copy)]
struct RungWord(Rung);

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SeverityWord {
    Info,
    Warning,
    #[default]
    Critical,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReactionWord {
    #[default]
    Alert,
    Restart,
}

/// What recovery may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoverySettings {
    pub(crate) policies: Policies,
    pub(crate) times: VerifyTimes,
}

impl RecoverySettings {
    /// This ladder for every agent, and the command of its rung `exec`.
    pub(crate) fn only(ladder: &[Rung], exec: Vec<String>) -> Self {
        let policy = Policy {
            ladder: ladder.to_vec(),
            exec,
            ..Policy::default()
        };
        Self {
            policies: Policies::new(vec![policy]),
            times: VerifyTimes::default(),
        }
    }

    /// Of the tables of the file; the error names the policy by its place.
    pub(super) fn new(tables: Vec<PolicyTable>, verify: &VerifyTable) -> Result<Self, String> {
        let mut policies = Vec::new();
        for (place, table) in tables.into_iter().enumerate() {
            let policy = table.check();
            policies.push(policy.map_err(|why| format!("[[policy]] number {}: {why}", place + 1))?);
        }
        let default = VerifyTimes::default();
        let time =
            |given: &Option<Time>, otherwise| given.as_ref().map_or(otherwise, |time| time.0);
        Ok(Self {
            policies: Policies::new(policies),
            times: VerifyTimes {
                sidecar: time(&verify.sidecar, default.sidecar),
                container: time(&verify.container, default.container),
                replace: time(&verify.replace, default.replace),
            },
        })
    }
}

impl PolicyTable {
    fn check(self) -> Result<Policy, String> {
        let named = self.ladder.is_some();
        let ladder: Vec<Rung> = match self.ladder {
            Some(words) => words.into_iter().map(|word| word.0).collect(),
            None => Rung::ALL.to_vec(),
        };
        for (place, rung) in ladder.iter().enumerate() {
            let word = rung.as_str();
            if ladder[..place].contains(rung) {
                return Err(format!("the ladder names {word} twice"));
            }
        }
        let before_people = ladder
            .iter()
            .take_while(|rung| **rung != Rung::Alert)
            .count();
        if before_people + 1 < ladder.len() {
            return Err("no rung follows alert: people come last".to_owned());
        }
        let has_exec = ladder.contains(&Rung::Exec);
        match (self.exec.first(), has_exec && named) {
            (None, true) => {
                return Err(
                    "the ladder names exec, which needs a command: exec = [\"/path\"]".to_owned(),
                );
            }
            (Some(program), _) if program.is_empty() => {
                return Err("exec: the program must not be empty".to_owned());
            }
            (Some(_), false) if named => {
                return Err("exec has no effect: the ladder does not name it".to_owned());
            }
            (Some(_) | None, _) => {}
        }
        if self.replace_image.is_some() && !ladder.contains(&Rung::Replace) {
            return Err("replace_image has no effect: the ladder does not name replace".to_owned());
        }
        let glob = |text: Option<String>| text.map(|text| Glob::new(&text));
        Ok(Policy {
            matcher: Matcher {
                id: glob(self.matcher.id),
                kind: glob(self.matcher.kind),
                host: glob(self.matcher.host),
            },
            ladder,
            exec: self.exec,
            replace_image: self.replace_image,
            auto: self.auto.unwrap_or(true),
            severity: match self.severity {
                SeverityWord::Info => Severity::Info,
                SeverityWord::Warning => Severity::Warning,
                SeverityWord::Critical => Severity::Critical,
            },
            restarts_stalled: self.on_stalled == ReactionWord::Restart,
        })
    }
}

impl<'de> Deserialize<'de> for RungWord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        let rung = Rung::parse(&word).map(Self);
        rung.ok_or_else(|| serde::de::Error::custom(format!("unknown rung `{word}`")))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        policy: Vec<PolicyTable>,
    }

    fn settings(text: &str) -> Result<RecoverySettings, String> {
        let file: File = toml::from_str(&format!("[[policy]]\n{text}"))
            .map_err(|error| error.message().to_owned())?;
        RecoverySettings::new(file.policy, &VerifyTable::default())
    }

    #[test]
    fn the_first_policy_that_matches_decides_and_every_other_agent_gets_the_default() {
        let text = "match = { id = \"writer-*\" }\non_stalled = \"restart\"\nladder = [\"exec\", \"alert\"]\nexec = [\"/bin/back\", \"now\"]\nauto = false";
        let settings = settings(text).unwrap();
        let writer = settings.policies.of("writer-1", "t", "h");
        assert_eq!(writer.ladder, [Rung::Exec, Rung::Alert]);
        assert_eq!((writer.exec.len(), writer.auto), (2, false));
        assert!(writer.restarts_stalled);
        let other = settings.policies.of("reader-1", "t", "h");
        assert_eq!(
            (other.ladder.as_slice(), other.auto, other.restarts_stalled),
            (&Rung::ALL[..], true, false)
        );
    }

    #[test]
    fn a_policy_that_cannot_be_carried_out_is_refused_with_its_reason() {
        for (text, says) in [
            ("ladder = [\"exec\"]", "needs a command"),
            ("ladder = [\"alert\", \"sidecar\"]", "people come last"),
            ("ladder = [\"sidecar\", \"sidecar\"]", "twice"),
            ("ladder = [\"dokcer\"]", "unknown rung `dokcer`"),
            ("ladder = [\"sidecar\"]\nexec = [\"/x\"]", "no effect"),
            ("replace_image = \"x\"\nladder = [\"sidecar\"]", "no effect"),
            ("laddr = []", "unknown field `laddr`"),
            ("match = { ids = \"x\" }", "unknown field `ids`"),
            ("severity = \"loud\"", "unknown variant `loud`"),
            ("on_stalled = \"kill\"", "unknown variant `kill`"),
        ] {
            let why = settings(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
