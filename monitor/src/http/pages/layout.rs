//! The frame of every page: head, navigation, live badge, the monitor about itself.
//!
//! Links are relative to the root of the pages, so that they work below any path of a proxy.

use super::ASSETS_HASH;
use super::parts::{self, Shape};
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::gates::GateKind;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::{Tone, also_on, gate_text};
use heartbeat::fleet::{gates::Gate, overview::Tally};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Our own drawing, checked by a test to name nothing outside.
const SPRITE: &str = include_str!("../assets/icons.svg");
/// Without a script a page loads again after so many seconds.
const RELOAD_SECONDS: u64 = 10;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    Fleet,
    Incidents,
    Silences,
    Status,
}

/// What a page has around it.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) here: Here,
    /// The way from this page to the root: `` or `../`.
    pub(super) root: &'a str,
    pub(super) title: String,
    /// The colour of the tab's icon.
    pub(super) tone: Tone,
    /// Without a script it loads itself again.
    pub(super) reloads: bool,
    pub(super) snapshot: &'a Snapshot,
    pub(super) at: ViewTime,
}

/// A whole page.
pub(super) fn page(frame: &Frame<'_>, main: &Markup) -> Markup {
    let Frame { root, at, .. } = frame;
    let asset = |name: &str| format!("{root}{name}?v={ASSETS_HASH:016x}");
    html! {
        (DOCTYPE)
        html lang="en" data-root=(root) data-now=(at.wall_ms) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) }
                link rel="icon" href=(favicon(frame.tone));
                link rel="stylesheet" href=(asset("style.css"));
                script type="module" src=(asset("app.js")) {}
                @if frame.reloads {
                    noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
                }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                svg.sprite aria-hidden="true" { (PreEscaped(SPRITE)) }
                (header(frame))
                main #main { (banners(frame.snapshot, *at)) (main) }
                @if frame.reloads {
                    noscript { p.self { "This page loads again every 10 s. " a href="?refresh=off" { "Stop that" } } }
                }
                (footer(frame))
                p.vh #say role="status" {}
            }
        }
    }
}

fn header(frame: &Frame<'_>) -> Markup {
    let root = frame.root;
    let home = if root.is_empty() { "./" } else { root };
    let open = frame.snapshot.watch.incidents.open.len();
    let quiet = super::silences::in_force(frame.snapshot, frame.at.wall_ms);
    let blind = blind(frame.snapshot);
    let current = |here| (frame.here == here).then_some("page");
    html! {
        header.top {
            a.brand href=(home) {
                svg viewBox="0 0 18 18" aria-hidden="true" { path d="M1 9h4l2-5 4 10 2-5h4" {} }
                "hb"
            }
            nav aria-label="Main" {
                a href=(home) aria-current=[current(Here::Fleet)] { "Fleet" }
                a href={ (root) "incidents" } aria-current=[current(Here::Incidents)] {
                    "Incidents"
                    @if open > 0 { " " span.tag.s-bad { (open) span.vh { " open" } } }
                }
                a href={ (root) "silences" } aria-current=[current(Here::Silences)] {
                    "Silences"
                    @if quiet > 0 { " " span.tag { (quiet) span.vh { " in force" } } }
                }
                a href={ (root) "status" } aria-current=[current(Here::Status)] {
                    "Status"
                    @if blind.is_some() { " " span.tag.s-warn { "blind" } }
                }
            }
            p #live class={ "live " (if blind.is_some() { "s-warn" } else { "s-ok" }) } data-blind=[blind.map(|_| "")] {
                (parts::icon(if blind.is_some() { "i-warn" } else { "i-dot" }))
                @match blind {
                    Some(gate) => {
                        span { "last known, " (parts::figure(&format_duration(frame.at.now.since(gate.since)))) " old" }
                    }
                    None => { span { "as of" } " " (parts::time(frame.at.wall_ms, Shape::Clock, frame.at)) }
                }
            }
            button.quiet #theme type="button" hidden aria-label="Theme: follows the system" { "Theme" }
        }
    }
}

/// The gate that says that the store cannot be observed now.
pub(super) fn blind(snapshot: &Snapshot) -> Option<&Gate> {
    let is_blind = |gate: &&Gate| gate.gate == GateKind::Blind && gate.until.is_none();
    snapshot.watch.gates.iter().find(is_blind)
}

