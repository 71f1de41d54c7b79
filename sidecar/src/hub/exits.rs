//! What an exit of the agent means: who wanted it, what it died of.

use super::agent::{AgentProcess, Body, ExitFacts};
use crate::clock;
use crate::config::{Config, Work, exit};
use crate::process::terminal::Terminal;
use heartbeat::base::moment::Moment;
use heartbeat::supervise::lifecycle::is_by_signal;
use heartbeat::wire::beat::Exit;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How long the parent of an attached agent has to reap it: that it ended well is readable only then.
const REAPED_WITHIN: Duration = Duration::from_secs(2);
/// So long an end belongs to that of its output's reader: an agent that writes notices within a beat.
const JUST_GONE: Duration = Duration::from_secs(30);
pub(super) const REAPED_CHECK: Duration = Duration::from_millis(10);

/// Who wanted an end, as far as its exit shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndedBy {
    /// The person at its terminal, or who started a transparent agent.
    pub(super) person: bool,
    /// The program that runs an agent which the sidecar is only attached to: a kubelet, a service manager.
    pub(super) its_runner: bool,
}

impl AgentProcess {
    pub(super) fn ended_by(&self, exit: Exit, config: &Config) -> EndedBy {
        // The sidecar that attached to it cannot see who sent the signal. No program ends itself by it.
        let stopped = [libc::SIGTERM, config.stop_signal]
            .iter()
            .any(|signal| u8::try_from(*signal).is_ok_and(|signal| is_by_signal(exit, signal)));
        EndedBy {
            person: self.ended_by_person(exit, &config.work),
            its_runner: stopped && config.work.target().is_some(),
        }
    }

    /// An attached agent has ended: its exit is readable once its parent has reaped it.
    pub(super) fn attached_exited(&mut self) {
        let now = clock::now();
        self.oom.group_ends();
        self.body = match std::mem::replace(&mut self.body, Body::Absent) {
            Body::Attached { process, .. } => Body::Unreaped {
                process,
                until: now + REAPED_WITHIN,
                check: now,
            },
            body @ (Body::Absent | Body::Child(_) | Body::Unreaped { .. }) => body,
        };
    }

    /// The exit of an attached agent, when it is known or no longer waited for.
    pub(super) fn attached_exit(&mut self, now: Moment) -> Option<Exit> {
        let Body::Unreaped {
            process,
            until,
            check,
        } = &mut self.body
        else {
            return None;
        };
        let shown = process.exit_before_reaped();
        if shown.is_none() && !process.is_reaped() && now < *until {
            *check = now + REAPED_CHECK;
            return None;
        }
        let exit = shown.or_else(|| process.exit()).unwrap_or(Exit::UNKNOWN);
        if exit == Exit::UNKNOWN {
            tracing::warn!(
                "the agent ended; its exit code is unknown: this kernel does not report it, or its parent has not reaped it"
            );
        }
        Some(exit)
    }

    /// Whether the person at the terminal, or who started a transparent agent, ended it. Ctrl-C and the like reach the
    /// agent's group and not ours; many programs catch them and exit with 128+n.
    fn ended_by_person(&self, exit: Exit, work: &Work) -> bool {
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
pub(super) fn died_unread(exit: Exit) -> bool {
    is_by_signal(exit, libc::SIGPIPE as u8) && output_is_unread()
}

/// Whether it failed with a code of its own, as Python and Node do at a broken pipe, and its reader went a short time ago.
/// One that ran on without a reader failed for another reason.
pub(super) fn failed_unread(exit: Exit, unread_for: Duration) -> bool {
    unread_for < JUST_GONE && exit.code.is_some_and(|code| code != 0) && output_is_unread()
}

impl ExitFacts {
    /// Notes since when nothing reads the output.
    pub(super) fn look_for_reader(&mut self) {
        self.unread_since =
            output_is_unread().then(|| self.unread_since.unwrap_or_else(clock::now));
    }

    /// How long nothing has read the output, as far as that was seen.
    pub(super) fn unread_for(&self) -> Duration {
        self.unread_since
            .map_or(Duration::ZERO, |at| clock::now().since(at))
    }
}

/// Whether nothing reads our standard output or error any more, which are also the agent's.
fn output_is_unread() -> bool {
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
