//! What an agent looked like when it began to need a person, or before its sidecar ended it: which process waits for what, and
//! its last lines.

use crate::base::foreign;
use crate::wire::event::{Event, EventKind};
use crate::wire::evidence_snapshot::{EvidenceSnapshot, SnapshotProcess};
use crate::wire::timeline::{TimelineEntry, TimelineKind};
use crate::wire::word;

/// Half of what an entry's explanation may have, in characters: one for the processes, one for the lines.
const PART_CHARS_MAX: usize = 245;
/// Lines that are shown, the newest.
const LINES: usize = 5;

/// The entry; none where the event has no snapshot.
pub(super) fn of_event(event: &Event, at: u64) -> Option<TimelineEntry> {
    let snapshot = event.detail.card.as_deref()?;
    let sentence = foreign::visible(&snapshot.sentence);
    let ends = event.kind == EventKind::Evidence && !event.detail.requested;
    let when = if ends {
        "captured before it was ended"
    } else {
        "captured"
    };
    let what = match sentence.is_empty() {
        true => when.to_owned(),
        false => format!("{when}: {sentence}"),
    };
    let incarnation = event.detail.incarnation.map(|n| n.to_string());
    let verdict = snapshot.verdict.map(|verdict| word(&verdict));
    let entry = TimelineEntry::new(at, TimelineKind::Evidence, &what, &detail(snapshot))
        .fact("epoch", event.epoch.to_string())
        .fact("incarnation", incarnation.unwrap_or_default())
        .fact("pid", snapshot.pid.to_string())
        .fact("verdict", verdict.unwrap_or_default())
        .fact("time", event.at_ms.to_string())
        .with_tree(&snapshot.tree);
    Some(entry)
}

fn detail(snapshot: &EvidenceSnapshot) -> String {
    let tree: Vec<String> = snapshot.tree.iter().filter_map(waits).collect();
    let newest = snapshot.last_lines.len().saturating_sub(LINES);
    let lines: Vec<_> = snapshot.last_lines[newest..]
        .iter()
        .map(|line| foreign::visible(line))
        .collect();
    let parts = [
        ("Waits: ", tree.join("; ")),
        ("Last lines: ", lines.join(" / ")),
    ];
    let parts = parts.iter().filter(|(_, text)| !text.is_empty());
    let parts: Vec<String> = parts
        .map(|(label, text)| foreign::cut(&format!("{label}{text}"), PART_CHARS_MAX).into_owned())
        .collect();
    parts.join(". ")
}

/// A process with what its first thread waits for.
fn waits(process: &SnapshotProcess) -> Option<String> {
    let first = foreign::visible(process.waiting_on.first()?);
    let command = foreign::visible(&process.command);
    Some(format!("{command} ({}) {first}", process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::AgentId;
    use crate::wire::beat::Verdict;
    use crate::wire::event::Detail;

    fn event(snapshot: Option<EvidenceSnapshot>) -> Event {
        Event {
            agent: AgentId::parse("w1").unwrap(),
            kind: EventKind::Evidence,
            epoch: 7,
            at_ms: 5,
            detail: Detail {
                card: snapshot.map(Box::new),
                ..Detail::default()
            },
        }
    }

    fn process(pid: u32, command: &str, waits: &str) -> SnapshotProcess {
        SnapshotProcess {
            pid,
            command: command.to_owned(),
            waiting_on: vec![waits.to_owned()],
            ..SnapshotProcess::default()
        }
    }

    #[test]
    fn what_each_process_waited_for_and_the_last_lines_are_kept() {
        let snapshot = EvidenceSnapshot {
            pid: 4711,
            verdict: Some(Verdict::Hung),
            sentence: "Its main thread waits for child 4719.".to_owned(),
            tree: vec![
                process(4711, "node", "child 4719"),
                process(4719, "pg_dump", "room in a pipe"),
            ],
            last_lines: vec!["batch 12\u{1b}[2J".to_owned()],
            ..EvidenceSnapshot::default()
        };
        let entry = of_event(&event(Some(snapshot)), 9).unwrap();
        assert_eq!(
            (entry.what.as_str(), entry.detail.as_str()),
            (
                "captured before it was ended: Its main thread waits for child 4719.",
                "Waits: node (4711) child 4719; pg_dump (4719) room in a pipe. Last lines: batch 12\\u{1b}[2J",
            )
        );
        assert_eq!(entry.facts["verdict"], "hung");
    }

    #[test]
    fn a_verdict_that_needs_attention_is_captured_each_time_and_its_tree_comes_back_from_the_store()
    {
        let snapshot = EvidenceSnapshot {
            verdict: Some(Verdict::Stalled),
            tree: vec![process(4711, "node", "child 4719")],
            ..EvidenceSnapshot::default()
        };
        let stalled = |at_ms| Event {
            kind: EventKind::Stalled,
            at_ms,
            ..event(Some(snapshot.clone()))
        };
        let entry = of_event(&stalled(5), 9).unwrap();
        assert_eq!(entry.what, "captured");
        assert_eq!(entry.tree, snapshot.tree);
        let stored = entry.encode().into_iter();
        let stored = stored.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(TimelineEntry::decode(stored).unwrap(), entry);
        let again = of_event(&stalled(6), 9).unwrap();
        assert!(!again.repeats(&entry), "it stalled twice");
    }

    #[test]
    fn a_tree_that_is_too_long_for_the_store_says_how_long_it_was() {
        let snapshot = EvidenceSnapshot {
            tree: vec![process(1, &"ü".repeat(500), &"a\u{1b}".repeat(500)); 500],
            ..EvidenceSnapshot::default()
        };
        let entry = of_event(&event(Some(snapshot)), 9).unwrap();
        assert_eq!(entry.facts["processes"], "500");
        let stored: Vec<_> = entry.encode().into_iter().collect();
        let (_, tree) = stored.iter().find(|(name, _)| *name == "tree").unwrap();
        assert!(
            !entry.tree.is_empty() && tree.len() <= 3000,
            "{}",
            tree.len()
        );
        let stored = stored.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
        assert_eq!(TimelineEntry::decode(stored).unwrap(), entry);
    }

    #[test]
    fn an_event_without_a_snapshot_is_no_entry_and_a_large_one_is_cut() {
        assert_eq!(of_event(&event(None), 9), None);
        let snapshot = EvidenceSnapshot {
            tree: vec![process(1, "a", "a lock"); 500],
            last_lines: vec!["x".repeat(5000); 20],
            ..EvidenceSnapshot::default()
        };
        let entry = of_event(&event(Some(snapshot)), 9).unwrap();
        assert!(
            entry.detail.chars().count() <= 500,
            "{}",
            entry.detail.len()
        );
        assert!(entry.detail.contains("Last lines: x"), "{}", entry.detail);
    }
}
