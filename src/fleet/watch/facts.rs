//! What the fleet knows of an agent when recovery decides something: asked for each time, never remembered.

use super::Watch;
use super::by_hand::unreachable;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, Since, State};
use crate::fleet::detector::Silence;
use crate::fleet::gates::{GateKind, Gates};
use crate::fleet::ladder::exchange::{Facts, RuntimeKind};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::machine::Fleet;
use crate::wire::beat::{Runtime, Verdict};
use crate::wire::life::{Phase, Reason};
use std::time::Duration;

/// A sidecar that restarts a hung agent by itself, and a program that restarts one that ended, do so within this time or
/// within two intervals.
const OTHERS_RESTART: Duration = Duration::from_secs(60);

impl Watch {
    /// What an agent runs in, as it last reported it.
    pub fn runtime(&self, agent: &AgentId) -> Option<Runtime> {
        runtime_of(self.fleet.agent(agent)?)
    }

    /// The epoch of an agent and its last incarnation.
    pub fn run(&self, agent: &AgentId) -> Option<(u64, u64)> {
        let run = &self.fleet.agent(agent)?.run;
        Some((run.epoch, run.restarts()))
    }

    /// For how long an agent has sent no beat.
    pub fn silent(&self, agent: &AgentId, now: Moment) -> Option<Duration> {
        let at = self.fleet.agent(agent)?.run.beat_at?;
        Some(now.since(at))
    }
}

/// The facts of an agent; `None` when it is not in the fleet. `is_silenced`: a silence holds for it.
pub(super) fn facts_of(
    fleet: &Fleet,
    gates: &Gates,
    is_silenced: bool,
    id: &AgentId,
    now: Moment,
) -> Option<Facts> {
    let agent = fleet.agent(id)?;
    let run = &agent.run;
    let counts = fleet.counts();
    let kind = runtime_of(agent).map_or(RuntimeKind::Unknown, |runtime| {
        RuntimeKind::parse(&runtime.kind)
    });
    Some(Facts {
        epoch: run.epoch,
        incarnation: run.restarts(),
        host: agent.host().unwrap_or_default().to_owned(),
        runtime: kind,
        reason: reason_of(agent),
        sidecar_answers: unreachable(agent, now).is_none(),
        sidecar_acts: sidecar_acts(agent, now),
        proof_of_death: agent.state == State::Failed && has_ended(agent),
        exclusive: run.life.exclusive,
        alert_only: run.life.alert_only,
        pod_restart: run.life.pod_restart,
        silent: now.since(run.beat_at.unwrap_or(run.first_at)),
        interval: run.detector.interval(),
        gate: gates
            .veto(agent.host())
            .or(is_silenced.then_some(GateKind::Silenced))
            .map(gate_sentence)
            .or(waits_for_a_person(agent)),
        fleet_alive: counts.healthy + counts.missing,
    })
}

/// Its process has ended, and its sidecar starts no other one.
fn has_ended(agent: &Agent) -> bool {
    matches!(agent.run.life.phase, Phase::Ended | Phase::Waiting)
}

fn reason_of(agent: &Agent) -> Option<Reason> {
    match agent.state {
        State::Failed => agent.reason,
        State::Healthy => agent.reason.filter(|reason| *reason == Reason::Duplicate),
        State::Missing | State::Stopped => None,
    }
}

/// Whether its sidecar is about to restart or end it by itself. One that is silent may still do so until its silence is a
/// failure.
fn sidecar_acts(agent: &Agent, now: Moment) -> bool {
    let run = &agent.run;
    if run.detector.silence(now) == Silence::Failed {
        return false;
    }
    let within = OTHERS_RESTART.max(run.detector.interval() * 2);
    let is_young = match agent.since {
        Since::Seen(since) => now.since(since) < within,
        Since::Reported(_) => false,
    };
    match run.life.phase {
        Phase::Restarting | Phase::Stopping => true,
        // Another program starts it, and in a crash loop that does not help.
        Phase::Waiting => is_young && agent.reason != Some(Reason::CrashLoop),
        Phase::Running => agent.reason == Some(Reason::Hung) && is_young,
        Phase::Suspended | Phase::Detached | Phase::Ended => false,
    }
}

/// A silent agent was waiting for a person when it was last seen, or a debugger held it: perhaps it still does.
fn waits_for_a_person(agent: &Agent) -> Option<&'static str> {
    let is_silent = agent.reason == Some(Reason::HeartbeatLost);
    let last = agent.run.beat.as_ref().and_then(|beat| beat.hb);
    match last.and_then(|hb| hb.verdict).filter(|_| is_silent)? {
        Verdict::WaitingInput => Some("it was waiting for a person when it fell silent"),
        Verdict::Paused => Some("it was paused when it fell silent"),
        Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Stalled
        | Verdict::Spinning
        | Verdict::Looping
        | Verdict::Hung
        | Verdict::Unknown => None,
    }
}

fn gate_sentence(gate: GateKind) -> &'static str {
    match gate {
        GateKind::Tilt => "hbmonitor itself stood still (TILT)",
        GateKind::Blind => "the store was unreachable (BLIND)",
        GateKind::Storm => "many agents fell silent at once (STORM)",
        GateKind::MassCrash => "many agents crashed at once (MASS CRASH)",
        GateKind::Silenced => "it is silenced",
        GateKind::Paused => "recovery is paused",
        GateKind::Unknown => "a gate is closed",
    }
}

/// Whether it is healthy and its work moves.
pub(super) fn is_working(agent: &Agent) -> bool {
    let last = agent.run.beat.as_ref().and_then(|beat| beat.hb);
    agent.state == State::Healthy && last.is_some_and(|hb| hb.verdict == Some(Verdict::Working))
}

/// What it runs in, as it last reported it.
pub(super) fn runtime_of(agent: &Agent) -> Option<Runtime> {
    let last = agent.run.beat.as_ref().and_then(LastBeat::runtime);
    let last = last.map(|runtime| Runtime {
        kind: runtime.kind.to_owned(),
        id: runtime.id.to_owned(),
    });
    let entry = agent.run.entry();
    last.or_else(|| entry?.runtime.clone())
}
