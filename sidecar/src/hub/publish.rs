//! From the agent and the watch to the publisher: events, beats, and the end.

use super::publisher::Reading;
use super::{Hub, Outcome};
use crate::clock;
use crate::config::Config;
use crate::outbox::StoreEvent;
use crate::process::child;
use crate::process::usage::Sample;
use hbshell::left_exits;
use heartbeat::base::moment::Moment;
use heartbeat::contract::report;
use heartbeat::supervise::lifecycle::Input;
use heartbeat::wire::beat::{Exit, Metrics, Status};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::roster::RosterEntry;
use std::time::Duration;

/// How long an exit waits for the store. The agent has ended by then; only the caller waits.
const EXIT_STORED_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take to leave it on the disk.
const EXIT_LEFT_WITHIN: Duration = Duration::from_secs(1);
const SUCCESS: Exit = Exit {
    code: Some(0),
    signal: None,
};

impl Hub {
    pub(super) fn pid(&self) -> Option<i32> {
        self.agent.pid()
    }

    pub(super) fn report_event(&mut self, kind: EventKind, detail: Detail) {
        let pid = self.pid().and_then(|pid| u32::try_from(pid).ok());
        let pid = detail.pid.or(pid);
        self.publisher.event(kind, Detail { pid, ..detail });
    }

    /// Brings the report of the process up to date; true when it changed.
    pub(super) fn report_life(&mut self) -> bool {
        let facts = self.agent.life_facts(&self.config);
        self.publisher.report_life(facts)
    }

    /// Reports the registration, once for each epoch, when there is something to report of the agent.
    pub(super) fn report_registration(&mut self) {
        self.publisher.registered = true;
        self.report_life();
        let registration = Some(Box::new(self.publisher.entry()));
        self.report_event(
            EventKind::Registered,
            Detail {
                registration,
                ..Detail::default()
            },
        );
    }

    /// Publishes a beat, if the store has granted an epoch.
    pub(super) fn beat(&mut self) {
        // A beat between Ctrl-Z and our own stop must not revoke the suspension that was just reported.
        let suspending = self.agent.suspension.is_some_and(|s| s.is_pending());
        let status = if suspending {
            Status::Stopped
        } else {
            Status::Healthy
        };
        self.beat_as(status, false);
    }

    pub(super) fn beat_as(&mut self, status: Status, last: bool) {
        let now = clock::now();
        self.publisher.slots.beat(now);
        let is_fenced = self.publisher.fenced;
        if is_fenced && (self.config.exclusive || self.pid().is_none()) {
            return; // no agent lives beside the holder's, or not for long
        }
        if !self.publisher.registered && !is_fenced {
            return;
        }
        self.report_life();
        if let Some(epoch) = self.publisher.beat_epoch() {
            let reading = self.reading(now);
            self.publisher.beat(epoch, reading, status, last);
        }
    }

    fn reading(&mut self, now: Moment) -> Reading {
        let pid = self.pid();
        let sample = match pid {
            Some(pid) if !self.watch.is_blind() => {
                self.agent.oom.survived(pid);
                self.watch.usage.sample(&self.agent.tree.roots(pid), now)
            }
            Some(_) | None => Sample::default(),
        };
        let report = &self.watch.report;
        let metrics = Metrics {
            cpu_percent: sample.cpu_percent,
            memory_mb: sample.memory_mb,
            ..report.metrics(now)
        };
        Reading {
            pid,
            started_ms: self.agent.started_ms,
            incarnation: self.agent.facts.incarnation,
            last_exit: self.agent.facts.last,
            load: report::status(&metrics, &self.config.thresholds),
            metrics,
            task: report.task().map(str::to_owned),
            progress: report.progress(),
            status_text: report.status_text().map(str::to_owned),
            ready: !self.watch.is_starting(),
            activity: self.activity(),
        }
    }

