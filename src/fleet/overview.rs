//! The fleet as a list for people: which agents, in which order, on which page, and what the whole amounts to.
//!
//! Those that need a person come first, then those that hb looks after, each the longest in its state first; the rest by name.
//! One order for page and terminal.

use crate::base::id::AgentId;
use crate::fleet::agent::{Agent, State};
use crate::fleet::asked::{AnyOf, state, words};
use crate::fleet::card::{Card, rank, word};
use crate::fleet::machine::Snapshot;
use crate::fleet::view::ViewTime;
use crate::fleet::word::{Rank, Word, code};
use std::collections::{BTreeMap, BTreeSet};

/// Agents named in the sentence below the headline.
const NAMED: usize = 3;
/// Types and hosts that are offered as filters.
const OFFERED: usize = 200;

/// Which agents are asked for, in which order. Every condition that is given must hold; of several words with commas between
/// them one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The state: its code or the shown word.
    pub state: Option<String>,
    /// The verdict: its code or the shown word.
    pub activity: Option<String>,
    /// `you` or `hb`: those that need a person, or that hb looks after.
    pub attention: Option<String>,
    /// The type, exactly.
    pub agent_type: Option<AnyOf>,
    /// The host, exactly.
    pub host: Option<AnyOf>,
    /// Part of id, type, host, task or sentence; upper and lower case are the same.
    pub text: Option<String>,
    /// The order; the usual one when absent.
    pub sort: Option<Sort>,
}

/// An order that a person chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// The other way round.
    pub is_reversed: bool,
}

/// What a list can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// Rank and age, as the usual order.
    State,
    /// Name.
    Id,
    /// The least progress first.
    Progress,
    /// The most processor use first.
    Cpu,
    /// The most memory first.
    Memory,
    /// The most restarts first.
    Restarts,
}

/// How many agents there are of each word, in the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By word.
    pub words: BTreeMap<Word, usize>,
    /// All agents.
    pub total: usize,
    /// Those that need a person.
    pub needs_you: usize,
    /// Those that hb looks after.
    pub on_it: usize,
    /// Those that are stopped.
    pub stopped: usize,
}

/// A fleet, counted and in order.
#[derive(Debug)]
pub struct Overview<'a> {
    snapshot: &'a Snapshot,
    at: ViewTime,
    /// Of the whole fleet.
    pub tally: Tally,
    /// The agents that were asked for, in order.
    found: Vec<(&'a AgentId, &'a Agent, Rank)>,
    /// Those of the whole fleet that need a person, the longest first; as many as are named.
    named: Vec<(&'a AgentId, Word)>,
    /// Types of the fleet.
    pub types: BTreeSet<&'a str>,
    /// Hosts of the fleet.
    pub hosts: BTreeSet<&'a str>,
}

impl Query {
    /// Whether all agents are asked for.
    pub fn is_everything(&self) -> bool {
        let Self {
            state,
            activity,
            attention,
            agent_type,
            host,
            text,
            sort: _,
        } = self;
        let words = [state, activity, attention, text];
        words.into_iter().all(Option::is_none) && agent_type.is_none() && host.is_none()
    }

    fn wants(&self, card: &Card<'_>, lower: Option<&str>) -> bool {
        let health = &card.health;
        let state = |wanted: &str| state(wanted) == Some(health.state);
        let activity = |wanted: &str| {
            let verdict = health.activity.as_ref().map(|activity| activity.verdict);
            let verdict = verdict.filter(|_| health.state == State::Healthy);
            verdict.is_some_and(|verdict| code(wanted) == code(Word::of_verdict(verdict).text()))
                || code(wanted) == code(card.word.text())
        };
        let attention = |wanted: &str| match card.rank {
            Rank::NeedsYou => wanted == "you",
            Rank::OnIt => wanted == "hb",
            Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped => false,
        };
        let text = |asked: &Option<AnyOf>, text: Option<&str>| {
            let asked = asked.as_ref();
            asked.is_none_or(|asked| text.is_some_and(|text| asked.fits(text)))
        };
        any(&self.state, state)
            && any(&self.activity, activity)
            && any(&self.attention, attention)
            && text(&self.agent_type, Some(health.agent_type))
            && text(&self.host, health.host)
            && lower.is_none_or(|text| has_text(card, text))
    }
}

