//! Room in this process's table of descriptors. Too little is found out before anything is started: later it would cost a
//! connection, a socket or a start, one at a time.

use nix::sys::resource::{Resource, getrlimit, rlim_t};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Why nothing is started.
#[derive(Debug, thiserror::Error)]
#[error(
    "{free} more descriptors can be opened and {needed} are needed; raise the limit (ulimit -n), which is {limit}, or start \
     it with fewer open files"
)]
pub struct TooFew {
    free: usize,
    needed: usize,
    limit: rlim_t,
}

/// Refuses a start that would run out of descriptors.
///
/// # Errors
/// So many cannot be opened.
pub fn require(needed: usize) -> Result<(), TooFew> {
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
