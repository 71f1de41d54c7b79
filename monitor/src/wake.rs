//! How other threads and tasks wake the hub, which waits for its sockets.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one sleeper. Cheap to clone, cheap to use: a sleeper that is being woken is not woken again.
#[derive(Clone, Debug)]
pub(crate) struct Wake(Arc<Line>);

/// What is woken.
#[derive(Debug)]
pub(crate) struct Sleeper {
    end: UnixStream,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    end: UnixStream,
    is_ringing: AtomicBool,
}

/// A sleeper and what wakes it.
///
/// # Errors
/// No descriptors are left.
pub(crate) fn pair() -> std::io::Result<(Wake, Sleeper)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let line = Arc::new(Line {
        end: near,
        is_ringing: AtomicBool::new(false),
    });
    let sleeper = Sleeper {
        end: far,
        line: Arc::clone(&line),
    };
    Ok((Wake(line), sleeper))
}

impl Wake {
    /// Wakes the sleeper. What was handed over before is seen by it.
    pub(crate) fn wake(&self) {
        if !self.0.is_ringing.swap(true, Ordering::AcqRel) {
            // A full line wakes the sleeper as well.
            let _ = (&self.0.end).write(&[1]);
        }
    }
}

impl Sleeper {
    /// Wakes itself: it has more to do.
    pub(crate) fn stay_awake(&self) {
        Wake(Arc::clone(&self.line)).wake();
    }

    /// Call after waking and before taking what was handed over; `is_readable`: whether this was readable.
    pub(crate) fn clear(&self, is_readable: bool) {
        let mut bytes = [0; 16];
        while is_readable && (&self.end).read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
        self.line.is_ringing.swap(false, Ordering::AcqRel);
    }
}

/// Readable while the sleeper is being woken.
impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_woken(sleeper: &Sleeper) -> bool {
        let mut polled = [PollFd::new(sleeper.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn a_sleeper_is_woken_once_however_often_it_is_called_and_again_after_it_has_cleared() {
        let (wake, sleeper) = pair().unwrap();
        for _ in 0..3 {
            assert!(!is_woken(&sleeper));
            (0..1000).for_each(|_| wake.wake());
            assert!(is_woken(&sleeper));
            sleeper.clear(true);
        }
    }

    #[test]
    fn a_call_that_is_seen_late_wakes_again() {
        let (wake, sleeper) = pair().unwrap();
        wake.wake();
        sleeper.clear(false); // awake for another reason, before it was readable
        assert!(is_woken(&sleeper));
        sleeper.clear(true);
        assert!(!is_woken(&sleeper));
    }
}
