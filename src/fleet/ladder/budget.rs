//! How often may be acted: for one agent, for one host, for the whole fleet.
//!
//! An agent's budget is refilled by proven progress, not by time without failure: an agent that comes up and dies again
//! has proved nothing. The fleet's budget bounds what one wrong conclusion can do.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::ladder::rung::{Rung, RungKind};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// One action each so long, on average: 0.1 a second.
const FLEET_PACE: Duration = Duration::from_secs(10);
/// So many actions at once after a pause.
const FLEET_BURST: u32 = 3;
/// The longest window of a budget: what is older is forgotten.
const WINDOW_MAX: Duration = Duration::from_secs(6 * 3600);

/// How often, in which time.
const fn limit(kind: RungKind) -> (usize, Duration) {
    match kind {
        RungKind::Restart => (3, Duration::from_secs(30 * 60)),
        RungKind::Container => (2, Duration::from_secs(3600)),
        RungKind::Replacement => (1, WINDOW_MAX),
    }
}

/// What was done, as far as it still counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Budgets {
    agents: BTreeMap<AgentId, VecDeque<(RungKind, Moment)>>,
    /// When the fleet's bucket is full again.
    fleet_full_at: Moment,
}

impl Budgets {
    /// When this rung may be climbed for this agent as far as its own budget goes; now or earlier: at once.
    pub(super) fn agent_free_at(&self, agent: &AgentId, rung: Rung, now: Moment) -> Moment {
        let Some(kind) = rung.kind() else {
            return now;
        };
        let (times, window) = limit(kind);
        let Some(used) = self.agents.get(agent) else {
            return now;
        };
        let same = used.iter().filter(|(k, _)| *k == kind);
        let recent: Vec<Moment> = same
            .map(|(_, at)| *at)
            .filter(|at| now.since(*at) < window)
            .collect();
        // Once the oldest of the last `times` leaves the window, one more is free.
        let oldest = recent.len().checked_sub(times);
        oldest.map_or(now, |index| recent[index] + window)
    }

    /// When the fleet's budget allows one more action; now or earlier: at once.
    pub(super) fn fleet_free_at(&self, now: Moment) -> Moment {
        let full = FLEET_PACE * FLEET_BURST;
        let missing = self.fleet_full_at.since(now);
        if missing + FLEET_PACE <= full {
            now
        } else {
            now + (missing + FLEET_PACE - full)
        }
    }

    /// An action began.
    pub(super) fn charge(&mut self, agent: &AgentId, rung: Rung, now: Moment) {
        let Some(kind) = rung.kind() else {
            return;
        };
        self.fleet_full_at = self.fleet_full_at.max(now) + FLEET_PACE;
        let used = self.agents.entry(agent.clone()).or_default();
        used.retain(|(_, at)| now.since(*at) < WINDOW_MAX);
        used.push_back((kind, now));
    }

    /// An action began at that moment, before this monitor started.
    pub(super) fn remember(&mut self, agent: &AgentId, rung: Rung, at: Moment) {
        if let Some(kind) = rung.kind() {
            let used = self.agents.entry(agent.clone()).or_default();
            let place = used.partition_point(|(_, other)| *other <= at);
            used.insert(place, (kind, at));
        }
    }

    /// The action did nothing: the agent's last one of this kind does not count.
    pub(super) fn refund(&mut self, agent: &AgentId, rung: Rung) {
        let (Some(kind), Some(used)) = (rung.kind(), self.agents.get_mut(agent)) else {
            return;
        };
        if let Some(last) = used.iter().rposition(|(k, _)| *k == kind) {
            used.remove(last);
        }
    }

    /// The agent has proved that it works again.
    pub(super) fn refill(&mut self, agent: &AgentId) {
        self.agents.remove(agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn id(name: &str) -> AgentId {
        AgentId::parse(name).expect("an id")
    }

    #[test]
    fn a_fourth_restart_waits_until_the_first_is_half_an_hour_old() {
        let mut budgets = Budgets::default();
        for n in 0..3 {
            let now = at(n * 60);
            assert_eq!(budgets.agent_free_at(&id("a"), Rung::Sidecar, now), now);
            budgets.charge(&id("a"), Rung::Sidecar, now);
        }
        let free = budgets.agent_free_at(&id("a"), Rung::Sidecar, at(200));
        assert_eq!(free, at(1800));
    }

    #[test]
    fn each_kind_of_rung_has_a_budget_of_its_own() {
        let mut budgets = Budgets::default();
        budgets.charge(&id("a"), Rung::Docker, at(0));
        budgets.charge(&id("a"), Rung::Systemd, at(1));
        let free = |rung| budgets.agent_free_at(&id("a"), rung, at(2));
        assert_eq!((free(Rung::Docker), free(Rung::Sidecar)), (at(3600), at(2)));
    }

    #[test]
    fn the_fleet_gets_three_at_once_and_then_one_each_ten_seconds() {
        let mut budgets = Budgets::default();
        for n in 0..3 {
            assert_eq!(budgets.fleet_free_at(at(0)), at(0), "action {n}");
            budgets.charge(&id(&format!("a{n}")), Rung::Sidecar, at(0));
        }
        assert_eq!(budgets.fleet_free_at(at(0)), at(10));
        assert_eq!(budgets.fleet_free_at(at(10)), at(10));
    }

    #[test]
    fn an_action_that_did_nothing_costs_the_agent_nothing() {
        let mut budgets = Budgets::default();
        budgets.charge(&id("a"), Rung::Replace, at(0));
        budgets.refund(&id("a"), Rung::Replace);
        assert_eq!(budgets.agent_free_at(&id("a"), Rung::Replace, at(1)), at(1));
    }

    #[test]
    fn proven_progress_refills_the_agents_budget() {
        let mut budgets = Budgets::default();
        budgets.charge(&id("a"), Rung::Replace, at(0));
        budgets.refill(&id("a"));
        assert_eq!(budgets.agent_free_at(&id("a"), Rung::Replace, at(1)), at(1));
    }
}
