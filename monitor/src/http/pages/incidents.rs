//! `GET /incidents` and `GET /incidents/{id}`: what failed, what was tried, who knows of it.

use super::Shown;
use super::layout::{self, Frame, Here};
use super::parts::{self, Shape};
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::word::{Tone, gate_text, reason_text, rung_text};
use heartbeat::wire::incident::{Incident, Rung, Scope};
use maud::{Markup, html};
use std::time::Duration;

use heartbeat::fleet::view::ViewTime;

/// Incidents on one page.
const PAGE: usize = 100;
/// Agents that one incident names on its page.
const AGENTS: usize = 200;

/// The list: the open ones, then the closed ones, each newest first.
pub(super) fn list(shown: &Shown<'_>, query: Option<&str>) -> Markup {
    let Shown { snapshot, at } = *shown;
    let all = &snapshot.watch.incidents;
    let only_open = query.is_some_and(|query| query.split('&').any(|pair| pair == "open=true"));
    let (open, closed) = (all.open.len(), all.closed.len());
    let closed_ones = all.closed.values().rev().filter(|_| !only_open);
    let listed: Vec<&Incident> = all
        .open
        .values()
        .rev()
        .chain(closed_ones)
        .take(PAGE)
        .map(AsRef::as_ref)
        .collect();
    let frame = Frame {
        here: Here::Incidents,
        root: "",
        title: match open {
            0 => "Incidents · hb".to_owned(),
            n => format!("({n}) incidents · hb"),
        },
        tone: if open > 0 { Tone::Bad } else { Tone::Ok },
        reloads: false,
        snapshot,
        at,
    };
    let main = html! {
        div.head {
            h1 {
                @match open {
                    0 => { "No open incident" }
                    1 => { "1 open incident" }
                    n => { (n) " open incidents" }
                }
            }
            p.sub { (open) " open, " (closed) " closed in the last 7 days" }
        }
        section aria-labelledby="all" {
            div.bar {
                h2 #all { "All incidents" }
                small { @if open + closed > listed.len() && !only_open { "the newest " (listed.len()) } }
                @if only_open { a href="incidents" { "All" } } @else { a href="?open=true" { "Only open" } }
            }
            @if listed.is_empty() { div.panel.body { p { "None." } } }
            @else { (table(&listed, "", at)) }
        }
    };
    layout::page(&frame, &main)
}

/// A table of incidents.
pub(super) fn table(listed: &[&Incident], root: &str, at: ViewTime) -> Markup {
    html! {
        div.panel.scroll role="group" tabindex="0" aria-label="Incidents" {
            table {
                thead {
                    tr {
                        th scope="col" { "State" } th scope="col" { "Incident" } th.c2 scope="col" { "Opened" }
                        th.n scope="col" { "Lasted" } th.c2 scope="col" { "Notified" }
                    }
                }
                tbody {
                    @for incident in listed {
                        tr id={ "i-" (incident.id) } {
                            td class={ "st " (look(incident).0.class()) } {
                                (parts::icon(look(incident).1)) (if incident.is_closed() { "closed" } else { "open" })
                            }
                            td {
                                a.l href={ (root) "incidents/" (incident.id) } { (title(incident)) }
                                small { (parts::sentence(&incident.sentence)) }
                            }
                            td.c2 { (parts::time(incident.opened_at, Shape::Clock, at)) }
                            td.n.nw { (lasted(incident, at)) }
                            td.c2 { (receivers(incident)) }
                        }
                    }
                }
            }
        }
    }
}

