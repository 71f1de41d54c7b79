//! The terminal: the agent's while it runs in the foreground, ours to give and to take back.
//!
//! Only who has the terminal may give it: in the background nothing is taken. Every signal is blocked here, SIGTTOU with
//! them, so the calls below never stop us.

use crate::process::handle::file::attributes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// Whether a shell of our session, above our process group, could resume us in the foreground if we stopped. In a
/// container or a window of its own there is none, and the kernel ignores Ctrl-Z for a program alone; so must we.
pub(crate) fn can_be_resumed() -> bool {
    let (session, group) = (getsid(None), getpgrp());
    let mut above = getppid();
    while above.as_raw() > 0 && getsid(Some(above)) == session {
        if getpgid(Some(above)) != Ok(group) {
            return true;
        }
        let parent = crate::process::handle::stat(above.as_raw()).map_or(0, |stat| stat.ppid);
        above = Pid::from_raw(parent);
    }
    false
}

/// Whether the terminal on our standard error is also on one of a process's standard descriptors.
pub(crate) fn shares_terminal(pid: i32) -> bool {
    let device = |path: &str| attributes(path).ok().map(|found| found.stands_for);
    let ours = device("/proc/self/fd/2").filter(|device| *device != (0, 0));
    let is_ours = |fd| ours.is_some() && device(&format!("/proc/{pid}/fd/{fd}")) == ours;
    std::io::stderr().is_terminal() && (0..3).any(is_ours)
}

/// Sends a signal to our own process group: to the shells, scripts and pipelines around us, which the terminal would have
/// signalled together with the agent, had we not given it away.
pub(crate) fn share(signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = kill(Pid::from_raw(0), signal); // we belong to it: it is not empty
    }
}

/// Our controlling terminal, whatever standard input is: an agent whose input is a pipe may read from it too.
#[derive(Debug)]
pub(crate) struct Terminal {
    terminal: File,
    ours: Pid,
    /// How it was set when we had it, and how the agent last had it set.
    our_settings: Option<Termios>,
    agents_settings: Option<Termios>,
    given_to: Option<Pid>,
}

impl Terminal {
    /// Our controlling terminal, if there is one.
    pub(crate) fn find() -> Option<Self> {
        let terminal = File::options()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NOCTTY)
            .open("/dev/tty")
            .ok()?;
        tcgetpgrp(&terminal).ok()?;
        let our_settings = tcgetattr(&terminal).ok();
        Some(Self {
            terminal,
            ours: getpgrp(),
            our_settings,
            agents_settings: None,
            given_to: None,
        })
    }

    /// Its descriptor, for the agent's process before it becomes the agent.
    pub(crate) fn descriptor(&self) -> i32 {
        self.terminal.as_raw_fd()
    }

    /// Whether it listens to us.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.terminal) == Ok(self.ours)
    }

    /// Whether it was given to the agent and not taken back since.
    pub(crate) fn is_given(&self) -> bool {
        self.given_to.is_some()
    }

    /// Gives it to the agent's process group, if it is ours to give.
    pub(crate) fn give_to(&mut self, group: i32) {
        let group = Pid::from_raw(group);
        // The agent's process has done the same for itself before its first instruction.
        let there = self.is_ours() || tcgetpgrp(&self.terminal) == Ok(group);
        if !there || (self.is_ours() && tcsetpgrp(&self.terminal, group).is_err()) {
            return;
        }
        if let Some(settings) = self.agents_settings.take() {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &settings); // it hung up: there is nothing to set
        }
        self.given_to = Some(group);
    }

    /// The agent has stopped: the terminal is ours again, and the agent's settings are kept until it is resumed.
    pub(crate) fn take_for_now(&mut self) {
        let settings = tcgetattr(&self.terminal).ok();
        if self.take_back() {
            self.agents_settings = settings;
        }
    }

    /// The agent has ended, perhaps in the middle of a full-screen picture: the terminal is ours, as it was. True when it
    /// was taken; another group's is left alone.
    pub(crate) fn take_back(&mut self) -> bool {
        let Some(group) = self.given_to.take() else {
            return false;
        };
        self.agents_settings = None;
        if tcgetpgrp(&self.terminal) != Ok(group) {
            return false;
        }
        if let Err(error) = tcsetpgrp(&self.terminal, self.ours) {
            tracing::debug!("cannot take the terminal back: {error}");
            return false;
        }
        if let Some(settings) = &self.our_settings {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, settings); // it hung up: there is nothing to set
        }
        true
    }
}
