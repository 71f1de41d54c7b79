//! The hub's voice: beats on their timetable, events, and the last words.

use super::{Hub, Outcome};
use crate::clock;
use crate::config::Work;
use crate::outbox::News;
use crate::process::child;
use crate::process::usage::Sample;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::contract::report;
use heartbeat::wire::beat::{Beat, Exit, Extension, Metrics, Status, cut};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::life::Standing;
use std::time::Duration;

/// How long an end may wait for the store to hear of it. The agent is gone by then; only the caller waits.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

impl Hub {
    pub(super) fn tell(&mut self, kind: EventKind, detail: Detail) {
        let life = match kind {
            EventKind::Registered
            | EventKind::Ready
            | EventKind::Exited
            | EventKind::Restarted
            | EventKind::Stopped
            | EventKind::CrashLoop
            | EventKind::Unkillable => Some(Box::new(self.facts.life.clone())),
            EventKind::Hung
            | EventKind::Stalled
            | EventKind::Recovered
            | EventKind::Fenced
            | EventKind::Order
            | EventKind::Duplicate
            | EventKind::Evidence
            | EventKind::WaitingInput => None,
        };
        let pid = self.pid().and_then(|pid| u32::try_from(pid).ok());
        self.outbox.tell(Event {
            kind,
            agent: self.config.id.clone(),
            epoch: self.epoch.unwrap_or(0),
            at_ms: clock::wall_ms(),
            detail: Detail {
                pid: detail.pid.or(pid),
                host: Some(self.config.host.clone()),
                command: Some(cut(self.about.command.clone(), 64)),
                life,
                ..detail
            },
        });
    }

    /// Beats, when the store knows us.
    pub(super) fn beat(&mut self) {
        // One that falls between a person's Ctrl-Z and our own stop must not take back what was just told.
        let suspending = self.suspension.is_some_and(|suspension| !suspension.done);
        let status = if suspending {
            Status::Stopped
        } else {
            Status::Healthy
        };
        self.beat_as(status, false);
    }

    pub(super) fn next_slot(&self) -> Moment {
        self.started + self.config.interval * u32::try_from(self.last_slot + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.body.process().map(|process| process.pid)
    }

    pub(super) fn beat_as(&mut self, status: Status, last: bool) {
        let now = clock::now();
        self.last_slot = self.slot(now);
        if self.facts.registered {
            self.report_life();
        }
        let Some(epoch) = self.epoch.filter(|_| !self.fenced && self.facts.registered) else {
            return;
        };
        let pid = self.pid();
        let life = self.facts.life.clone();
        let sample = match pid {
            Some(pid) => self.vitals.sample(&self.tree.roots(pid), now),
            None => Sample::default(),
        };
        let metrics = Metrics {
            cpu_percent: sample.cpu_percent,
            memory_mb: sample.memory_mb,
            ..self.word.report.metrics(now)
        };
        let load = report::status(&metrics, &self.config.thresholds);
        self.sequence += 1;
        let beat = Beat {
            agent: self.config.id.clone(),
            agent_type: self.about.entry.agent_type.clone(),
            timestamp_ms: clock::wall_ms(),
            sequence: self.sequence,
            status: match (status, life.standing()) {
                (Status::Healthy, Standing::Off) => Status::Stopped,
                (Status::Healthy, _) if pid.is_none() => Status::Recovering,
                (Status::Healthy, _) => load,
                (status, _) => status,
            },
            metrics,
            // In a last beat: what it was doing when it ended.
            current_task: self.word.report.task().map(str::to_owned),
            task_progress: self.word.report.progress(),
            hb: Some(Extension {
                interval: self.config.interval,
                epoch,
                slot: self.last_slot,
                instance: self.about.instance.clone(),
                host: self.config.host.clone(),
                pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
                started_at_ms: self.incarnation_started_ms,
                restarts: self.facts.incarnation,
                ready: !super::sampling::is_starting(&self.word.report),
                activity: self.activity(),
                runtime: Some(self.about.runtime.clone()),
                exit: self.last_exit.filter(|_| pid.is_none()),
                life: Some(life),
                order: self.outcome.clone(),
            }),
        };
        self.outbox.offer(beat, last);
    }

    /// Slots stand on a fixed timetable: a late tick does not move the next one.
    fn slot(&self, now: Moment) -> u64 {
        millis(now.since(self.started)) / millis(self.config.interval)
    }

    /// Says how it ended: event, hash, last beat. Waits for the store a moment and no longer.
    pub(super) async fn end(mut self, outcome: Outcome) {
        self.word.finish().await;
        child::reap(None); // who ended in the last moment leaves no zombie behind
        self.order_over();
        let clean = match outcome {
            Outcome::Ended(exit) => {
                self.life.requested()
                    || exit
                        == (Exit {
                            code: Some(0),
                            signal: None,
                        })
            }
            Outcome::Detached => {
                tracing::info!("detached; the agent runs on");
                true
            }
            Outcome::NotStarted(_) | Outcome::Taken => false,
        };
        self.facts.detached = outcome == Outcome::Detached;
        if let Some(end) = &mut self.facts.end {
            // A person who stops it during a back-off wants it to stay as it is.
            end.requested |= self.life.is_asked_to_stop();
        }
        if self.facts.registered {
            self.report_life();
        }
        if clean {
            let requested = outcome == Outcome::Detached || self.life.requested();
            let message =
                (outcome == Outcome::Detached).then(|| "detached; the agent runs on".to_owned());
            self.tell(
                EventKind::Stopped,
                Detail {
                    requested,
                    message,
                    ..Detail::default()
                },
            );
        }
        if self.fenced || self.never_reached {
            return; // nobody who would listen is there, and nobody who knows of this agent
        }
        // Not yet registered: the registration may be a moment away, and an end must not be lost.
        let deadline = tokio::time::Instant::now() + LAST_WORDS_WITHIN;
        while self.epoch.is_none() {
            match tokio::time::timeout_at(deadline, self.outbox.news.recv()).await {
                Ok(Some(News::Connected(epoch))) => self.epoch = Some(epoch),
                Ok(Some(News::Order(_) | News::Contested)) => {}
                Ok(Some(News::Unreachable | News::Fenced(_) | News::Held(_)) | None) | Err(_) => {
                    return;
                }
            }
        }
        self.beat_as(
            if clean {
                Status::Stopped
            } else {
                Status::Healthy
            },
            true,
        );
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !self.outbox.close(left).await {
            tracing::warn!("the store did not hear of the agent's end; its silence will tell");
        }
    }

    /// Says what is to be said although nothing was started.
    pub(super) async fn leave(self) {
        let heard = self.outbox.close(LAST_WORDS_WITHIN).await;
        tracing::debug!("left; the store heard: {heard}");
    }

    /// Whether the agent is ours to start.
    pub(super) fn starts_agents(&self) -> bool {
        matches!(self.config.work, Work::Supervise(_))
    }
}
