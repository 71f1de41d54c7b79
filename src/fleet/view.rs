//! The HTTP view of an agent: the seed's `HealthStatus` and what hb adds. A function of a snapshot.

use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::agent::{Agent, Since, State};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::machine::Snapshot;
use crate::wire::beat::{Activity, Metrics, Runtime, Status};
use crate::wire::life::{Reason, Standing};
use serde::Serialize;

/// One agent, in the seed's camelCase.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    agent_id: AgentId,
    state: State,
    /// The sender's wall clock at its last beat, Unix milliseconds.
    last_heartbeat: Option<u64>,
    missed_beats: u64,
    uptime_seconds: u64,
    agent_type: String,
    status: Option<Status>,
    reason: Option<Reason>,
    activity: Option<Activity>,
    sentence: String,
    next: Option<String>,
    current_task: Option<String>,
    task_progress: Option<f64>,
    /// `STATUS=` of sd_notify.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_text: Option<String>,
    metrics: Option<Metrics>,
    /// What an agent without a process was doing last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_task_progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_metrics: Option<Metrics>,
    host: Option<String>,
    pid: Option<u32>,
    epoch: u64,
    restarts: u64,
    /// Since when the state holds, Unix milliseconds of the monitor.
    since: u64,
    incident: Option<String>,
    runtime: Option<Runtime>,
}

/// A page of the fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    total: usize,
    healthy: usize,
    missing: usize,
    failed: usize,
    stopped: usize,
    agents: Vec<HealthStatus>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which agents are asked for. Every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The agent's state.
    pub state: Option<State>,
    /// The agent's type, exactly.
    pub agent_type: Option<String>,
    /// The agent's host, exactly.
    pub host: Option<String>,
    /// The code of the verdict.
    pub activity: Option<String>,
    /// Part of id, type, host or task; upper and lower case are the same.
    pub text: Option<String>,
    /// At most so many; all when absent.
    pub limit: Option<usize>,
    /// Only ids after this one.
    pub after: Option<AgentId>,
}

