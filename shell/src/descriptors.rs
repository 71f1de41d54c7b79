//! Room in this process's table of descriptors. Too little is found out before anything is started: later it would cost the
//! agent its sockets, its output or its next start.

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// What a sidecar has open beside what it was given, with a store, at the moment when it starts an agent: 15 were seen
/// under `--exclusive`. One more is for reading /proc.
const NEEDED: usize = 16;
/// What reading the agent's output and a status file take: 11 were seen.
const NEEDED_TO_READ: usize = 12;

/// Why nothing is started.
#[derive(Debug, thiserror::Error)]
#[error(
    "{free} more descriptors can be opened and hbsidecar needs {needed}; raise the limit (ulimit -n), which is {limit}, \
     or start it with fewer open files"
)]
pub(crate) struct TooFew {
    free: usize,
    needed: usize,
    limit: rlim_t,
}

/// Refuses a start that would run out of descriptors. `reads`: the agent's output or a status file is read.
///
/// # Errors
/// There is too little room.
pub(crate) fn require(reads: bool) -> Result<(), TooFew> {
    let needed = if reads {
        NEEDED + NEEDED_TO_READ
    } else {
        NEEDED
    };
    let mut taken = Vec::new();
    while taken.len() < needed {
        match eventfd(0, EventfdFlags::CLOEXEC) {
            Ok(one) => taken.push(one),
            Err(Errno::MFILE | Errno::NFILE) => {
                return Err(TooFew {
                    free: taken.len(),
                    needed,
                    limit: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
                });
            }
            // Another refusal says nothing about the room.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
