//! `GET /status`: hbmonitor about itself.

use super::Shown;
use super::forms::Acting;
use super::layout::{self, Frame, Here, millis_text};
use super::parts::{self, Shape};
use crate::hub::Shown as ShownAlerts;
use heartbeat::alerts::exchange::{AlertsView, ReceiverView};
use heartbeat::base::figure;
use heartbeat::fleet::gates::GateKind;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::{Tone, gate_text};
use heartbeat::wire::trouble::Trouble;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Every gate, with what an open one means.
const GATES: [(GateKind, &str); 5] = [
    (GateKind::Tilt, "hb’s own clock runs on time"),
    (GateKind::Blind, "the store answers"),
    (GateKind::Storm, "no host and no fleet fell silent at once"),
    (GateKind::MassCrash, "no mass crash in the last 5 min"),
    (GateKind::Paused, "recovery is not paused"),
];

/// The page. `dropped` counts payloads that could not be used, by kind.
pub(super) fn page(
    shown: &Shown<'_>,
    dropped: &BTreeMap<&'static str, u64>,
    shown_alerts: &ShownAlerts,
    acting: Acting,
) -> Markup {
    let ShownAlerts { alerts, troubles } = shown_alerts;
    let Shown { snapshot, at } = *shown;
    let well = snapshot.link_up;
    let failing: Vec<_> = alerts
        .receivers
        .iter()
        .filter(|one| one.error.is_some())
        .collect();
    let frame = Frame {
        here: Here::Status,
        root: "",
        title: "Status · hb".to_owned(),
        tone: if well && failing.is_empty() {
            Tone::Ok
        } else {
            Tone::Warn
        },
        reloads: false,
        snapshot,
        at,
    };
    let main = html! {
        div.head {
            h1 {
                (if well { "hbmonitor is well" } else { "hbmonitor cannot reach the store" })
                @match failing.len() {
                    0 => {}
                    1 => { ", one receiver is failing" }
                    n => { ", " (n) " receivers are failing" }
                }
            }
            p.sub {
                @match snapshot.watch.gates.len() {
                    0 => { "No gate is closed." }
                    1 => { "1 gate is closed: truth is shown, nothing is done by itself." }
                    n => { (n) " gates are closed: truth is shown, nothing is done by itself." }
                }
            }
        }
        @if !troubles.is_empty() { (own_troubles(troubles, at, acting)) }
        div.two { (monitor(shown)) (beats(shown, dropped)) }
        (recovery(shown, acting))
        (gates(shown))
        (receivers(alerts, at))
    };
    layout::page(&frame, &main)
}

