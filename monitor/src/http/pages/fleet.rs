//! `GET /`: what needs a person first, then what hb looks after, then the rest as a table.

use super::Shown;
use super::drawings;
use super::empty;
use super::layout::{self, Frame, Here};
use super::parts::{self, Shape};
use super::query::{Links, PageQuery};
use crate::http::history::{Curves, Histories};
use heartbeat::base::figure;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::asked::AnyOf;
use heartbeat::fleet::card::Card;
use heartbeat::fleet::overview::{Overview, SortBy};
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::{Rank, Word};
use maud::{Markup, html};

/// Rows on one page.
pub(super) const PAGE: usize = 100;
/// Large rows of one group; the others are behind a link.
const LARGE: usize = 10;

/// The page.
pub(super) fn page(shown: &Shown<'_>, query: &PageQuery, histories: &Histories) -> Markup {
    let Shown { snapshot, at } = *shown;
    let overview = Overview::of(snapshot, &query.filter, at);
    let (title, tone) = layout::fleet_title(&overview.tally, snapshot);
    let frame = Frame {
        here: Here::Fleet,
        root: "",
        title,
        tone,
        reloads: query.reloads,
        snapshot,
        at,
    };
    let main = if overview.tally.total == 0 && query.filter.is_everything() {
        empty::empty()
    } else {
        let list = List {
            overview: &overview,
            query,
            at,
            curves: histories.over(snapshot),
            is_blind: layout::blind(snapshot).is_some(),
        };
        list.render()
    };
    layout::page(&frame, &main)
}

struct List<'a> {
    overview: &'a Overview<'a>,
    query: &'a PageQuery,
    at: ViewTime,
    curves: Curves<'a>,
    /// What is shown was known before.
    is_blind: bool,
}

