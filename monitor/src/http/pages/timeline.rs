//! The story of one agent, newest first.

use super::parts::{self, Shape};
use crate::bus::timelines::{Part, Place};
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::story::tone;
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::word::Tone;
use heartbeat::wire::timeline::TimelineEntry;
use maud::{Markup, html};
use std::time::Duration;

/// Entries on the page of an agent.
const ENTRIES: usize = 20;
/// Entries that are looked through for the newest tree of processes.
pub(super) const SEARCHED: usize = 100;

/// What of the timeline the page has.
#[derive(Debug)]
pub(super) enum Story {
    /// This part; the page shows the first [`ENTRIES`] of it.
    Part(Part),
    /// The store had not answered after this time; the page may wait longer than it did.
    Slow { waited: Duration, is_last: bool },
    /// The store, which holds it, cannot be reached.
    OutOfReach,
}

impl Story {
    /// The newest entry with a tree of processes.
    pub(super) fn captured(&self) -> Option<&TimelineEntry> {
        let Self::Part(part) = self else { return None };
        let mut entries = part.entries.iter().map(|(_, entry)| entry);
        entries.find(|entry| !entry.tree.is_empty())
    }

    /// Where the entries behind those on the page begin.
    fn older(&self) -> Option<&str> {
        let Self::Part(part) = self else { return None };
        match part.entries.get(ENTRIES) {
            Some(_) => part.entries.get(ENTRIES - 1).map(|(id, _)| id.as_str()),
            None => part.older.as_deref(),
        }
    }
}

/// The section. `before`: where it begins, if not with the newest entry.
pub(super) fn section(story: &Story, before: Option<&Place>, at: ViewTime) -> Markup {
    let waiting = before.map_or_else(
        || "?wait#t".to_owned(),
        |before| format!("?before={}&wait#t", before.as_str()),
    );
    html! {
        section aria-labelledby="t" {
            div.bar {
                h2 #t { "Timeline" } small { "newest first" }
                @if before.is_some() { a href="?" { "Newest" } }
                @if let Some(older) = story.older() {
                    a href={ "?before=" (older) "#t" } { "Older" }
                }
            }
            @match story {
                Story::Slow { waited, is_last } => {
                    div.panel.body {
                        p {
                            "The store, which holds the timeline, has not answered within " (parts::figure(&format_duration(*waited))) ". "
                            @if !is_last { a.l #late href=(waiting) { "Wait for it" } }
                        }
                    }
                }
                Story::OutOfReach => { div.panel.body { p { "hb cannot reach the store, which holds the timeline." } } }
                Story::Part(part) if part.entries.is_empty() => { div.panel.body { p { "Nothing has happened yet." } } }
                Story::Part(part) => {
                    ol.panel.tl {
                        @for (id, entry) in part.entries.iter().take(ENTRIES) {
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
