//! How `hbmonitor top` looks: lines of a size, from the machine.

use super::acts::Act;
use super::list::{List, Mode};
use crate::cli::agents::{self, Shown};
use crate::cli::show::{self, Beside};
use crate::cli::terminal::{Terminal, painted_width, plain, width};
use heartbeat::fleet::word::{Rank, Word};

/// Entries of the timeline in the details.
const TIMELINE: usize = 60;
/// Fewer rows than these show no detail below the list.
const DETAIL_FROM_ROWS: usize = 20;
const DETAIL_ROWS: usize = 3;
/// From so many columns the detail stands beside the list.
const PANE_FROM_COLUMNS: usize = 160;
const PANE_COLUMNS: usize = 60;
/// From so many columns the counts have words.
const WORDS_FROM_COLUMNS: usize = 120;
/// What keys do, in the order of the last line and of the help.
const KEYS: [(&str, &str, Option<Act>); 14] = [
    ("enter", "details", None),
    ("a", "acknowledge", Some(Act::Acknowledge)),
    ("r", "restart…", Some(Act::Restart)),
    ("s", "silence…", Some(Act::Silence)),
    ("R", "recover…", Some(Act::Recover)),
    ("S", "stop…", Some(Act::Stop)),
    ("p", "pause fleet…", Some(Act::Pause)),
    ("/", "filter", None),
    ("f", "faults only", None),
    ("o", "sort", None),
    ("w", "wide", None),
    ("l", "last output", None),
    ("tab", "pane", None),
    ("q", "quit", None),
];
const MORE: &str = "? keys";
/// What stands in the last line where it is narrow.
const FIRST_KEYS: [&str; 6] = ["enter", "a", "r", "s", "/", "o"];

impl List {
    /// One line a row.
    pub(super) fn lines(
        &mut self,
        terminal: &Terminal,
        columns: usize,
        rows: usize,
    ) -> Vec<String> {
        let mut lines = vec![self.head(terminal, columns), self.counts(terminal, columns)];
        let has_pane = columns >= PANE_FROM_COLUMNS && !self.is_wide;
        let has_detail = rows >= DETAIL_FROM_ROWS && !has_pane && self.mode != Mode::Detail;
        let below = 1 + if has_detail { DETAIL_ROWS + 2 } else { 0 };
        lines.push(String::new());
        let room = rows.saturating_sub(lines.len() + below);
        let body = match self.mode {
            Mode::Help => self.help(terminal),
            Mode::Output => self.output(columns),
            Mode::Detail if !has_pane => self.scrolled(self.detail(*terminal, columns), room),
            Mode::List | Mode::Detail | Mode::Filter | Mode::Confirm(..) => {
                let beside = if has_pane { PANE_COLUMNS + 3 } else { 0 };
                let listed = self.rows(terminal, columns - beside, room);
                if has_pane {
                    self.beside(listed, *terminal, columns - beside, room)
                } else {
                    listed
                }
            }
        };
        lines.extend(body);
        lines.truncate(rows.saturating_sub(below));
        lines.resize(rows.saturating_sub(below), String::new());
        if has_detail {
            lines.push(rule(terminal, columns));
            lines.extend(self.sentences(columns));
            lines.push(rule(terminal, columns));
        }
        lines.push(self.foot(terminal, columns));
        lines.truncate(rows);
        let fits = |line: String| terminal.fit_painted(&line, columns);
        lines.into_iter().map(fits).collect()
    }

    fn head(&self, terminal: &Terminal, columns: usize) -> String {
        let summary = if self.agents.is_empty() {
            "no agent yet".to_owned()
        } else {
            agents::summary(&self.agents)
        };
        let state = match &self.stale {
            Some(why) => format!("as of {}: {why}", terminal.time(self.read_ms)),
            None => format!("live {}", terminal.time(self.read_ms)),
        };
        let left = terminal
            .fit(&format!("hb  {summary}"), columns)
            .into_owned();
        let gap = columns.saturating_sub(width(&left) + width(&state));
        if gap < 2 && self.stale.is_none() {
            return left;
        }
        format!("{left}{}{state}", " ".repeat(gap.max(2)))
    }

