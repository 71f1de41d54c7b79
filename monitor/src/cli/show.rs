//! `hbmonitor show ID`: one agent on one screen.

use super::agents::Shown;
use super::terminal::{Terminal, left, plain, print, right, width};
use super::waits;
use heartbeat::base::duration::{format_duration, format_short};
use heartbeat::base::figure;
use heartbeat::base::foreign::cut;
use heartbeat::fleet::ladder::exchange::RungOutcome;
use heartbeat::fleet::word::{Rank, Word, rung_text};
use heartbeat::wire::incident::Rung;
use serde_json::Value;
use std::time::Duration;

/// Where the values begin.
const LABEL_COLUMNS: usize = 10;
/// Columns of a sentence, in a pipe too.
const TEXT_COLUMNS_MAX: usize = 100;

/// What is known of an agent beside the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    /// The incident that it is in.
    pub(super) incident: Option<&'a Value>,
    /// Newest first.
    pub(super) timeline: &'a [Value],
    /// How many entries of it are printed; in the others only the processes are searched for.
    pub(super) entries: usize,
}

/// Prints the agent, with its incident, its processes and the newest entries of its timeline.
pub(super) fn show(agent: &Shown, beside: Beside<'_>, terminal: &Terminal) {
    for line in lines(agent, beside, terminal) {
        print(&line);
    }
}

/// Whether something needs attention.
pub(super) fn needs_attention(agent: &Shown) -> bool {
    match agent.word.rank() {
        Rank::NeedsYou | Rank::OnIt => true,
        Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped => false,
    }
}

/// The same as lines.
pub(super) fn lines(agent: &Shown, beside: Beside<'_>, terminal: &Terminal) -> Vec<String> {
    let now = terminal.now_ms;
    let mut page = Page {
        columns: terminal
            .columns
            .unwrap_or(TEXT_COLUMNS_MAX)
            .min(TEXT_COLUMNS_MAX),
        lines: Vec::new(),
    };
    let state = format!(
        "{} {}: {}",
        terminal.glyph(agent.word),
        agent.id,
        agent.word.text()
    );
    let reason = agent
        .reason()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let age = format_short(agent.age(now));
    page.lines.push(format!(
        "{}{reason}, {age}",
        terminal.paint(agent.word, &state)
    ));
    page.lines.push(String::new());
    page.field("What", agent.text("sentence"));
    let whole = Duration::from_secs(agent.age(now).as_secs());
    page.field(
        "Since",
        Some(format!(
            "{}, {}",
            terminal.time(agent.since_ms),
            format_duration(whole)
        )),
    );
    page.evidence(&agent.json["activity"]["evidence"]);
    page.field("Next", agent.text("next"));
    page.lines.push(String::new());
    page.field("Agent", Some(place(agent)));
    page.field("Process", Some(process(agent)));
    page.field("Sidecar", agent.text("hbVersion"));
    page.field("Task", task(agent));
    page.field("Status", agent.text("statusText"));
    page.field("Beat", Some(beat(agent, terminal)));
    let of = ["metrics", "lastMetrics"].map(|name| &agent.json[name]);
    let living = agent.json["pid"].is_u64();
    if let Some(metrics) = of.into_iter().find(|of| of.is_object()).filter(|_| living) {
        page.field("CPU", metrics["cpuPercent"].as_f64().map(figure::percent));
        page.field(
            "Memory",
            metrics["memoryMB"].as_f64().map(figure::megabytes),
        );
    }
    if let Some(restarts) = agent.json["restarts"].as_u64().filter(|count| *count > 0) {
        page.field("Restarts", Some(restarts.to_string()));
    }
    page.rungs(&agent.id, beside.incident, terminal);
    page.waits(beside.timeline, terminal);
    let printed = beside.timeline.len().min(beside.entries);
    page.timeline(&beside.timeline[..printed], terminal);
    page.lines
}

struct Page {
    columns: usize,
    lines: Vec<String>,
}

