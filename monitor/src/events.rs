//! What changed, numbered, in a ring: the hub writes, any number of readers follow. A reader that comes back goes on behind
//! the number that it saw last, or learns that older changes are gone.
//!
//! Numbers begin at the start of the program in microseconds, so that those of an earlier run are never taken for present ones.

use crate::clock;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::gates::Gate;
use heartbeat::fleet::incidents::{IncidentChange, IncidentChangeKind};
use heartbeat::fleet::machine::{Change, Turn};
use heartbeat::fleet::story::Line;
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::incident::{GateKind, IncidentId, Scope};
use heartbeat::wire::life::Reason;
use heartbeat::wire::timeline::TimelineKind;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// Changes that are kept, and their bytes.
const KEPT_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 << 20;
/// Agents that one change of an incident names.
const AGENTS_NAMED: usize = 20;

/// The ring, shared.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: RwLock<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Event>,
    bytes: usize,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) kind: &'static str,
    /// JSON on one line.
    pub(crate) data: Arc<str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateEvent<'a> {
    /// Unix milliseconds, as in all events.
    at: u64,
    agent_id: &'a str,
    from: Option<State>,
    to: State,
    reason: Option<Reason>,
    sentence: &'a str,
    host: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NoticeEvent<'a> {
    at: u64,
    agent_id: &'a str,
    from: Option<Verdict>,
    to: Option<Verdict>,
    sentence: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IncidentEvent<'a> {
    at: u64,
    change: &'static str,
    id: &'a IncidentId,
    /// The first of them.
    agents: Vec<&'a str>,
    agent_count: usize,
    scope: Scope,
    host: Option<&'a str>,
    reason: Reason,
    sentence: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RungEvent<'a> {
    at: u64,
    change: &'static str,
    agent_id: &'a str,
    incident: Option<&'a str>,
    rung: Option<&'a str>,
    /// None while it is under way.
    outcome: Option<&'a str>,
    /// For people: `rung 2, docker: hb restarts its container`.
    sentence: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GateEvent<'a> {
    at: u64,
    change: &'static str,
    gate: GateKind,
    host: Option<&'a str>,
    sentence: &'a str,
}

impl Events {
    /// An empty ring.
    pub(crate) fn new() -> Self {
        let (newest, _) = watch::channel(clock::wall_ms().saturating_mul(1000));
        let ring = RwLock::default();
        Self(Arc::new(Shared { ring, newest }))
    }

    /// The state of an agent changed.
    pub(crate) fn state(&self, change: &Change) {
        self.push(
            "state",
            &StateEvent {
                at: clock::wall_ms(),
                agent_id: change.agent.as_str(),
                from: change.from,
                to: change.to,
                reason: change.reason,
                sentence: &change.sentence,
                host: change.host.as_deref(),
            },
        );
    }

    /// An agent began or ceased to need a person while its beats come.
    pub(crate) fn notice(&self, turn: &Turn) {
        self.push(
            "notice",
            &NoticeEvent {
                at: clock::wall_ms(),
                agent_id: turn.agent.as_str(),
                from: turn.from,
                to: turn.to,
                sentence: &turn.sentence,
            },
        );
    }

    /// An incident changed.
    pub(crate) fn incident(&self, change: &IncidentChange) {
        let incident = &change.incident;
        let agents = incident.agents.iter().take(AGENTS_NAMED);
        self.push(
            "incident",
            &IncidentEvent {
                at: clock::wall_ms(),
                change: match change.kind {
                    IncidentChangeKind::Opened => "opened",
                    IncidentChangeKind::Updated => "updated",
                    IncidentChangeKind::Closed => "closed",
                },
                id: &incident.id,
                agents: agents.map(|agent| agent.as_str()).collect(),
                agent_count: incident.agents.len(),
                scope: incident.scope,
                host: incident.host.as_deref(),
                reason: incident.reason,
                sentence: &incident.sentence,
            },
        );
    }

