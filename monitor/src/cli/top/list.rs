//! What `hbmonitor top` shows, and what a key does: a machine, drawn into lines.

use super::keys::Key;
use super::order::Order;
use crate::cli::agents::{self, Shown};
use crate::cli::show;
use crate::cli::terminal::{Terminal, width};
use heartbeat::fleet::word::Rank;

/// Fewer rows than these show no detail below the list.
const DETAIL_FROM_ROWS: usize = 20;
const DETAIL_ROWS: usize = 3;
const KEYS: &str = "enter details  a acknowledge  r restart…  s silence…  S stop…  / filter  f faults  o sort  ? keys  q quit";
const HELP: [&str; 11] = [
    "up down, page up, page down, home, end   move",
    "enter   details of the agent, and back",
    "a       acknowledge: receivers are quiet until it is over",
    "r       restart it; asks first",
    "s       silence it for an hour; asks first",
    "S       stop it for good; asks first",
    "/       filter by id, type, host, task or sentence; empty for all",
    "f       only agents that need attention, and back",
    "o       another order: worst first, name, progress, CPU, memory, restarts",
    "q       quit",
    "Any key closes this.",
];

/// What a person wants done about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Acknowledge,
    Restart,
    Silence,
    Stop,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Quit,
    Do(Act, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    List,
    Detail,
    Filter,
    Help,
    /// Asks before it acts on this agent.
    Confirm(Act, String),
}

/// The machine.
#[derive(Debug)]
pub(super) struct List {
    agents: Vec<Shown>,
    /// Those that are listed, in order.
    listed: Vec<usize>,
    selected: Option<String>,
    /// The first one on the screen.
    first: usize,
    /// Rows of the list when it was last drawn.
    page: usize,
    filter: String,
    only_faults: bool,
    order: Order,
    mode: Mode,
    /// What became of the last request.
    pub(super) note: String,
    /// Why the list is not of now, if so.
    pub(super) stale: Option<String>,
    /// When it was read, Unix milliseconds.
    read_ms: u64,
}

impl Act {
    /// The word of the command and of the path.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
            Self::Restart => "restart",
            Self::Silence => "silence",
            Self::Stop => "stop",
        }
    }
}