/// What is the matter with hb itself, and who takes care of it.
fn own_troubles(troubles: &[Trouble], at: ViewTime, acting: Acting) -> Markup {
    html! {
        section aria-labelledby="t" {
            div.bar { h2 #t { "Trouble of hb itself" } small { "reported to the receivers until it is over" } }
            ul.panel.body.moves {
                @for trouble in troubles {
                    li class="s-warn" {
                        span.st { (parts::icon("i-warn")) b { (trouble.name.field()) } }
                        small {
                            (parts::sentence(&trouble.sentence)) " Since " (parts::time(trouble.since, Shape::Clock, at)) "."
                            @if let Some(by) = &trouble.acked_by { " Acknowledged by " bdi { (by) } "." }
                        }
                        @if let (Acting::Allowed, None) = (acting, &trouble.acked_by) {
                            form.filter method="post" action={ "troubles/" (trouble.name.field()) "/ack" } {
                                button type="submit" { "Acknowledge" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn monitor(shown: &Shown<'_>) -> Markup {
    let snapshot = shown.snapshot;
    let (counts, bounds, watch) = (snapshot.counts, snapshot.bounds, &snapshot.watch);
    let megabytes = |bytes: usize| parts::figure(&figure::megabytes(bytes as f64 / 1e6));
    let count = |of: usize| figure::count(of as u64);
    html! {
        section aria-labelledby="m" {
            div.bar { h2 #m { "Monitor" } }
            div.panel.body {
                dl.kv {
                    dt { "Store" } dd {
                        (if snapshot.link_up { "connected" } else { "not connected" })
                        @if let Some(took) = watch.round_trip { ", answers in " (parts::figure(&millis_text(took))) }
                    }
                    dt { "Counts as dead after" } dd { (parts::figure(&millis_text(watch.answer_limit))) }
                    dt { "Agents" } dd {
                        (count(counts.total())) ": " (count(counts.healthy)) " healthy, " (count(counts.missing)) " missing, "
                        (count(counts.failed)) " failed, " (count(counts.stopped)) " stopped"
                    }
                    dt { "Room" } dd { (count(bounds.agents_max)) " agents, " (megabytes(bounds.bytes)) " of " (megabytes(bounds.bytes_max)) }
                    dt { "Incidents" } dd { (count(watch.incidents.open.len())) " open, " (count(watch.incidents.closed.len())) " closed in 7 days" }
                    dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                    dt { @if snapshot.versions.are_mixed() { "Sidecars, mixed" } @else { "Sidecars" } }
                    dd { (sidecars(snapshot)) }
                }
                p.facts { a href="v1/status" { "JSON" } a href="metrics" { "Metrics" } }
            }
        }
    }
}

/// `0.2.0: 41, 0.1.0: 2`: agents by the version of their sidecar.
fn sidecars(snapshot: &Snapshot) -> String {
    let versions = snapshot.versions.listed();
    let listed: Vec<String> = versions
        .map(|(version, agents)| {
            let agents = figure::count(agents as u64);
            match version {
                Some(version) => format!("{version}: {agents}"),
                None => format!("version not reported: {agents}"),
            }
        })
        .collect();
    if listed.is_empty() {
        return "none".to_owned();
    }
    listed.join(", ")
}

fn beats(shown: &Shown<'_>, dropped: &BTreeMap<&'static str, u64>) -> Markup {
    let beats = shown.snapshot.beats;
    let rows = [
        ("Applied", beats.applied),
        ("Known before", beats.known),
        ("Duplicate", beats.duplicate),
        ("Of a replaced epoch", beats.outdated),
        ("Implausible", beats.implausible),
        ("Refused, fleet full", beats.refused),
    ];
    html! {
        section aria-labelledby="b" {
            div.bar { h2 #b { "Beats since the start" } }
            div.panel.body {
                dl.kv {
                    @for (name, of) in rows { dt { (name) } dd { (figure::count(of)) } }
                    @for (kind, of) in dropped { dt { "Dropped: " (kind) } dd { (figure::count(*of)) } }
                }
            }
        }
    }
}

/// The switch for the whole fleet, and the way in for a browser that is not signed in.
fn recovery(shown: &Shown<'_>, acting: Acting) -> Markup {
    let gates = &shown.snapshot.watch.gates;
    let is_paused = gates.iter().any(|gate| gate.gate == GateKind::Paused);
    html! {
        section aria-labelledby="pause" {
            div.bar { h2 #pause { "Automatic recovery" } }
            div.panel.body {
                p { b { (if is_paused { "Paused." } else { "On." }) } " Pausing stops every rung for the whole fleet. Detection and pages go on." }
                @match acting {
                    Acting::Refused(why) => { p.next { (why) } }
                    Acting::SignedOut => {
                        form.filter #signin method="post" action="session" {
                            label { "Token " input type="password" name="token" autocomplete="current-password" required; }
                            button type="submit" { "Sign in" }
                            small { "The token stands in the file token of the state directory." }
                        }
                    }
                    Acting::Allowed => {
                        @if is_paused {
                            form.filter method="post" action="resume" { button.go type="submit" { "Resume recovery" } }
                        } @else {
                            form.filter method="post" action="pause" {
                                label { "Pause for "
                                    select name="for" {
                                        option value="1h" { "1 hour" } option value="4h" { "4 hours" } option value="24h" { "1 day" }
                                    }
                                }
                                button type="submit" { "Pause recovery" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn gates(shown: &Shown<'_>) -> Markup {
    let closed = &shown.snapshot.watch.gates;
    html! {
        section aria-labelledby="g" {
            div.bar { h2 #g { "Gates" } small { "a closed gate means: truth shown, nothing done by itself" } }
            ul.panel.body.moves {
                @for (kind, open_means) in GATES {
                    @let shut: Vec<_> = closed.iter().filter(|gate| gate.gate == kind).collect();
                    li class=(if shut.is_empty() { "s-ok" } else { "s-warn" }) {
                        span.st { (parts::icon(if shut.is_empty() { "i-ok" } else { "i-pause" })) b { (gate_text(kind)) } }
                        @if shut.is_empty() { small { (open_means) } }
                        @for gate in shut {
                            small {
                                (parts::sentence(&gate.sentence)) " Closed since "
                                (parts::time(super::wall(gate.since, shown.at), Shape::Clock, shown.at)) "."
                            }
                        }
                    }
                }
            }
        }
    }
}

fn receivers(alerts: &AlertsView, at: ViewTime) -> Markup {
    html! {
        section aria-labelledby="r" {
            div.bar { h2 #r { "Receivers" } small { (alerts.pages) " pages out, " (alerts.muted) " held back" } }
            @if alerts.receivers.is_empty() {
                div.panel.body { p { "None is configured: pages go to the log of hbmonitor alone." } }
            } @else {
                div.panel.scroll role="group" tabindex="0" aria-label="Receivers" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "State" } th scope="col" { "Receiver" } th scope="col" { "Last outcome" }
                                th.n.c2 scope="col" { "Waiting" } th.n.c2 scope="col" { "Taken" } th.n.c2 scope="col" { "Failed attempts" }
                            }
                        }
                        tbody { @for one in &alerts.receivers { (receiver(one, at)) } }
                    }
                }
            }
        }
    }
}

fn receiver(one: &ReceiverView, at: ViewTime) -> Markup {
    let (tone, icon, word) = match one.error {
        None => ("s-ok", "i-ok", "well"),
        Some(_) => ("s-bad", "i-x", "failing"),
    };
    html! {
        tr {
            td class={ "st " (tone) } { (parts::icon(icon)) (word) }
            td { b { (one.name) } }
            td {
                @match (&one.error, one.delivered_at) {
                    (Some(error), _) => { bdi { (parts::sentence(error)) } }
                    (None, Some(taken)) => { "taken " (parts::time(taken, Shape::Ago, at)) }
                    (None, None) => { "nothing was sent yet" }
                }
            }
            td.n.c2 { (figure::count(one.queued as u64)) }
            td.n.c2 { (figure::count(one.delivered)) }
            td.n.c2 { (figure::count(one.failed)) }
        }
    }
}