    /// Why nothing is done by itself, else how many agents do what.
    fn counts(&self, terminal: &Terminal, columns: usize) -> String {
        if !self.gates.is_empty() {
            return self.gates.join("  ");
        }
        let mut counts = Vec::new();
        let mut words = Word::ALL;
        words.sort_by_key(|word| word.rank());
        for word in words {
            let count = self.agents.iter().filter(|of| of.word == word).count();
            let is_fault = matches!(word.rank(), Rank::NeedsYou | Rank::OnIt);
            let name = match is_fault || columns >= WORDS_FROM_COLUMNS {
                true => format!(" {}", word.text()),
                false => String::new(),
            };
            if count > 0 {
                let text = format!("{} {count}{name}", terminal.glyph(word));
                counts.push(terminal.paint(word, &text));
            }
        }
        counts.join("  ")
    }

    /// The list around the choice.
    fn rows(&mut self, terminal: &Terminal, columns: usize, room: usize) -> Vec<String> {
        let shown = room.saturating_sub(1).max(1); // below the header
        self.page = shown;
        let place = self.place().unwrap_or(0);
        self.first = self.first.clamp((place + 1).saturating_sub(shown), place);
        self.first = self.first.min(self.listed.len().saturating_sub(shown));
        let all: Vec<&Shown> = self.listed.iter().map(|n| &self.agents[*n]).collect();
        let until = (self.first + shown).min(all.len());
        let mark = if terminal.is_unicode() { "› " } else { "> " };
        let own = columns.saturating_sub(2);
        let own = if self.is_wide { own.max(200) } else { own };
        let table = agents::part(&all, self.first..until, terminal, own);
        let mut lines = Vec::new();
        for (n, line) in table {
            let is_chosen = n == Some(place);
            lines.push(format!("{}{line}", if is_chosen { mark } else { "  " }));
        }
        if all.is_empty() && !self.agents.is_empty() {
            lines.push("  No agent matches. esc shows all.".to_owned());
        }
        lines
    }

    /// The list with the detail of the chosen agent beside it.
    fn beside(
        &mut self,
        listed: Vec<String>,
        terminal: Terminal,
        columns: usize,
        room: usize,
    ) -> Vec<String> {
        let pane = self.scrolled(self.detail(terminal, PANE_COLUMNS), room);
        let line = match (terminal.is_unicode(), self.in_pane) {
            (true, true) => "┃",
            (true, false) => "│",
            (false, _) => "|",
        };
        let row = |n: usize| {
            let left = listed.get(n).map_or("", String::as_str);
            let left = terminal.fit_painted(left, columns);
            let gap = " ".repeat(columns.saturating_sub(painted_width(&left)));
            let right = pane.get(n).map_or("", String::as_str);
            let right = terminal.fit_painted(right, PANE_COLUMNS);
            format!("{left}{gap} {line} {right}")
        };
        (0..room).map(row).collect()
    }

    /// As many lines of the detail as there is room for, from where it was scrolled to.
    fn scrolled(&mut self, lines: Vec<String>, room: usize) -> Vec<String> {
        self.pane_first = self.pane_first.min(lines.len().saturating_sub(room));
        lines.into_iter().skip(self.pane_first).take(room).collect()
    }

    /// What is the matter with the chosen agent, and what happens next.
    fn sentences(&self, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(agent) = self.chosen() {
            let sentence = agent.text("sentence").unwrap_or_default();
            lines.extend(Terminal::wrap(
                &format!("{}: {sentence}", agent.id),
                columns,
            ));
            let next = agent.text("next");
            lines.truncate(DETAIL_ROWS - usize::from(next.is_some()));
            if let Some(next) = next {
                lines.extend(Terminal::wrap(&format!("Next: {next}"), columns));
            }
        }
        lines.resize(DETAIL_ROWS, String::new());
        lines
    }

