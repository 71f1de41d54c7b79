//! Every Redis key, channel, time-to-live rule and script of the wire format, in one place.
//!
//! The hash tag `{agent:ID}` keeps an agent's epoch and order in the cluster slot of its hash `agent:ID`,
//! so that one atomic script may touch all three.

use crate::id::AgentId;
use std::time::Duration;

/// The channel on which every beat is published.
pub const BEATS: &str = "heartbeats";
/// The hash id → roster entry: how an agent that died while no monitor ran is known.
pub const ROSTER: &str = "hb:agents";
/// The stream of lifecycle events.
pub const EVENTS: &str = "hb:events";
/// Roughly how many events the stream keeps (`MAXLEN ~`).
pub const EVENTS_KEPT: usize = 10_000;
/// The prefix of every agent's hash; what a scan for seed-style producers looks for.
pub const AGENT_PREFIX: &str = "agent:";

/// Grants an epoch; see the file's head for its arguments.
pub const REGISTER_SCRIPT: &str = include_str!("scripts/register.lua");
/// Writes one beat; see the file's head for its arguments.
pub const BEAT_SCRIPT: &str = include_str!("scripts/beat.lua");

/// Writes one roster entry; see the file's head for its arguments.
pub const ROSTER_SCRIPT: &str = include_str!("scripts/roster.lua");

/// The hash of one agent.
pub fn agent(id: &AgentId) -> String {
    format!("{AGENT_PREFIX}{id}")
}

/// The counter that grants epochs to one agent id.
pub fn epoch(id: &AgentId) -> String {
    format!("hb:epoch:{{agent:{id}}}")
}

/// The pending order of one agent, and the channel on which it is announced.
pub fn control(id: &AgentId) -> String {
    format!("hb:control:{{agent:{id}}}")
}

/// How long an agent's hash outlives its last beat: four intervals.
pub fn time_to_live(interval: Duration) -> Duration {
    interval * 4
}

/// The interval a hash's full time to live speaks of: the inverse of [`time_to_live`].
pub fn interval_of(time_to_live: Duration) -> Duration {
    time_to_live / 4
}
