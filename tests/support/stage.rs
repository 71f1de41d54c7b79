//! A monitor's machine as a hub runs it, in virtual time: the loop, and agents that beat.

use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::by_hand::{Ask, Asked};
use heartbeat::fleet::recovery::RecoveryInput;
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::beat::{Beat, Extension, Metrics, Status};
use heartbeat::wire::leader::Leader;
use heartbeat::wire::roster::RosterEntry;
use std::collections::VecDeque;
use std::time::Duration;

/// The wall clock at second 0.
pub(crate) const WALL_MS: u64 = 1_764_000_000_000;

/// What carries the effects out, and brings what the store answers.
pub(crate) trait Hub {
    fn watch(&mut self) -> &mut Watch;
    fn now(&self) -> Moment;
    fn perform(&mut self, effect: WatchEffect);
    /// What the store will answer to what was asked of it.
    fn answers(&mut self) -> &mut Vec<WatchInput>;

    fn input(&mut self, input: impl Into<WatchInput>) {
        let now = self.now();
        let mut inputs = VecDeque::from([input.into()]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.watch().handle(input, now) {
                self.perform(effect);
            }
            // The store answers in order, behind everything that was asked before.
            inputs.extend(self.answers().drain(..));
        }
    }

    /// A person asks.
    fn asks(&mut self, ask: Ask) {
        self.input(RecoveryInput::Asked(Asked {
            number: 1,
            ask,
            by: "ann".to_owned(),
            from: "test".to_owned(),
        }));
    }
}

pub(crate) fn id(n: usize) -> AgentId {
    AgentId::parse(&format!("a{n}")).unwrap()
}

pub(crate) fn leader(instance: &str, fence: u64) -> Leader {
    Leader {
        instance: instance.to_owned(),
        since: WALL_MS,
        fence,
    }
}

/// Agents with one interval, so many a host.
#[derive(Clone, Copy)]
pub(crate) struct Agents {
    pub(crate) interval: Duration,
    pub(crate) a_host: usize,
}

impl Agents {
    fn interval_ms(&self) -> u64 {
        u64::try_from(self.interval.as_millis()).unwrap()
    }

    fn host(&self, n: usize) -> String {
        format!("h{}", n / self.a_host)
    }

    pub(crate) fn roster(&self, n: usize) -> RosterEntry {
        RosterEntry {
            agent_type: "t".into(),
            host: self.host(n),
            interval_ms: self.interval_ms(),
            epoch: 1,
            started_at: 0,
            runtime: None,
            hb_version: None,
            stopped_at: None,
            life: None,
        }
    }

    pub(crate) fn beat(&self, n: usize, slot: u64) -> Beat {
        Beat {
            agent: id(n),
            agent_type: "t".into(),
            timestamp_ms: WALL_MS + slot * self.interval_ms(),
            sequence: slot,
            status: Status::Healthy,
            metrics: Metrics::default(),
            current_task: None,
            task_progress: None,
            hb: Some(Extension {
                interval: self.interval,
                epoch: 1,
                slot,
                slot_age: Duration::ZERO,
                instance: "i".into(),
                host: self.host(n),
                pid: 7,
                started_at_ms: WALL_MS,
                restarts: 0,
                ready: true,
                status_text: None,
                activity: None,
                runtime: None,
                exit: None,
                life: None,
                order: None,
                store_refuses: false,
                fenced: false,
            }),
        }
    }
}
