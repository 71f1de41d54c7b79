//! The guard: a process of its own that ends the agent when this one was killed, or stands still beyond its lease.
//!
//! It is forked before any thread exists, belongs to no process group or session of ours, and holds nothing of ours but the
//! read end of a pipe. A deadline comes through it; its end means that this process is dead. The parent-death signal ends
//! the agent's first process even earlier; the guard finds those that left it, by the mark in their environment.

use crate::clock;
use crate::process::tree::Tree;
use crate::process::{handle, helper};
use heartbeat::base::moment::{Moment, millis};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// How long killed processes may take to vanish before they are killed again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often they are killed again: those that survive it cannot be killed at all.
const TIMES: u32 = 100;
/// The message that lets the guard go.
const RELEASED: u64 = u64::MAX;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Our end of the guard.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: OwnedFd,
    /// That it is gone was logged.
    lost: bool,
}

impl Guard {
    /// Forks it away. `mark`: what the environment of the agent's processes carries. No thread may exist yet.
    ///
    /// # Errors
    /// No process, or no descriptor.
    pub(crate) fn start(mark: OsString) -> io::Result<Self> {
        let (listen, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let started = handle::stat(pid).map_or(0, |stat| stat.starttime);
        let keep = vec![listen.as_raw_fd()];
        helper::split_off(c"hb-guard", keep, || {
            // A second fork: the guard is no child of ours, and the agent's tree holds no stranger.
            if matches!(fork(), Ok(0)) {
                watch(&listen, &Tree::Guarded { pid, started, mark });
            }
        })?;
        Ok(Self { pipe, lost: false })
    }

    /// The agent is ended at this time, unless a later one comes.
    pub(crate) fn extend(&mut self, until: Moment) {
        let after_boot = millis(until.since(Moment::from_millis(0)));
        let _ = rustix::io::write(&self.pipe, &after_boot.to_ne_bytes()); // one that is gone is seen by a look
    }

    /// Logs once that it is gone: another process may have killed it.
    pub(crate) fn look(&mut self) {
        let mut pipe = [PollFd::new(&self.pipe, PollFlags::empty())];
        let is_gone = matches!(poll(&mut pipe, Some(&NOW)), Ok(1..));
        if is_gone && !self.lost {
            self.lost = true;
            tracing::error!(
                "the guard process is gone: when this one is killed too, the agent's descendants run on"
            );
        }
    }

    /// The agent and all of its processes have ended, or may run on: the guard goes.
    pub(crate) fn release(self) {
        let _ = rustix::io::write(&self.pipe, &RELEASED.to_ne_bytes()); // it has gone before
    }
}

/// Waits for the end of the sidecar, or for the deadline; then ends the agent's processes.
fn watch(listen: &OwnedFd, tree: &Tree) {
    let mut until: Option<Moment> = None;
    loop {
        let left = until.map(|until| until.since(clock::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if !matches!(
            poll(&mut [PollFd::new(listen, PollFlags::IN)], left.as_ref()),
            Ok(1..)
        ) {
            continue;
        }
        let mut word = [0; size_of::<u64>()];
        match rustix::io::read(listen, &mut word) {
            Ok(0) => break,
            Ok(_) => match u64::from_ne_bytes(word) {
                RELEASED => return,
                after_boot => until = Some(Moment::from_millis(after_boot)),
            },
            Err(_) => {}
        }
    }
    for _ in 0..TIMES {
        if tree.members().is_empty() {
            return;
        }
        tree.kill();
        std::thread::sleep(AGAIN);
    }
}

fn fork() -> io::Result<i32> {
    #[expect(
        unsafe_code,
        reason = "the guard must be another process that survives this one"
    )]
    // SAFETY: no other thread exists yet, so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}