/// When the view is taken, on both clocks: moments decide, the wall clock is shown.
#[derive(Clone, Copy, Debug)]
pub struct ViewTime {
    /// The monitor's own clock.
    pub now: Moment,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

impl HealthStatus {
    /// One agent as it is at that time.
    pub fn of(id: &AgentId, agent: &Agent, at: ViewTime) -> Self {
        let run = &agent.run;
        let beat = run.beat.as_ref();
        let hb = beat.and_then(|b| b.hb);
        // An agent without a process has no task, figures or activity; those of the ended run have names of their own.
        let (living, dead) = if agent.is_alive() {
            (beat, None)
        } else {
            (None, run.last_alive().or(beat))
        };
        // The final beat has the task that the agent reported last.
        let final_beat = dead
            .and(beat)
            .filter(|beat| beat.current_task().is_some())
            .or(dead);
        let task = |of: Option<&LastBeat>| of.and_then(|b| b.current_task()).map(str::to_owned);
        let missed_beats = match agent.state {
            State::Healthy | State::Stopped => 0,
            State::Missing | State::Failed => run.detector.missed(at.now),
        };
        let pid = hb.map(|hb| hb.pid).filter(|pid| *pid != 0);
        // Of a silent, a suspended or a left one the number is still of use.
        let gone = agent.state == State::Stopped && run.life.is_watched();
        let shows_pid = run.life.has_process() && !gone;
        Self {
            agent_id: id.clone(),
            state: agent.state,
            last_heartbeat: beat.map(|b| b.timestamp_ms),
            missed_beats,
            uptime_seconds: agent.uptime(at.now).as_secs(),
            agent_type: type_of(agent).to_owned(),
            status: status_of(agent),
            reason: agent.reason,
            activity: living.and_then(LastBeat::activity),
            sentence: agent.sentence(at.now),
            next: agent.next(at.now),
            current_task: task(living),
            task_progress: living.and_then(|b| b.task_progress),
            status_text: living.and_then(|b| b.status_text()).map(str::to_owned),
            metrics: beat.map(|_| living.map_or_else(Metrics::default, |b| b.metrics)),
            last_task: task(final_beat),
            last_task_progress: final_beat.and_then(|b| b.task_progress),
            last_metrics: dead.map(|b| b.metrics),
            host: host_of(agent).map(str::to_owned),
            pid: pid.filter(|_| shows_pid),
            epoch: run.epoch,
            restarts: run.restarts(),
            since: match agent.since {
                Since::Seen(since) => at.wall_ms.saturating_sub(millis(at.now.since(since))),
                Since::Reported(wall_ms) => wall_ms,
            },
            incident: None,
            runtime: beat
                .and_then(|beat| beat.runtime().map(|runtime| runtime.to_owned()))
                .or_else(|| run.entry.as_ref().and_then(|entry| entry.runtime.clone())),
        }
    }
}

impl FleetStatus {
    /// A page of the snapshot; the counts are of the whole fleet.
    pub fn of(snapshot: &Snapshot, filter: &Filter, at: ViewTime) -> Self {
        let wanted = filter.text.as_deref().map(str::to_lowercase);
        let mut agents = Vec::new();
        let mut next_cursor = None;
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut last: Option<&AgentId> = None;
        for (id, agent) in snapshot.agents.after(filter.after.as_ref()) {
            if !fits(filter, wanted.as_deref(), id, agent) {
                continue;
            }
            if agents.len() == limit {
                next_cursor = last.map(ToString::to_string);
                break;
            }
            agents.push(HealthStatus::of(id, agent, at));
            last = Some(id);
        }
        let counts = snapshot.counts;
        Self {
            total: counts.total(),
            healthy: counts.healthy,
            missing: counts.missing,
            failed: counts.failed,
            stopped: counts.stopped,
            agents,
            next_cursor,
        }
    }
}

fn fits(filter: &Filter, text: Option<&str>, id: &AgentId, agent: &Agent) -> bool {
    let beat = agent.run.beat.as_ref().filter(|_| agent.is_alive());
    let activity = || {
        let verdict = beat.and_then(|b| b.hb?.verdict);
        verdict.and_then(|v| serde_json::to_value(v).ok())
    };
    filter.state.is_none_or(|state| agent.state == state)
        && filter
            .agent_type
            .as_deref()
            .is_none_or(|t| type_of(agent) == t)
        && filter
            .host
            .as_deref()
            .is_none_or(|h| host_of(agent) == Some(h))
        && filter
            .activity
            .as_deref()
            .is_none_or(|a| activity().is_some_and(|v| v == a))
        && text.is_none_or(|text| {
            let task = beat.and_then(|b| b.current_task());
            [
                Some(id.as_str()),
                Some(type_of(agent)),
                host_of(agent),
                task,
            ]
            .into_iter()
            .flatten()
            .any(|part| part.to_lowercase().contains(text))
        })
}

/// The load as the agent's last beat has it; without a process `stopped`, before the first beat `starting`.
fn status_of(agent: &Agent) -> Option<Status> {
    let run = &agent.run;
    if agent.state == State::Stopped {
        return Some(Status::Stopped);
    }
    match run.life.standing() {
        Standing::Off => Some(Status::Stopped),
        Standing::Down(_) => None,
        Standing::Up | Standing::Stopping | Standing::Troubled(_) => match &run.beat {
            Some(beat) => Some(beat.status),
            None => (agent.state == State::Healthy).then_some(Status::Starting),
        },
    }
}

fn type_of(agent: &Agent) -> &str {
    let beat = agent.run.beat.as_ref().map(LastBeat::agent_type);
    let entry = agent.run.entry.as_deref();
    beat.or(entry.map(|entry| entry.agent_type.as_str()))
        .unwrap_or("")
}

fn host_of(agent: &Agent) -> Option<&str> {
    let beat = agent.run.beat.as_ref().and_then(LastBeat::host);
    let entry = agent.run.entry.as_deref();
    beat.or(entry.map(|entry| entry.host.as_str()))
        .filter(|host| !host.is_empty())
}