/// One incident.
pub(super) fn one(shown: &Shown<'_>, incident: &Incident) -> Markup {
    let Shown { snapshot, at } = *shown;
    let (tone, icon) = look(incident);
    let glyph = if incident.is_closed() { '●' } else { '✖' };
    let frame = Frame {
        here: Here::Incidents,
        root: "../",
        title: format!("{glyph} {} · hb", title(incident)),
        tone,
        reloads: false,
        snapshot,
        at,
    };
    let main = html! {
        p.crumb { a href="../incidents" { "Incidents" } " / " (incident.id) }
        div class={ "hero " (tone.class()) } {
            section.panel.verdict aria-labelledby="h" {
                h1 #h { (parts::icon(icon)) (subject(incident)) " " span { (reason_text(incident.reason)) } }
                (story(incident, at))
                @if incident.scope != Scope::Agent || incident.agents.len() > 1 {
                    ul.chips aria-label="Agents" {
                        @for agent in incident.agents.iter().take(AGENTS) { li { a href={ "../agents/" (agent) } { (agent) } } }
                    }
                } @else if let Some(agent) = incident.agents.first() {
                    div.acts { a.btn href={ "../agents/" (agent) } { "Open agent" } }
                }
            }
            (facts(incident, at))
        }
        div.two { (tried(incident, at)) (notified(incident, at)) }
    };
    layout::page(&frame, &main)
}

fn story(incident: &Incident, at: ViewTime) -> Markup {
    html! {
        dl.story {
            dt { "What" } dd { (parts::sentence(&incident.sentence)) }
            dt { "Since" } dd {
                (parts::time(incident.opened_at, Shape::Clock, at))
                @match incident.closed_at {
                    None => { ", " b { (parts::time(incident.opened_at, Shape::Long, at)) } "." }
                    Some(closed) => { " until " (parts::time(closed, Shape::Clock, at)) ", " b { (lasted(incident, at)) } "." }
                }
            }
            @if !incident.evidence.is_empty() {
                dt { "Evidence" } dd {
                    @for (place, one) in incident.evidence.iter().enumerate() {
                        @if place > 0 { "; " }
                        code { (parts::foreign(&one.signal)) } " " bdi { (parts::foreign(&one.value)) }
                    }
                }
            }
            dt { "Next" } dd {
                @match &incident.next {
                    Some(next) => { (parts::sentence(&next.what)) " at " (parts::time(next.at, Shape::Clock, at)) "." }
                    None if incident.is_closed() => { "Nothing: it is over." }
                    None => { "Nothing by itself. It closes when its agents have been healthy for one interval." }
                }
            }
        }
    }
}

fn facts(incident: &Incident, at: ViewTime) -> Markup {
    html! {
        aside.panel.body aria-label="Facts" {
            dl.kv {
                dt { "Incident" } dd { code { (incident.id) } }
                dt { "Reason" } dd { (reason_text(incident.reason)) }
                dt { "Scope" } dd { (scope_text(incident)) }
                dt { "Opened" } dd { (parts::time(incident.opened_at, Shape::Clock, at)) }
                @if let Some(closed) = incident.closed_at { dt { "Closed" } dd { (parts::time(closed, Shape::Clock, at)) } }
                dt { "Acknowledged" } dd {
                    @match &incident.acked_by { Some(by) => { "by " (parts::foreign(by)) } None => { "not yet" } }
                }
                dt { "Gate" } dd { (incident.gate.map_or("none", gate_text)) }
            }
            p.facts { a href={ "../v1/incidents/" (incident.id) } { "JSON" } }
        }
    }
}