    /// Publishes how it ended: event, hash, last beat. Waits for the store for 2 s at most.
    pub(super) async fn conclude(mut self, outcome: Outcome) {
        self.finish_attached_exit().await;
        self.stand_down(outcome);
        self.io.finish().await;
        child::reap(None); // what ended in the last moment leaves no zombie
        if let Some(answer) = self.orders.ended() {
            self.answer_order(answer);
        }
        let detached = outcome == Outcome::Detached && self.pid().is_some();
        let clean = match outcome {
            Outcome::Ended(_) if self.agent.facts.lease_lost => false,
            Outcome::Ended(exit) => self.agent.was_requested() || exit == SUCCESS,
            Outcome::Detached if detached => {
                tracing::info!("detached; the agent runs on");
                true
            }
            Outcome::Detached => {
                self.decide(Input::SearchGivenUp);
                let end = self.agent.facts.end.as_ref();
                end.is_none_or(|end| end.failure().is_none())
            }
            Outcome::NotStarted(_)
            | Outcome::Taken
            | Outcome::Interrupted(_)
            | Outcome::PodRestart => false,
        };
        if !clean {
            self.leave_last_words(outcome);
        }
        self.agent.facts.detached = detached;
        if let Some(end) = &mut self.agent.facts.end {
            // A person who stops it during a back-off wants it to stay stopped.
            end.requested |= self.agent.life.is_stop_requested() && !self.agent.facts.lease_lost;
        }
        if self.publisher.registered {
            self.report_life();
        }
        if clean {
            self.report_event(
                EventKind::Stopped,
                Detail {
                    requested: outcome == Outcome::Detached || self.agent.was_requested(),
                    message: detached.then(|| "detached; the agent runs on".to_owned()),
                    ..Detail::default()
                },
            );
        }
        if self.publisher.fenced || self.publisher.never_reached {
            // No store accepts the exit, and no monitor knows of this agent; a lease is given up all the same.
            if self.lease.is_some() {
                self.publisher.outbox.close(EXIT_STORED_WITHIN).await;
            }
            return;
        }
        self.publish_exit(clean).await;
    }

    async fn publish_exit(mut self, clean: bool) {
        let deadline = tokio::time::Instant::now() + EXIT_STORED_WITHIN;
        // Not registered yet: the registration may be a moment away, and an exit must not be lost.
        while self.publisher.epoch.is_none() {
            let next = self.publisher.outbox.store_events.recv();
            match tokio::time::timeout_at(deadline, next).await {
                Ok(Some(StoreEvent::Connected(epoch))) => self.publisher.epoch = Some(epoch),
                Ok(Some(
                    StoreEvent::Order(_) | StoreEvent::LeaseContested | StoreEvent::LeaseAwaited(_),
                )) => {}
                Ok(
                    Some(
                        StoreEvent::Unreachable | StoreEvent::Fenced(_) | StoreEvent::LeaseHeld(_),
                    )
                    | None,
                )
                | Err(_) => return,
            }
        }
        let status = if clean {
            Status::Stopped
        } else {
            Status::Healthy
        };
        self.beat_as(status, true);
        let exit = self.publisher.last_entry();
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !self.publisher.outbox.close(left).await {
            leave_exit(&self.config, exit).await;
        }
    }

    /// Publishes what is queued although no agent was started.
    pub(super) async fn close_unstarted(mut self, outcome: Outcome) {
        self.leave_last_words(outcome);
        self.stand_down(outcome);
        let stored = self.publisher.outbox.close(EXIT_STORED_WITHIN).await;
        tracing::debug!("ends without an agent; all events stored: {stored}");
    }
}

/// The store did not take it: another program of this user may reach it later. A disk that does not answer delays no end.
async fn leave_exit(config: &Config, exit: RosterEntry) {
    let (id, store) = (config.id.clone(), config.store.name());
    let left = tokio::task::spawn_blocking(move || left_exits::leave(&id, &store, &exit));
    let then = match tokio::time::timeout(EXIT_LEFT_WITHIN, left).await {
        Ok(Ok(Ok(()))) => "it is kept for the next program of this user that reaches it".to_owned(),
        Ok(Ok(Err(error))) => format!("hbmonitor will detect it by timeout: {error}"),
        Ok(Err(_)) | Err(_) => "hbmonitor will detect it by timeout".to_owned(),
    };
    tracing::warn!("could not deliver the exit to the store; {then}");
}
