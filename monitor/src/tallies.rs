//! What happened since the start, counted for `/metrics`: the hub writes, scrapes read.

use heartbeat::base::histogram::Histogram;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::fleet::machine::{Change, FleetEffect, Turn};
use heartbeat::fleet::story::Line;
use heartbeat::fleet::watch::WatchEffect;
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::life::Reason;
use heartbeat::wire::timeline::{TimelineEntry, TimelineKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of a tick, in seconds.
const TICK: [f64; 8] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];
/// Of an answer of the store.
const ANSWER: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];
/// Of a detection, and of a rung.
const DELAY: [f64; 8] = [1.0, 2.0, 5.0, 15.0, 45.0, 100.0, 300.0, 900.0];

/// Both ends. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies(Arc<Mutex<Figures>>);

/// What was counted.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Failures by how they were detected.
    pub(crate) detections: BTreeMap<&'static str, u64>,
    /// From the last beat to a failure that was detected by silence.
    pub(crate) silence: Histogram,
    /// Rungs that began.
    pub(crate) attempts: BTreeMap<String, u64>,
    /// Rungs that did not bring their agent back.
    pub(crate) failures: BTreeMap<String, u64>,
    /// From the beginning of a rung to the beat that proved it.
    pub(crate) durations: BTreeMap<String, Histogram>,
    /// Ends of processes, by agent and how.
    pub(crate) exits: BTreeMap<AgentId, BTreeMap<&'static str, u64>>,
    /// The work of one turn of the hub.
    pub(crate) ticks: Histogram,
    /// Answers of the store.
    pub(crate) answers: Histogram,
    /// Connections to the store that were lost.
    pub(crate) links_lost: u64,
}

/// The kinds of detections: each is there from the start.
pub(crate) const KINDS: [&str; 5] = ["stuck", "crash", "heartbeat_missed", "crash_loop", "other"];

impl Default for Figures {
    fn default() -> Self {
        Self {
            detections: KINDS.into_iter().map(|kind| (kind, 0)).collect(),
            silence: Histogram::new(&DELAY),
            attempts: BTreeMap::new(),
            failures: BTreeMap::new(),
            durations: Rung::ALL
                .into_iter()
                .map(|rung| (rung.as_str().to_owned(), Histogram::new(&DELAY)))
                .collect(),
            exits: BTreeMap::new(),
            ticks: Histogram::new(&TICK),
            answers: Histogram::new(&ANSWER),
            links_lost: 0,
        }
    }
}

