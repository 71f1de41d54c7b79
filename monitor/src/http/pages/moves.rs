//! What a person can do about an agent: each move with what it does, or with the reason why it is impossible.

use super::forms::Acting;
use super::parts;
use heartbeat::fleet::agent::Agent;
use heartbeat::fleet::card::Card;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::watch::unreachable;
use heartbeat::wire::notice::Notice;
use maud::{Markup, html};

/// One move.
struct Move {
    /// The last part of its address.
    name: &'static str,
    label: &'static str,
    /// What it does.
    does: &'static str,
    /// Why it is impossible, if so.
    impossible: Option<String>,
    /// What is lost, or else changes, by it: asked first. Nothing is asked when there is nothing to lose.
    costs: Vec<String>,
}

/// The list of moves, and the dialogs that ask first.
pub(super) fn render(
    card: &Card<'_>,
    agent: &Agent,
    notice: Option<&Notice>,
    acting: Acting,
    at: ViewTime,
) -> Markup {
    let moves = moves(card, agent, notice, at);
    html! {
        section aria-labelledby="actions" {
            div.bar {
                h2 #actions { "Actions" }
                @if let Acting::SignedOut = acting {
                    small { a.l href="../status#signin" { "Sign in" } " to act here, or type " code { "hbmonitor restart " (card.id) } }
                }
            }
            ul.panel.body.moves {
                @for one in &moves { li { (offer(one, card, acting)) } }
            }
        }
        @if let Acting::Allowed = acting {
            @for one in moves.iter().filter(|one| one.impossible.is_none() && !one.costs.is_empty()) { (confirm(one, card)) }
        }
    }
}

fn offer(one: &Move, card: &Card<'_>, acting: Acting) -> Markup {
    let why = match acting {
        Acting::Allowed => one.impossible.clone(),
        Acting::Refused(why) => Some(why.to_owned()),
        Acting::SignedOut => Some("This browser is not signed in.".to_owned()),
    };
    html! {
        @match why {
            None if one.costs.is_empty() => {
                form method="post" action=(address(one, card)) { button type="submit" { (one.label) } }
                small { (one.does) }
            }
            None => {
                a.btn href={ "#confirm-" (one.name) } { (one.label) "…" }
                small { (one.does) }
            }
            Some(why) => {
                button type="button" disabled aria-describedby={ "why-" (one.name) } { (one.label) }
                small #{ "why-" (one.name) } { "Not possible: " (parts::sentence(&why)) }
            }
        }
        span.vh { (card.id) }
    }
}

fn confirm(one: &Move, card: &Card<'_>) -> Markup {
    let title = format!("{} {}", one.label, card.id);
    html! {
        dialog.confirm #{ "confirm-" (one.name) } aria-labelledby={ "ask-" (one.name) } {
            h2 #{ "ask-" (one.name) } { (title) "?" }
            ul { @for cost in &one.costs { li { bdi { (parts::sentence(cost)) } } } }
            div.acts {
                a.btn href="#actions" { "Keep it" }
                form method="post" action=(address(one, card)) { button.bad type="submit" { (title) } }
            }
        }
    }
}

/// Relative; an id with a colon would else read as the scheme of a URL.
fn address(one: &Move, card: &Card<'_>) -> String {
    format!("./{}/{}", card.id, one.name)
}

fn moves(card: &Card<'_>, agent: &Agent, notice: Option<&Notice>, at: ViewTime) -> [Move; 6] {
    let unreachable = unreachable(agent, at.now).map(|why| format!("{why}."));
    let health = &card.health;
    let lost = health.current_task.map(|task| {
        let done = health.task_progress;
        let done = done.map_or_else(String::new, |done| format!(" ({done:.0} %)"));
        format!("Unsaved work of “{}”{done} is lost.", parts::foreign(task))
    });
    let with = |first: &str| {
        let mut costs = vec![first.to_owned()];
        costs.extend(lost.clone());
        costs
    };
    let is_alive = agent.is_alive();
    let forget = is_alive.then(|| "its beats come. Stop it first.".to_owned());
    let incident = card.incident.map(|open| open.acked_by.as_deref());
    let notice = notice.map(|open| open.acked_by.as_deref());
    let acknowledge = match incident.or(notice) {
        None => Some("it has no open incident or notice.".to_owned()),
        Some(Some(by)) => Some(format!("{} takes care of it already.", parts::foreign(by))),
        Some(None) => None,
    };
    [
        Move {
            name: "ack",
            label: "Acknowledge",
            does: "Keeps receivers quiet until it is over.",
            impossible: acknowledge,
            costs: Vec::new(),
        },
        Move {
            name: "silence",
            label: "Silence 1 h",
            does: "No page and no rung for an hour.",
            impossible: None,
            costs: Vec::new(),
        },
        Move {
            name: "capture",
            label: "Capture",
            does: "Shows what each of its processes waits for now.",
            impossible: unreachable.clone(),
            costs: Vec::new(),
        },
        Move {
            name: "restart",
            label: "Restart",
            does: "Ends it and starts it again.",
            impossible: unreachable.clone(),
            costs: with(
                "The process tree is ended: the stop signal, the grace, then KILL. Then it is started again.",
            ),
        },
        Move {
            name: "stop",
            label: "Stop",
            does: "Ends it and leaves it stopped.",
            impossible: unreachable,
            costs: with("It is ended and stays stopped until you start it."),
        },
        Move {
            name: "forget",
            label: "Forget",
            does: "Removes it from the fleet.",
            impossible: forget,
            costs: vec!["It leaves the fleet. It is back when it beats again.".to_owned()],
        },
    ]
}
