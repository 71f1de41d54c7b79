//! The agent's process: fork, exec, reap. One reaper owns every wait: a library that waited for children beside it would
//! steal exit codes. As subreaper (and as PID 1 of a container) hbsidecar inherits orphans of the tree; they are reaped too.

mod image;

use crate::config::exit;
use crate::process::handle::{self, Process, exit_of};
use crate::process::inherited::Inherited;
use heartbeat::wire::beat::Exit;
use image::Image;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How long a started child may take to become the agent, in milliseconds: a file on a mount that hangs has no end, and
/// hbsidecar has beats to send and signals to obey meanwhile.
const EXEC_WITHIN_MS: u16 = 1000;

/// What the agent is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a OsStr,
    pub(crate) arguments: &'a [OsString],
    /// Beside what we got ourselves.
    pub(crate) environment: &'a [(&'static str, OsString)],
    pub(crate) inherited: Inherited,
    /// The terminal that it starts with, when that is ours to give.
    pub(crate) terminal: Option<i32>,
    /// Descriptors of ours, and the outputs of the agent that they become.
    pub(crate) outputs: Vec<(RawFd, RawFd)>,
    /// Whether it is killed when this process dies.
    pub(crate) dies_with_us: bool,
}

/// Why the agent could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// No such command.
    #[error("cannot run {0:?}: command not found; check the name and PATH")]
    NotFound(OsString),
    /// The command is there.
    #[error("cannot run {0:?}: {1}; is it executable, and is its interpreter installed?")]
    NotExecutable(OsString, std::io::Error),
    /// The first line of a script names a program that is not there.
    #[error("cannot run {0:?}: {1}")]
    NoInterpreter(OsString, MissingInterpreter),
    /// The file is being written.
    #[error("cannot run {0:?}: its file is open for writing; start it when it is whole")]
    Busy(OsString),
    /// No process could be made.
    #[error(
        "cannot start {0:?}: {1}; check the limits of processes (ulimit -u), descriptors (ulimit -n) and memory"
    )]
    NoProcess(OsString, std::io::Error),
    /// An argument that no program can be given.
    #[error("cannot run {0:?}: its name, arguments and environment must not hold a NUL byte")]
    Nul(OsString),
}

/// What the first line of a script names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MissingInterpreter {
    #[error("its interpreter {0:?} is not there; install it, or correct the script's first line")]
    NotThere(OsString),
    #[error(
        "its first line ends as on Windows (CR LF), which names no interpreter; convert it with dos2unix"
    )]
    EndsInReturn,
}

impl StartError {
    /// What a shell would exit with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => exit::NOT_FOUND,
            Self::NotExecutable(..) | Self::NoInterpreter(..) | Self::Busy(_) => {
                exit::NOT_EXECUTABLE
            }
            Self::NoProcess(..) | Self::Nul(_) => exit::OWN_FAILURE,
        }
    }

    /// Whether another try would end the same way.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::NotExecutable(_, error) => !may_pass(error),
            Self::NotFound(_) | Self::NoInterpreter(..) | Self::Nul(_) => true,
            Self::NoProcess(..) | Self::Busy(_) => false,
        }
    }
}

/// Whether this refusal says nothing of the program: a table of the machine is full, or a file system does not answer well.
fn may_pass(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENFILE | libc::EMFILE | libc::EIO | libc::ESTALE | libc::ETIMEDOUT | libc::EINTR
        )
    )
}

/// Orphans of the agent's tree come to us instead of leaving for init.
pub(crate) fn adopt_orphans() {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!("cannot adopt orphans of the agent: {error}");
    }
}

/// A child whose program the kernel still reads.
#[derive(Debug)]
pub(crate) struct Loading(OwnedFd);

impl Loading {
    /// Whether it has not become the agent yet.
    pub(crate) fn goes_on(&self) -> bool {
        is_silent(&self.0, 0)
    }
}

/// Starts the agent in a process group of its own. One whose program is not read within [`EXEC_WITHIN_MS`] is watched as the
/// agent that it may still become; if it cannot, it ends as under a shell.
pub(crate) fn start(start: &Start<'_>) -> Result<(Process, Option<Loading>), StartError> {
    let no_process = |error: Errno| StartError::NoProcess(start.program.to_owned(), error.into());
    let mut image = Image::new(start)?;
    let (report, error_pipe) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(no_process)?;
    #[expect(
        unsafe_code,
        reason = "an exact copy of what we were given needs code between fork and exec"
    )]
    // SAFETY: the child calls only what is async-signal-safe and never returns.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(no_process(Errno::last())),
        0 => image.become_agent(error_pipe.as_raw_fd()),
        pid => pid,
    };
    drop(error_pipe);
    let loading = match outcome(report) {
        Became::Agent => None,
        Became::NothingYet(loading) => Some(loading),
        Became::Failed(error) => {
            handle::wait_for(pid);
            return Err(start_error(start.program, error));
        }
    };
    Ok((Process::of_child(pid), loading))
}

/// Becomes the agent, in this very process. Returns only when that fails.
pub(crate) fn become_agent(start: &Start<'_>) -> StartError {
    match Image::new(start) {
        Ok(mut image) => start_error(
            start.program,
            std::io::Error::from_raw_os_error(image.exec()),
        ),
        Err(error) => error,
    }
}

