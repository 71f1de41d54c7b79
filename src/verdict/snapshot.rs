//! An evidence snapshot made from a sample: what a person needs to understand an end afterwards.

use crate::base::duration::format_duration;
use crate::verdict::Judgement;
use crate::verdict::explain::{describe_state, describe_wait};
use crate::verdict::sample::{Gap, Outsider, Process, Sample, Socket, SocketKind, Wait, Why};
use crate::wire::beat::cut;
use crate::wire::evidence_snapshot::{EvidenceSnapshot, SnapshotProcess};
use std::collections::BTreeMap;

const TEXT_CHARS_MAX: usize = 200;
const LAST_LINES_MAX: usize = 20;

/// The snapshot of a sample. `last_lines` are the agent's last status lines, oldest first.
pub fn snapshot(
    sample: &Sample,
    judgement: Option<&Judgement>,
    last_lines: Vec<String>,
) -> EvidenceSnapshot {
    let mut last_lines = last_lines;
    last_lines.extend(
        sample
            .outputs
            .iter()
            .map(|o| format!("{}: {}", o.path, o.last)),
    );
    let skip = last_lines.len().saturating_sub(LAST_LINES_MAX);
    let outsider = |o: &Outsider| format!("{} ({}), {}", o.name, o.pid, describe_state(o.state));
    EvidenceSnapshot {
        pid: sample.root,
        verdict: judgement.map(|j| j.verdict),
        sentence: judgement
            .map(|j| short(j.sentence.clone()))
            .unwrap_or_default(),
        evidence: judgement.map(|j| j.evidence.clone()).unwrap_or_default(),
        tree: sample
            .processes
            .iter()
            .map(|p| process(sample, p))
            .collect(),
        sockets: sample.sockets.iter().filter_map(describe_socket).collect(),
        outside: sample.outsiders.iter().map(outsider).collect(),
        last_lines: last_lines.into_iter().skip(skip).map(short).collect(),
        missing: missing(sample),
    }
}

/// One process of a sample.
pub fn process(sample: &Sample, process: &Process) -> SnapshotProcess {
    SnapshotProcess {
        pid: process.pid,
        parent: process.parent,
        command: short(process.command.clone()),
        state: describe_state(process.state).to_owned(),
        waiting_on: waits(sample, process),
    }
}

/// Threads with the same wait become one entry with their number; the main thread comes first.
fn waits(sample: &Sample, process: &Process) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut order = Vec::new();
    for wait in process.waits() {
        if matches!(wait, Wait::Unreadable(Why::Gone)) {
            continue;
        }
        let text = short(describe_wait(sample, wait));
        let count = counts.entry(text.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            order.push(text);
        }
    }
    let counted = |text: String| match counts.get(&text) {
        Some(n) if *n > 1 => format!("{n} × {text}"),
        Some(_) | None => text,
    };
    order.into_iter().take(8).map(counted).collect()
}

fn describe_socket(socket: &Socket) -> Option<String> {
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
        format_duration(tcp.received_ago),
        tcp.acked,
        format_duration(tcp.sent_ago),
        format_duration(tcp.acked_ago),
        tcp.unread.map_or("?".to_owned(), |n| n.to_string()),
        tcp.retransmits,
        tcp.probes,
        tcp.keep_alive
            .map_or("?", |on| if on { "on" } else { "off" }),
    ))
}

fn missing(sample: &Sample) -> Vec<String> {
    sample.gaps.iter().map(Gap::describe).collect()
}

fn short(text: String) -> String {
    cut(text, TEXT_CHARS_MAX)
}
