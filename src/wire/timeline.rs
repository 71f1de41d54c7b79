//! One agent's story, as the stream `hb:timeline:{agent:ID}` keeps it: what happened, when, and the codes behind the words.

use crate::base::foreign;
use crate::wire::evidence_snapshot::SnapshotProcess;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest line of an entry, in characters.
const WHAT_CHARS_MAX: usize = 200;
/// The longest explanation, in characters.
const DETAIL_CHARS_MAX: usize = 500;
/// The longest value of a fact, in characters.
const FACT_CHARS_MAX: usize = 200;
/// The longest name of a fact that is read, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Facts that are read of one entry.
const FACTS_MAX: usize = 32;
/// The longest tree, in bytes of JSON.
const TREE_BYTES_MAX: usize = 3000;
/// The longest text of a process in a tree, in characters.
const PROCESS_CHARS_MAX: usize = 120;
/// Waits of one process that are kept, the main thread's first.
const WAITS_MAX: usize = 4;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, Unix milliseconds of the store.
    pub at: u64,
    /// What sort of entry it is.
    pub kind: TimelineKind,
    /// What happened, for people, on one line.
    pub what: String,
    /// More of it, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The codes and numbers behind it. Entries of one kind with the same facts report the same thing.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// The processes and what each waits for, parents first; only of [`TimelineKind::Evidence`]. The fact `processes` counts
    /// them when some are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tree: Vec<SnapshotProcess>,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// The state changed: `from to reason epoch incarnation`.
    State,
    /// The verdict began or ceased to need a person: `from to`.
    Activity,
    /// A process started or ended: `event epoch incarnation pid code signal reason`.
    Process,
    /// What it looked like when it began to need a person, or before it was ended: `epoch incarnation pid verdict time`.
    Evidence,
    /// An incident opened or closed: `incident change reason`.
    Incident,
    /// A rung began or ended: `incident rung epoch incarnation outcome`.
    Rung,
    /// A notification about it: `incident` or `notice`, `receiver time outcome`.
    Notified,
    /// A person takes care of it: `incident` or `notice`, `by`.
    Acknowledged,
    /// A person asked for something: `action by from outcome time`.
    Asked,
    /// Its sidecar carried an order out, or did not: `order action outcome`.
    Order,
    /// A kind of a newer version: its words are shown.
    #[serde(other)]
    Unknown,
}

/// Why an entry of the stream is not read. It is left out and counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// A field is not there.
    #[error("an entry of a timeline needs the field {0}")]
    Missing(&'static str),
    /// The time is no number.
    #[error("the entry's time is invalid: {0:?}")]
    Time(String),
}

impl TimelineEntry {
    /// An entry of this time; the texts are cut to their limits.
    pub fn new(at: u64, kind: TimelineKind, what: &str, detail: &str) -> Self {
        Self {
            at,
            kind,
            what: foreign::cut(what, WHAT_CHARS_MAX).into_owned(),
            detail: foreign::cut(detail, DETAIL_CHARS_MAX).into_owned(),
            facts: BTreeMap::new(),
            tree: Vec::new(),
        }
    }

    /// With this tree, as far as it fits: the last processes are left out.
    pub fn with_tree(mut self, tree: &[SnapshotProcess]) -> Self {
        let short = |text: &String| foreign::cut(text, PROCESS_CHARS_MAX).into_owned();
        let mut bytes = 0;
        for process in tree {
            let process = SnapshotProcess {
                pid: process.pid,
                parent: process.parent,
                command: short(&process.command),
                state: short(&process.state),
                waiting_on: process
                    .waiting_on
                    .iter()
                    .take(WAITS_MAX)
                    .map(short)
                    .collect(),
            };
            bytes += serde_json::to_string(&process).map_or(0, |text| text.len() + 1);
            if bytes >= TREE_BYTES_MAX {
                return self.fact("processes", tree.len().to_string());
            }
            self.tree.push(process);
        }
        self
    }

    /// With this fact; an empty one is left out.
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            let value = foreign::cut(&value, FACT_CHARS_MAX).into_owned();
            self.facts.insert(name.to_owned(), value);
        }
        self
    }

    /// The stream entry's fields and values: `at kind what detail tree` and the facts.
    pub fn encode(&self) -> Vec<(&str, String)> {
        let mut fields = vec![
            ("at", self.at.to_string()),
            ("kind", super::word(&self.kind)),
            ("what", self.what.clone()),
        ];
        if !self.detail.is_empty() {
            fields.push(("detail", self.detail.clone()));
        }
        if !self.tree.is_empty() {
            fields.push((
                "tree",
                serde_json::to_string(&self.tree).unwrap_or_default(),
            ));
        }
        let facts = self.facts.iter();
        fields.extend(facts.map(|(name, value)| (name.as_str(), value.clone())));
        fields
    }

    /// Takes the fields of a stream entry. Fields of a newer version are facts.
    pub fn decode(
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, TimelineError> {
        let (mut at, mut kind, mut what, mut detail) = (None, None, None, String::new());
        let (mut facts, mut tree) = (BTreeMap::new(), Vec::new());
        for (name, value) in fields {
            match name.as_str() {
                "at" => {
                    let read = value.parse().map_err(|_| TimelineError::Time(value))?;
                    at = Some(read);
                }
                "kind" => {
                    let word = serde_json::Value::String(value);
                    kind = Some(serde_json::from_value(word).unwrap_or(TimelineKind::Unknown));
                }
                "what" => what = Some(value),
                "detail" => detail = value,
                "tree" if value.len() <= TREE_BYTES_MAX => {
                    tree = serde_json::from_str(&value).unwrap_or_default();
                }
                "tree" => {} // of no writer of ours: only the tree is lost
                _ if facts.len() < FACTS_MAX && name.len() <= NAME_BYTES_MAX => {
                    facts.insert(name, foreign::cut(&value, FACT_CHARS_MAX).into_owned());
                }
                _ => {}
            }
        }
        let what = what.ok_or(TimelineError::Missing("what"))?;
        let entry = Self::new(
            at.ok_or(TimelineError::Missing("at"))?,
            kind.ok_or(TimelineError::Missing("kind"))?,
            &what,
            &detail,
        );
        Ok(Self {
            facts,
            tree,
            ..entry
        })
    }

    /// Whether an earlier entry reports the same thing.
    pub fn repeats(&self, earlier: &Self) -> bool {
        (self.kind, &self.facts) == (earlier.kind, &earlier.facts)
    }

    /// Whether what it reports can come again with the same facts: then only the newest of its kind tells whether it is known.
    pub const fn recurs(&self) -> bool {
        match self.kind {
            TimelineKind::State | TimelineKind::Activity => true,
            TimelineKind::Process
            | TimelineKind::Evidence
            | TimelineKind::Incident
            | TimelineKind::Rung
            | TimelineKind::Notified
            | TimelineKind::Acknowledged
            | TimelineKind::Asked
            | TimelineKind::Order
            | TimelineKind::Unknown => false,
        }
    }
}
