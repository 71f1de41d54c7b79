//! What an exit of the agent means: who wanted it, what it died of.

use super::agent::AgentProcess;
use crate::config::{Work, exit};
use crate::process::terminal::Terminal;
use heartbeat::wire::beat::Exit;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd};

impl AgentProcess {
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
