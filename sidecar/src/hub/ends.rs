//! How the agent's process ends, and what its end is put down to.

use super::{Body, Hub};
use crate::clock;
use crate::config::{Work, exit};
use crate::process::child::{self, Reaped};
use crate::process::terminal::{Terminal, share};
use heartbeat::supervise::lifecycle::{self, Ended};
use heartbeat::wire::beat::Exit;
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::life::{End, Reason};
use nix::libc;
use std::time::Duration;

/// How long the parent of an agent that is not our child has to take note of its end; only then is its exit known.
const REAPED_WITHIN: Duration = Duration::from_millis(500);
const REAPED_LOOK: Duration = Duration::from_millis(10);

impl Hub {
    pub(super) async fn reap(&mut self) {
        let child = match &self.body {
            Body::Child(process) => Some(process.pid),
            Body::Absent | Body::Attached(_) => None,
        };
        let Reaped {
            exit,
            stopped,
            any,
            alone,
        } = child::reap(child);
        if let Some(exit) = exit {
            self.drain_agent_output().await;
            let alone = alone || self.tree.members().is_empty();
            return self.ended(exit, alone);
        }
        if let Some(signal) = stopped {
            self.agent_stopped(signal);
        }
        if any && child.is_none() {
            let empty = alone || self.tree.members().is_empty();
            self.decide(if empty {
                lifecycle::Input::TreeEmpty
            } else {
                lifecycle::Input::DescendantExited
            });
            if empty && std::mem::take(&mut self.facts.trouble).is_some() {
                self.report_life();
            }
        }
    }

    /// An agent that is not our child has ended; how, its parent knows first.
    pub(super) async fn gone(&mut self) {
        let Some(process) = self.body.process() else {
            return;
        };
        let until = clock::now() + REAPED_WITHIN;
        while !process.is_reaped() && clock::now() < until {
            tokio::time::sleep(REAPED_LOOK).await;
        }
        let exit = process.exit().unwrap_or(Exit {
            code: None,
            signal: None,
        });
        if exit
            == (Exit {
                code: None,
                signal: None,
            })
        {
            tracing::warn!(
                "the agent ended; its exit code is unknown: this kernel does not tell, or nobody took note of the end"
            );
        }
        self.drain_agent_output().await;
        self.ended(exit, true);
    }

    fn ended(&mut self, exit: Exit, alone: bool) {
        self.suspension = None;
        let by_terminal = self.by_person(exit);
        let by_person = by_terminal || self.word.report.stopping();
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
        }
        if let Some(signal) = exit.signal.filter(|_| by_terminal) {
            share(i32::from(signal));
        }
        let started = self.body.process().is_some();
        let killed_by_us = self.life.is_killing();
        self.last_exit = Some(exit);
        let reason = (exit.signal == Some(9) && !killed_by_us && self.oom.any())
            .then_some(Reason::OomKilled);
        if reason.is_some() {
            tracing::error!("the agent was killed for memory by the kernel");
        }
        let incarnation = self.facts.incarnation;
        let pid = self.pid().and_then(|pid| u32::try_from(pid).ok());
        let effects = self.decide_only(lifecycle::Input::Exited(Ended {
            exit,
            alone,
            by_person,
        }));
        self.body = Body::Absent;
        if started {
            let requested = self.life.requested();
            let crash_loop = effects.contains(&lifecycle::Effect::ReportCrashLoop);
            let condemned = std::mem::take(&mut self.facts.condemned);
            self.facts.trouble = None;
            self.facts.end = Some(End {
                incarnation,
                exit,
                reason: if crash_loop {
                    Some(Reason::CrashLoop)
                } else {
                    reason.or(condemned.then_some(Reason::Hung))
                },
                requested: requested && !condemned,
                not_started: false,
            });
            self.report_life();
            let detail = Detail {
                exit: Some(exit),
                incarnation: Some(incarnation),
                pid,
                requested,
                reason,
                ..Detail::default()
            };
            self.report_event(EventKind::Exited, detail);
        }
        self.carry_out(effects);
        if self.over.is_none() {
            self.beat();
        }
    }

    /// Ctrl-C and its kin go to the agent's group and not to us. Many programs catch them and exit with 128+n.
    fn by_person(&self, exit: Exit) -> bool {
        const ASKED: [u8; 3] = [libc::SIGHUP as u8, libc::SIGINT as u8, libc::SIGQUIT as u8];
        let in_front = self.terminal.as_ref().is_some_and(Terminal::is_given);
        let signal = exit.signal.or_else(|| {
            exit.code
                .and_then(|code| code.checked_sub(exit::SIGNAL_BASE))
        });
        // What ends the process that a user or a service manager started is theirs to send.
        let is_theirs = matches!(self.config.work, Work::Transparent(_));
        let asked =
            |signal| ASKED.contains(&signal) || (is_theirs && signal == libc::SIGTERM as u8);
        (in_front || is_theirs) && signal.is_some_and(asked)
    }
}
