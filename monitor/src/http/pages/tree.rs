//! The processes of one agent and what each waits for, as they were when it began to need a person or before it was ended.

use super::parts::{self, Shape};
use heartbeat::fleet::process_tree::{Drawn, drawn};
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::Word;
use heartbeat::wire::activity::Verdict;
use heartbeat::wire::evidence_snapshot::SnapshotProcess;
use heartbeat::wire::timeline::TimelineEntry;
use maud::{Markup, html};

const NO_BREAK: &str = "\u{a0}";

/// The section of an entry with a tree.
pub(super) fn section(captured: &TimelineEntry, at: ViewTime) -> Markup {
    let tree = &captured.tree;
    let all: Option<usize> = captured
        .facts
        .get("processes")
        .and_then(|count| count.parse().ok());
    let left_out = all.map_or(0, |all| all.saturating_sub(tree.len()));
    html! {
        section aria-labelledby="tree" {
            div.bar { h2 #tree { "Process tree" } small { "captured at " (parts::time(captured.at, Shape::Clock, at)) (verdict(captured)) } }
            div.panel.scroll role="group" tabindex="0" aria-label="Process tree" {
                table {
                    thead {
                        tr { th scope="col" { "Command" } th.n scope="col" { "Pid" } th.c2 scope="col" { "State" } th scope="col" { "Waits for" } }
                    }
                    tbody {
                        @for line in drawn(tree) {
                            @let Drawn { branch, process } = &line;
                            tr {
                                th.nw scope="row" { code aria-hidden="true" { (branch.replace(' ', NO_BREAK)) } code title=(parts::foreign(&process.command)) { (parts::foreign(line.program())) } }
                                td.n { (process.pid) }
                                td.c2 { (parts::foreign(&process.state)) }
                                td { (waits(process)) }
                            }
                        }
                    }
                }
                @if left_out > 0 { p.pager { "and " (left_out) " more" } }
            }
        }
    }
}

/// `, stalled`: what it was when it was captured.
fn verdict(captured: &TimelineEntry) -> String {
    let code = captured.facts.get("verdict").cloned();
    let verdict: Option<Verdict> = code.and_then(|code| serde_json::from_value(code.into()).ok());
    verdict.map_or_else(String::new, |verdict| {
        format!(", {}", Word::of_verdict(verdict).text())
    })
}

fn waits(process: &SnapshotProcess) -> Markup {
    html! {
        @if process.waiting_on.is_empty() { "–" }
        @for (place, wait) in process.waiting_on.iter().enumerate() {
            @if place > 0 { br; }
            bdi { (parts::foreign(wait)) }
        }
    }
}