/// What one round of reaping found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// How the agent ended, if it did.
    pub(crate) exit: Option<Exit>,
    /// The agent was stopped by this signal.
    pub(crate) stopped: Option<i32>,
    /// Some process ended.
    pub(crate) any: bool,
    /// No child is left to wait for.
    pub(crate) alone: bool,
}

/// Reaps every process that ended.
pub(crate) fn reap(agent: Option<i32>) -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        let (pid, status) = match next_status() {
            Next::Status(pid, status) => (pid, status),
            Next::NoneNow => return reaped,
            Next::NoChild => {
                return Reaped {
                    alone: true,
                    ..reaped
                };
            }
        };
        let is_agent = Some(pid) == agent;
        if libc::WIFSTOPPED(status) {
            if is_agent {
                reaped.stopped = Some(libc::WSTOPSIG(status));
            }
            continue;
        }
        reaped.any = true;
        if is_agent {
            reaped.exit = Some(exit_of(status));
        }
    }
}

enum Next {
    Status(i32, i32),
    NoneNow,
    NoChild,
}

/// The next process that ended or stopped, and its raw status.
fn next_status() -> Next {
    loop {
        let mut status = 0;
        #[expect(
            unsafe_code,
            reason = "nix reaps deaths by real-time signals and loses them: it has no name for them"
        )]
        // SAFETY: the only pointer is to a local that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        match pid {
            1.. => return Next::Status(pid, status),
            0 => return Next::NoneNow,
            ..0 if Errno::last() == Errno::EINTR => {}
            ..0 => return Next::NoChild,
        }
    }
}

/// What the child reports, when it does: a number where it could not become the agent, the end of the pipe where it did.
fn outcome(report: OwnedFd) -> Became {
    if is_silent(&report, EXEC_WITHIN_MS) {
        return Became::NothingYet(Loading(report));
    }
    let mut number = [0; 4];
    match std::fs::File::from(report).read_exact(&mut number) {
        Ok(()) => Became::Failed(std::io::Error::from_raw_os_error(i32::from_ne_bytes(
            number,
        ))),
        Err(_) => Became::Agent,
    }
}

enum Became {
    Agent,
    NothingYet(Loading),
    Failed(std::io::Error),
}

fn is_silent(report: &OwnedFd, within_ms: u16) -> bool {
    let mut answers = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
    while nix::poll::poll(&mut answers, within_ms) == Err(Errno::EINTR) {}
    answers[0].any() != Some(true)
}

fn start_error(program: &OsStr, error: std::io::Error) -> StartError {
    let program = program.to_owned();
    match error.raw_os_error() {
        // A script whose interpreter is missing gives the same error, although the script exists.
        Some(libc::ENOENT) => match image::paths(&program)
            .iter()
            .find(|p| Path::new(p).exists())
        {
            None => StartError::NotFound(program),
            Some(path) => match missing_interpreter(Path::new(path)) {
                Some(missing) => StartError::NoInterpreter(program, missing),
                None => StartError::NotExecutable(program, error),
            },
        },
        Some(libc::EAGAIN | libc::ENOMEM) => StartError::NoProcess(program, error),
        Some(libc::ETXTBSY) => StartError::Busy(program),
        _ => StartError::NotExecutable(program, error),
    }
}

/// What the first line of this script names, unless it is there.
fn missing_interpreter(script: &Path) -> Option<MissingInterpreter> {
    /// The kernel reads no more of a first line.
    const FIRST_LINE_MAX: u64 = 256;
    let mut start = Vec::new();
    let file = std::fs::File::open(script).ok()?;
    file.take(FIRST_LINE_MAX).read_to_end(&mut start).ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    if line.ends_with(b"\r") {
        return Some(MissingInterpreter::EndsInReturn);
    }
    let mut words = line.split(|byte| byte.is_ascii_whitespace());
    let name = OsStr::from_bytes(words.find(|word| !word.is_empty())?);
    (!Path::new(name).exists()).then(|| MissingInterpreter::NotThere(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_whose_interpreter_is_missing_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |first_line: &str| {
            let path = dir.path().join("agent");
            std::fs::write(&path, first_line).unwrap();
            let error = std::io::Error::from_raw_os_error(libc::ENOENT);
            start_error(path.as_os_str(), error).to_string()
        };
        assert!(refused("#! /no/such -x\necho").contains("\"/no/such\" is not there"));
        assert!(refused("#!/bin/sh\r\necho\r\n").contains("dos2unix"));
    }

    #[test]
    fn a_refusal_that_says_nothing_of_the_program_is_tried_again() {
        let of = |number| {
            let error = std::io::Error::from_raw_os_error(number);
            start_error(OsStr::new("/bin/sh"), error).is_permanent()
        };
        for passes in [
            libc::EIO,
            libc::ESTALE,
            libc::ENFILE,
            libc::ETXTBSY,
            libc::EAGAIN,
        ] {
            assert!(!of(passes), "{passes}");
        }
        for stays in [libc::EACCES, libc::ENOEXEC, libc::ENOENT, libc::E2BIG] {
            assert!(of(stays), "{stays}");
        }
    }
}
