//! One agent as a person sees it: the word, why, since when, what it does and what happens next. The page, the terminal and
//! the order of every list are made of these.

use crate::base::id::AgentId;
use crate::base::moment::millis;
use crate::fleet::agent::{Agent, State};
use crate::fleet::machine::Snapshot;
use crate::fleet::notices::PAUSED_FOR;
use crate::fleet::view::{HealthStatus, ViewTime};
use crate::fleet::word::{Rank, Word, reason_text};
use crate::wire::beat::Verdict;
use crate::wire::incident::{Incident, Rung};
use crate::wire::life::{Phase, Reason};
use std::time::Duration;

/// The last rung: it calls a person and brings nothing back.
const ALERT: &str = "alert";

/// One agent.
#[derive(Clone, Debug)]
pub struct Card<'a> {
    /// Its id.
    pub id: &'a AgentId,
    /// What the API shows of it.
    pub health: HealthStatus<'a>,
    /// The shown word.
    pub word: Word,
    /// How urgent it is.
    pub rank: Rank,
    /// What stands beside the word: the reason of a failure.
    pub why: Option<&'static str>,
    /// Since when the word holds, Unix milliseconds of the monitor.
    pub since_ms: u64,
    /// When its last beat was written, Unix milliseconds of the monitor.
    pub beat_ms: Option<u64>,
    /// Its open incident.
    pub incident: Option<&'a Incident>,
}

impl<'a> Card<'a> {
    /// The agent as it is at that time.
    pub fn of(id: &'a AgentId, agent: &'a Agent, snapshot: &'a Snapshot, at: ViewTime) -> Self {
        let incident = open_incident(id, snapshot);
        let health = HealthStatus::of(id, agent, at).watched_by(&snapshot.watch, at);
        let word = word(id, agent, snapshot, at);
        let rank = rank(id, word, snapshot);
        let health = health.of_rank(rank);
        let beat_at = agent.run.beat_at;
        Self {
            why: why(agent),
            since_ms: since(agent, &health, at),
            beat_ms: beat_at
                .map(|beat_at| at.wall_ms.saturating_sub(millis(at.now.since(beat_at)))),
            id,
            health,
            word,
            rank,
            incident,
        }
    }
}

/// How urgent the word of an agent is: one that is restarted unless it moves needs no person.
pub fn rank(id: &AgentId, word: Word, snapshot: &Snapshot) -> Rank {
    let notice = snapshot.watch.notices.open.get(id);
    let restarts = notice.is_some_and(|notice| notice.restart.is_some());
    if word.is_suspicion() && restarts {
        return Rank::OnIt;
    }
    word.rank()
}

/// The open incident of an agent.
fn open_incident<'a>(id: &AgentId, snapshot: &'a Snapshot) -> Option<&'a Incident> {
    let incidents = &snapshot.watch.incidents;
    let open = incidents.open.get(incidents.of_agent.get(id)?)?;
    Some(open)
}

/// The word of an agent.
pub fn word(id: &AgentId, agent: &Agent, snapshot: &Snapshot, at: ViewTime) -> Word {
    match agent.state {
        State::Missing => Word::Missing,
        State::Stopped => Word::Stopped,
        State::Failed if returns(id, agent, snapshot) => Word::Returning,
        State::Failed => Word::Failed,
        State::Healthy if agent.reason == Some(Reason::Duplicate) => Word::Duplicate,
        State::Healthy => {
            let beat = agent.run.beat.as_ref();
            let verdict = beat.and_then(|beat| beat.hb?.verdict);
            match verdict {
                Some(Verdict::Paused) if activity_age(agent, at) < Some(PAUSED_FOR) => Word::Held,
                Some(verdict) => Word::of_verdict(verdict),
                None if beat.is_none() => Word::Starting,
                None => Word::Healthy,
            }
        }
    }
}

/// Whether a rung runs or is due that may bring a failed agent back, or its sidecar starts it again.
fn returns(id: &AgentId, agent: &Agent, snapshot: &Snapshot) -> bool {
    let restarts = agent.run.life.phase == Phase::Restarting
        && agent.run.life.restart.is_some()
        && agent.reason != Some(Reason::HeartbeatLost);
    let climbs = |rung: &Rung| rung.ended_at.is_none() && rung.rung != ALERT;
    let is_due = || {
        snapshot
            .watch
            .next
            .get(id)
            .is_some_and(|next| next.by_itself)
    };
    let incident = || open_incident(id, snapshot);
    restarts || is_due() || incident().is_some_and(|open| open.rungs_of(id).any(climbs))
}

fn why(agent: &Agent) -> Option<&'static str> {
    agent.reason.map(reason_text)
}

fn since(agent: &Agent, health: &HealthStatus<'_>, at: ViewTime) -> u64 {
    match (agent.state, activity_age(agent, at)) {
        (State::Healthy, Some(age)) => at.wall_ms.saturating_sub(millis(age)),
        (State::Healthy | State::Missing | State::Failed | State::Stopped, _) => health.since,
    }
}

/// For how long the verdict holds: up to the beat by the sender's clock, since then by ours.
fn activity_age(agent: &Agent, at: ViewTime) -> Option<Duration> {
    let beat = agent.run.beat.as_ref()?;
    let since = beat.activity_since()?;
    let at_beat = Duration::from_millis(beat.timestamp_ms.saturating_sub(since));
    Some(at_beat + at.now.since(agent.run.beat_at?))
}
