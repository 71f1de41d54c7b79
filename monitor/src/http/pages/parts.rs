//! Small pieces of a page: icons, times, figures, foreign text. Everything is escaped by `maud`; nothing here is raw.

use heartbeat::base::calendar::Calendar;
use heartbeat::base::duration::{format_duration, format_short};
use heartbeat::base::foreign;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::card::Card;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::Word;
use maud::{Markup, html};
use std::time::Duration;

/// Characters of a foreign text in a list.
const FOREIGN_CHARS: usize = 200;
const NO_BREAK: &str = "\u{a0}";

/// The icon of this name in the sprite.
pub(super) fn icon(name: &str) -> Markup {
    html! { svg.i aria-hidden="true" { use href={ "#" (name) } {} } }
}

/// The icon of a word.
pub(super) fn word_icon(word: Word) -> &'static str {
    match word {
        Word::Failed | Word::Hung => "i-x",
        Word::Returning => "i-back",
        Word::Missing => "i-miss",
        Word::Stalled | Word::Spinning | Word::Looping | Word::Duplicate => "i-warn",
        Word::WaitingInput => "i-you",
        Word::Paused | Word::Held => "i-pause",
        Word::Unknown => "i-q",
        Word::Starting => "i-half",
        Word::Working | Word::Healthy => "i-dot",
        Word::WaitingModel => "i-model",
        Word::Sleeping => "i-sleep",
        Word::Idle => "i-ring",
        Word::Stopped => "i-stop",
    }
}

/// How a time is written; the script keeps it current by the same rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// `11 min ago`.
    Ago,
    /// `11 min`.
    For,
    /// `11 min 4 s`.
    Long,
    /// `14:02:11`.
    Clock,
}

/// A time.
pub(super) fn time(wall_ms: u64, shape: Shape, at: ViewTime) -> Markup {
    let age = Duration::from_millis(at.wall_ms.saturating_sub(wall_ms));
    let moment = Calendar::utc(wall_ms);
    let (kind, text) = match shape {
        Shape::Ago => ("a", format!("{} ago", format_short(age))),
        Shape::For => ("f", format_short(age)),
        Shape::Long => ("d", format_duration(Duration::from_secs(age.as_secs()))),
        Shape::Clock => ("c", moment.near(Calendar::utc(at.wall_ms))),
    };
    html! { time datetime=(moment.iso()) data-k=(kind) { (text) } }
}

/// A number and its unit, on one line.
pub(super) fn figure(text: &str) -> String {
    text.replace(' ', NO_BREAK)
}

/// Text that others wrote, on one line.
pub(super) fn foreign(text: &str) -> String {
    foreign::cut(&foreign::visible(text), FOREIGN_CHARS).into_owned()
}

/// A sentence, which may quote what others wrote.
pub(super) fn sentence(text: &str) -> String {
    foreign::visible(text).into_owned()
}

/// Reported progress; a dash without.
pub(super) fn progress(done: Option<f64>) -> Markup {
    html! {
        div {
            @if let Some(done) = done {
                progress max="100" value=(done.round()) aria-label="Progress" {}
                span { (figure(&format!("{done:.0} %"))) }
            } @else {
                span { "–" }
            }
        }
    }
}

/// A figure in a cell; a dash without.
pub(super) fn cell(text: Option<String>) -> String {
    text.map_or_else(|| "–".to_owned(), |text| figure(&text))
}

/// Only of a process that is there.
pub(super) fn has_figures(card: &Card<'_>) -> bool {
    card.health.pid.is_some() || card.health.state == State::Healthy
}

/// `claude · node-1`.
pub(super) fn place(card: &Card<'_>) -> String {
    let health = &card.health;
    let parts = [Some(health.agent_type), health.host];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .map(foreign)
        .collect();
    parts.join(" · ")
}