impl Page {
    fn field(&mut self, label: &str, value: Option<String>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return;
        };
        let room = self.columns.saturating_sub(LABEL_COLUMNS + 2);
        for (n, line) in Terminal::wrap(&value, room).into_iter().enumerate() {
            let label = right(if n == 0 { label } else { "" }, LABEL_COLUMNS);
            self.lines.push(format!("{label}  {line}"));
        }
    }

    fn evidence(&mut self, evidence: &Value) {
        let listed = evidence.as_array().map(Vec::as_slice).unwrap_or_default();
        for (n, one) in listed.iter().enumerate() {
            let text = |name: &str| plain(one[name].as_str().unwrap_or_default());
            let label = if n == 0 { "Evidence" } else { "" };
            let value = format!("{} {}  ({})", text("signal"), text("value"), text("source"));
            self.field(label, Some(value));
        }
    }

    fn waits(&mut self, timeline: &[Value], terminal: &Terminal) {
        let lines = waits::lines(timeline, terminal, self.columns);
        if !lines.is_empty() {
            self.lines.push(String::new());
            self.lines.extend(lines);
        }
    }

    /// One line an entry, cut at the end.
    fn timeline(&mut self, timeline: &[Value], terminal: &Terminal) {
        if timeline.is_empty() {
            return;
        }
        self.lines.push(String::new());
        self.lines.push("Timeline".to_owned());
        for entry in timeline {
            let text = |name: &str| plain(entry[name].as_str().unwrap_or_default());
            let at = terminal.time(entry["at"].as_u64().unwrap_or(0));
            let parts = [text("what"), text("detail")];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let line = format!("  {at}  {}", parts.join(": "));
            self.lines.push(cut(&line, self.columns).into_owned());
        }
    }

    /// Those for this agent: others may share its incident.
    fn rungs(&mut self, agent: &str, incident: Option<&Value>, terminal: &Terminal) {
        let rungs = incident.and_then(|incident| incident["rungs"].as_array());
        let rungs: Vec<Rung> = rungs
            .into_iter()
            .flatten()
            .filter_map(|rung| serde_json::from_value::<Rung>(rung.clone()).ok())
            .filter(|rung| rung.is_for(agent))
            .collect();
        if rungs.is_empty() {
            return;
        }
        self.lines.push(String::new());
        self.lines.push("Rungs".to_owned());
        let names = rungs.iter().map(|rung| width(&plain(&rung.rung)));
        let columns = names.max().unwrap_or(0);
        for (n, rung) in rungs.iter().enumerate() {
            let (mark, became) = match (rung.ended_at, rung.outcome.as_deref()) {
                (None, _) => (Word::Returning, "under way".to_owned()),
                (Some(at), Some(outcome)) if outcome == RungOutcome::Recovered.as_str() => {
                    (Word::Healthy, rung_text(rung, at))
                }
                (Some(at), _) => (Word::Failed, rung_text(rung, at)),
            };
            let became = match &rung.detail {
                Some(detail) => format!("{became}: {}", plain(detail)),
                None => became,
            };
            let (mark, name) = (terminal.glyph(mark), left(&plain(&rung.rung), columns));
            let at = terminal.time(rung.started_at);
            self.lines
                .push(format!("  {mark} {} {name}  {at}  {became}", n + 1));
        }
    }
}

fn place(agent: &Shown) -> String {
    let kind = agent.text("agentType").unwrap_or_default();
    let host = agent
        .text("host")
        .map_or_else(String::new, |host| format!(" on {host}"));
    let runtime = &agent.json["runtime"];
    let text = |name: &str| plain(runtime[name].as_str().unwrap_or_default());
    let runtime = if runtime.is_object() && runtime["kind"] != "unknown" {
        let id: String = text("id").chars().take(12).collect();
        format!(", {} {id}", text("kind"))
    } else {
        String::new()
    };
    format!("{kind}{host}{runtime}").trim().to_owned()
}

fn process(agent: &Shown) -> String {
    let pid = agent.json["pid"].as_u64();
    let pid = pid.map_or_else(|| "none now".to_owned(), |pid| pid.to_string());
    let incarnation = agent.json["restarts"].as_u64().unwrap_or(0) + 1;
    match agent.json["epoch"].as_u64() {
        Some(epoch) if epoch > 0 => format!("{pid} (incarnation {incarnation}, epoch {epoch})"),
        Some(_) | None => pid,
    }
}

fn task(agent: &Shown) -> Option<String> {
    let (task, done) = match agent.text("currentTask") {
        Some(task) => (task, &agent.json["taskProgress"]),
        None => (agent.text("lastTask")?, &agent.json["lastTaskProgress"]),
    };
    let done = done
        .as_f64()
        .map_or_else(String::new, |done| format!(": {done:.0} %"));
    Some(format!("{task}{done}"))
}

fn beat(agent: &Shown, terminal: &Terminal) -> String {
    let Some(at) = agent.json["lastHeartbeat"].as_u64() else {
        return "none yet".to_owned();
    };
    let age = Duration::from_millis(terminal.now_ms.saturating_sub(at));
    let missed = match agent.json["missedBeats"].as_u64() {
        Some(missed) if missed > 0 => format!(", {missed} missed"),
        Some(_) | None => String::new(),
    };
    format!("{} ago{missed}", format_short(age))
}
