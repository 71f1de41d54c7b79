//! The processes of one agent and what each waits for, as its timeline holds them.

use super::terminal::{Terminal, left, plain, right, width};
use heartbeat::base::foreign::cut;
use heartbeat::fleet::process_tree::{Drawn, drawn};
use heartbeat::wire::timeline::TimelineEntry;
use serde_json::Value;

/// Entries to ask for, so that the newest tree is among them.
pub(super) const SEARCHED: usize = 100;
/// Columns of a command with its branches.
const COMMAND_COLUMNS_MAX: usize = 30;

/// The newest tree of a timeline, with its title; no lines without one.
pub(super) fn lines(timeline: &[Value], terminal: &Terminal, columns: usize) -> Vec<String> {
    let entries = timeline.iter().filter(|entry| entry["tree"].is_array());
    let mut entries = entries.filter_map(|entry| serde_json::from_value(entry.clone()).ok());
    let Some(captured): Option<TimelineEntry> = entries.next() else {
        return Vec::new();
    };
    let rows = drawn(&captured.tree).into_iter();
    let rows: Vec<[String; 3]> = rows.map(|line| row(&line, terminal)).collect();
    let widths = [0, 1].map(|at| rows.iter().map(|row| width(&row[at])).max().unwrap_or(0));
    let mut lines = vec![format!("Waits, captured {}", terminal.time(captured.at))];
    for [command, pid, waits] in rows {
        let (command, pid) = (left(&command, widths[0]), right(&pid, widths[1]));
        let line = format!("  {command}  {pid}  {waits}");
        lines.push(terminal.fit(line.trim_end(), columns).into_owned());
    }
    let all = captured
        .facts
        .get("processes")
        .and_then(|count| count.parse().ok());
    let left_out = all.unwrap_or(0_usize).saturating_sub(captured.tree.len());
    if left_out > 0 {
        lines.push(format!("  and {left_out} more"));
    }
    lines
}

fn row(line: &Drawn<'_>, terminal: &Terminal) -> [String; 3] {
    let Drawn { branch, process } = line;
    let program = plain(line.program());
    let branch = if terminal.is_unicode() {
        branch.clone()
    } else {
        branch.replace('├', "|").replace('└', "`").replace('│', "|")
    };
    let command = format!("{branch}{program}");
    let command = cut(&command, COMMAND_COLUMNS_MAX).into_owned();
    let waits: Vec<String> = process.waiting_on.iter().map(|wait| plain(wait)).collect();
    [command, process.pid.to_string(), waits.join("; ")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_tree_is_drawn_and_what_others_wrote_stays_text() {
        let process = |pid: u32, parent: u32, command: &str, waits: &str| json!({"pid": pid, "parent": parent, "command": command, "waiting_on": [waits]});
        let entry = |at: u64, tree: Value| json!({"id": "1-0", "at": at, "kind": "evidence", "what": "captured", "facts": {"processes": "9"}, "tree": tree});
        let timeline = [
            json!({"at": 9, "kind": "state", "what": "healthy"}),
            entry(
                8,
                json!([
                    process(4711, 1, "node", "the end of process 4718"),
                    process(4718, 4711, "sh\u{1b}[2J", "room in a pipe (descriptor 1)")
                ]),
            ),
            entry(7, json!([process(1, 0, "old", "")])),
        ];
        let lines = lines(&timeline, &Terminal::plain_at(10), 60);
        assert_eq!(
            lines[1..],
            [
                "  node           4711  the end of process 4718",
                "  └ sh\\u{1b}[2J  4718  room in a pipe (descriptor 1)",
                "  and 7 more",
            ]
        );
        assert!(lines[0].starts_with("Waits, captured "), "{}", lines[0]);
    }

    #[test]
    fn a_timeline_without_a_tree_has_no_lines() {
        let timeline = [
            json!({"at": 9, "kind": "state", "what": "x"}),
            json!({"tree": [7]}),
        ];
        assert_eq!(lines(&timeline, &Terminal::plain_at(10), 60), [""; 0]);
    }
}
