//! What was seen of a tree before something is done to it: small enough for the stream of events, whole enough for a
//! person to judge afterwards.

use crate::activity::Judgement;
use crate::activity::words::{state_word, wait_words};
use crate::agent::words;
use crate::beat::{Evidence, Verdict, cut};
use crate::evidence::{Process, Sample, Socket, SocketKind, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest card, in bytes of JSON.
pub const CARD_BYTES_MAX: usize = 16 * 1024;
const TEXT_CHARS_MAX: usize = 200;
const LAST_LINES_MAX: usize = 20;

/// The evidence before an end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Card {
    /// The agent's first process.
    pub pid: u32,
    /// What was thought of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sentence: String,
    /// Why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Its processes, parents first.
    pub tree: Vec<CardProcess>,
    /// Its connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Processes outside that hold a pipe or lock of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// The last lines it wrote or reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// What could not be read, or not be kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One process on a card, or in a diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// The command line, cut.
    pub command: String,
    /// In one word.
    pub state: String,
    /// What its threads wait for, the most frequent last: `12 × a lock or condition`.
    pub waiting_on: Vec<String>,
}

impl Card {
    /// What the sample shows.
    pub fn of(sample: &Sample, judgement: Option<&Judgement>, last_lines: Vec<String>) -> Self {
        let mut last_lines = last_lines;
        last_lines.extend(
            sample
                .outputs
                .iter()
                .map(|o| format!("{}: {}", o.path, o.last)),
        );
        let skip = last_lines.len().saturating_sub(LAST_LINES_MAX);
        let outsider = |o: &crate::evidence::Outsider| {
            format!("{} ({}), {}", o.name, o.pid, state_word(o.state))
        };
        Self {
            pid: sample.root,
            verdict: judgement.map(|j| j.verdict),
            sentence: judgement
                .map(|j| short(j.sentence.clone()))
                .unwrap_or_default(),
            evidence: judgement.map(|j| j.evidence.clone()).unwrap_or_default(),
            tree: sample
                .processes
                .iter()
                .map(|p| CardProcess::of(sample, p))
                .collect(),
            sockets: sample.sockets.iter().filter_map(socket_words).collect(),
            outside: sample.outsiders.iter().map(outsider).collect(),
            last_lines: last_lines.into_iter().skip(skip).map(short).collect(),
            missing: missing(sample),
        }
    }

    /// For the stream of events: at most [`CARD_BYTES_MAX`] of JSON, what does not fit left out from the end of its lists
    /// and counted; commands without their arguments, which may hold secrets.
    pub fn for_the_stream(mut self) -> Self {
        for process in &mut self.tree {
            let program = process.command.split(' ').next().unwrap_or_default();
            process.command = program.to_owned();
        }
        while serde_json::to_string(&self).map_or(0, |text| text.len()) > CARD_BYTES_MAX {
            self.halve();
        }
        self
    }

    /// Shortens the lists that are longest in bytes.
    fn halve(&mut self) {
        let tree: usize = self.tree.iter().map(CardProcess::size).sum();
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
            4 => ("missing", half(&mut self.missing)),
            _ => ("evidence", half(&mut self.evidence)),
        };
        if at != 4 {
            self.missing.push(format!("{left_out} {name} left out"));
        }
    }
}

impl CardProcess {
    /// One process of a sample.
    pub fn of(sample: &Sample, process: &Process) -> Self {
        Self {
            pid: process.pid,
            parent: process.parent,
            command: short(process.command.clone()),
            state: state_word(process.state).to_owned(),
            waiting_on: waits(sample, process),
        }
    }

    fn size(&self) -> usize {
        self.command.len() + self.waiting_on.iter().map(String::len).sum::<usize>() + 80
    }
}

/// Threads with the same wait are told once, with their number; the first thread comes first.
fn waits(sample: &Sample, process: &Process) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut order = Vec::new();
    for wait in process.threads.iter().filter_map(|t| t.wait.as_ref()) {
        if matches!(wait, Wait::Unreadable(crate::evidence::Why::Gone)) {
            continue;
        }
        let text = short(wait_words(sample, wait));
        let count = counts.entry(text.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            order.push(text);
        }
    }
    let tell = |text: String| match counts.get(&text) {
        Some(n) if *n > 1 => format!("{n} × {text}"),
        Some(_) | None => text,
    };
    order.into_iter().take(8).map(tell).collect()
}

fn socket_words(socket: &Socket) -> Option<String> {
    let SocketKind::Tcp(tcp) = &socket.kind else {
        return None;
    };
    Some(format!(
        "{}/{} {:?} {} → {}: in {} B ({} ago), out {} B ({} ago), ack {} ago, unread {}, repeats {}, probes {}, keep-alive {}",
        socket.pid,
        socket.fd,
        tcp.state,
        tcp.local,
        tcp.remote,
        tcp.received,
        words(tcp.received_ago),
        tcp.acked,
        words(tcp.sent_ago),
        words(tcp.acked_ago),
        tcp.unread.map_or("?".to_owned(), |n| n.to_string()),
        tcp.retransmits,
        tcp.probes,
        tcp.keep_alive
            .map_or("?", |on| if on { "on" } else { "off" }),
    ))
}

fn missing(sample: &Sample) -> Vec<String> {
    let gap = |gap: &crate::evidence::Gap| {
        let whose = if gap.pid == 0 {
            String::new()
        } else {
            format!(" of {}", gap.pid)
        };
        format!("{}{whose}: {}", gap.what, gap.why.words())
    };
    sample.gaps.iter().map(gap).collect()
}

fn half<T>(list: &mut Vec<T>) -> usize {
    let keep = list.len() / 2;
    list.drain(keep..).count()
}

fn short(text: String) -> String {
    cut(text, TEXT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_of_a_huge_tree_fits_and_says_what_was_left_out() {
        let process = CardProcess {
            command: "ü".repeat(200),
            ..CardProcess::default()
        };
        let card = Card {
            tree: vec![process; 3000],
            sockets: vec!["s".repeat(200); 5000],
            missing: vec!["m".repeat(200); 500],
            ..Card::default()
        };
        let text = serde_json::to_string(&card.for_the_stream()).unwrap();
        assert!(text.len() <= CARD_BYTES_MAX, "{}", text.len());
        let back: Card = serde_json::from_str(&text).unwrap();
        assert!(!back.tree.is_empty() && !back.sockets.is_empty());
        assert!(
            back.missing.iter().any(|m| m.ends_with("sockets left out")),
            "{:?}",
            back.missing
        );
    }

    #[test]
    fn a_small_card_is_whole_but_for_arguments_that_may_be_secrets() {
        let command = |text: &str| CardProcess {
            command: text.to_owned(),
            ..CardProcess::default()
        };
        let card = |text| Card {
            pid: 7,
            tree: vec![command(text)],
            last_lines: vec!["bye".into()],
            ..Card::default()
        };
        assert_eq!(card("curl -H key:s3cret").for_the_stream(), card("curl"));
    }
}
