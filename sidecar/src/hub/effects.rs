//! The hub's hands: what the lifecycle decides is carried out here.

use super::{Body, Hub, Outcome, SEARCH_EVERY, Suspension};
use crate::clock;
use crate::config::{INSTANCE, Work};
use crate::process::attach;
use crate::process::child::{self, Start};
use crate::process::handle::{Process, until_readable};
use crate::process::oom::OomKills;
use crate::process::terminal::{Terminal, can_be_resumed, share};
use crate::process::tree::Tree;
use heartbeat::supervise::lifecycle::{Effect, Input};
use heartbeat::wire::beat::{Exit, Status, cut};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::life::{End, Reason};
use nix::libc;
use std::ffi::OsString;
use std::time::Duration;

/// Survivors that are named.
const SURVIVORS_NAMED: usize = 8;
/// How long a person who pressed Ctrl-Z waits at most for the store: less than anybody notices.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

impl Hub {
    /// Asks the lifecycle and carries its answer out.
    pub(super) fn decide(&mut self, input: Input) {
        let effects = self.decide_only(input);
        self.carry_out(effects);
    }

    pub(super) fn decide_only(&mut self, input: Input) -> Vec<Effect> {
        self.life.handle(input, clock::now(), fastrand::f64())
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start => self.start_or_look(),
                Effect::RequestStop => {
                    self.ask();
                    // A stop is in the store when it is asked for: KILL may follow, of us too.
                    if self.report_life() {
                        self.beat();
                    }
                }
                Effect::CleanUp => self.tree.signal(&[libc::SIGTERM, libc::SIGCONT]),
                Effect::TakeEvidence => self.take_evidence(),
                Effect::Kill => self.kill(),
                Effect::ReportSurvivors => self.report_survivors(),
                Effect::ReportDelay(delay) => {
                    tracing::warn!("the agent is started again in {delay:.1?}")
                }
                Effect::ReportCrashLoop => self.report_crash_loop(),
                Effect::End => {
                    let exit = self.last_exit.unwrap_or(Exit {
                        code: None,
                        signal: None,
                    });
                    self.over.get_or_insert(Outcome::Ended(exit));
                }
            }
        }
    }

    fn start_or_look(&mut self) {
        if self.starts_agents() {
            self.start();
        } else {
            self.next_search = Some(clock::now());
        }
    }

    /// Starts an incarnation as our child.
    pub(super) fn start(&mut self) {
        let Work::Supervise(command) = &self.config.work else {
            return; // another's process is attached to, never started
        };
        self.word.new_incarnation();
        let in_front = self.terminal.as_ref().is_some_and(Terminal::is_ours);
        let started = child::start(&Start {
            program: &command.program,
            arguments: &command.arguments,
            environment: &self.environment(),
            inherited: self.inherited,
            in_front,
            output: self.word.output(),
        });
        match started {
            Ok(process) => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.give_to(process.pid);
                }
                self.body = Body::Child(process);
                self.started();
            }
            Err(error) => {
                tracing::error!("{error}");
                let code = error.exit_code();
                let exit = Exit {
                    code: Some(code),
                    signal: None,
                };
                self.last_exit = Some(exit);
                self.facts.incarnation = self.life.incarnation();
                let effects = self.decide_only(Input::NotStarted {
                    permanent: error.is_permanent(),
                });
                let crash_loop = effects.contains(&Effect::ReportCrashLoop);
                self.facts.end = Some(End {
                    incarnation: self.facts.incarnation,
                    exit,
                    reason: crash_loop.then_some(Reason::CrashLoop),
                    requested: false,
                    not_started: true,
                });
                if !self.facts.registered {
                    self.report_registration();
                }
                self.report_life();
                let message = Some(cut(error.to_string(), 200));
                self.report_event(
                    EventKind::Exited,
                    Detail {
                        exit: self.last_exit,
                        incarnation: Some(self.facts.incarnation),
                        message,
                        ..Detail::default()
                    },
                );
                self.carry_out(effects);
                if self.over.is_some() {
                    self.over = Some(Outcome::NotStarted(code));
                }
            }
        }
    }

    /// Watches a process that somebody else started.
    pub(super) fn attach(&mut self, process: Process) -> std::io::Result<()> {
        tracing::info!("attached to process {}", process.pid);
        self.word.new_incarnation();
        self.word.attached_to(process.pid);
        self.tree = Tree::Attached {
            pid: process.pid,
            started: process.started,
            env_marker: matches!(self.config.work, Work::Transparent(_)).then(|| self.env_marker()),
        };
        self.body = Body::Attached(until_readable(process)?);
        self.started();
        Ok(())
    }

    /// Looks for the agent's next incarnation.
    pub(super) fn look(&mut self) {
        self.next_search = None;
        if !self.life.is_starting() {
            return;
        }
        let Some(target) = self.config.work.target() else {
            return;
        };
        let found = attach::find(&target);
        let attached = match found {
            Ok(process) => self.attach(process).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = attached {
            tracing::debug!("{error}");
            self.next_search = Some(clock::now() + SEARCH_EVERY);
        }
    }

    fn started(&mut self) {
        self.oom = OomKills::watch();
        // An agent that is attached to has run before.
        self.incarnation_started_ms = match &self.body {
            Body::Attached(process) => process.get_ref().started_ms(),
            Body::Child(_) | Body::Absent => clock::wall_ms(),
        };
        self.judge.new_incarnation(clock::now());
        self.decide(Input::Started);
        self.facts.incarnation = self.life.incarnation();
        self.facts.trouble = None;
        self.facts.condemned = false;
        if !self.facts.registered {
            self.report_registration();
        } else {
            self.report_life();
            let incarnation = Some(self.facts.incarnation);
            self.report_event(
                EventKind::Restarted,
                Detail {
                    incarnation,
                    ..Detail::default()
                },
            );
        }
        self.restart_done();
        self.beat();
    }

    /// What marks the environment of every process of this agent.
    fn env_marker(&self) -> OsString {
        format!("{INSTANCE}={}", self.instance()).into()
    }

    fn instance(&self) -> String {
        format!("{}/{}", self.about.instance, self.config.id)
    }

    /// What the agent gets beside what we got.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("HB_AGENT_ID", self.config.id.as_str().into()),
            ("HB_AGENT_TYPE", self.config.agent_type.clone().into()),
            ("HB_EPOCH", self.epoch.unwrap_or(0).to_string().into()),
            (INSTANCE, self.instance().into()),
        ];
        variables.extend(self.word.environment());
        variables
    }

    fn ask(&mut self) {
        let Some(process) = self.body.process() else {
            return;
        };
        let asked = match &self.body {
            Body::Child(process) => process
                .signal_group(self.config.stop_signal, None)
                .and_then(|()| process.signal_group(libc::SIGCONT, None)),
            // Its group may be another's too.
            Body::Attached(_) | Body::Absent => process
                .signal(self.config.stop_signal)
                .and_then(|()| process.signal(libc::SIGCONT)),
        };
        if let Err(error) = asked {
            tracing::warn!("cannot ask the agent to end: {error}");
        }
    }

    fn kill(&mut self) {
        if let Body::Child(process) = &self.body {
            let _ = process.signal_group(libc::SIGKILL, None); // the tree is looked at next
        }
        self.tree.kill();
        if matches!(self.body, Body::Absent) && self.tree.members().is_empty() {
            self.decide(Input::TreeEmpty);
        }
    }

    fn report_survivors(&mut self) {
        let survivors = self.tree.members();
        let named: Vec<String> = survivors
            .iter()
            .take(SURVIVORS_NAMED)
            .map(crate::process::tree::Member::describe)
            .collect();
        let message = format!(
            "{} processes survive KILL: {}",
            survivors.len(),
            named.join("; ")
        );
        tracing::error!("{message}");
        self.facts.trouble = Some(Reason::Unkillable);
        self.report_life();
        self.report_event(
            EventKind::Unkillable,
            Detail {
                message: Some(cut(message, 500)),
                ..Detail::default()
            },
        );
    }

    fn report_crash_loop(&mut self) {
        let message = format!(
            "{} restarts in {} are used up",
            self.config.policy.restarts_max,
            humantime::format_duration(self.config.policy.window)
        );
        tracing::error!("{message}; not started again");
        if self.body.process().is_some() {
            self.facts.trouble = Some(Reason::CrashLoop);
            self.report_life();
        }
        self.report_event(
            EventKind::CrashLoop,
            Detail {
                message: Some(message),
                exit: self.last_exit,
                ..Detail::default()
            },
        );
    }

    /// The agent was stopped by this signal. Whoever runs us from a terminal must see a stopped job, so we stop too.
    pub(super) fn agent_stopped(&mut self, signal: i32) {
        let (Some(terminal), Body::Child(process)) = (&mut self.terminal, &self.body) else {
            return;
        };
        let wants_terminal = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        let by_terminal = wants_terminal || signal == libc::SIGTSTP;
        // Shells send no CONT to a job that was not stopped, so we may have been brought to the front without a word.
        if (wants_terminal && terminal.is_ours()) || (by_terminal && !can_be_resumed()) {
            terminal.give_to(process.pid);
            let _ = process.signal_group(libc::SIGCONT, None); // it has ended: there is nobody to go on
            return;
        }
        if (terminal.is_given() && can_be_resumed()) || by_terminal {
            terminal.take_for_now();
            self.observe();
            let heard = self.epoch.is_some() && !self.fenced;
            let patience = if heard { TOLD_WITHIN } else { Duration::ZERO };
            self.suspension = Some(Suspension {
                signal: by_terminal.then_some(signal),
                sequence: self.sequence + 1,
                until: clock::now() + patience,
                done: false,
            });
            self.beat_as(Status::Stopped, false);
            self.suspend_when_stored();
        }
    }

    /// Stops this process once the fleet knows, or has had its time to hear of it.
    pub(super) fn suspend_when_stored(&mut self) {
        let Some(suspension) = self.suspension.as_mut().filter(|s| !s.done) else {
            return;
        };
        let stored = *self.outbox.stored.borrow();
        let told = stored.is_some_and(|stored| stored.sequence >= suspension.sequence);
        if told || suspension.until <= clock::now() {
            suspension.done = true;
            if let Some(signal) = suspension.signal {
                share(signal); // ours stays blocked, and the CONT that follows takes it back
            }
            // Nothing can be done about a refused stop: then the agent is stopped and we are not.
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP);
        }
    }

    /// We go on, perhaps in front: then the terminal is the agent's again. The signal itself is passed on by the caller.
    pub(super) fn go_on(&mut self) {
        if let (Some(terminal), Body::Child(process)) = (&mut self.terminal, &self.body)
            && terminal.is_ours()
        {
            terminal.give_to(process.pid);
        }
        if self.suspension.take().is_some() {
            self.beat();
        }
    }
}
