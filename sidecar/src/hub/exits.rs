//! What an exit of the agent means: who wanted it, what it died of, what follows.

use super::agent::{AgentProcess, Body};
use crate::config::{Work, exit};
use crate::process::terminal::Terminal;
use heartbeat::supervise::lifecycle::{Effect, Ended, Input};
use heartbeat::wire::beat::Exit;
use heartbeat::wire::life::{End, Reason};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd};

/// An exit, with what it leads to.
pub(super) struct ExitReport {
    pub(super) effects: Vec<Effect>,
    pub(super) incarnation: u64,
    pub(super) requested: bool,
    pub(super) reason: Option<Reason>,
}

impl AgentProcess {
    /// The present incarnation has ended. `announced`: the agent reported a clean end before.
    pub(super) fn ended(
        &mut self,
        exit: Exit,
        alone: bool,
        announced: bool,
        by_terminal: bool,
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
        let effects = self.handle(Input::Exited(Ended {
            exit,
            alone,
            by_person: by_terminal,
            unread: output_is_unread(exit),
            announced,
        }));
        self.body = Body::Absent;
        let requested = self.life.requested();
        if was_there {
            self.facts.unlogged_end = Some(match reason {
                Some(_) => "out of memory".to_owned(),
                None => how(exit),
            });
            let crash_loop = effects.contains(&Effect::ReportCrashLoop);
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

    /// Whether the person at the terminal, or who started a transparent agent, ended it. Ctrl-C and the like reach the
    /// agent's group and not ours; many programs catch them and exit with 128+n.
    pub(super) fn ended_by_person(&self, exit: Exit, work: &Work) -> bool {
        const BY_PERSON: [u8; 3] = [libc::SIGHUP as u8, libc::SIGINT as u8, libc::SIGQUIT as u8];
        let in_front = self.terminal.as_ref().is_some_and(Terminal::is_given);
        let signal = exit.signal.or_else(|| {
            exit.code
                .and_then(|code| code.checked_sub(exit::SIGNAL_BASE))
        });
        // The user or service manager that started a transparent agent may also end it.
        let is_theirs = matches!(work, Work::Transparent(_));
        let by_person =
            |signal| BY_PERSON.contains(&signal) || (is_theirs && signal == libc::SIGTERM as u8);
        (in_front || is_theirs) && signal.is_some_and(by_person)
    }
}

/// Whether it died of a broken pipe that is its standard output or error, and ours: its reader has what it wanted.
pub(super) fn output_is_unread(exit: Exit) -> bool {
    let pipe = libc::SIGPIPE as u8;
    if exit.signal != Some(pipe) && exit.code != Some(exit::SIGNAL_BASE + pipe) {
        return false;
    }
    let unread = |fd: BorrowedFd<'_>| {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    };
    unread(std::io::stdout().as_fd()) || unread(std::io::stderr().as_fd())
}

/// How an agent ended, for people.
pub(super) fn how(exit: Exit) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(i32::from(signal));
            name.map_or_else(
                |_| format!("killed by signal {signal}"),
                |name| format!("killed by {}", name.as_str()),
            )
        }
        (None, None) => "its exit code is unknown".to_owned(),
    }
}
