//! What each agent is like: made from the snapshot at each scrape, so that an agent that has left has no series.

use super::text::{Kind, Page};
use crate::http::listing::reading;
use crate::tallies::Figures;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::{Agent, State};
use heartbeat::fleet::card::Card;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::wire::beat::Verdict;

/// Agents that have series of their own, the first by name. Of a larger fleet the counts alone tell.
const AGENTS_MAX: usize = 10_000;
const STATES: [(State, &str); 4] = [
    (State::Healthy, "healthy"),
    (State::Missing, "missing"),
    (State::Failed, "failed"),
    (State::Stopped, "stopped"),
];

/// A figure of an agent; none where it is not known.
type Figure = fn(&Card<'_>, &Agent) -> Option<f64>;

/// Every family that has a line an agent.
const FAMILIES: [(&str, Kind, &str, Figure); 9] = [
    (
        "hb_agent_up",
        Kind::Gauge,
        "1 while the agent's beats come, else 0.",
        |_, agent| Some(f64::from(u8::from(agent.state == State::Healthy))),
    ),
    (
        "hb_agent_state_since_timestamp_seconds",
        Kind::Gauge,
        "Since when the state holds.",
        |card, _| Some(seconds(card.health.since)),
    ),
    (
        "hb_agent_last_heartbeat_timestamp_seconds",
        Kind::Gauge,
        "When the last beat was written.",
        |card, _| card.beat_ms.map(seconds),
    ),
    (
        "hb_agent_last_progress_timestamp_seconds",
        Kind::Gauge,
        "When the agent was last seen working: its last beat while it works, else since when the present verdict holds.",
        last_progress,
    ),
    (
        "hb_agent_start_time_seconds",
        Kind::Gauge,
        "When the present incarnation started, by the clock of its machine.",
        |_, agent| {
            let started = agent.run.beat.as_ref()?.hb?.started_at_ms;
            (agent.is_alive() && started > 0).then(|| seconds(started))
        },
    ),
    (
        "hb_agent_progress_ratio",
        Kind::Gauge,
        "Reported progress, 0 to 1.",
        |card, _| card.health.task_progress.map(|done| done / 100.0),
    ),
    (
        "hb_agent_cpu_ratio",
        Kind::Gauge,
        "Processor use of the whole process tree; 1 is one core.",
        |card, agent| living(card, agent).map(|of| of.cpu_percent / 100.0),
    ),
    (
        "hb_agent_resident_memory_bytes",
        Kind::Gauge,
        "Memory of the whole process tree: proportional where that is readable, else resident.",
        |card, agent| living(card, agent).map(|of| (of.memory_mb * 1e6).round()),
    ),
    (
        "hb_agent_heartbeats_total",
        Kind::Counter,
        "Beats of the agent that this monitor has received.",
        |_, agent| Some(f64::from(agent.beats)),
    ),
];

/// Writes them all.
pub(super) fn write(page: &mut Page, snapshot: &Snapshot, figures: &Figures) {
    let at = reading();
    let agents: Vec<(&AgentId, &Agent)> = snapshot.agents.iter().take(AGENTS_MAX).collect();
    let cards: Vec<Card<'_>> = agents
        .iter()
        .map(|(id, agent)| Card::of(id, agent, snapshot, at))
        .collect();
    let all = || cards.iter().zip(agents.iter().map(|(_, agent)| *agent));
    page.single(
        "hb_agents_without_series",
        Kind::Gauge,
        "Agents of a fleet so large that only the counts have them.",
        snapshot.agents.len() - agents.len(),
    );
    page.family(
        "hb_agent_info",
        Kind::Gauge,
        "1 for each agent, with what seldom changes.",
    );
    for (card, _) in all() {
        let runtime = card.health.runtime.map_or("", |runtime| runtime.kind);
        let version = card.health.hb_version;
        let version = version.map_or_else(String::new, |version| version.to_string());
        let labels = [
            ("agent", card.id.as_str()),
            ("agent_type", card.health.agent_type),
            ("host", card.health.host.unwrap_or_default()),
            ("runtime", runtime),
            ("hb_version", &version),
        ];
        page.line("hb_agent_info", &labels, 1);
    }
    page.family(
        "hb_agent_state",
        Kind::Gauge,
        "1 for the state that the agent is in, 0 for the others.",
    );
    for (card, agent) in all() {
        for (state, word) in STATES {
            let labels = [("agent", card.id.as_str()), ("state", word)];
            page.line("hb_agent_state", &labels, u8::from(agent.state == state));
        }
    }
    for (name, kind, help, figure) in FAMILIES {
        page.family(name, kind, help);
        for (card, agent) in all() {
            if let Some(value) = figure(card, agent) {
                page.line(name, &[("agent", card.id.as_str())], value);
            }
        }
    }
    page.family(
        "hb_agent_exits_total",
        Kind::Counter,
        "Ends of the agent's processes, by how they ended.",
    );
    for (card, _) in all() {
        for (reason, count) in figures.exits.get(card.id).into_iter().flatten() {
            page.line(
                "hb_agent_exits_total",
                &[("agent", card.id.as_str()), ("reason", reason)],
                count,
            );
        }
    }
}

fn living(card: &Card<'_>, agent: &Agent) -> Option<heartbeat::wire::beat::Metrics> {
    card.health.metrics.filter(|_| agent.is_alive())
}

fn last_progress(card: &Card<'_>, agent: &Agent) -> Option<f64> {
    let verdict = agent.run.beat.as_ref()?.hb?.verdict?;
    match verdict {
        Verdict::Working => card.beat_ms.map(seconds),
        Verdict::WaitingModel
        | Verdict::WaitingInput
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Stalled
        | Verdict::Spinning
        | Verdict::Looping
        | Verdict::Hung => {
            let activity = card.health.activity.as_ref();
            activity.map(|_| seconds(card.since_ms))
        }
        Verdict::Starting | Verdict::Unknown => None,
    }
}

fn seconds(wall_ms: u64) -> f64 {
    wall_ms as f64 / 1000.0
}
