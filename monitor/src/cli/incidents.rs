//! `hbmonitor incidents`.

use super::terminal::{Terminal, left, plain, right, width};
use heartbeat::base::duration::{format_duration, format_short};
use heartbeat::fleet::word::{Word, reason_text};
use heartbeat::wire::life::Reason;
use serde_json::Value;
use std::time::Duration;

/// What an incident is about: `billing-sync`, `node-3 with 8 agents`.
pub(super) fn subject(incident: &Value) -> String {
    let agents = incident["agents"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let first = agents.first().and_then(Value::as_str);
    match (incident["scope"].as_str(), incident["host"].as_str()) {
        (Some("host"), Some(host)) => format!("{} with {} agents", plain(host), agents.len()),
        (Some("fleet"), _) => format!("fleet with {} agents", agents.len()),
        (_, _) => plain(first.unwrap_or("?")),
    }
}

/// Its reason, as a person reads it.
pub(super) fn reason(incident: &Value) -> &'static str {
    let reason = serde_json::from_value(incident["reason"].clone());
    reason_text(reason.unwrap_or(Reason::Unknown))
}

/// A table, with its header.
pub(super) fn table(listed: &[Value], terminal: &Terminal, columns: usize) -> Vec<String> {
    let rows: Vec<[String; 5]> = listed.iter().map(|one| row(one, terminal)).collect();
    let titles = ["AGENT", "WHAT", "OPENED", "LASTED", "NOW"].map(str::to_owned);
    let widths: Vec<usize> = (0..4)
        .map(|at| {
            let cells = rows.iter().chain([&titles]).map(|row| width(&row[at]));
            cells.max().unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; 5], mark: &str| {
        let start = [
            left(&row[0], widths[0]),
            left(&row[1], widths[1]),
            left(&row[2], widths[2]),
            right(&row[3], widths[3]),
        ];
        let start = start.join("  ");
        let room = columns.saturating_sub(width(&start) + 5);
        let now = terminal.fit(&row[4], room);
        format!("{mark}  {start}  {now}").trim_end().to_owned()
    };
    let mut lines = vec![line(&titles, " ")];
    for (one, row) in listed.iter().zip(&rows) {
        let word = word(one);
        let mark = terminal.glyph(word).to_string();
        lines.push(line(row, &terminal.paint(word, &mark)));
    }
    lines
}

/// A row of a pipe: open or closed, agent, reason, opened, seconds, sentence, with tabs.
pub(super) fn piped(one: &Value, terminal: &Terminal) -> String {
    let state = if one["closedAt"].is_null() {
        "open"
    } else {
        "closed"
    };
    [
        state.to_owned(),
        subject(one),
        reason(one).to_owned(),
        one["openedAt"].to_string(),
        lasted(one, terminal).as_secs().to_string(),
        plain(one["sentence"].as_str().unwrap_or_default()),
    ]
    .join("\t")
}

/// The line when none is open.
pub(super) fn none_open(last_closed: Option<&Value>, terminal: &Terminal) -> String {
    match last_closed {
        Some(last) => {
            let age = terminal
                .now_ms
                .saturating_sub(last["closedAt"].as_u64().unwrap_or(0));
            let age = format_short(Duration::from_millis(age));
            format!(
                "No open incident. The last one closed {age} ago: {}, {}.",
                subject(last),
                reason(last)
            )
        }
        None => "No open incident.".to_owned(),
    }
}

fn row(one: &Value, terminal: &Terminal) -> [String; 5] {
    let lasted = Duration::from_secs(lasted(one, terminal).as_secs());
    [
        subject(one),
        reason(one).to_owned(),
        terminal.time(one["openedAt"].as_u64().unwrap_or(0)),
        format_duration(lasted),
        now(one, terminal),
    ]
}

fn lasted(one: &Value, terminal: &Terminal) -> Duration {
    let end = one["closedAt"].as_u64().unwrap_or(terminal.now_ms);
    Duration::from_millis(end.saturating_sub(one["openedAt"].as_u64().unwrap_or(end)))
}

fn rungs(one: &Value) -> &[Value] {
    one["rungs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn climbs(one: &Value) -> bool {
    let under_way = |rung: &Value| rung["endedAt"].is_null() && rung["rung"] != "alert";
    rungs(one).iter().any(under_way)
}

fn word(one: &Value) -> Word {
    match (one["closedAt"].is_null(), climbs(one)) {
        (false, _) => Word::Healthy,
        (true, true) => Word::Returning,
        (true, false) => Word::Failed,
    }
}

fn now(one: &Value, terminal: &Terminal) -> String {
    let acked = one["ackedBy"].as_str().map(plain);
    let next = one["next"]["what"].as_str().map(plain);
    let at = one["next"]["at"].as_u64().map(|at| terminal.time(at));
    let last = rungs(one).last().and_then(|rung| rung["rung"].as_str());
    match (one["closedAt"].as_u64(), acked, next.zip(at)) {
        (Some(at), _, _) => format!("closed {}", terminal.time(at)),
        (None, _, _) if climbs(one) => {
            format!(
                "rung {}, {}",
                rungs(one).len(),
                plain(last.unwrap_or_default())
            )
        }
        (None, Some(by), _) => format!("acknowledged by {by}"),
        (None, None, Some((what, at))) => format!("{what} at {at}"),
        (None, None, None) => plain(one["sentence"].as_str().unwrap_or("a person decides")),
    }
}