fn has_text(card: &Card<'_>, lower: &str) -> bool {
    let health = &card.health;
    let parts = [
        Some(card.id.as_str()),
        Some(health.agent_type),
        health.host,
        health.current_task,
        health.last_task,
        Some(health.sentence.as_ref()),
    ];
    let mut parts = parts.into_iter().flatten();
    parts.any(|part| part.to_lowercase().contains(lower))
}

/// Whether one of the words fits, or none is asked for.
fn any(asked: &Option<String>, fits: impl Fn(&str) -> bool) -> bool {
    asked.as_deref().is_none_or(|asked| words(asked).any(fits))
}

impl Sort {
    /// The order of this name: `id`, `-id`, `cpu` …; none of an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_reversed, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let by = match name {
            "state" => SortBy::State,
            "id" => SortBy::Id,
            "progress" => SortBy::Progress,
            "cpu" => SortBy::Cpu,
            "memory" => SortBy::Memory,
            "restarts" => SortBy::Restarts,
            _ => return None,
        };
        Some(Self { by, is_reversed })
    }
}

impl<'a> Overview<'a> {
    /// The agents of a snapshot that a query asks for.
    pub fn of(snapshot: &'a Snapshot, query: &Query, at: ViewTime) -> Self {
        let mut overview = Self {
            snapshot,
            at,
            tally: Tally::default(),
            found: Vec::new(),
            named: Vec::new(),
            types: BTreeSet::new(),
            hosts: BTreeSet::new(),
        };
        let lower = query.text.as_deref().map(str::to_lowercase);
        let everything = query.is_everything();
        let mut urgent = Vec::new();
        for (id, agent) in snapshot.agents.iter() {
            let word = word(id, agent, snapshot, at);
            let rank = rank(id, word, snapshot);
            overview.tally.add(word, rank);
            overview.offer(agent);
            if rank == Rank::NeedsYou {
                urgent.push((Card::of(id, agent, snapshot, at).since_ms, id, word));
            }
            let card = || Card::of(id, agent, snapshot, at);
            if everything || query.wants(&card(), lower.as_deref()) {
                overview.found.push((id, agent, rank));
            }
        }
        urgent.sort_unstable();
        urgent.truncate(NAMED);
        overview.named = urgent.into_iter().map(|(_, id, word)| (id, word)).collect();
        overview.sort(query.sort.unwrap_or(Sort {
            by: SortBy::State,
            is_reversed: false,
        }));
        overview
    }

    /// How many agents were found.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many of those that were found have this rank.
    pub fn count(&self, rank: Rank) -> usize {
        let of_rank = self.found.iter().filter(|(_, _, found)| *found == rank);
        of_rank.count()
    }