impl Tallies {
    /// Everything that was counted.
    pub(crate) fn read(&self) -> Figures {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// One turn of the hub took so long.
    pub(crate) fn ticked(&self, took: Duration) {
        self.with(|figures| figures.ticks.add(took));
    }

    /// The store answered after so long.
    pub(crate) fn answered(&self, took: Duration) {
        self.with(|figures| figures.answers.add(took));
    }

    /// The connection to the store is lost.
    pub(crate) fn link_lost(&self) {
        self.with(|figures| figures.links_lost += 1);
    }

    /// What an effect means; `silent`: since the last beat of the agent that it is about.
    pub(crate) fn follow(
        &self,
        effect: &WatchEffect,
        silent: impl FnOnce(&AgentId) -> Option<Duration>,
    ) {
        if let WatchEffect::Fleet(FleetEffect::Changed(change)) = effect
            && let Some(kind) = kind_of_failure(change)
        {
            let silent = (kind == "heartbeat_missed")
                .then(|| silent(&change.agent))
                .flatten();
            self.with(|figures| {
                *figures.detections.entry(kind).or_default() += 1;
                if let Some(silent) = silent {
                    figures.silence.add(silent);
                }
            });
        }
        if let WatchEffect::Fleet(FleetEffect::Turned(turn)) = effect
            && is_stuck(turn)
        {
            self.with(|figures| *figures.detections.entry("stuck").or_default() += 1);
        }
        if let WatchEffect::Fleet(FleetEffect::Left(agent, _)) = effect {
            self.with(|figures| figures.exits.remove(agent));
        }
    }

    /// What the entries of timelines report of rungs and of ends.
    pub(crate) fn follow_story(&self, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        self.with(|figures| {
            for (agent, entry) in lines {
                match entry.kind {
                    TimelineKind::Rung => figures.rung(entry),
                    TimelineKind::Process => figures.end(agent, entry),
                    TimelineKind::State
                    | TimelineKind::Activity
                    | TimelineKind::Evidence
                    | TimelineKind::Incident
                    | TimelineKind::Notified
                    | TimelineKind::Acknowledged
                    | TimelineKind::Asked
                    | TimelineKind::Order
                    | TimelineKind::Unknown => {}
                }
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Figures) -> T) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Figures {
    fn rung(&mut self, entry: &TimelineEntry) {
        let fact = |name: &str| entry.facts.get(name).map(String::as_str);
        let rung = fact("rung").unwrap_or_default().to_owned();
        match fact("outcome") {
            None => *self.attempts.entry(rung).or_default() += 1,
            Some("recovered") => {
                let started = fact("started").and_then(|started| started.parse().ok());
                let took = entry.at.saturating_sub(started.unwrap_or(entry.at));
                let durations = self.durations.entry(rung);
                durations
                    .or_insert_with(|| Histogram::new(&DELAY))
                    .add(Duration::from_millis(took));
            }
            Some(_) => *self.failures.entry(rung).or_default() += 1,
        }
    }

    fn end(&mut self, agent: &AgentId, entry: &TimelineEntry) {
        let fact = |name: &str| entry.facts.get(name).map(String::as_str);
        if fact("event") != Some("exited") {
            return;
        }
        let how = match (fact("reason"), fact("signal"), fact("code")) {
            (Some("oom_killed"), _, _) => "oom",
            (Some("hung" | "operator" | "fenced" | "unkillable"), _, _) => "killed_by_hb",
            (_, Some(_), _) => "signal",
            (_, None, Some("0")) => "clean",
            (_, None, _) => "error",
        };
        let ends = self.exits.entry(agent.clone()).or_default();
        *ends.entry(how).or_default() += 1;
    }
}

fn kind_of_failure(change: &Change) -> Option<&'static str> {
    if change.to != State::Failed {
        return None;
    }
    Some(match change.reason {
        Some(Reason::HeartbeatLost) => "heartbeat_missed",
        Some(Reason::Hung) => "stuck",
        Some(Reason::Exited | Reason::Killed | Reason::OomKilled) => "crash",
        Some(Reason::CrashLoop) => "crash_loop",
        Some(
            Reason::Duplicate
            | Reason::Fenced
            | Reason::Operator
            | Reason::Unkillable
            | Reason::Unknown,
        )
        | None => "other",
    })
}

fn is_stuck(turn: &Turn) -> bool {
    match turn.to {
        Some(Verdict::Stalled | Verdict::Spinning | Verdict::Looping) => true,
        Some(
            Verdict::Starting
            | Verdict::Working
            | Verdict::WaitingModel
            | Verdict::WaitingInput
            | Verdict::Sleeping
            | Verdict::Idle
            | Verdict::Paused
            | Verdict::Hung
            | Verdict::Unknown,
        )
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_and_ends_are_counted_by_their_outcome() {
        let tallies = Tallies::default();
        let agent = AgentId::parse("w1").unwrap();
        let rung = |outcome: &str| {
            TimelineEntry::new(5000, TimelineKind::Rung, "", "")
                .fact("rung", "docker")
                .fact("started", "2000")
                .fact("outcome", outcome)
        };
        let end = |code: &str, signal: &str| {
            TimelineEntry::new(5000, TimelineKind::Process, "", "")
                .fact("event", "exited")
                .fact("code", code)
                .fact("signal", signal)
        };
        let all = [
            rung(""),
            rung("no_beat"),
            rung("recovered"),
            end("0", ""),
            end("", "9"),
        ];
        let lines: Vec<Line> = all
            .into_iter()
            .map(|entry| (agent.clone(), entry))
            .collect();
        tallies.follow_story(&lines);
        let figures = tallies.read();
        assert_eq!(
            (figures.attempts["docker"], figures.failures["docker"]),
            (1, 1)
        );
        assert_eq!(figures.durations["docker"].read().2, 3.0);
        assert_eq!(
            figures.exits[&agent],
            BTreeMap::from([("clean", 1), ("signal", 1)])
        );
    }
}
