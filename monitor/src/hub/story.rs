//! What happened to each agent, on its way into the agents' timelines, and counted for `/metrics`.

use super::Hub;
use crate::bus::inbox::Request;
use crate::clock;
use crate::tallies::Tallies;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::story::{Line, Story};
use heartbeat::fleet::watch::{WatchEffect, WatchInput};
use std::time::Duration;

/// Entries in one request to the store.
const LINES_MAX: usize = 100;

/// The story of the fleet, and what of it is to be written next.
#[derive(Debug)]
pub(super) struct Chronicle {
    story: Story,
    lines: Vec<Line>,
    tallies: Tallies,
}

impl Chronicle {
    pub(super) fn new(tallies: Tallies) -> Self {
        Self {
            story: Story::default(),
            lines: Vec::new(),
            tallies,
        }
    }

    /// One turn of the hub took so long.
    pub(super) fn ticked(&self, took: Duration) {
        self.tallies.ticked(took);
    }
}

impl Hub {
    /// What an input reports, before the watch takes it.
    pub(super) fn note_input(&mut self, input: &WatchInput, now: Moment) {
        let wall_ms = self.store_wall(now);
        let Chronicle {
            story,
            lines,
            tallies,
        } = &mut self.chronicle;
        lines.extend(story.read(input, wall_ms));
        if let WatchInput::Answered(took) = input {
            tallies.answered(*took);
        }
        if let WatchInput::Fleet(FleetInput::LinkDown) = input {
            tallies.link_lost();
        }
    }

    /// What happened is in the agents' timelines before anything is done about it.
    pub(super) fn write_story(&mut self, effects: &[WatchEffect], now: Moment) {
        let wall_ms = self.store_wall(now);
        let Chronicle {
            story,
            lines,
            tallies,
        } = &mut self.chronicle;
        for effect in effects {
            lines.append(&mut story.follow(effect, &self.watch, wall_ms));
            tallies.follow(effect, |agent| self.watch.silent(agent, now));
        }
        tallies.follow_story(lines);
        self.outputs.events.rungs(lines);
        let view = self.watch.shown();
        if view.leader.is_some() && !view.leads {
            lines.clear(); // the leader writes them
        }
        for lines in std::mem::take(lines).chunks(LINES_MAX) {
            self.outputs.request(Request::Timeline(lines.to_vec()));
        }
    }

    /// The store's wall clock, Unix milliseconds; this machine's until that was read.
    fn store_wall(&self, now: Moment) -> u64 {
        match self.watch.store_wall(now) {
            0 => clock::wall_ms(),
            wall_ms => wall_ms,
        }
    }
}