impl List {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            agents: Vec::new(),
            listed: Vec::new(),
            selected: None,
            first: 0,
            page: 1,
            filter: String::new(),
            only_faults: false,
            order: Order::Usual,
            mode: Mode::List,
            note: String::new(),
            stale: None,
            read_ms: 0,
        }
    }

    /// The fleet as it is now.
    pub(super) fn take(&mut self, agents: Vec<Shown>, now_ms: u64) {
        let before = self.place().unwrap_or(0);
        self.agents = agents;
        self.read_ms = now_ms;
        self.stale = None;
        self.list_from(before);
    }

    /// What a key means.
    pub(super) fn press(&mut self, key: Key) -> Option<Wanted> {
        if key == Key::Interrupt {
            return Some(Wanted::Quit);
        }
        match self.mode.clone() {
            Mode::Help => self.mode = Mode::List,
            Mode::Filter => self.type_filter(key),
            Mode::Confirm(act, id) => {
                self.mode = Mode::List;
                if matches!(key, Key::Char('y' | 'Y')) {
                    return Some(Wanted::Do(act, id));
                }
                "Nothing was done.".clone_into(&mut self.note);
            }
            Mode::List | Mode::Detail => return self.command(key),
        }
        None
    }

    fn command(&mut self, key: Key) -> Option<Wanted> {
        self.note.clear();
        let page = isize::try_from(self.page).unwrap_or(1);
        match key {
            Key::Char('q') => return Some(Wanted::Quit),
            Key::Escape if self.mode == Mode::Detail => self.mode = Mode::List,
            Key::Escape => {
                self.filter.clear();
                self.list();
            }
            Key::Enter => {
                self.mode = match self.mode {
                    Mode::Detail => Mode::List,
                    Mode::List | Mode::Filter | Mode::Help | Mode::Confirm(..) => Mode::Detail,
                };
            }
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-page),
            Key::PageDown => self.go(page),
            Key::Home => self.go(isize::MIN / 2),
            Key::End => self.go(isize::MAX / 2),
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('?') => self.mode = Mode::Help,
            Key::Char('f') => {
                self.only_faults = !self.only_faults;
                self.list();
            }
            Key::Char('o') => {
                self.order = self.order.next();
                self.list();
                self.note = format!("Order: {}.", self.order.text());
            }
            Key::Char('a') => {
                return self
                    .selected
                    .clone()
                    .map(|id| Wanted::Do(Act::Acknowledge, id));
            }
            Key::Char('r') => self.ask(Act::Restart),
            Key::Char('s') => self.ask(Act::Silence),
            Key::Char('S') => self.ask(Act::Stop),
            Key::Char(_) | Key::Backspace | Key::Interrupt => {}
        }
        None
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Backspace => drop(self.filter.pop()),
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            Key::Enter => self.mode = Mode::List,
            Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Interrupt => {}
        }
        self.list();
    }

    fn ask(&mut self, act: Act) {
        if let Some(id) = self.selected.clone() {
            self.mode = Mode::Confirm(act, id);
        }
    }

    /// Moves the choice by so many agents.
    fn go(&mut self, by: isize) {
        let last = self.listed.len().saturating_sub(1);
        let place = self
            .place()
            .unwrap_or(0)
            .saturating_add_signed(by)
            .min(last);
        self.choose(place);
    }

    fn choose(&mut self, place: usize) {
        let agent = self.listed.get(place).map(|n| &self.agents[*n]);
        self.selected = agent.map(|agent| agent.id.clone());
    }

    /// Where the chosen agent stands in the list.
    fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.listed
            .iter()
            .position(|n| self.agents[*n].id == *selected)
    }

    /// Makes the list again from what is known, and keeps the choice: an agent that left gives way to its neighbour.
    fn list(&mut self) {
        self.list_from(self.place().unwrap_or(0));
    }

    /// `before`: where the chosen agent stood.
    fn list_from(&mut self, before: usize) {
        agents::sort(&mut self.agents);
        let wanted = self.filter.to_lowercase();
        let fits = |agent: &Shown| {
            let is_fault = matches!(agent.word.rank(), Rank::NeedsYou | Rank::OnIt);
            (is_fault || !self.only_faults) && has_text(agent, &wanted)
        };
        let mut listed: Vec<usize> = (0..self.agents.len())
            .filter(|n| fits(&self.agents[*n]))
            .collect();
        let (all, order) = (&self.agents, self.order);
        match order {
            Order::Usual => {}
            Order::Name => listed.sort_by(|a, b| all[*a].id.cmp(&all[*b].id)),
            Order::Progress | Order::Cpu | Order::Memory | Order::Restarts => {
                let figure = |n: usize| order.figure(&all[n].json).unwrap_or(-1.0);
                listed.sort_by(|a, b| figure(*b).total_cmp(&figure(*a)));
            }
        }
        self.listed = listed;
        if self.place().is_none() {
            self.choose(before.min(self.listed.len().saturating_sub(1)));
        }
    }

    fn chosen(&self) -> Option<&Shown> {
        self.listed.get(self.place()?).map(|n| &self.agents[*n])
    }

    /// One line a row.
    pub(super) fn lines(
        &mut self,
        terminal: &Terminal,
        columns: usize,
        rows: usize,
    ) -> Vec<String> {
        let mut lines = vec![self.head(terminal, columns), String::new()];
        let has_detail = rows >= DETAIL_FROM_ROWS;
        let below = 1 + if has_detail { DETAIL_ROWS + 2 } else { 0 };
        let room = rows.saturating_sub(lines.len() + below);
        match self.mode {
            Mode::Help => lines.extend(HELP.map(str::to_owned)),
            Mode::Detail => lines.extend(self.detail(terminal)),
            Mode::List | Mode::Filter | Mode::Confirm(..) => {
                let listed = self.rows(terminal, columns, room);
                lines.extend(listed);
            }
        }
        lines.truncate(rows.saturating_sub(below));
        lines.resize(rows.saturating_sub(below), String::new());
        if has_detail {
            let rule = if terminal.is_unicode() { "─" } else { "-" }.repeat(columns);
            lines.push(rule.clone());
            lines.extend(self.sentences(columns));
            lines.push(rule);
        }
        lines.push(self.foot(terminal));
        lines.truncate(rows);
        // Lines with colours are made to fit where they are made.
        let fits = |line: String| {
            if line.contains('\x1b') {
                line
            } else {
                terminal.fit(&line, columns).into_owned()
            }
        };
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
        let table = agents::part(&all, self.first..until, terminal, columns.saturating_sub(2));
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

    fn detail(&self, terminal: &Terminal) -> Vec<String> {
        let none = || vec!["The agent has left the fleet.".to_owned()];
        self.chosen()
            .map_or_else(none, |agent| show::lines(agent, None, &[], terminal))
    }

    fn foot(&self, terminal: &Terminal) -> String {
        match &self.mode {
            Mode::Filter => format!(
                "filter: {}{}",
                self.filter,
                if terminal.is_unicode() { "▏" } else { "_" }
            ),
            Mode::Confirm(act, id) => {
                let agent = self.agents.iter().find(|agent| agent.id == *id);
                let task = agent.and_then(|agent| agent.text("currentTask"));
                let task = task.filter(|_| matches!(act, Act::Restart | Act::Stop));
                let task =
                    task.map_or_else(String::new, |task| format!(" It has \"{task}\" open."));
                let does = match act {
                    Act::Acknowledge => format!("Acknowledge {id}?"),
                    Act::Restart => format!("Restart {id}?"),
                    Act::Silence => format!("Silence {id} for 1 h?"),
                    Act::Stop => format!("Stop {id} for good?"),
                };
                format!("{does}{task} y/n")
            }
            Mode::List | Mode::Detail | Mode::Help if !self.note.is_empty() => self.note.clone(),
            Mode::List | Mode::Detail | Mode::Help if !self.filter.is_empty() => {
                format!("filter: {}  (esc shows all)  {KEYS}", self.filter)
            }
            Mode::List | Mode::Detail | Mode::Help => KEYS.to_owned(),
        }
    }
}

