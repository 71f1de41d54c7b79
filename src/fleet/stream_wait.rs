//! Beats that overtook the stream: they wait until the monitor has read the events that were stored before them.
//!
//! Two connections bring beats and events. A sidecar stores the event of a start or an end before the beat that reports
//! it, so a beat with a later step than the stream has brought proves that the stream holds more.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::wire::beat::view::{BeatView, Owned};
use std::collections::HashSet;
use std::time::Duration;

/// Beats that may wait: a burst of a whole large fleet. Beyond it beats are applied at once.
const BEATS_MAX: usize = 65_536;

/// The beats that wait, in order.
#[derive(Debug, Default)]
pub(super) struct StreamWait {
    beats: Vec<Owned>,
    /// Whose they are: a later beat of the same agent waits behind them.
    agents: HashSet<AgentId>,
    since: Option<Moment>,
}

impl StreamWait {
    /// Whether this beat must wait, given the epoch and step that are known of its agent.
    pub(super) fn holds(&self, beat: &BeatView<'_>, epoch: u64, step: u64) -> bool {
        let behind = !self.agents.is_empty() && self.agents.contains(beat.agent);
        (behind || is_ahead(beat, epoch, step)) && self.beats.len() < BEATS_MAX
    }

    /// Adds a beat. True when it is the first: the stream must be read now.
    pub(super) fn push(&mut self, beat: Owned, now: Moment) -> bool {
        self.agents.insert(beat.agent().clone());
        self.beats.push(beat);
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        is_first
    }

    /// Takes all beats out.
    pub(super) fn take(&mut self) -> Vec<Owned> {
        self.since = None;
        self.agents.clear();
        std::mem::take(&mut self.beats)
    }

    /// When the beats stop waiting for an answer that takes longer than `within`.
    pub(super) fn deadline(&self, within: Duration) -> Option<Moment> {
        self.since.map(|since| since + within)
    }
}

/// Whether the stream holds events that were not applied yet by a reader that knows this epoch and step of the agent.
fn is_ahead(beat: &BeatView<'_>, epoch: u64, step: u64) -> bool {
    let life = beat.hb.as_ref().and_then(|hb| hb.life.as_ref());
    let known = if beat.epoch() > epoch { 0 } else { step };
    beat.epoch() >= epoch && life.is_some_and(|life| life.step > known.saturating_add(1))
}