fn tried(incident: &Incident, at: ViewTime) -> Markup {
    html! {
        section aria-labelledby="r" {
            div.bar { h2 #r { "What was tried" } }
            div.panel.scroll role="group" tabindex="0" aria-label="What was tried" {
                table {
                    thead { tr { th scope="col" { "At" } th scope="col" { "Rung" } th scope="col" { "Outcome" } } }
                    tbody {
                        @for rung in &incident.rungs {
                            tr {
                                td { (parts::time(rung.started_at, Shape::Clock, at)) }
                                td {
                                    (parts::foreign(&rung.rung))
                                    @if let Some(agent) = rung.agent.as_ref().filter(|_| incident.agents.len() > 1) {
                                        " for " (parts::foreign(agent.as_str()))
                                    }
                                }
                                td { (rung_outcome(rung).trim_start_matches(", ")) }
                            }
                        }
                        @if incident.rungs.is_empty() { tr { td colspan="3" { "Nothing." } } }
                    }
                }
            }
        }
    }
}

fn notified(incident: &Incident, at: ViewTime) -> Markup {
    html! {
        section aria-labelledby="n" {
            div.bar { h2 #n { "Notifications" } }
            div.panel.scroll role="group" tabindex="0" aria-label="Notifications" {
                table {
                    thead { tr { th scope="col" { "At" } th scope="col" { "Receiver" } th scope="col" { "Outcome" } } }
                    tbody {
                        @for one in &incident.notified {
                            tr {
                                td { (parts::time(one.at, Shape::Clock, at)) }
                                td { (parts::foreign(&one.receiver)) }
                                td {
                                    (parts::foreign(&one.outcome))
                                    @if let Some(error) = &one.error { small { (parts::foreign(error)) } }
                                }
                            }
                        }
                        @if incident.notified.is_empty() { tr { td colspan="3" { "None." } } }
                    }
                }
            }
        }
    }
}

/// Colour and icon of a rung.
pub(super) fn rung_look(rung: &Rung) -> (Tone, &'static str) {
    match (rung.ended_at, rung.outcome.as_deref()) {
        (None, _) => (Tone::Wait, "i-back"),
        (Some(_), Some("recovered" | "helped" | "done")) => (Tone::Ok, "i-ok"),
        (Some(_), _) => (Tone::Bad, "i-x"),
    }
}

/// What became of a rung, behind a comma; that it is under way.
pub(super) fn rung_outcome(rung: &Rung) -> String {
    let Some(ended_at) = rung.ended_at else {
        return ", under way".to_owned();
    };
    let outcome = rung_text(rung, ended_at);
    match &rung.detail {
        Some(detail) => format!(", {outcome}: {}", parts::foreign(detail)),
        None => format!(", {outcome}"),
    }
}

fn look(incident: &Incident) -> (Tone, &'static str) {
    let climbs = incident.rungs.iter().any(|rung| rung.ended_at.is_none());
    match (incident.is_closed(), climbs) {
        (true, _) => (Tone::Ok, "i-ok"),
        (false, true) => (Tone::Bad, "i-back"),
        (false, false) => (Tone::Bad, "i-x"),
    }
}

/// `billing-sync: hung`.
fn title(incident: &Incident) -> String {
    format!("{}: {}", subject(incident), reason_text(incident.reason))
}

fn subject(incident: &Incident) -> String {
    let agents = incident.agents.len();
    match (incident.scope, &incident.host, incident.agents.first()) {
        (Scope::Host, Some(host), _) => format!("{}, {agents} agents", parts::foreign(host)),
        (Scope::Fleet, _, _) => format!("fleet, {agents} agents"),
        (_, _, Some(agent)) if agents == 1 => agent.to_string(),
        (_, _, Some(agent)) => format!("{agent} and {} more", agents - 1),
        (_, _, None) => "no agent".to_owned(),
    }
}

fn scope_text(incident: &Incident) -> &'static str {
    match incident.scope {
        Scope::Agent => "one agent",
        Scope::Host => "one host",
        Scope::Fleet => "the fleet",
    }
}

fn lasted(incident: &Incident, at: ViewTime) -> String {
    let end = incident.closed_at.unwrap_or(at.wall_ms);
    let lasted = Duration::from_secs(end.saturating_sub(incident.opened_at) / 1000);
    parts::figure(&format_duration(lasted))
}

fn receivers(incident: &Incident) -> String {
    let mut names: Vec<String> = Vec::new();
    for one in &incident.notified {
        let name = parts::foreign(&one.receiver);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        "–".to_owned()
    } else {
        names.join(", ")
    }
}