fn has_text(agent: &Shown, lower: &str) -> bool {
    if lower.is_empty() {
        return true;
    }
    let fields = ["agentType", "host", "currentTask", "sentence"];
    let mut texts = fields.iter().filter_map(|name| agent.json[name].as_str());
    agent.id.to_lowercase().contains(lower) || texts.any(|text| text.to_lowercase().contains(lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn agent(id: &str, state: &str, attention: Value, memory: f64) -> Shown {
        Shown::of(json!({
            "agentId": id, "agentType": "node", "host": "n1", "state": state, "attention": attention,
            "sentence": "It works.", "since": 5, "metrics": {"cpuPercent": 1.0, "memoryMB": memory},
        }))
    }

    fn list() -> List {
        let mut list = List::new();
        let all = [
            agent("b", "healthy", Value::Null, 10.0),
            agent("a", "healthy", Value::Null, 30.0),
            agent("z", "failed", "you".into(), 0.0),
        ];
        list.take(all.into(), 1_000_000);
        list
    }

    fn shown(list: &mut List, columns: usize, rows: usize) -> Vec<String> {
        list.lines(&Terminal::plain_at(1_000_000), columns, rows)
    }

    fn ids(list: &List) -> Vec<&str> {
        let listed = list.listed.iter();
        listed.map(|n| list.agents[*n].id.as_str()).collect()
    }

    #[test]
    fn the_worst_comes_first_and_o_and_f_and_a_filter_change_what_is_listed() {
        let mut list = list();
        assert_eq!(ids(&list), ["z", "a", "b"]);
        for _ in 0..4 {
            list.press(Key::Char('o'));
        }
        assert_eq!(ids(&list), ["a", "b", "z"], "{}", list.note);
        list.press(Key::Char('f'));
        assert_eq!(ids(&list), ["z"]);
        list.press(Key::Char('f'));
        for key in [Key::Char('/'), Key::Char('b'), Key::Enter] {
            list.press(key);
        }
        assert_eq!(ids(&list), ["b"]);
        list.press(Key::Escape);
        assert_eq!(list.listed.len(), 3);
    }

    #[test]
    fn the_choice_stays_with_its_agent_and_goes_to_a_neighbour_when_that_leaves() {
        let mut list = list();
        list.press(Key::Down);
        assert_eq!(list.selected.as_deref(), Some("a"));
        list.take(
            vec![
                agent("0", "healthy", Value::Null, 1.0),
                agent("a", "failed", "you".into(), 1.0),
            ],
            2,
        );
        assert_eq!(
            (list.selected.as_deref(), list.place()),
            (Some("a"), Some(0))
        );
        list.take(vec![agent("0", "healthy", Value::Null, 1.0)], 3);
        assert_eq!(list.selected.as_deref(), Some("0"));
        list.take(Vec::new(), 4);
        assert_eq!(list.press(Key::Char('r')), None);
        assert_eq!(list.selected, None);
    }

    #[test]
    fn what_loses_something_asks_first() {
        let mut list = list();
        assert_eq!(list.press(Key::Char('r')), None);
        assert!(
            shown(&mut list, 80, 24)
                .last()
                .unwrap()
                .starts_with("Restart z? y/n")
        );
        assert_eq!(list.press(Key::Char('n')), None);
        assert_eq!(list.note, "Nothing was done.");
        list.press(Key::Char('S'));
        assert_eq!(
            list.press(Key::Char('y')),
            Some(Wanted::Do(Act::Stop, "z".into()))
        );
        assert_eq!(list.press(Key::Char('q')), Some(Wanted::Quit));
    }

    #[test]
    fn every_size_is_filled_exactly_and_no_line_is_too_long() {
        let mut list = list();
        for (columns, rows) in [(80, 24), (200, 50), (40, 10), (20, 5), (1, 1)] {
            for key in [Key::Enter, Key::Enter, Key::Char('?'), Key::Escape] {
                let lines = shown(&mut list, columns, rows);
                assert_eq!(lines.len(), rows, "{columns}x{rows}");
                for line in lines {
                    assert!(width(&line) <= columns.max(3), "{columns}x{rows}: {line:?}");
                }
                list.press(key);
            }
        }
        let lines = shown(&mut list, 80, 24);
        assert!(lines[3].starts_with("› ✖ failed"), "{lines:#?}");
    }
}