impl List<'_> {
    fn render(&self) -> Markup {
        // Large rows only in the usual order of the whole fleet.
        let usual = self.query.filter.is_everything() && self.query.filter.sort.is_none();
        html! {
            (self.head())
            div class=[self.is_blind.then_some("stale")] {
                (self.counts())
                @if usual {
                    @if self.query.page == 1 {
                        (self.group(Rank::NeedsYou))
                        (self.group(Rank::OnIt))
                    }
                    (self.rest())
                } @else {
                    (self.table("All agents", 0))
                }
            }
        }
    }

    fn head(&self) -> Markup {
        let tally = &self.overview.tally;
        html! {
            div.head {
                h1 { (if self.is_blind { tally.headline_before() } else { tally.headline() }) }
                p.sub {
                    @let named = self.overview.named();
                    @for (place, (id, word)) in named.iter().enumerate() {
                        @if place > 0 { ", " }
                        a href={ "agents/" (id) } { (id) } " " (word.clause())
                    }
                    @if tally.needs_you > named.len() { " and " (tally.needs_you - named.len()) " more" }
                    @if !named.is_empty() { "." br; }
                    (tally.rest())
                }
            }
        }
    }

    /// Counts as filters.
    fn counts(&self) -> Markup {
        let tally = &self.overview.tally;
        let filter = &self.query.filter;
        let link =
            |href: String, class: &str, icon: Option<&str>, count: usize, text: &str, on: bool| {
                html! {
                    li {
                        a class=(class) href=(href) aria-current=[on.then_some("true")] {
                            @if let Some(icon) = icon { (parts::icon(icon)) }
                            b { (count) } " " (text)
                        }
                    }
                }
            };
        let separator = || html! { li.sep aria-hidden="true" {} };
        let you = if self.is_blind {
            "needed you"
        } else {
            "need you"
        };
        html! {
            nav aria-label="Filter by state" {
                ul.counts {
                    (link("./".to_owned(), "s-off", None, tally.total, "all", filter.is_everything()))
                    (link("?attention=you".to_owned(), "s-you", None, tally.needs_you, you, filter.attention.is_some()))
                    (separator())
                    @for word in Word::ALL {
                        @if word == Word::Missing { (separator()) }
                        @if let Some((href, on)) = self.word_link(word) {
                            @let count = self.counted(word);
                            @if count > 0 || on {
                                (link(href, word.tone().class(), Some(parts::word_icon(word)), count, word.text(), on))
                            }
                        }
                    }
                }
            }
        }
    }

    /// Words that are read alike are counted together.
    fn counted(&self, word: Word) -> usize {
        let words = self.overview.tally.words.iter();
        let alike = words.filter(|(other, _)| other.text() == word.text());
        alike.map(|(_, count)| count).sum()
    }

    /// Where a count leads, and whether the page is there.
    fn word_link(&self, word: Word) -> Option<(String, bool)> {
        let filter = &self.query.filter;
        let state = |code: &str| {
            (
                format!("?state={code}"),
                filter.state.as_deref() == Some(code),
            )
        };
        match word {
            Word::Missing => Some(state("missing")),
            Word::Failed => Some(state("failed")),
            Word::Stopped => Some(state("stopped")),
            Word::Returning | Word::Held => None, // counted with those of the same text
            Word::Hung
            | Word::Duplicate
            | Word::Stalled
            | Word::Spinning
            | Word::Looping
            | Word::WaitingInput
            | Word::Paused
            | Word::Unknown
            | Word::Starting
            | Word::Working
            | Word::WaitingModel
            | Word::Healthy
            | Word::Sleeping
            | Word::Idle => {
                let code = heartbeat::fleet::word::code(word.text());
                let on = filter.activity.as_deref().map(heartbeat::fleet::word::code);
                Some((format!("?activity={code}"), on.as_ref() == Some(&code)))
            }
        }
    }

    fn group(&self, rank: Rank) -> Markup {
        let count = self.overview.count(rank);
        let (id, title, small, more) = match (rank, self.is_blind) {
            (Rank::NeedsYou, false) => ("g1", "Needs you", "longest first", "?attention=you"),
            (Rank::NeedsYou, true) => ("g1", "Needed you", "last known", "?attention=you"),
            (_, false) => (
                "g2",
                "hb is on it",
                "nothing to do for now",
                "?attention=hb",
            ),
            (_, true) => (
                "g2",
                "hb was on it",
                "held until the store is back",
                "?attention=hb",
            ),
        };
        let first = match rank {
            Rank::NeedsYou => 0,
            Rank::OnIt | Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped => {
                self.overview.count(Rank::NeedsYou)
            }
        };
        html! {
            @if count > 0 {
                section aria-labelledby=(id) {
                    div.bar { h2 id=(id) { (title) } small { (small) } }
                    ol.panel {
                        @for card in self.overview.cards(first).take(count.min(LARGE)) { (self.item(&card)) }
                    }
                    @if count > LARGE {
                        p.pager { a href=(more) { "and " (count - LARGE) " more" } }
                    }
                }
            }
        }
    }

    fn item(&self, card: &Card<'_>) -> Markup {
        let health = &card.health;
        let tone = card.word.tone().class();
        let next = match self.is_blind {
            true => Some("nothing, until the store can be reached again."),
            false => health.next.as_deref(),
        };
        html! {
            li class={ "item " (tone) } id={ "a-" (card.id) } {
                p class={ "st " (tone) } { (self.state(card)) }
                div {
                    h3 { a href={ "agents/" (card.id) } { (card.id) } small { (parts::place(card)) } }
                    p.say { (parts::sentence(&health.sentence)) }
                    @if let Some(next) = next { p.next { b { "Next:" } " " (parts::sentence(next)) } }
                    p.facts { (self.facts(card)) }
                }
                div.acts { a.btn href={ "agents/" (card.id) } { "Open" } }
            }
        }
    }

    fn facts(&self, card: &Card<'_>) -> Markup {
        let health = &card.health;
        let curve = self.curves.of(card.id);
        html! {
            @if let Some(task) = health.current_task {
                span { "task " b { bdi { (parts::foreign(task)) } } }
            } @else if let Some(task) = health.last_task {
                span { "last task " b { bdi { (parts::foreign(task)) } } }
            }
            @if let Some(done) = health.task_progress {
                span { "progress " b { (parts::figure(&format!("{done:.0} %"))) } }
            }
            @if let Some(beat) = card.beat_ms { span { "beat " (parts::time(beat, Shape::Ago, self.at)) } }
            @if let Some(of) = health.metrics.filter(|_| parts::has_figures(card)) {
                span { "CPU " (drawings::cpu_spark(curve.as_ref())) b { (parts::figure(&figure::percent(of.cpu_percent))) } }
                span { "memory " b { (parts::figure(&figure::megabytes(of.memory_mb))) } }
            }
            @if health.restarts > 0 { span { "restarts " b { (health.restarts) } } }
        }
    }

    /// The word, its reason, and for how long.
    fn state(&self, card: &Card<'_>) -> Markup {
        html! {
            (parts::icon(parts::word_icon(card.word))) (card.word.text())
            small {
                @if let Some(why) = card.why {
                    (why) @if !self.is_blind { ", " }
                }
                @if self.is_blind {
                    @if card.why.is_some() { " " }
                    span.old { "as last known" }
                } @else {
                    (parts::time(card.since_ms, Shape::For, self.at))
                }
            }
        }
    }

    fn rest(&self) -> Markup {
        let urgent = self.overview.count(Rank::NeedsYou) + self.overview.count(Rank::OnIt);
        self.table("The rest", urgent)
    }

    /// The agents from this place on, as a table with its filter and its pages.
    fn table(&self, title: &str, first: usize) -> Markup {
        let links = Links(self.query);
        let found = self.overview.len().saturating_sub(first);
        let from = (self.query.page - 1).saturating_mul(PAGE).min(found);
        let to = (from + PAGE).min(found);
        let small = match (first, self.query.filter.is_everything()) {
            (0, true) => format!("{found} agents"),
            (0, false) => format!("{found} of {} agents", self.overview.tally.total),
            (_, _) => format!("{found} agents, nothing wrong"),
        };
        html! {
            section aria-labelledby="g3" {
                div.bar {
                    h2 #g3 { (title) }
                    small { (small) }
                    (self.filter())
                }
                div.panel {
                    @if found == 0 {
                        p.body {
                            @if first > 0 { "No other agent." }
                            @else { "No agent matches " (self.query.conditions()) ". " a href="./" { "Clear the filter" } }
                        }
                    } @else {
                        table.fleet {
                            caption.vh { "Agents: state, what they do, progress, figures" }
                            (self.columns(&links))
                            tbody #rows {
                                @for card in self.overview.cards(first + from).take(to - from) { (self.row(&card)) }
                            }
                        }
                        div.pager {
                            span { (from + 1) "–" (to) " of " (found) }
                            span {
                                @if from > 0 { a href=(links.to_page(self.query.page - 1)) { "Previous" } " " }
                                @if to < found { a href=(links.to_page(self.query.page + 1)) { "Next page" } }
                            }
                            span {
                                @if self.query.filter.sort.is_some() { a href=(links.sorted("")) { "Worst first" } }
                                @else { "Worst first, then by name. " a href=(links.sorted("id")) { "Only by name" } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn columns(&self, links: &Links<'_>) -> Markup {
        let sort = self.query.filter.sort;
        let column = |name: &str, by: SortBy, text: &str| {
            let on = sort.filter(|sort| sort.by == by);
            let (mark, to) = match on {
                Some(sort) if sort.is_reversed => (" ▾", name.to_owned()),
                Some(_) => (" ▴", format!("-{name}")),
                None => ("", name.to_owned()),
            };
            html! { a href=(links.sorted(&to)) { (text) (mark) } }
        };
        let aria = |by| {
            let on = sort.filter(|sort| sort.by == by)?;
            Some(if on.is_reversed {
                "descending"
            } else {
                "ascending"
            })
        };
        html! {
            thead {
                tr {
                    th.w-st scope="col" aria-sort=[aria(SortBy::State)] { (column("state", SortBy::State, "State")) }
                    th.w-id scope="col" aria-sort=[aria(SortBy::Id)] { (column("id", SortBy::Id, "Agent")) }
                    th scope="col" { "Doing" }
                    th.w-pr scope="col" aria-sort=[aria(SortBy::Progress)] { (column("progress", SortBy::Progress, "Progress")) }
                    th.w-m.n.c1 scope="col" title="of one core" aria-sort=[aria(SortBy::Cpu)] { (column("cpu", SortBy::Cpu, "CPU")) }
                    th.w-m.n.c1 scope="col" aria-sort=[aria(SortBy::Memory)] { (column("memory", SortBy::Memory, "Memory")) }
                    th.w-re.n.c1 scope="col" aria-sort=[aria(SortBy::Restarts)] { (column("restarts", SortBy::Restarts, "Restarts")) }
                    th.w-up.c2 scope="col" { "Alive, 24 h" }
                }
            }
        }
    }

    fn row(&self, card: &Card<'_>) -> Markup {
        let health = &card.health;
        let figures = health.metrics.filter(|_| parts::has_figures(card));
        let curve = self.curves.of(card.id);
        let (curve, drawn) = (curve.as_ref(), curve.as_ref().filter(|_| figures.is_some()));
        html! {
            tr id={ "a-" (card.id) } {
                td class={ "st " (card.word.tone().class()) } { (self.state(card)) }
                th scope="row" { a href={ "agents/" (card.id) } { (card.id) } small { (parts::place(card)) } }
                td.do {
                    @if let Some(task) = health.current_task { span { (parts::foreign(task)) } }
                    small { (parts::sentence(&health.sentence)) }
                }
                td.pr { (parts::progress(health.task_progress)) }
                td.m.n.c1 { (drawings::cpu_spark(drawn)) (parts::cell(figures.map(|of| figure::percent(of.cpu_percent)))) }
                td.m.n.c1 { (drawings::memory_spark(drawn)) (parts::cell(figures.map(|of| figure::megabytes(of.memory_mb)))) }
                td.n.c1 { (health.restarts) }
                td.al.c2 {
                    (drawings::alive_bar(curve))
                    small {
                        @if let Some(alive) = drawings::alive_text(curve) { (alive) " · " }
                        @match card.beat_ms {
                            Some(beat) if health.state != State::Stopped => { "beat " (parts::time(beat, Shape::Ago, self.at)) }
                            _ => { "no beats" }
                        }
                    }
                }
            }
        }
    }

    fn filter(&self) -> Markup {
        let filter = &self.query.filter;
        let choice = |name: &str, any: &str, all: Vec<&str>, chosen: Option<&AnyOf>| {
            let chosen = chosen.map(|of| of.0.as_str());
            // Several that the address names stay chosen together.
            let several = chosen.filter(|chosen| !all.contains(chosen));
            html! {
                select name=(name) aria-label=(name) {
                    option value="" { (any) }
                    @if let Some(several) = several { option value=(several) selected { (parts::foreign(several)) } }
                    @for one in all { option value=(one) selected[chosen == Some(one)] { (parts::foreign(one)) } }
                }
            }
        };
        let types = self.overview.types.iter().copied().collect();
        let hosts = self.overview.hosts.iter().copied().collect();
        html! {
            form.filter method="get" action="./" role="search" aria-label="Filter agents" {
                input type="search" name="q" placeholder="id, task or sentence" aria-label="Search" maxlength="128" value=[filter.text.as_deref()];
                (choice("type", "any type", types, filter.agent_type.as_ref()))
                (choice("host", "any host", hosts, filter.host.as_ref()))
                @for (name, value) in self.query.kept() { input type="hidden" name=(name) value=(value); }
                button type="submit" { "Filter" }
            }
        }
    }
}
