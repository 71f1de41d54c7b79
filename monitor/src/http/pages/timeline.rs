//! The story of one agent, newest first.

use super::parts::{self, Shape};
use crate::bus::timelines::Part;
use heartbeat::fleet::story::tone;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::Tone;
use maud::{Markup, html};

/// Entries on the page of an agent.
pub(super) const ENTRIES: usize = 20;

/// What of the timeline the page has.
#[derive(Debug)]
pub(super) enum Story {
    /// This part.
    Part(Part),
    /// The store, which holds it, cannot be reached.
    OutOfReach,
}

/// The section. `paged`: it does not begin with the newest entry.
pub(super) fn section(story: &Story, paged: bool, at: ViewTime) -> Markup {
    html! {
        section aria-labelledby="t" {
            div.bar {
                h2 #t { "Timeline" } small { "newest first" }
                @if paged { a href="?" { "Newest" } }
                @if let Story::Part(Part { older: Some(older), .. }) = story {
                    a href={ "?before=" (older) "#t" } { "Older" }
                }
            }
            @match story {
                Story::OutOfReach => { div.panel.body { p { "hb cannot reach the store, which holds the timeline." } } }
                Story::Part(part) if part.entries.is_empty() => { div.panel.body { p { "Nothing has happened yet." } } }
                Story::Part(part) => {
                    ol.panel.tl {
                        @for (id, entry) in &part.entries {
                            @let tone = tone(entry);
                            li id={ "t-" (id) } class=(tone.class()) {
                                (parts::time(entry.at, Shape::Clock, at))
                                (parts::icon(icon(tone)))
                                div {
                                    (parts::sentence(&entry.what))
                                    @if !entry.detail.is_empty() { small { bdi { (parts::sentence(&entry.detail)) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn icon(tone: Tone) -> &'static str {
    match tone {
        Tone::Ok => "i-dot",
        Tone::Wait => "i-back",
        Tone::You => "i-you",
        Tone::Warn => "i-warn",
        Tone::Bad => "i-x",
        Tone::Off => "i-ring",
    }
}
