//! The fleet counted by host, for the gates.

use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State};
use crate::fleet::gates::{Census, Tally};
use crate::fleet::machine::Snapshot;
use crate::wire::life::Reason;
use std::time::Duration;

/// What an agent counts as.
enum Counts {
    Live,
    Silent { newly: bool },
    Neither,
}

impl Snapshot {
    /// Live and silent agents; those that fell silent within `window` before `now` count as new. `is_known`: its failure is
    /// no news.
    pub fn census(
        &self,
        window: Duration,
        now: Moment,
        is_known: impl Fn(&AgentId) -> bool,
    ) -> Census {
        let mut census = Census::default();
        for (id, agent) in self.agents.iter() {
            let counts = counts(agent, window, now, || is_known(id));
            counts.add(&mut census.fleet);
            if let Some(host) = agent.host() {
                // Looked up by text first: the host's name is copied once a host, not once an agent.
                match census.hosts.get_mut(host) {
                    Some(tally) => counts.add(tally),
                    None => counts.add(census.hosts.entry(host.to_owned()).or_default()),
                }
            }
        }
        census
    }
}

impl Counts {
    fn add(&self, tally: &mut Tally) {
        match self {
            Self::Live => tally.add_live(),
            Self::Silent { newly } => tally.add_silent(*newly),
            Self::Neither => {}
        }
    }
}

fn counts(agent: &Agent, window: Duration, now: Moment, is_known: impl Fn() -> bool) -> Counts {
    let lost = agent.reason == Some(Reason::HeartbeatLost);
    match agent.state {
        State::Healthy => Counts::Live,
        // An agent that only the roster knows is silent when it had its time for a beat. When it fell silent is not known.
        State::Missing if agent.run.is_unconfirmed() && now < agent.run.detector.failed_at() => {
            Counts::Neither
        }
        State::Missing | State::Failed if agent.run.beat.is_none() && is_known() => Counts::Neither,
        State::Missing => Counts::Silent {
            newly: is_new(agent, window, now),
        },
        State::Failed if lost => Counts::Silent {
            newly: is_new(agent, window, now),
        },
        State::Failed | State::Stopped => Counts::Neither,
    }
}

fn is_new(agent: &Agent, window: Duration, now: Moment) -> bool {
    now.since(agent.run.detector.missing_at()) <= window
}
