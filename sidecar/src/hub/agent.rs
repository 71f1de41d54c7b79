//! The agent's process: its lifecycle, its tree, its terminal and its exits. One of the hub's three owners.
//!
//! What it does is decided by the pure `Lifecycle`; what happened comes back as a value for the publisher.

use super::exits::{self, EndedBy};
use crate::clock;
use crate::config::{Config, Reaction, Work};
use crate::process::attach::Programs;
use crate::process::child::{self, Loading, Start, StartError};
use crate::process::handle::{self, Process};
use crate::process::inherited::Inherited;
use crate::process::oom::OomKills;
use crate::process::terminal::{Terminal, can_be_resumed};
use crate::process::tree::{Member, Tree};
use heartbeat::base::moment::Moment;
use heartbeat::supervise::life_report;
use heartbeat::supervise::lifecycle::{Effect, Ended, Input, Lifecycle};
use heartbeat::supervise::suspension::Suspension;
use heartbeat::wire::beat::{Exit, cut};
use heartbeat::wire::life::{End, Reason};
use nix::libc;
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use tokio::io::unix::AsyncFd;

/// Survivors of KILL that are named in the report.
const SURVIVORS_NAMED: usize = 8;
/// The longest pattern in a report, in characters.
const PATTERN_CHARS_MAX: usize = 80;

/// The agent's process, if there is one.
#[derive(Debug)]
pub(super) enum Body {
    Absent,
    Child(Process),
    Attached {
        process: Process,
        /// Readable once it has ended.
        ended: AsyncFd<OwnedFd>,
    },
    /// An attached process has ended, and its parent has not reaped it yet.
    Unreaped {
        process: Process,
        until: Moment,
        check: Moment,
    },
}

/// What is known of exits beside the lifecycle.
#[derive(Debug, Default)]
pub(super) struct ExitFacts {
    pub(super) last: Option<Exit>,
    /// How the last incarnation ended.
    pub(super) end: Option<End>,
    /// The same for the log, until it was logged.
    pub(super) unlogged_end: Option<String>,
    /// The incarnation that runs, or that was tried last.
    pub(super) incarnation: u64,
    /// When it was first seen that nothing reads its output any more.
    pub(super) unread_since: Option<Moment>,
    /// What is wrong although a process is there.
    pub(super) trouble: Option<Reason>,
    /// The present incarnation is being restarted because it is hung.
    pub(super) hung: bool,
    /// Why it is being stopped for good, where that is known: a person ordered it, or a newer run took over.
    pub(super) stopped_by: Option<Reason>,
    /// It is ended because its exclusive lease was not renewed, which was not asked for.
    pub(super) lease_lost: bool,
    /// The sidecar has left it running.
    pub(super) detached: bool,
    /// The sidecar ends so that the kubelet restarts the pod, when its agent has ended.
    pub(super) ends_for_pod: bool,
}

/// What a stop signal that reached the agent means for the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The agent was resumed, or the stop is not from its terminal: nothing.
    Ignored,
    /// The job is suspended; the sidecar stops too, after forwarding this signal to its own group.
    Suspend(Option<i32>),
}

/// An exit, with what it leads to.
pub(super) struct ExitReport {
    pub(super) effects: Vec<Effect>,
    pub(super) incarnation: u64,
    pub(super) requested: bool,
    pub(super) reason: Option<Reason>,
}

pub(super) struct AgentProcess {
    pub(super) life: Lifecycle,
    pub(super) body: Body,
    pub(super) tree: Tree,
    pub(super) terminal: Option<Terminal>,
    pub(super) facts: ExitFacts,
    pub(super) suspension: Option<Suspension>,
    /// When the process to attach to is searched for next.
    pub(super) next_search: Option<Moment>,
    /// Why it is not found, where more is known than that it is not there.
    pub(super) obstacle: Option<String>,
    /// What it ran: what is searched for runs one of them.
    pub(super) programs: Programs,
    /// When the present incarnation started, Unix milliseconds.
    pub(super) started_ms: u64,
    /// The present incarnation is the child of a sidecar that was killed; the next one is ours.
    adopted: bool,
    /// The agent is killed when this process dies.
    dies_with_us: bool,
    pub(super) oom: OomKills,
    inherited: Inherited,
}

