//! `GET /silences`: for what and how long no one is notified and nothing is done by itself; a form for another one.

use super::Shown;
use super::forms::Acting;
use super::layout::{self, Frame, Here};
use super::parts::{self, Shape};
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::HealthStatus;
use heartbeat::fleet::word::Tone;
use heartbeat::wire::silence::{Labels, Matcher, Silence};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Beyond so many agents times silences it is not counted which agents match.
const MATCHES_MAX: usize = 200_000;
/// Types and hosts that are offered.
const OFFERED: usize = 100;

/// The page.
pub(super) fn page(shown: &Shown<'_>, acting: Acting) -> Markup {
    let Shown { snapshot, at } = *shown;
    let all: Vec<&Silence> = snapshot.watch.silences.values().collect();
    let in_force = all.iter().filter(|one| one.starts_at <= at.wall_ms).count();
    let to_come = all.len() - in_force;
    let frame = Frame {
        here: Here::Silences,
        root: "",
        title: "Silences · hb".to_owned(),
        tone: if in_force > 0 { Tone::Warn } else { Tone::Ok },
        reloads: false,
        snapshot,
        at,
    };
    let main = html! {
        div.head {
            h1 {
                @match in_force {
                    0 => { "No silence in force" }
                    1 => { "1 silence in force" }
                    n => { (n) " silences in force" }
                }
            }
            p.sub {
                @if to_come > 0 { (to_come) " more to come. " }
                "A silence holds pages and automatic recovery back; it always ends."
            }
        }
        section aria-labelledby="f" {
            div.bar { h2 #f { "In force and to come" } }
            @if all.is_empty() { div.panel.body { p { "None." } } }
            @else { (table(shown, &all, acting)) }
        }
        (form(snapshot, acting))
    };
    layout::page(&frame, &main)
}

/// How many silences are in force.
pub(super) fn in_force(snapshot: &Snapshot, wall_ms: u64) -> usize {
    let all = snapshot.watch.silences.values();
    all.filter(|one| one.starts_at <= wall_ms && wall_ms < one.ends_at)
        .count()
}

fn table(shown: &Shown<'_>, all: &[&Silence], acting: Acting) -> Markup {
    let at = shown.at;
    let counts = all.len().saturating_mul(shown.snapshot.agents.len()) <= MATCHES_MAX;
    html! {
        div.panel.scroll role="group" tabindex="0" aria-label="Silences in force and to come" {
            table {
                thead {
                    tr {
                        th scope="col" { "State" } th scope="col" { "Holds" } th.c2 scope="col" { "Why" } th.c2 scope="col" { "By" }
                        th scope="col" { "Ends" } th scope="col" { span.vh { "End it" } }
                    }
                }
                tbody {
                    @for one in all {
                        @let begun = one.starts_at <= at.wall_ms;
                        tr id={ "s-" (one.id) } {
                            td class={ "st " (if begun { "s-warn" } else { "s-off" }) } {
                                (parts::icon(if begun { "i-pause" } else { "i-ring" })) (if begun { "in force" } else { "to come" })
                            }
                            td {
                                @for matcher in &one.matchers { code { (parts::foreign(&text(matcher))) } " " }
                                @if counts { small { (matching(shown, one)) } }
                            }
                            td.c2 { bdi { (parts::foreign(&one.comment)) } }
                            td.c2 { bdi { (parts::foreign(&one.created_by)) } }
                            td {
                                (parts::time(one.ends_at, Shape::Clock, at))
                                @if !begun { small { "begins " (parts::time(one.starts_at, Shape::Clock, at)) } }
                            }
                            td.n {
                                @if let Acting::Allowed = acting {
                                    form method="post" action={ "silences/" (one.id) "/delete" } {
                                        button type="submit" aria-label={ "End the silence for " (names(one)) } { (if begun { "End now" } else { "Remove" }) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn form(snapshot: &Snapshot, acting: Acting) -> Markup {
    let (mut types, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for agent in snapshot.agents.values() {
        let beat = agent.run.beat.as_ref().map(|beat| beat.agent_type());
        for (set, one) in [(&mut types, beat), (&mut hosts, agent.host())] {
            set.extend(one.filter(|one| !one.is_empty() && set.len() < OFFERED));
        }
    }
    let choice = |name: &str, label: &str, all: &BTreeSet<&str>| {
        html! {
            label { (label)
                select name=(name) {
                    option value="" { "any" }
                    @for one in all { option value=(one) { (parts::foreign(one)) } }
                }
            }
        }
    };
    html! {
        section aria-labelledby="nw" {
            div.bar { h2 #nw { "New silence" } }
            @match acting {
                Acting::Refused(why) => { div.panel.body { p { (why) } } }
                Acting::SignedOut => {
                    div.panel.body { p { a.l href="status#signin" { "Sign in" } " to act here, or type " code { "hbmonitor silence ID --for 1h" } } }
                }
                Acting::Allowed => {
                    form.panel.body.form method="post" action="silences" {
                        label { "Agent id" input type="text" name="id" placeholder="writer-*" maxlength="128"; }
                        (choice("type", "Type", &types))
                        (choice("host", "Host", &hosts))
                        label { "For"
                            select name="for" { option value="1h" { "1 hour" } option value="4h" { "4 hours" } option value="24h" { "1 day" } }
                        }
                        label { "Why" input type="text" name="comment" maxlength="200" placeholder="shown to everyone"; }
                        button.go type="submit" { "Silence" }
                    }
                }
            }
        }
    }
}

/// `agent=writer-1`, `host!~gpu-.*`.
fn text(matcher: &Matcher) -> String {
    let operator = match (matcher.is_equal, matcher.is_regex) {
        (true, false) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (false, true) => "!~",
    };
    format!("{}{operator}{}", matcher.name, matcher.value)
}

fn names(silence: &Silence) -> String {
    let all: Vec<String> = silence.matchers.iter().map(text).collect();
    parts::foreign(&all.join(", "))
}

fn matching(shown: &Shown<'_>, silence: &Silence) -> String {
    let fits = |(id, agent)| {
        let health = HealthStatus::of(id, agent, shown.at);
        let host = health.host.unwrap_or_default();
        let labels = [
            ("agent", id.as_str()),
            ("type", health.agent_type),
            ("host", host),
        ];
        silence.covers(Labels(&labels), silence.starts_at)
    };
    match shown
        .snapshot
        .agents
        .iter()
        .filter(|one| fits(*one))
        .count()
    {
        1 => "1 agent matches now".to_owned(),
        n => format!("{n} agents match now"),
    }
}
