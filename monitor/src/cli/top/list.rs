//! What `hbmonitor top` shows, and what a key does: a machine; [`super::draw`] makes lines of it.

use super::acts::Act;
use super::keys::Key;
use super::order::Order;
use crate::cli::agents::{self, Shown};
use heartbeat::fleet::word::Rank;
use serde_json::Value;
use std::collections::HashMap;

/// While a person types, rows stay where they are.
const STILL_FOR_MS: u64 = 2000;

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Quit,
    /// This, to this agent; to the whole fleet an empty id.
    Do(Act, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    List,
    Detail,
    /// What was captured of the agent.
    Output,
    Filter,
    Help,
    /// Asks this before it acts on this agent.
    Confirm(Act, String, String),
}

/// What is known of one agent beside the list.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) id: String,
    pub(super) incident: Option<Value>,
    /// Newest first.
    pub(super) timeline: Vec<Value>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct List {
    pub(super) agents: Vec<Shown>,
    /// Those that are listed, in order.
    pub(super) listed: Vec<usize>,
    pub(super) selected: Option<String>,
    /// The first one on the screen.
    pub(super) first: usize,
    /// Rows of the list when it was last drawn.
    pub(super) page: usize,
    pub(super) filter: String,
    only_faults: bool,
    order: Order,
    pub(super) mode: Mode,
    /// Every column, and no pane.
    pub(super) is_wide: bool,
    /// Keys move the detail and not the choice.
    pub(super) in_pane: bool,
    /// The first line of the detail on the screen.
    pub(super) pane_first: usize,
    /// Of the agent that was chosen when it was read.
    pub(super) detail: Option<Detail>,
    /// Why nothing is done by itself, one sentence a gate.
    pub(super) gates: Vec<String>,
    /// Recovery is paused.
    pub(super) is_paused: bool,
    /// What became of the last request.
    pub(super) note: String,
    /// Why the list is not of now, if so.
    pub(super) stale: Option<String>,
    /// When it was read, and when a key was last pressed: Unix milliseconds.
    pub(super) read_ms: u64,
    pressed_ms: u64,
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
            is_wide: false,
            in_pane: false,
            pane_first: 0,
            detail: None,
            gates: Vec::new(),
            is_paused: false,
            note: String::new(),
            stale: None,
            read_ms: 0,
            pressed_ms: 0,
        }
    }

    /// The fleet as it is now.
    pub(super) fn take(&mut self, agents: Vec<Shown>, now_ms: u64) {
        let before = self.place().unwrap_or(0);
        let is_still = now_ms.saturating_sub(self.pressed_ms) < STILL_FOR_MS;
        let known: HashMap<String, usize> = match is_still {
            true => self
                .agents
                .drain(..)
                .map(|agent| agent.id)
                .zip(0..)
                .collect(),
            false => HashMap::new(),
        };
        self.agents = agents;
        agents::sort(&mut self.agents);
        if is_still {
            let place = |agent: &Shown| known.get(&agent.id).copied().unwrap_or(usize::MAX);
            self.agents.sort_by_key(place);
        }
        self.read_ms = now_ms;
        self.stale = None;
        self.list_from(before);
    }

    /// What a key means that is pressed at this time, Unix milliseconds.
    pub(super) fn press(&mut self, key: Key, now_ms: u64) -> Option<Wanted> {
        self.pressed_ms = now_ms;
        if key == Key::Interrupt {
            return Some(Wanted::Quit);
        }
        match self.mode.clone() {
            Mode::Help | Mode::Output => self.mode = Mode::List,
            Mode::Filter => self.type_filter(key),
            Mode::Confirm(act, id, _) => {
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
                self.pane_first = 0;
                self.mode = match self.mode {
                    Mode::Detail => Mode::List,
                    Mode::List | Mode::Output | Mode::Filter | Mode::Help | Mode::Confirm(..) => {
                        Mode::Detail
                    }
                };
            }
            Key::Tab => self.in_pane = !self.in_pane,
            Key::Up | Key::Char('k') if self.in_pane => self.scroll(-1),
            Key::Down | Key::Char('j') if self.in_pane => self.scroll(1),
            Key::PageUp if self.in_pane => self.scroll(-page),
            Key::PageDown if self.in_pane => self.scroll(page),
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
            Key::Char('w') => self.is_wide = !self.is_wide,
            Key::Char('l') => self.mode = Mode::Output,
            Key::Char('a') => return self.ask(Act::Acknowledge),
            Key::Char('r') => return self.ask(Act::Restart),
            Key::Char('s') => return self.ask(Act::Silence),
            Key::Char('R') => return self.ask(Act::Recover),
            Key::Char('S') => return self.ask(Act::Stop),
            Key::Char('p') if self.is_paused => return self.ask(Act::Resume),
            Key::Char('p') => return self.ask(Act::Pause),
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
            | Key::Tab
            | Key::Interrupt => {}
        }
        self.list();
    }

    /// Asks first, or reports why it is impossible; what loses nothing is wanted at once.
    fn ask(&mut self, act: Act) -> Option<Wanted> {
        let agent = self.chosen();
        if let Some(why) = act.impossible(agent) {
            self.note = format!("Not possible: {why}.");
            return None;
        }
        let id = agent.map_or_else(String::new, |agent| agent.id.clone());
        let id = if act.is_of_fleet() { String::new() } else { id };
        match act.question(agent) {
            Some(question) => self.mode = Mode::Confirm(act, id, question),
            None => return Some(Wanted::Do(act, id)),
        }
        None
    }

    fn scroll(&mut self, by: isize) {
        self.pane_first = self.pane_first.saturating_add_signed(by);
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
        self.pane_first = 0;
    }

    /// Where the chosen agent stands in the list.
    pub(super) fn place(&self) -> Option<usize> {
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

    pub(super) fn chosen(&self) -> Option<&Shown> {
        self.listed.get(self.place()?).map(|n| &self.agents[*n])
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
    use crate::cli::terminal::{Terminal, width};
    use serde_json::json;

    /// When the tests press keys: long before and after the readings.
    const PRESSED_MS: u64 = 500_000;

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
            list.press(Key::Char('o'), PRESSED_MS);
        }
        assert_eq!(ids(&list), ["a", "b", "z"], "{}", list.note);
        list.press(Key::Char('f'), PRESSED_MS);
        assert_eq!(ids(&list), ["z"]);
        list.press(Key::Char('f'), PRESSED_MS);
        for key in [Key::Char('/'), Key::Char('b'), Key::Enter] {
            list.press(key, PRESSED_MS);
        }
        assert_eq!(ids(&list), ["b"]);
        list.press(Key::Escape, PRESSED_MS);
        assert_eq!(list.listed.len(), 3);
    }

    #[test]
    fn the_choice_stays_with_its_agent_and_goes_to_a_neighbour_when_that_leaves() {
        let mut list = list();
        list.press(Key::Down, PRESSED_MS);
        assert_eq!(list.selected.as_deref(), Some("a"));
        list.take(
            vec![
                agent("0", "healthy", Value::Null, 1.0),
                agent("a", "failed", "you".into(), 1.0),
            ],
            2_000_000,
        );
        assert_eq!(
            (list.selected.as_deref(), list.place()),
            (Some("a"), Some(0))
        );
        list.take(vec![agent("0", "healthy", Value::Null, 1.0)], 3_000_000);
        assert_eq!(list.selected.as_deref(), Some("0"));
        list.take(Vec::new(), 4_000_000);
        assert_eq!(list.press(Key::Char('r'), PRESSED_MS), None);
        assert_eq!(list.selected, None);
    }

    #[test]
    fn what_loses_something_asks_first() {
        let mut list = list();
        assert_eq!(list.press(Key::Char('r'), PRESSED_MS), None);
        assert!(
            shown(&mut list, 80, 24)
                .last()
                .unwrap()
                .starts_with("Restart z? y/N")
        );
        assert_eq!(list.press(Key::Char('n'), PRESSED_MS), None);
        assert_eq!(list.note, "Nothing was done.");
        list.press(Key::Char('S'), PRESSED_MS);
        assert_eq!(
            list.press(Key::Char('y'), PRESSED_MS),
            Some(Wanted::Do(Act::Stop, "z".into()))
        );
        assert_eq!(list.press(Key::Char('q'), PRESSED_MS), Some(Wanted::Quit));
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
                list.press(key, PRESSED_MS);
            }
        }
        let lines = shown(&mut list, 80, 24);
        assert!(lines[4].starts_with("› ✖ failed"), "{lines:#?}");
    }

    #[test]
    fn rows_stay_where_they_are_while_keys_are_pressed() {
        let again = |read_ms: u64| {
            let mut list = list();
            list.press(Key::Down, 1_500_000);
            let all = ["b", "a", "z"].map(|id| agent(id, "healthy", Value::Null, 1.0));
            let newcomer = agent("0", "failed", "you".into(), 1.0);
            list.take(all.into_iter().chain([newcomer]).collect(), read_ms);
            ids(&list).join(" ")
        };
        assert_eq!(again(1_501_999), "z a b 0");
        assert_eq!(again(1_502_000), "0 a b z");
    }

    #[test]
    fn what_is_impossible_says_why_and_stays_in_the_help() {
        let mut list = list();
        list.press(Key::Down, PRESSED_MS);
        assert_eq!(list.press(Key::Char('a'), PRESSED_MS), None);
        assert_eq!(
            list.note,
            "Not possible: it has no open incident or notice."
        );
        list.press(Key::Char('R'), PRESSED_MS);
        assert_eq!(list.note, "Not possible: it has no open incident.");
        list.press(Key::Char('?'), PRESSED_MS);
        let help = shown(&mut list, 80, 24);
        let recover = help.iter().find(|line| line.starts_with('R')).unwrap();
        assert!(
            recover.ends_with("not possible: it has no open incident"),
            "{recover}"
        );
        assert!(help.iter().any(|line| line == "tab     pane"), "{help:#?}");
    }

    #[test]
    fn the_fleet_is_paused_and_resumed_after_a_question() {
        let mut list = list();
        for (is_paused, act) in [(false, Act::Pause), (true, Act::Resume)] {
            list.is_paused = is_paused;
            list.press(Key::Char('p'), PRESSED_MS);
            let foot = shown(&mut list, 80, 24).pop().unwrap();
            assert!(
                foot.contains("whole fleet") && foot.ends_with("? y/N"),
                "{foot}"
            );
            let wanted = list.press(Key::Char('y'), PRESSED_MS);
            assert_eq!(wanted, Some(Wanted::Do(act, String::new())));
        }
    }

    #[test]
    fn a_wide_screen_has_the_detail_beside_the_list_which_tab_scrolls_and_w_takes_away() {
        let mut list = list();
        let entry = |n: u64| json!({"at": n, "kind": "state", "what": format!("entry {n}")});
        list.detail = Some(Detail {
            id: "z".to_owned(),
            incident: None,
            timeline: (0..60).map(entry).collect(),
        });
        let first = |list: &mut List| shown(list, 200, 50)[3].clone();
        assert!(
            first(&mut list).contains("│ ✖ z: failed"),
            "{}",
            first(&mut list)
        );
        list.press(Key::Tab, PRESSED_MS);
        list.press(Key::Down, PRESSED_MS);
        assert_eq!(list.selected.as_deref(), Some("z"), "the pane scrolls");
        assert!(
            !first(&mut list).contains("z: failed"),
            "{}",
            first(&mut list)
        );
        list.press(Key::Tab, PRESSED_MS);
        list.press(Key::Down, PRESSED_MS);
        assert_eq!(list.selected.as_deref(), Some("a"));
        list.press(Key::Char('w'), PRESSED_MS);
        assert!(
            first(&mut list).contains("RESTARTS"),
            "{}",
            first(&mut list)
        );
    }

    #[test]
    fn l_shows_what_was_captured_before_the_agent_was_ended() {
        let mut list = list();
        let text = |list: &mut List| shown(list, 80, 24).join("\n");
        list.press(Key::Char('l'), PRESSED_MS);
        assert!(text(&mut list).contains("Nothing was captured"));
        list.press(Key::Escape, PRESSED_MS);
        let captured = json!({"at": 1, "kind": "evidence", "what": "captured before it was ended", "detail": "Last lines: batch 12"});
        list.detail = Some(Detail {
            id: "z".to_owned(),
            incident: None,
            timeline: vec![captured],
        });
        list.press(Key::Char('l'), PRESSED_MS);
        assert!(text(&mut list).contains("Last lines: batch 12"));
    }
}
