//! Agents as the API shows them, read leniently: a field that a newer monitor changed costs itself only. `hbmonitor ls`.

use super::terminal::{Terminal, left, plain, right, width};
use heartbeat::base::duration::format_short;
use heartbeat::base::figure;
use heartbeat::fleet::word::{Rank, Word, reason_text};
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::life::Reason;
use serde_json::Value;
use std::ops::Range;
use std::time::Duration;

/// Ids with more characters get a line of their own.
const ID_COLUMNS_MAX: usize = 24;
/// Glyph and the longest word.
const STATE_COLUMNS: usize = 19;

/// One agent.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) json: Value,
    pub(super) id: String,
    pub(super) word: Word,
    /// Since when the word holds, Unix milliseconds.
    pub(super) since_ms: u64,
}

impl Shown {
    /// Takes one agent of the API.
    pub(super) fn of(json: Value) -> Self {
        let verdict = json["activity"]["verdict"].as_str();
        let id = plain(json["agentId"].as_str().unwrap_or("?"));
        let word = word(&json, verdict);
        let state_since = json["since"].as_u64().unwrap_or(0);
        let since_ms = match json["state"].as_str() {
            Some("healthy") => json["activity"]["since"].as_u64().unwrap_or(state_since),
            _ => state_since,
        };
        Self {
            id,
            word,
            since_ms,
            json,
        }
    }

    /// How urgent it is, as the monitor sees it.
    fn rank(&self) -> Rank {
        match self.json["attention"].as_str() {
            Some("you") => Rank::NeedsYou,
            Some("hb") => Rank::OnIt,
            Some(_) | None => self.word.rank(),
        }
    }

    pub(super) fn text(&self, field: &str) -> Option<String> {
        self.json[field].as_str().map(plain)
    }

    /// For how long the word holds.
    pub(super) fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.since_ms))
    }

    /// Why it is not healthy.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let reason: Option<Reason> = serde_json::from_value(self.json["reason"].clone()).ok();
        reason.map(reason_text)
    }

    fn done(&self) -> Option<f64> {
        self.json["taskProgress"].as_f64()
    }

    /// What it does, or what is the matter: the task of a calm one, else the sentence without its subject.
    fn doing(&self, narrow: bool) -> String {
        let sentence = subjectless(&self.text("sentence").unwrap_or_default());
        let task = self.text("currentTask");
        match (self.word.rank(), task) {
            (Rank::AtWork, Some(task)) if narrow => task,
            (Rank::AtWork, Some(task)) => format!("{task}: {sentence}"),
            (Rank::NeedsYou | Rank::OnIt, _) => match self.reason() {
                Some(reason) if !sentence.contains(reason) => format!("{reason}: {sentence}"),
                Some(_) | None => sentence,
            },
            (Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped, _) => sentence,
        }
    }
}

fn word(json: &Value, verdict: Option<&str>) -> Word {
    let attention = json["attention"].as_str();
    match json["state"].as_str() {
        Some("missing") => Word::Missing,
        Some("stopped") => Word::Stopped,
        Some("failed") if attention == Some("hb") => Word::Returning,
        Some("failed") => Word::Failed,
        Some("healthy") if json["reason"] == "duplicate" => Word::Duplicate,
        Some("healthy") => match verdict {
            Some(code) => {
                let verdict: Option<Verdict> = serde_json::from_value(code.into()).ok();
                let word = verdict.map_or(Word::Unknown, Word::of_verdict);
                let is_brief = word == Word::Paused && attention != Some("you");
                if is_brief { Word::Held } else { word }
            }
            None if json["status"] == "starting" => Word::Starting,
            None => Word::Healthy,
        },
        Some(_) | None => Word::Unknown,
    }
}

/// `It owes work.` as `owes work`.
fn subjectless(sentence: &str) -> String {
    let sentence = sentence.strip_suffix('.').unwrap_or(sentence);
    let rest = sentence.strip_prefix("It ").unwrap_or(sentence);
    for first in ["One ", "No ", "Its ", "Two "] {
        if let Some(rest) = rest.strip_prefix(first) {
            return format!("{}{rest}", first.to_lowercase());
        }
    }
    rest.to_owned()
}

/// Those that need a person first, the longest first; the rest by name.
pub(super) fn sort(agents: &mut [Shown]) {
    agents.sort_by(|a, b| {
        let key = |of: &Shown| {
            let rank = of.rank();
            (rank, rank.is_by_age().then_some(of.since_ms))
        };
        key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
    });
}

