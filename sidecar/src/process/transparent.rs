//! Becoming the agent: the watcher is forked away, then this very process turns into the agent. Its number, group,
//! session and terminal are those it was started with.
//!
//! This happens before any thread or loop exists, so the watcher can continue as an ordinary program after the fork.

use crate::process::handle::Process;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

/// How long the agent waits for its watcher; then it starts without its epoch.
const WATCHER_WITHIN: Duration = Duration::from_secs(5);
/// The longest message of the watcher, in bytes.
const WORDS_MAX: u64 = 64 * 1024;

/// Which of the two processes this is.
pub(crate) enum Side {
    /// The watcher, of this process; it answers through this end.
    Watcher(Process, Answer),
    /// The process that becomes the agent, with these variables.
    Agent(Vec<(&'static str, OsString)>),
    /// The watcher refused: the id is taken.
    Refused,
}

/// The watcher's end of the pipe.
pub(crate) struct Answer(OwnedFd);

impl Answer {
    /// Lets the agent start, with these variables.
    pub(crate) fn go(self, environment: &[(&'static str, OsString)]) {
        let mut words = Vec::new();
        for (name, value) in environment {
            words.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        }
        words.push(0); // an empty variable: nothing is missing
        // The agent went on without waiting: it knows what it needs.
        let _ = File::from(self.0).write_all(&words);
    }

    /// Refuses the agent's start.
    pub(crate) fn refuse(self) {
        let _ = File::from(self.0).write_all(b"\0\0"); // the agent no longer waits
    }
}

/// Forks the watcher away. `names`: the variables that the watcher may give.
pub(crate) fn split(names: &[&'static str]) -> std::io::Result<Side> {
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    let agent = Process::open(me)?;
    let (listen, answer) = pipe2(OFlag::O_CLOEXEC)?;
    match fork()? {
        0 => {
            drop(listen);
            setsid()?;
            // A second fork: init adopts the watcher, so the agent has no child that it does not know.
            if fork()? != 0 {
                exit_now();
            }
            leave_stdio()?;
            Ok(Side::Watcher(agent, Answer(answer)))
        }
        first => {
            drop(answer);
            crate::process::handle::wait_for(first);
            Ok(watcher_message(listen, names))
        }
    }
}

/// The watcher's message. Without one in time the agent starts all the same.
fn watcher_message(listen: OwnedFd, names: &[&'static str]) -> Side {
    let words = read_until(&listen, Instant::now() + WATCHER_WITHIN);
    if words.starts_with(b"\0\0") {
        return Side::Refused;
    }
    let variables = words.split(|byte| *byte == 0).filter_map(|variable| {
        let at = variable.iter().position(|byte| *byte == b'=')?;
        let name = names
            .iter()
            .find(|name| name.as_bytes() == &variable[..at])?;
        Some((*name, OsString::from_vec(variable[at + 1..].to_vec())))
    });
    Side::Agent(variables.collect())
}

fn read_until(listen: &OwnedFd, deadline: Instant) -> Vec<u8> {
    let mut words = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(listen.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, timeout), Ok(1..)) {
            return words;
        }
        let mut some = [0; 4096];
        let Ok(file) = listen.try_clone().map(File::from) else {
            return words;
        };
        match file.take(WORDS_MAX).read(&mut some) {
            Ok(0) | Err(_) => return words,
            Ok(count) => words.extend(&some[..count]),
        }
        if words.ends_with(b"\0\0") || words.len() as u64 > WORDS_MAX {
            return words;
        }
    }
}

/// Nothing of ours stays on the agent's standard input, output and error: a reader of its output waits for its end.
fn leave_stdio() -> std::io::Result<()> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

fn fork() -> std::io::Result<i32> {
    #[expect(
        unsafe_code,
        reason = "the watcher must be another process, and no other way leaves this one untouched"
    )]
    // SAFETY: no other thread exists yet, so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

fn exit_now() -> ! {
    #[expect(
        unsafe_code,
        reason = "an intermediate process leaves without running anything of its parent's"
    )]
    // SAFETY: nothing runs after it.
    unsafe {
        libc::_exit(0)
    }
}
