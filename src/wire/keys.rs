//! Every Redis key, channel, time-to-live rule and script of the wire format, in one place.
//!
//! The hash tag `{agent:ID}` keeps an agent's epoch, lease and order in the cluster slot of its hash `agent:ID`,
//! so that one atomic script may touch them all.

use crate::base::id::AgentId;
use std::time::Duration;

/// The channel of beats in database 0, and of producers that do not add a database number: see [`Channels`].
pub const BEATS: &str = "heartbeats";
/// The hash id → roster entry: how an agent that died while no monitor ran is known.
pub const ROSTER: &str = "hb:agents";
/// The stream of lifecycle events.
pub const EVENTS: &str = "hb:events";
/// Roughly how many events the stream keeps (`MAXLEN ~`).
pub const EVENTS_KEPT: usize = 10_000;
/// The hash incident id → JSON: open incidents and those that were closed lately.
pub const INCIDENTS: &str = "hb:incidents";
/// The hash notice id → JSON: open notices and those that were closed lately.
pub const NOTICES: &str = "hb:notices";
/// The hash notification id → JSON: what must still reach a receiver.
pub const OUTBOX: &str = "hb:outbox";
/// The hash silence id → JSON.
pub const SILENCES: &str = "hb:silences";
/// The stream of what people asked for.
pub const AUDIT: &str = "hb:audit";
/// Roughly how many entries of it are kept (`MAXLEN ~`).
pub const AUDIT_KEPT: usize = 10_000;
/// Why and until when nothing is done by itself: see [`crate::wire::pause`].
pub const PAUSE: &str = "hb:pause";
/// The counter that gives each monitor its fencing token.
pub const FENCE: &str = "{hb:leader}:fence";
/// How long the intent of a rung stands.
pub const INTENT_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The prefix of every agent's hash; what a scan for seed-style producers looks for.
pub const AGENT_PREFIX: &str = "agent:";

/// Grants an epoch; see the file's head for its arguments.
pub const REGISTER_SCRIPT: &str = include_str!("scripts/register.lua");
/// Writes one beat; see the file's head for its arguments.
pub const BEAT_SCRIPT: &str = include_str!("scripts/beat.lua");

/// Writes one roster entry; see the file's head for its arguments.
pub const ROSTER_SCRIPT: &str = include_str!("scripts/roster.lua");

/// Renews or releases an exclusive lease; see the file's head for its arguments.
pub const LEASE_SCRIPT: &str = include_str!("scripts/lease.lua");

/// The hash of one agent.
pub fn agent(id: &AgentId) -> String {
    format!("{AGENT_PREFIX}{id}")
}

/// The counter that grants epochs to one agent id.
pub fn epoch(id: &AgentId) -> String {
    format!("hb:epoch:{{agent:{id}}}")
}

/// The exclusive lease on one agent id: the instance that holds it.
pub fn lease(id: &AgentId) -> String {
    format!("hb:lease:{{agent:{id}}}")
}

/// The pending order of one agent.
pub fn control(id: &AgentId) -> String {
    format!("hb:control:{{agent:{id}}}")
}

/// The intent to climb this rung for this registration of an agent.
pub fn intent(id: &AgentId, epoch: u64, rung: &str) -> String {
    format!("hb:intent:{{agent:{id}}}:{epoch}:{rung}")
}

/// The channel on which a monitor of this instance receives its own messages.
pub fn canary(instance: &str) -> String {
    format!("hb:canary:{instance}")
}

/// The names of one database's channels. Redis pub/sub knows no databases: two fleets in two databases of one Redis
/// would read each other's beats and take each other's orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    database: i64,
}

impl Channels {
    /// Those of the database of this number.
    pub fn of(database: i64) -> Self {
        Self { database }
    }

    /// Where every beat is published.
    pub fn beats(self) -> String {
        self.name(BEATS)
    }

    /// Where an order for this agent is announced.
    pub fn control(self, id: &AgentId) -> String {
        self.name(&control(id))
    }

    /// Where a producer without hb publishes, whatever its database; `None` when that is [`Channels::beats`] itself.
    pub fn shared(self) -> Option<&'static str> {
        (self.database > 0).then_some(BEATS)
    }

    /// Whether this is [`Channels::shared`].
    pub fn is_shared(self, channel: &[u8]) -> bool {
        self.shared().is_some_and(|name| name.as_bytes() == channel)
    }

    fn name(self, plain: &str) -> String {
        match self.database {
            ..=0 => plain.to_owned(),
            database => format!("{plain}:{database}"),
        }
    }
}

/// How long an agent's hash outlives its last beat: four intervals.
pub fn time_to_live(interval: Duration) -> Duration {
    interval * 4
}

/// The interval a hash's full time to live speaks of: the inverse of [`time_to_live`].
pub fn interval_of(time_to_live: Duration) -> Duration {
    time_to_live / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_0_has_the_names_of_the_seed_and_every_other_its_own() {
        let id = AgentId::parse("a1").unwrap();
        let names = |database| {
            let channels = Channels::of(database);
            (channels.beats(), channels.control(&id), channels.shared())
        };
        let plain = ("heartbeats".to_owned(), "hb:control:{agent:a1}".to_owned());
        assert_eq!(names(0), (plain.0, plain.1, None));
        let second = (
            "heartbeats:2".to_owned(),
            "hb:control:{agent:a1}:2".to_owned(),
        );
        assert_eq!(names(2), (second.0, second.1, Some("heartbeats")));
    }
}