    /// The agents that were found, in order, from this place on.
    pub fn cards(&self, from: usize) -> impl Iterator<Item = Card<'a>> {
        let found = self.found.get(from..).unwrap_or_default();
        let (snapshot, at) = (self.snapshot, self.at);
        found
            .iter()
            .map(move |(id, agent, _)| Card::of(id, agent, snapshot, at))
    }

    /// The agents that need a person, at most three, the longest first.
    pub fn named(&self) -> &[(&'a AgentId, Word)] {
        &self.named
    }

    fn offer(&mut self, agent: &'a Agent) {
        let beat = agent.run.beat.as_ref().map(|beat| beat.agent_type());
        let entry = agent.run.entry();
        let agent_type = beat.or(entry.map(|entry| entry.agent_type.as_str()));
        for (set, new) in [
            (&mut self.types, agent_type),
            (&mut self.hosts, agent.host()),
        ] {
            if let Some(new) = new.filter(|new| !new.is_empty() && set.len() < OFFERED) {
                set.insert(new);
            }
        }
    }

    fn sort(&mut self, sort: Sort) {
        let (snapshot, at) = (self.snapshot, self.at);
        let card = |id: &'a AgentId, agent: &'a Agent| Card::of(id, agent, snapshot, at);
        // Sorting is stable and the agents stand by name: equals stay by name.
        match sort.by {
            SortBy::Id => {}
            SortBy::State => self.found.sort_by_cached_key(|(id, agent, rank)| {
                let since = rank.is_by_age().then(|| card(id, agent).since_ms);
                (*rank, since)
            }),
            SortBy::Progress => self.by_figure(|card| card.health.task_progress.map(|done| -done)),
            SortBy::Cpu => self.by_figure(|card| Some(card.health.metrics?.cpu_percent)),
            SortBy::Memory => self.by_figure(|card| Some(card.health.metrics?.memory_mb)),
            SortBy::Restarts => self.by_figure(|card| Some(card.health.restarts as f64)),
        }
        if sort.is_reversed {
            self.found.reverse();
        }
    }

    /// The largest figure first; agents without one come last.
    fn by_figure(&mut self, figure: impl Fn(&Card<'a>) -> Option<f64>) {
        let (snapshot, at) = (self.snapshot, self.at);
        self.found.sort_by_cached_key(|(id, agent, _)| {
            let figure = figure(&Card::of(id, agent, snapshot, at));
            let thousandths = figure.map(|figure| (figure * 1000.0) as i64);
            std::cmp::Reverse(thousandths)
        });
    }
}

impl Tally {
    /// Of a whole fleet.
    pub fn of(snapshot: &Snapshot, at: ViewTime) -> Self {
        let mut tally = Self::default();
        for (id, agent) in snapshot.agents.iter() {
            let word = word(id, agent, snapshot, at);
            tally.add(word, rank(id, word, snapshot));
        }
        tally
    }

    fn add(&mut self, word: Word, rank: Rank) {
        *self.words.entry(word).or_default() += 1;
        self.total += 1;
        match rank {
            Rank::NeedsYou => self.needs_you += 1,
            Rank::OnIt => self.on_it += 1,
            Rank::Stopped => self.stopped += 1,
            Rank::Unknown | Rank::AtWork | Rank::AtRest => {}
        }
    }

    /// Those that need nothing.
    pub fn fine(&self) -> usize {
        self.total - self.needs_you - self.on_it - self.stopped
    }

    /// The headline: what a person must know first.
    pub fn headline(&self) -> String {
        match (self.total, self.needs_you) {
            (0, _) => NONE_YET.to_owned(),
            (total, 0) if self.on_it == 0 && self.stopped == 0 && total == 1 => {
                "The one agent is fine".to_owned()
            }
            (total, 0) if self.on_it == 0 && self.stopped == 0 => {
                format!("All {total} agents are fine")
            }
            (_, 0) => "Nothing needs you".to_owned(),
            (_, 1) => "1 agent needs you".to_owned(),
            (_, n) => format!("{n} agents need you"),
        }
    }

    /// The same, of a fleet that cannot be observed now.
    pub fn headline_before(&self) -> String {
        match self.needs_you {
            0 => "Nothing needed you when hb last saw the fleet".to_owned(),
            1 => "1 agent needed you when hb last saw it".to_owned(),
            n => format!("{n} agents needed you when hb last saw them"),
        }
    }

    /// `hb is looking after 2 more. 8 are fine, 1 is stopped.`
    pub fn rest(&self) -> String {
        let more = if self.needs_you > 0 { " more" } else { "" };
        let on_it = match self.on_it {
            0 => String::new(),
            n => format!("hb is looking after {n}{more}. "),
        };
        let of = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 is {what}")),
            n => Some(format!("{n} are {what}")),
        };
        let calm = [of(self.fine(), "fine"), of(self.stopped, "stopped")];
        let calm: Vec<String> = calm.into_iter().flatten().collect();
        match calm.len() {
            0 => on_it.trim_end().to_owned(),
            _ => format!("{on_it}{}.", calm.join(", ")),
        }
    }
}

