//! The agent's process: start, signal, reap. The only room that knows Unix processes.
//!
//! One reaper owns every wait: a library that waited for children beside it would steal exit codes. As subreaper (and as
//! PID 1 of a container) hbsidecar also inherits orphans of the tree; they are reaped and forgotten.

use crate::config::exit;
use heartbeat::beat::Exit;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Variables of a supervisor above us: they speak of our process, not of the agent's.
const NOT_FOR_THE_AGENT: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A running agent.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    terminal: Option<Terminal>,
}

/// We were the foreground group of a terminal; the agent is it now.
#[derive(Debug)]
struct Terminal {
    ours: Pid,
}

/// Why the agent could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// No such command.
    #[error("cannot run {0:?}: command not found; check the name and PATH")]
    NotFound(OsString),
    /// The command is there.
    #[error("cannot run {0:?}: {1}; is it executable, and its interpreter there?")]
    NotExecutable(OsString, std::io::Error),
    /// No process could be made.
    #[error("cannot start {0:?}: {1}")]
    NoProcess(OsString, std::io::Error),
}

impl StartError {
    /// What a shell would exit with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => exit::NOT_FOUND,
            Self::NotExecutable(..) => exit::NOT_EXECUTABLE,
            Self::NoProcess(..) => exit::OWN_FAILURE,
        }
    }
}

/// Orphans of the agent's tree come to us instead of leaving for init.
pub(crate) fn adopt_orphans() {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!("cannot adopt orphans of the agent: {error}");
    }
}

impl Child {
    /// Starts the agent in a process group of its own, in the foreground if we were there.
    pub(crate) fn start(
        program: &OsStr,
        arguments: &[OsString],
        environment: &[(&str, String)],
    ) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().cloned())
            .process_group(0);
        for name in NOT_FOR_THE_AGENT {
            command.env_remove(name);
        }
        let child = command
            .spawn()
            .map_err(|error| start_error(program, error))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let terminal = Terminal::hand_to(pid);
        Ok(Self { pid, terminal })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal to the agent's process group. It is not reaped yet, so its number is still its own.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(self.pid, signal) {
            tracing::warn!("cannot send {signal} to the agent: {error}");
        }
    }

    /// Reaps every process that ended; the agent's own end comes back.
    pub(crate) fn reap(&mut self) -> Option<Exit> {
        let mut ended = None;
        while let Some((pid, status)) = next_status() {
            // Orphans that came to us are reaped, and nobody asks how they ended.
            if pid != self.pid.as_raw() {
                continue;
            }
            if libc::WIFSTOPPED(status) {
                self.stopped();
            } else if libc::WIFEXITED(status) {
                let code = u8::try_from(libc::WEXITSTATUS(status)).ok();
                ended = Some(Exit { code, signal: None });
            } else if libc::WIFSIGNALED(status) {
                let signal = u8::try_from(libc::WTERMSIG(status)).ok();
                ended = Some(Exit { code: None, signal });
            }
        }
        if let Some(terminal) = self.terminal.take_if(|_| ended.is_some()) {
            terminal.take_back();
        }
        ended
    }

    /// Ctrl-Z: whoever runs us must see a stopped job. On `fg` the terminal goes to the agent again.
    fn stopped(&mut self) {
        let Some(terminal) = self.terminal.take() else {
            return;
        };
        terminal.take_back();
        // Nothing can be done about a refused stop: then the agent is stopped and we are not.
        let _ = kill(Pid::this(), Signal::SIGSTOP);
        self.terminal = Terminal::hand_to(self.pid);
        self.signal(Signal::SIGCONT);
    }
}

impl Terminal {
    fn hand_to(group: Pid) -> Option<Self> {
        let stdin = std::io::stdin();
        let ours = getpgrp();
        if !stdin.is_terminal() || tcgetpgrp(&stdin) != Ok(ours) {
            return None;
        }
        tcsetpgrp(&stdin, group).ok()?;
        Some(Self { ours })
    }

    fn take_back(self) {
        #[expect(
            unsafe_code,
            reason = "no handler is installed: the signal is ignored around one call"
        )]
        // SAFETY: SIG_IGN and SIG_DFL run no code of ours.
        let before = unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn) };
        if let Err(error) = tcsetpgrp(std::io::stdin(), self.ours) {
            tracing::warn!("cannot take the terminal back: {error}");
        }
        if let Ok(before) = before {
            #[expect(unsafe_code, reason = "restores what was there")]
            // SAFETY: the disposition that was in force before.
            let _ = unsafe { signal(Signal::SIGTTOU, before) };
        }
    }
}

/// What the sidecar exits with after this end of the agent.
pub(crate) fn exit_code(ended: Exit) -> u8 {
    match (ended.code, ended.signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => exit::SIGNAL_BASE.saturating_add(signal),
        (None, None) => exit::OWN_FAILURE,
    }
}

/// The next process that ended or stopped, and its raw status.
fn next_status() -> Option<(i32, i32)> {
    loop {
        let mut status = 0;
        #[expect(
            unsafe_code,
            reason = "nix reaps deaths by real-time signals and loses them: it has no name for them"
        )]
        // SAFETY: the only pointer is to a local that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        match pid {
            1.. => return Some((pid, status)),
            // Nothing to reap now, or no child at all.
            0 => return None,
            ..0 if Errno::last() == Errno::EINTR => {}
            ..0 => return None,
        }
    }
}

fn start_error(program: &OsStr, error: std::io::Error) -> StartError {
    let program = program.to_owned();
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        StartError::NotFound(program)
    } else if matches!(
        kind,
        std::io::ErrorKind::OutOfMemory | std::io::ErrorKind::WouldBlock
    ) {
        StartError::NoProcess(program, error)
    } else {
        StartError::NotExecutable(program, error)
    }
}