    fn detail(&self, terminal: Terminal, columns: usize) -> Vec<String> {
        let Some(agent) = self.chosen() else {
            return vec!["The agent has left the fleet.".to_owned()];
        };
        let known = self.detail.as_ref().filter(|known| known.id == agent.id);
        let beside = Beside {
            incident: known.and_then(|known| known.incident.as_ref()),
            timeline: known.map_or(&[][..], |known| &known.timeline),
            entries: TIMELINE,
        };
        show::lines(agent, beside, &terminal.of_columns(columns))
    }

    /// What was captured of the chosen agent.
    fn output(&self, columns: usize) -> Vec<String> {
        let Some(agent) = self.chosen() else {
            return vec!["The agent has left the fleet.".to_owned()];
        };
        let known = self.detail.as_ref().filter(|known| known.id == agent.id);
        let timeline = known.map_or(&[][..], |known| &known.timeline);
        let captured = timeline.iter().filter(|entry| entry["kind"] == "evidence");
        let mut lines = vec![format!("{}: last output", agent.id), String::new()];
        for entry in captured {
            for name in ["what", "detail"] {
                let text = plain(entry[name].as_str().unwrap_or_default());
                lines.extend(Terminal::wrap(&text, columns));
            }
            lines.push(String::new());
        }
        if lines.len() == 2 {
            lines.push("Nothing was captured: hb does so when an agent gets stuck, and before it ends one.".to_owned());
        }
        lines
    }

    /// Every key; what is impossible now with its reason.
    fn help(&self, terminal: &Terminal) -> Vec<String> {
        let mut lines = vec!["up down, page up, page down, home, end   move".to_owned()];
        for (key, does, act) in KEYS {
            let line = format!("{key:<7} {does}");
            let impossible = act.and_then(|act| act.impossible(self.chosen()));
            lines.push(match impossible {
                Some(why) => terminal.dim(&format!("{line}   not possible: {why}")),
                None => line,
            });
        }
        lines.push("Any key closes this.".to_owned());
        lines
    }

    fn foot(&self, terminal: &Terminal, columns: usize) -> String {
        match &self.mode {
            Mode::Filter => format!(
                "filter: {}{}",
                self.filter,
                if terminal.is_unicode() { "▏" } else { "_" }
            ),
            Mode::Confirm(_, _, question) => format!("{question} y/N"),
            Mode::List | Mode::Detail | Mode::Output | Mode::Help if !self.note.is_empty() => {
                self.note.clone()
            }
            Mode::List | Mode::Detail | Mode::Output | Mode::Help => {
                let filter = match self.filter.is_empty() {
                    true => String::new(),
                    false => format!("filter: {}  (esc shows all)  ", self.filter),
                };
                filter + &keys(columns)
            }
        }
    }
}

/// The last line: every key where there is room.
fn keys(columns: usize) -> String {
    let text = |only: &[&str]| {
        let wanted = KEYS
            .iter()
            .filter(|(key, ..)| only.is_empty() || only.contains(key));
        let all: Vec<String> = wanted
            .map(|(key, does, _)| format!("{key} {does}"))
            .collect();
        let (last, rest) = match only {
            [] => (all.last().cloned(), &all[..all.len() - 1]),
            _ => (None, &all[..]),
        };
        let parts: Vec<&str> = rest.iter().map(String::as_str).chain([MORE]).collect();
        parts
            .into_iter()
            .chain(last.as_deref())
            .collect::<Vec<_>>()
            .join("  ")
    };
    let all = text(&[]);
    if width(&all) <= columns {
        all
    } else {
        text(&FIRST_KEYS)
    }
}

fn rule(terminal: &Terminal, columns: usize) -> String {
    if terminal.is_unicode() { "─" } else { "-" }.repeat(columns)
}