/// The headline of an empty fleet.
const NONE_YET: &str = "No agent has been heard yet";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::moment::Moment;
    use crate::fleet::machine::{Fleet, FleetInput, FleetSettings};
    use crate::wire::beat::Beat;

    const AT: ViewTime = ViewTime {
        now: Moment::from_millis(1000),
        wall_ms: 1_764_000_000_000,
    };

    /// Agents by id, verdict and how many seconds that holds.
    fn fleet(agents: &[(&str, &str, u64)]) -> Snapshot {
        let mut fleet = Fleet::new(FleetSettings::default(), AT.now);
        fleet.handle(FleetInput::LinkUp, AT.now);
        for (id, verdict, seconds) in agents {
            let since = AT.wall_ms - seconds * 1000;
            let json = format!(
                r#"{{"agentId":"{id}","agentType":"w","timestamp":{},"sequence":1,"status":"busy","hb":{{"v":1,"intervalMs":30000,"epoch":7,"slot":1,"host":"h-{id}","pid":9,"activity":{{"verdict":"{verdict}","since":{since},"evidence":[]}}}}}}"#,
                AT.wall_ms
            );
            let beat = Box::new(Beat::decode(json.as_bytes()).unwrap());
            fleet.handle(FleetInput::Beat(beat), AT.now);
        }
        fleet.view()
    }

    fn ids(snapshot: &Snapshot, query: &Query) -> Vec<String> {
        let overview = Overview::of(snapshot, query, AT);
        overview.cards(0).map(|card| card.id.to_string()).collect()
    }

    #[test]
    fn those_that_need_a_person_come_first_the_longest_of_them_and_the_rest_by_name() {
        let order = |c: &str| {
            let agents = [
                ("a", "idle", 900),
                ("b", "stalled", 60),
                ("c", c, 1),
                ("d", "waiting_input", 600),
                ("e", "working", 5),
                ("f", "unknown", 7),
            ];
            ids(&fleet(&agents), &Query::default())
        };
        assert_eq!(order("working"), ["d", "b", "f", "c", "e", "a"]);
        assert_eq!(
            order("waiting_model"),
            order("working"),
            "a calm flip moves no row"
        );
    }

    #[test]
    fn the_headline_counts_and_the_sentence_below_it_names() {
        let snapshot = fleet(&[
            ("a", "stalled", 9),
            ("b", "waiting_input", 99),
            ("c", "idle", 1),
        ]);
        let overview = Overview::of(&snapshot, &Query::default(), AT);
        assert_eq!(overview.tally.headline(), "2 agents need you");
        assert_eq!(overview.tally.rest(), "1 is fine.");
        let named: Vec<&str> = overview.named().iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(named, ["b", "a"]);
        let calm = fleet(&[("a", "idle", 1), ("b", "working", 1)]);
        let calm = Overview::of(&calm, &Query::default(), AT);
        assert_eq!(calm.tally.headline(), "All 2 agents are fine");
    }

    #[test]
    fn a_filter_takes_codes_and_shown_words_and_an_order_takes_everything() {
        let snapshot = fleet(&[
            ("a", "waiting_input", 9),
            ("b", "paused", 3),
            ("c", "paused", 30),
        ]);
        let activity = |word: &str| Query {
            activity: Some(word.to_owned()),
            ..Query::default()
        };
        for word in ["waiting_input", "waiting-for-you"] {
            assert_eq!(ids(&snapshot, &activity(word)), ["a"]);
        }
        assert_eq!(ids(&snapshot, &activity("paused")), ["c", "b"]);
        let attention = Query {
            attention: Some("you".to_owned()),
            sort: Sort::parse("-id"),
            ..Query::default()
        };
        assert_eq!(ids(&snapshot, &attention), ["c", "a"]);
        let host = Query {
            host: Some(AnyOf("h-b,h-z".to_owned())),
            ..Query::default()
        };
        assert_eq!(ids(&snapshot, &host), ["b"]);
    }
}
