//! An evidence snapshot: what a tree looked like before hbsidecar acted on it. Small enough for the stream of events, complete
//! enough for a person to understand the action afterwards.

use crate::wire::beat::{Evidence, Verdict};
use serde::{Deserialize, Serialize};

/// The longest snapshot before an action, in bytes of JSON.
pub const SNAPSHOT_BYTES_MAX: usize = 16 * 1024;
/// The longest snapshot beside a verdict: a verdict that comes and goes must not push the rest out of the stream's memory.
pub const VERDICT_SNAPSHOT_BYTES_MAX: usize = 4 * 1024;

/// The evidence before an action, or beside a verdict that needs attention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceSnapshot {
    /// The agent's first process.
    pub pid: u32,
    /// The verdict on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The verdict's sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sentence: String,
    /// The reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Its processes, parents first.
    pub tree: Vec<SnapshotProcess>,
    /// Its connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Processes outside the tree that hold a pipe or lock of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// The last lines it wrote or reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// What could not be read, or not be kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One process of a snapshot or of a diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// The command line, cut.
    pub command: String,
    /// Its state.
    pub state: String,
    /// What its threads wait for, the main thread first: `12 × a lock or condition`.
    pub waiting_on: Vec<String>,
}

impl EvidenceSnapshot {
    /// For the stream of events: at most `bytes_max` of JSON, 1 kB at least. What does not fit is left out from the end of the
    /// lists and counted in `missing`. Commands lose their arguments, which may hold secrets.
    pub fn for_the_stream(mut self, bytes_max: usize) -> Self {
        for process in &mut self.tree {
            let program = process.command.split(' ').next().unwrap_or_default();
            process.command = program.to_owned();
        }
        while serde_json::to_string(&self).map_or(0, |text| text.len()) > bytes_max {
            self.halve();
        }
        self
    }

    /// Shortens the lists that are longest in bytes.
    fn halve(&mut self) {
        let tree: usize = self.tree.iter().map(SnapshotProcess::size).sum();
        let size = |list: &[String]| list.iter().map(String::len).sum::<usize>();
        let largest = [
            tree,
            size(&self.sockets),
            size(&self.outside),
            size(&self.last_lines),
            size(&self.missing),
            self.evidence
                .iter()
                .map(|e| e.value.len() + e.signal.len())
                .sum(),
        ];
        let at = (0..largest.len())
            .max_by_key(|at| largest[*at])
            .unwrap_or(0);
        let (name, left_out) = match at {
            0 => ("processes", half(&mut self.tree)),
            1 => ("sockets", half(&mut self.sockets)),
            2 => ("outside", half(&mut self.outside)),
            3 => ("lines", half(&mut self.last_lines)),
            // At its end stands what was left out.
            4 => (
                "missing",
                self.missing.drain(..self.missing.len().div_ceil(2)).count(),
            ),
            _ => ("evidence", half(&mut self.evidence)),
        };
        if at != 4 {
            self.missing.push(format!("{left_out} {name} left out"));
        }
    }
}

impl SnapshotProcess {
    fn size(&self) -> usize {
        self.command.len() + self.waiting_on.iter().map(String::len).sum::<usize>() + 80
    }
}

fn half<T>(list: &mut Vec<T>) -> usize {
    let keep = list.len() / 2;
    list.drain(keep..).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_of_a_huge_tree_fits_and_counts_what_was_left_out() {
        let process = SnapshotProcess {
            command: "ü".repeat(200),
            ..SnapshotProcess::default()
        };
        let snapshot = EvidenceSnapshot {
            tree: vec![process; 3000],
            sockets: vec!["s".repeat(200); 5000],
            missing: vec!["m".repeat(200); 500],
            ..EvidenceSnapshot::default()
        };
        for bytes_max in [SNAPSHOT_BYTES_MAX, VERDICT_SNAPSHOT_BYTES_MAX] {
            let cut = snapshot.clone().for_the_stream(bytes_max);
            let text = serde_json::to_string(&cut).unwrap();
            assert!(text.len() <= bytes_max, "{}", text.len());
            let back: EvidenceSnapshot = serde_json::from_str(&text).unwrap();
            assert!(!back.tree.is_empty() && !back.sockets.is_empty());
            assert!(
                back.missing.iter().any(|m| m.ends_with("sockets left out")),
                "{:?}",
                back.missing
            );
        }
    }

    #[test]
    fn a_small_snapshot_is_complete_except_for_arguments_that_may_be_secrets() {
        let command = |text: &str| SnapshotProcess {
            command: text.to_owned(),
            ..SnapshotProcess::default()
        };
        let snapshot = |text| EvidenceSnapshot {
            pid: 7,
            tree: vec![command(text)],
            last_lines: vec!["bye".into()],
            ..EvidenceSnapshot::default()
        };
        assert_eq!(
            snapshot("curl -H key:s3cret").for_the_stream(SNAPSHOT_BYTES_MAX),
            snapshot("curl")
        );
    }
}
