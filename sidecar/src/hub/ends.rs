//! How the agent's process ends, and what its exit is attributed to.

use super::Hub;
use super::agent::Body;
use super::exits::REAPED_CHECK;
use crate::clock;
use crate::process::child::{self, Reaped};
use crate::process::terminal::share;
use heartbeat::supervise::lifecycle;
use heartbeat::wire::beat::Exit;
use heartbeat::wire::event::{Detail, EventKind};

impl Hub {
    /// A child ended or stopped.
    pub(super) async fn reap(&mut self) {
        let child = match &self.agent.body {
            Body::Child(process) => Some(process.pid),
            Body::Absent | Body::Attached { .. } | Body::Unreaped { .. } => None,
        };
        let Reaped {
            exit,
            stopped,
            any,
            alone,
        } = child::reap(child);
        if let Some(exit) = exit {
            self.drain_agent_io().await;
            let alone = alone || self.agent.tree.members().is_empty();
            return self.ended(exit, alone);
        }
        if let Some(signal) = stopped {
            self.agent_stopped(signal);
        }
        if any && child.is_none() {
            let empty = alone || self.agent.tree.members().is_empty();
            self.decide(if empty {
                lifecycle::Input::TreeEmpty
            } else {
                lifecycle::Input::DescendantExited
            });
            if empty && std::mem::take(&mut self.agent.facts.trouble).is_some() {
                self.report_life();
            }
        }
    }

    /// An attached agent has ended, and its exit is known or no longer waited for.
    pub(super) async fn attached_ended(&mut self, exit: Exit) {
        self.drain_agent_io().await;
        let alone = self.agent.is_alone();
        self.ended(exit, alone);
    }

    /// A detach between an attached agent's exit and its reaping must not lose the exit. The loop has ended: waiting is
    /// harmless here.
    pub(super) async fn finish_attached_exit(&mut self) {
        while matches!(self.agent.body, Body::Unreaped { .. }) {
            match self.agent.attached_exit(clock::now()) {
                Some(exit) => self.attached_ended(exit).await,
                None => tokio::time::sleep(REAPED_CHECK).await,
            }
        }
    }

    fn ended(&mut self, exit: Exit, alone: bool) {
        let by = self.agent.ended_by(exit, &self.config);
        if let Some(terminal) = &mut self.agent.terminal {
            terminal.take_back();
        }
        if let Some(signal) = exit.signal.filter(|_| by.person) {
            share(i32::from(signal));
        }
        let pid = self.pid();
        let now = clock::now();
        self.watch.look_at_announcer(now);
        let announced = self.watch.has_announced(now);
        let report = self.agent.ended(exit, alone, announced, by);
        if let Some(pid) = pid {
            self.report_life();
            self.report_event(
                EventKind::Exited,
                Detail {
                    exit: Some(exit),
                    incarnation: Some(report.incarnation),
                    pid: u32::try_from(pid).ok(),
                    requested: report.requested,
                    reason: report.reason,
                    ..Detail::default()
                },
            );
        }
        self.carry_out(report.effects);
        if self.outcome.is_none() {
            self.beat();
        }
    }
}