impl Body {
    pub(super) fn process(&self) -> Option<&Process> {
        match self {
            Self::Absent => None,
            Self::Child(process)
            | Self::Attached { process, .. }
            | Self::Unreaped { process, .. } => Some(process),
        }
    }

    /// Completes when an attached agent has ended.
    pub(super) async fn attached_exit(&self) {
        match self {
            Self::Attached { ended, .. } => drop(ended.readable().await),
            // SIGCHLD reports children.
            Self::Absent | Self::Child(_) | Self::Unreaped { .. } => std::future::pending().await,
        }
    }
}

impl AgentProcess {
    pub(super) fn new(config: &Config, inherited: Inherited) -> Self {
        Self {
            life: Lifecycle::new(config.policy),
            body: Body::Absent,
            tree: Tree::subreaper(),
            terminal: Terminal::find(),
            facts: ExitFacts::default(),
            suspension: None,
            next_search: None,
            obstacle: None,
            programs: Programs::default(),
            started_ms: clock::wall_ms(),
            adopted: false,
            dies_with_us: config.exclusive || config.die_with_sidecar,
            oom: OomKills::watch(),
            inherited,
        }
    }

    /// Gives the lifecycle an input; the caller carries out the effects.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.life.handle(input, clock::now(), fastrand::f64())
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.body.process().map(|process| process.pid)
    }

    /// The process is there and has ended; its exit is still to be read.
    pub(super) fn has_ended(&self) -> bool {
        self.body.process().is_some_and(Process::has_ended)
    }

    /// When something is due here.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let check = match &self.body {
            Body::Unreaped { check, .. } => Some(*check),
            Body::Absent | Body::Child(_) | Body::Attached { .. } => None,
        };
        let suspension = self.suspension.and_then(|s| s.deadline());
        let all = [self.life.deadline(), self.next_search, suspension, check];
        all.into_iter().flatten().min()
    }

    /// What is reported of the process.
    pub(super) fn life_facts(&self, config: &Config) -> life_report::Facts {
        let waits_for = match &config.work {
            Work::Match(pattern) => {
                let pattern = cut(pattern.as_str().to_owned(), PATTERN_CHARS_MAX);
                Some(format!("a process that matches {pattern}"))
            }
            Work::Supervise(_) | Work::Transparent(_) | Work::Pid(_) => None,
        };
        life_report::Facts {
            outlook: self.life.outlook(),
            attempt: self.life.attempt(),
            has_process: self.body.process().is_some(),
            starts_agents: config.work.starts_agents(),
            suspended: self.suspension.is_some(),
            detached: self.facts.detached,
            incarnation: self.facts.incarnation,
            end: self.facts.end.clone(),
            trouble: self.facts.trouble,
            waits_for,
            obstacle: self.obstacle.clone(),
            exclusive: config.exclusive,
            alert_only: config.on_hung == Reaction::Alert,
            stall_after: config.patience.scale(config.stall_after),
            restarts_stalled: config.on_stalled == Reaction::Restart,
            pod_restart: config.pod_restart,
            ends_for_pod: self.facts.ends_for_pod && !config.work.starts_agents(),
        }
    }

    /// Starts an incarnation as a child; returns its number, and its program where that is not read yet.
    pub(super) fn spawn(
        &mut self,
        command: &crate::config::Command,
        environment: &[(&'static str, OsString)],
        outputs: Vec<(RawFd, RawFd)>,
    ) -> Result<(i32, Option<Loading>), StartError> {
        if std::mem::take(&mut self.adopted) {
            self.tree = Tree::subreaper();
        }
        let (process, loading) = child::start(&Start {
            program: &command.program,
            arguments: &command.arguments,
            environment,
            inherited: self.inherited,
            terminal: self
                .terminal
                .as_ref()
                .filter(|terminal| terminal.is_ours())
                .map(Terminal::descriptor),
            outputs,
            dies_with_us: self.dies_with_us,
        })?;
        let pid = process.pid;
        if let Some(terminal) = &mut self.terminal {
            terminal.give_to(process.pid);
        }
        self.body = Body::Child(process);
        Ok((pid, loading))
    }

    /// A terminal of ours in the agent's place has followed the real one: the agent has asked too early and gets the signal again.
    pub(super) fn resized(&self) {
        if let Body::Child(process) = &self.body {
            let _ = process.signal_group(libc::SIGWINCH, None); // it has ended: it needs no size
        }
    }

    /// Watches an agent that a sidecar has started which was killed.
    pub(super) fn adopt(&mut self, process: Process, env_marker: OsString) -> std::io::Result<()> {
        self.attach(process, Some(env_marker))?;
        self.adopted = true;
        Ok(())
    }

    /// Whether it leads the process group that its sidecar made for it.
    fn leads_its_group(&self) -> bool {
        let pid = self.pid().map(nix::unistd::Pid::from_raw);
        self.adopted && pid.is_some_and(|pid| nix::unistd::getpgid(Some(pid)) == Ok(pid))
    }

    /// Nothing of the agent's tree is left, as far as can be seen.
    pub(super) fn is_alone(&self) -> bool {
        !self.adopted || self.tree.members().is_empty()
    }

    /// Watches a process that another program started.
    pub(super) fn attach(
        &mut self,
        process: Process,
        env_marker: Option<OsString>,
    ) -> std::io::Result<()> {
        self.tree = Tree::Attached {
            pid: process.pid,
            started: process.started,
            env_marker,
        };
        let ended = process.until_ended()?;
        self.programs.note(&process);
        self.body = Body::Attached { process, ended };
        Ok(())
    }

    /// The process of a new incarnation is there.
    pub(super) fn incarnation_started(&mut self) {
        match &self.body {
            // An attached agent has run before, perhaps in another container.
            Body::Attached { process, .. } => {
                self.oom = OomKills::watch_of(process.pid);
                self.started_ms = process.started_ms();
            }
            Body::Child(_) | Body::Absent | Body::Unreaped { .. } => {
                self.oom = self
                    .pid()
                    .map_or_else(OomKills::watch, OomKills::watch_child);
                self.started_ms = clock::wall_ms();
            }
        }
    }

    /// No process could be started; what follows is decided by the lifecycle.
    pub(super) fn not_started(&mut self, error: &StartError) -> Vec<Effect> {
        let exit = Exit {
            code: Some(error.exit_code()),
            signal: None,
        };
        self.facts.last = Some(exit);
        self.facts.incarnation = self.life.incarnation();
        let effects = self.handle(Input::NotStarted {
            permanent: error.is_permanent(),
        });
        let crash_loop = self.life.is_crash_loop();
        self.facts.end = Some(End {
            incarnation: self.facts.incarnation,
            exit,
            reason: crash_loop.then_some(Reason::CrashLoop),
            requested: false,
            not_started: true,
        });
        effects
    }

    /// Sends the stop signal, then CONT: a stopped process ends only when it is resumed.
    pub(super) fn request_stop(&self, stop_signal: i32) {
        let sent = match &self.body {
            Body::Absent => Ok(()),
            Body::Child(process) => process
                .signal_group(stop_signal, None)
                .and_then(|()| process.signal_group(libc::SIGCONT, None)),
            Body::Attached { process, .. } if self.leads_its_group() => process
                .signal_group(stop_signal, None)
                .and_then(|()| process.signal_group(libc::SIGCONT, None)),
            // Its process group may hold others.
            Body::Attached { .. } | Body::Unreaped { .. } => {
                self.body.process().map_or(Ok(()), |process| {
                    process
                        .signal(stop_signal)
                        .and_then(|()| process.signal(libc::SIGCONT))
                })
            }
        };
        if let Err(error) = sent {
            tracing::warn!("cannot send the stop signal ({stop_signal}) to the agent: {error}");
        }
    }

    /// Kills the whole tree; true when nothing of it is left to wait for.
    pub(super) fn kill(&self) -> bool {
        if let Body::Child(process) = &self.body {
            let _ = process.signal_group(libc::SIGKILL, None); // the tree is killed next
        }
        self.tree.kill();
        matches!(self.body, Body::Absent) && self.tree.members().is_empty()
    }

    /// The processes that survived KILL, for people.
    pub(super) fn survivors(&self) -> String {
        let survivors = self.tree.members();
        let named: Vec<String> = survivors
            .iter()
            .take(SURVIVORS_NAMED)
            .map(Member::describe)
            .collect();
        format!(
            "{} processes survive KILL: {}",
            survivors.len(),
            named.join("; ")
        )
    }

    /// A signal has stopped the agent. The program that runs hbsidecar from a terminal must see a stopped job.
    pub(super) fn stopped_by(&mut self, signal: i32) -> Stopped {
        let (Some(terminal), Body::Child(process)) = (&mut self.terminal, &self.body) else {
            return Stopped::Ignored;
        };
        let wants_terminal = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        let by_terminal = wants_terminal || signal == libc::SIGTSTP;
        // Shells send no CONT to a job that was not stopped: we may be in the foreground again without having been informed.
        if (wants_terminal && terminal.is_ours()) || (by_terminal && !can_be_resumed()) {
            terminal.give_to(process.pid);
            let _ = process.signal_group(libc::SIGCONT, None); // it has ended: nothing to resume
            return Stopped::Ignored;
        }
        if (terminal.is_given() && can_be_resumed()) || by_terminal {
            terminal.take_for_now();
            return Stopped::Suspend(by_terminal.then_some(signal));
        }
        Stopped::Ignored
    }

    /// The sidecar was resumed, perhaps in the foreground: then the terminal is the agent's again.
    pub(super) fn resumed(&mut self) {
        if let (Some(terminal), Body::Child(process)) = (&mut self.terminal, &self.body)
            && terminal.is_ours()
        {
            terminal.give_to(process.pid);
        }
    }

    /// Whether its present or last end was asked for.
    pub(super) fn was_requested(&self) -> bool {
        self.life.requested() && !self.facts.lease_lost
    }

    /// The present incarnation has ended. `announced`: the agent reported a clean end before.
    pub(super) fn ended(
        &mut self,
        exit: Exit,
        alone: bool,
        announced: bool,
        by: EndedBy,
    ) -> ExitReport {
        self.suspension = None;
        let was_there = self.body.process().is_some();
        let killed_by_us = self.life.is_killing();
        self.facts.last = Some(exit);
        let reason = (exit.signal == Some(9) && !killed_by_us && self.oom.any())
            .then_some(Reason::OomKilled);
        if reason.is_some() {
            tracing::error!("the agent was killed for memory by the kernel (OOM kill)");
        }
        let incarnation = self.facts.incarnation;
        let is_child = matches!(self.body, Body::Child(_));
        let cut_off = is_child && exits::failed_unread(exit, self.facts.unread_for());
        if cut_off {
            tracing::warn!("nothing reads the agent's output any more: it is not restarted");
        }
        let effects = self.handle(Input::Exited(Ended {
            exit,
            alone,
            by_person: by.person,
            unread: exits::died_unread(exit),
            cut_off,
            announced,
            by_its_runner: by.its_runner,
            out_of_memory: reason.is_some(),
        }));
        self.body = Body::Absent;
        let requested = self.was_requested();
        if was_there {
            self.facts.unlogged_end = Some(match reason {
                Some(_) => "out of memory".to_owned(),
                None => exits::how(exit),
            });
            let reason = reason.or(self.facts.lease_lost.then_some(Reason::Killed));
            let crash_loop = self.life.is_crash_loop();
            let hung = std::mem::take(&mut self.facts.hung);
            self.facts.trouble = None;
            self.facts.end = Some(End {
                incarnation,
                exit,
                reason: if crash_loop {
                    Some(Reason::CrashLoop)
                } else {
                    let hung = hung.then_some(Reason::Hung);
                    let stopped_by = self.facts.stopped_by.filter(|_| requested);
                    reason.or(stopped_by).or(hung)
                },
                requested: requested && !hung,
                not_started: false,
            });
        }
        ExitReport {
            effects,
            incarnation,
            requested,
            reason,
        }
    }

    /// Resumes a stopped agent that was sent a signal to end it: stopped, it would not see it.
    pub(super) fn wake_to_end(&self) {
        let Some(process) = self.body.process() else {
            return;
        };
        let stopped =
            handle::named_stat(process.pid, process.started).is_some_and(|stat| stat.state == 'T');
        if stopped {
            let _ = process.signal_group(libc::SIGCONT, None); // it has ended: nothing to resume
        }
    }
}