/// `14 agents: 3 need you, hb is looking after 2, 8 are fine, 1 is stopped.`
pub(super) fn summary(agents: &[Shown]) -> String {
    let count = |rank: Rank| agents.iter().filter(|of| of.rank() == rank).count();
    let (you, hb, stopped) = (
        count(Rank::NeedsYou),
        count(Rank::OnIt),
        count(Rank::Stopped),
    );
    let fine = agents.len() - you - hb - stopped;
    let is = |n: usize, one: &str, many: &str| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts = [
        is(you, "needs you", "need you"),
        (hb > 0).then(|| format!("hb is looking after {hb}")),
        is(fine, "is fine", "are fine"),
        is(stopped, "is stopped", "are stopped"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let agents = is(agents.len(), "agent", "agents").unwrap_or_default();
    format!("{agents}: {}.", parts.join(", "))
}

/// The rows of a pipe: state, id, type, host, seconds in the state, percent, sentence, with tabs.
pub(super) fn piped(agent: &Shown, terminal: &Terminal) -> String {
    let field = |name: &str| {
        let text = agent.text(name).filter(|text| !text.is_empty());
        text.unwrap_or_else(|| "-".to_owned())
    };
    let done = agent.done().map(|done| format!("{done:.0}"));
    [
        agent.word.text().to_owned(),
        agent.id.clone(),
        field("agentType"),
        field("host"),
        agent.age(terminal.now_ms).as_secs().to_string(),
        done.unwrap_or_else(|| "-".to_owned()),
        agent.doing(false),
    ]
    .join("\t")
}

/// A table with its header; columns that do not fit are left out, and only the last one is cut.
pub(super) fn table(agents: &[Shown], terminal: &Terminal, columns: usize) -> Vec<String> {
    let all: Vec<&Shown> = agents.iter().collect();
    let layout = Layout::of(&all, terminal, columns);
    let mut lines = vec![layout.line("STATE", None, &|column| column.title.to_owned(), "DOING")];
    for agent in agents {
        lines.extend(layout.row(agent));
    }
    lines
}

/// The header and some rows of a table of all of these, each row with its place: columns stay when it scrolls.
pub(super) fn part(
    all: &[&Shown],
    rows: Range<usize>,
    terminal: &Terminal,
    columns: usize,
) -> Vec<(Option<usize>, String)> {
    let layout = Layout::of(all, terminal, columns);
    let header = layout.line("STATE", None, &|column| column.title.to_owned(), "DOING");
    let mut lines = vec![(None, header)];
    for place in rows {
        let Some(agent) = all.get(place) else { break };
        lines.extend(
            layout
                .row(agent)
                .into_iter()
                .map(|line| (Some(place), line)),
        );
    }
    lines
}

/// A column between the state and what the agent does.
struct Column {
    title: &'static str,
    columns: usize,
    is_figure: bool,
    text: fn(&Shown, &Terminal) -> String,
}

struct Layout<'a> {
    terminal: &'a Terminal,
    all: Vec<Column>,
    columns: usize,
    has_doing: bool,
}

impl<'a> Layout<'a> {
    fn of(agents: &[&Shown], terminal: &'a Terminal, columns: usize) -> Self {
        let mut all = vec![column("AGENT", false, |of, _| of.id.clone())];
        if columns >= 100 {
            all.push(column("TYPE", false, |of, _| {
                of.text("agentType").unwrap_or_default()
            }));
            all.push(column("HOST", false, |of, _| {
                of.text("host").unwrap_or_default()
            }));
        }
        all.push(column("FOR", true, |of, on| {
            format_short(of.age(on.now_ms))
        }));
        if columns >= 60 {
            all.push(column("DONE", true, |of, on| {
                figure_or(of.done().map(|done| format!("{done:.0} %")), on)
            }));
        }
        if columns >= 160 {
            all.push(column("BEAT", true, beat));
            all.push(column("CPU", true, |of, on| {
                figure_or(metric(of, "cpuPercent").map(figure::percent), on)
            }));
            all.push(column("MEMORY", true, |of, on| {
                figure_or(metric(of, "memoryMB").map(figure::megabytes), on)
            }));
            all.push(column("RESTARTS", true, |of, _| {
                of.json["restarts"].as_u64().unwrap_or(0).to_string()
            }));
            all.push(column("UP", true, up));
        }
        for column in &mut all {
            let cells = agents
                .iter()
                .map(|agent| width(&(column.text)(agent, terminal)));
            let cells = cells.filter(|cell| *cell <= ID_COLUMNS_MAX);
            column.columns = cells.max().unwrap_or(0).max(width(column.title));
        }
        Self {
            terminal,
            all,
            columns,
            has_doing: columns >= 60,
        }
    }

    fn row(&self, agent: &Shown) -> Vec<String> {
        let state = format!("{} {}", self.terminal.glyph(agent.word), agent.word.text());
        let doing = agent.doing(self.columns < 100);
        let cells = |column: &Column| {
            let text = (column.text)(agent, self.terminal);
            if width(&text) > ID_COLUMNS_MAX && column.title == "AGENT" {
                String::new()
            } else {
                self.terminal.fit(&text, column.columns).into_owned()
            }
        };
        let line = self.line(&state, Some(agent.word), &cells, &doing);
        if width(&agent.id) > ID_COLUMNS_MAX {
            let own = self
                .terminal
                .paint(agent.word, &left(&state, STATE_COLUMNS));
            return vec![
                format!("{own}  {}", agent.id),
                self.line("", None, &cells, &doing),
            ];
        }
        vec![line]
    }

    fn line(
        &self,
        state: &str,
        word: Option<Word>,
        cell: &dyn Fn(&Column) -> String,
        doing: &str,
    ) -> String {
        let state = left(state, STATE_COLUMNS);
        let mut line = word.map_or_else(|| state.clone(), |word| self.terminal.paint(word, &state));
        let mut used = STATE_COLUMNS;
        for column in &self.all {
            let text = cell(column);
            let place = if column.is_figure { right } else { left };
            line.push_str("  ");
            line.push_str(&place(&text, column.columns));
            used += 2 + column.columns;
        }
        if self.has_doing {
            let room = self.columns.saturating_sub(used + 2);
            line.push_str("  ");
            line.push_str(&self.terminal.fit(doing, room));
        }
        line.trim_end().to_owned()
    }
}

fn column(title: &'static str, is_figure: bool, text: fn(&Shown, &Terminal) -> String) -> Column {
    Column {
        title,
        columns: 0,
        is_figure,
        text,
    }
}

fn figure_or(text: Option<String>, terminal: &Terminal) -> String {
    text.unwrap_or_else(|| terminal.dash().to_owned())
}

fn metric(of: &Shown, name: &str) -> Option<f64> {
    let has_process = matches!(of.json["state"].as_str(), Some("healthy" | "missing"));
    of.json["metrics"][name].as_f64().filter(|_| has_process)
}

fn beat(of: &Shown, terminal: &Terminal) -> String {
    let age = of.json["lastHeartbeat"].as_u64();
    let age = age.map(|at| Duration::from_millis(terminal.now_ms.saturating_sub(at)));
    figure_or(age.map(format_short), terminal)
}

fn up(of: &Shown, terminal: &Terminal) -> String {
    let seconds = of.json["uptimeSeconds"].as_u64().filter(|up| *up > 0);
    figure_or(
        seconds.map(|up| format_short(Duration::from_secs(up))),
        terminal,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_what_is_the_matter_without_the_subject() {
        assert_eq!(
            subjectless("It owes work, but nothing has moved."),
            "owes work, but nothing has moved"
        );
        assert_eq!(
            subjectless("No beat for 3 s, due every 1 s."),
            "no beat for 3 s, due every 1 s"
        );
        assert_eq!(
            subjectless("Claude asks for permission."),
            "Claude asks for permission"
        );
    }

    #[test]
    fn the_word_of_an_agent_follows_from_what_the_api_shows() {
        let of = |json: Value| Shown::of(json).word;
        assert_eq!(
            of(json!({"state": "failed", "attention": "hb"})),
            Word::Returning
        );
        assert_eq!(
            of(json!({"state": "failed", "attention": "you"})),
            Word::Failed
        );
        let activity = json!({"verdict": "waiting_model", "since": 5});
        assert_eq!(
            of(json!({"state": "healthy", "activity": activity})),
            Word::WaitingModel
        );
        assert_eq!(
            of(json!({"state": "healthy", "activity": null})),
            Word::Healthy
        );
        assert_eq!(of(json!({"state": "of tomorrow"})), Word::Unknown);
    }

    #[test]
    fn a_table_fits_its_columns_and_cuts_only_what_the_agent_does() {
        let now = 1_000_000_000;
        let agent = |id: &str,
                     verdict: &str,
                     age: u64,
                     attention: Value,
                     task: Value,
                     done: Value| {
            Shown::of(json!({
                "agentId": id, "agentType": "node", "host": "node-1", "state": "healthy", "attention": attention,
                "sentence": "It owes work, but nothing has moved for 6 min 12 s (limit 5 min).",
                "activity": {"verdict": verdict, "since": now - age * 1000}, "currentTask": task, "taskProgress": done,
            }))
        };
        let mut agents = [
            agent(
                "writer-4",
                "working",
                95,
                Value::Null,
                "Draft the weekly report".into(),
                42.into(),
            ),
            agent(
                "claude-checkout",
                "idle",
                5400,
                Value::Null,
                Value::Null,
                Value::Null,
            ),
            agent(
                "indexer-2",
                "stalled",
                372,
                "you".into(),
                "Index".into(),
                71.into(),
            ),
        ];
        sort(&mut agents);
        let terminal = Terminal::plain_at(now);
        let expected = [
            "STATE                AGENT              FOR  DONE  DOING",
            "▲ stalled            indexer-2        6 min  71 %  owes work, but nothing has m…",
            "● working            writer-4         1 min  42 %  Draft the weekly report",
            "○ idle               claude-checkout    1 h     –  owes work, but nothing has m…",
        ];
        assert_eq!(table(&agents, &terminal, 80), expected);
        assert_eq!(
            table(&agents, &terminal, 50)[1],
            "▲ stalled            indexer-2        6 min"
        );
        assert_eq!(summary(&agents), "3 agents: 1 needs you, 2 are fine.");
        assert_eq!(
            piped(&agents[1], &terminal),
            "working\twriter-4\tnode\tnode-1\t95\t42\tDraft the weekly report: owes work, but nothing has moved for 6 min 12 s (limit 5 min)"
        );
    }
}