    /// The rungs among these entries of timelines.
    pub(crate) fn rungs(&self, lines: &[Line]) {
        let rungs = lines
            .iter()
            .filter(|(_, entry)| entry.kind == TimelineKind::Rung);
        for (agent, entry) in rungs {
            let fact = |name: &str| entry.facts.get(name).map(String::as_str);
            let outcome = fact("outcome");
            self.push(
                "rung",
                &RungEvent {
                    at: clock::wall_ms(),
                    change: if outcome.is_none() { "began" } else { "ended" },
                    agent_id: agent.as_str(),
                    incident: fact("incident"),
                    rung: fact("rung"),
                    outcome,
                    sentence: &entry.what,
                    detail: &entry.detail,
                },
            );
        }
    }

    /// A gate closed, or opened.
    pub(crate) fn gate(&self, gate: &Gate, is_closed: bool) {
        self.push(
            "gate",
            &GateEvent {
                at: clock::wall_ms(),
                change: if is_closed { "closed" } else { "opened" },
                gate: gate.gate,
                host: gate.host.as_deref(),
                sentence: &gate.sentence,
            },
        );
    }

    /// The number of the newest change, as it grows.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// At most `limit` changes behind this number; `None` when some of them are gone or the number is of another run.
    pub(crate) fn after(&self, number: u64, limit: usize) -> Option<Vec<Event>> {
        let ring = self.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        let newest = *self.0.newest.borrow();
        let first = ring.kept.front().map_or(newest + 1, |event| event.number);
        if number > newest || number + 1 < first {
            return None;
        }
        let from = usize::try_from(number + 1 - first).unwrap_or(usize::MAX);
        Some(ring.kept.iter().skip(from).take(limit).cloned().collect())
    }

    /// The number behind which the newest `count` changes stand.
    pub(crate) fn before_newest(&self, count: usize) -> u64 {
        let ring = self.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        let kept = u64::try_from(count.min(ring.kept.len())).unwrap_or(0);
        *self.0.newest.borrow() - kept
    }

    fn push(&self, kind: &'static str, data: &impl Serialize) {
        let data: Arc<str> = serde_json::to_string(data).unwrap_or_default().into();
        let mut ring = self.0.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += data.len();
        let number = *self.0.newest.borrow() + 1;
        ring.kept.push_back(Event { number, kind, data });
        while ring.kept.len() > KEPT_MAX || ring.bytes > BYTES_MAX {
            let gone = ring.kept.pop_front();
            ring.bytes -= gone.map_or(0, |event| event.data.len());
        }
        // Under the lock, so that no reader sees a number whose change is not there.
        self.0.newest.send_replace(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> (Events, u64) {
        let events = Events::new();
        let before = *events.follow().borrow();
        for number in 0..count {
            events.push("state", &number);
        }
        (events, before)
    }

    fn data(events: &Events, after: u64) -> Option<Vec<String>> {
        let found = events.after(after, usize::MAX)?;
        Some(
            found
                .into_iter()
                .map(|event| event.data.to_string())
                .collect(),
        )
    }

    #[test]
    fn a_reader_goes_on_behind_the_change_that_it_saw_last() {
        let (events, before) = filled(3);
        assert_eq!(data(&events, before + 1).unwrap(), ["1", "2"]);
        assert_eq!(data(&events, before + 3).unwrap(), [""; 0]);
        assert_eq!(data(&events, events.before_newest(2)).unwrap(), ["1", "2"]);
    }

    #[test]
    fn a_number_whose_successors_are_gone_or_of_another_run_is_refused() {
        let (events, before) = filled(KEPT_MAX + 2);
        assert!(events.after(before + 1, 1).is_none());
        assert_eq!(
            events.after(before + 2, usize::MAX).unwrap().len(),
            KEPT_MAX
        );
        for number in [0, before - 1, before + 10 * KEPT_MAX as u64] {
            assert!(events.after(number, 1).is_none(), "{number}");
        }
    }
}