/// One banner for each kind of closed gate: a storm of many hosts leaves room for the agents.
fn banners(snapshot: &Snapshot, at: ViewTime) -> Markup {
    let mut kinds: Vec<(&Gate, Vec<String>)> = Vec::new();
    for gate in &snapshot.watch.gates {
        match kinds.iter_mut().find(|(first, _)| first.gate == gate.gate) {
            Some((_, also)) => also.extend(gate.host.clone()),
            None => kinds.push((gate, Vec::new())),
        }
    }
    html! {
        @for (gate, also) in kinds {
            @let (tone, name, title) = banner(gate);
            section class={ "banner " (tone.class()) } {
                (parts::icon(name))
                div {
                    h2 { (title) }
                    p {
                        (parts::sentence(&gate.sentence)) " Since "
                        (parts::time(super::wall(gate.since, at), Shape::Clock, at)) " ("
                        (parts::time(super::wall(gate.since, at), Shape::Long, at)) "). "
                        (also_on(&also))
                    }
                    p.next { (gate_next(gate, at)) }
                }
            }
        }
    }
}

fn banner(gate: &Gate) -> (Tone, &'static str, String) {
    let name = gate_text(gate.gate);
    let what = match gate.gate {
        GateKind::Tilt => "hb’s own clock was late",
        GateKind::Blind if gate.until.is_some() => {
            "the store is back, hb waits for one beat of each agent"
        }
        GateKind::Blind => "hb cannot reach the store",
        GateKind::MassCrash => "no automatic restart",
        GateKind::Storm | GateKind::Silenced | GateKind::Paused | GateKind::Unknown => {
            "no automatic action"
        }
    };
    let (tone, icon) = match gate.gate {
        GateKind::Storm | GateKind::MassCrash => (Tone::Bad, "i-pause"),
        GateKind::Tilt
        | GateKind::Blind
        | GateKind::Silenced
        | GateKind::Paused
        | GateKind::Unknown => (Tone::Warn, "i-warn"),
    };
    (tone, icon, format!("{name}: {what}"))
}

fn gate_next(gate: &Gate, at: ViewTime) -> Markup {
    let until = gate.until.map(|until| super::wall(until, at));
    html! {
        b { "Next:" } " "
        @match (gate.gate, until) {
            (GateKind::Blind, None) => {
                "hb tries to reach the store again every few seconds. No agent is declared missing or failed meanwhile, and your agents go on working."
            }
            (_, Some(until)) => { "hb acts again at " (parts::time(until, Shape::Clock, at)) "." }
            (_, None) => { "hb acts again when this is over. Until then only you can order a restart." }
        }
    }
}

fn footer(frame: &Frame<'_>) -> Markup {
    let Frame { snapshot, root, .. } = frame;
    let agents = snapshot.counts.total();
    let in_time = snapshot.counts.healthy;
    let well = snapshot.link_up;
    html! {
        footer.self aria-label="The monitor itself" {
            span class=(if well { "s-ok" } else { "s-warn" }) {
                b {
                    (parts::icon(if well { "i-ok" } else { "i-warn" })) " "
                    (if well { "hbmonitor is well" } else { "hbmonitor cannot reach the store" })
                }
            }
            @if let Some(took) = snapshot.watch.round_trip {
                span { "store answers in " (parts::figure(&millis_text(took))) }
            }
            @if agents == 0 { span { "no agents yet" } }
            @else { span { (in_time) " of " (agents) " agents beat in time" } }
            a href={ (root) "status" } { "Status" }
        }
    }
}

/// `0.8 ms`, `41 ms`.
pub(super) fn millis_text(took: std::time::Duration) -> String {
    let millis = took.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

/// The number in the title counts what needs a person.
pub(super) fn fleet_title(tally: &Tally, snapshot: &Snapshot) -> (String, Tone) {
    if blind(snapshot).is_some() {
        return ("BLIND · fleet · hb".to_owned(), Tone::Warn);
    }
    match tally.needs_you {
        0 if tally.total == 0 => ("No agents yet · hb".to_owned(), Tone::Off),
        0 => ("fleet · hb".to_owned(), Tone::Ok),
        n => (format!("({n}) fleet · hb"), Tone::Bad),
    }
}

/// A disc in the colour of the worst.
fn favicon(tone: Tone) -> String {
    let colour = match tone {
        Tone::Ok => "0b7350",
        Tone::Wait => "1f5fbf",
        Tone::You => "7a34c4",
        Tone::Warn => "b87400",
        Tone::Bad => "d02c38",
        Tone::Off => "7d8590",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23{colour}'/%3E%3C/svg%3E"
    )
}
