//! How long the fleet keeps agents that are over, and which of them leaves first when it is full.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// An agent that failed or stopped stays this long: long enough for a person who comes back from a week off.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// An id that was seen once and never again: a stray message, not an agent.
const KEPT_ONCE: Duration = Duration::from_secs(3600);

/// Since when an agent is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Over {
    /// False sorts first: strays leave before agents.
    pub(crate) seen_again: bool,
    pub(crate) since: Moment,
}

/// Agents that are over, those that leave first first.
#[derive(Debug, Default)]
pub(super) struct Retention(BTreeSet<(Over, AgentId)>);

impl Over {
    /// When the agent leaves.
    pub(crate) fn until(self) -> Moment {
        self.since + if self.seen_again { KEPT } else { KEPT_ONCE }
    }
}

impl Retention {
    /// Takes what an agent was and is.
    pub(super) fn update(&mut self, id: &AgentId, before: Option<Over>, after: Option<Over>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&(before, id.clone()));
        }
        if let Some(after) = after {
            self.0.insert((after, id.clone()));
        }
    }

    /// The agent that leaves first.
    pub(super) fn first(&self) -> Option<AgentId> {
        self.0.first().map(|(_, id)| id.clone())
    }
}
