//! Signals as inputs. All that can be forwarded are read, with the value a real-time signal carries.
//!
//! They are blocked for good (`inherited`) and read from one descriptor: none is lost between two reads, none interrupts
//! a call, and as PID 1 of a container they reach us although the kernel shields PID 1 from unhandled ones.

use crate::process::handle::until_readable;
use crate::process::inherited::EVERY_SIGNAL;
use nix::libc;
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// What a signal means for the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Some child ended or stopped.
    Child,
    /// A signal for us, which is one for the agent.
    Signal(Sent),
}

/// A signal that was sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) number: i32,
    /// What came with it, when it was queued with a value.
    pub(crate) value: Option<u64>,
}

/// The one place where signals are read.
#[derive(Debug)]
pub(crate) struct Signals(AsyncFd<OwnedFd>);

impl Signals {
    /// Listens; what was sent since the signals were blocked is read too.
    pub(crate) fn listen() -> io::Result<Self> {
        let every = EVERY_SIGNAL;
        #[expect(unsafe_code, reason = "no library reads the signals that it keeps")]
        // SAFETY: the set has the kernel's size; the descriptor is new and owned by no other value.
        let fd = unsafe {
            let fd = libc::syscall(
                libc::SYS_signalfd4,
                -1,
                &raw const every,
                size_of::<u64>(),
                libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
            );
            let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
            OwnedFd::from_raw_fd(fd.ok_or_else(io::Error::last_os_error)?)
        };
        Ok(Self(until_readable(fd)?))
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.0.readable().await?;
            match read_one(self.0.get_ref())? {
                None => ready.clear_ready(),
                Some(signal) => {
                    if let Some(received) = received(&signal) {
                        return Ok(received);
                    }
                }
            }
        }
    }
}

/// One signal that waits, if any does.
fn read_one(fd: &OwnedFd) -> io::Result<Option<libc::signalfd_siginfo>> {
    let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut bytes) {
        Ok(_) => {}
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    #[expect(unsafe_code, reason = "the kernel writes this structure as bytes")]
    // SAFETY: it consists of numbers, for which every pattern of bits is a value; the sizes are equal.
    Ok(Some(unsafe {
        std::mem::transmute::<[u8; size_of::<libc::signalfd_siginfo>()], libc::signalfd_siginfo>(
            bytes,
        )
    }))
}

fn received(signal: &libc::signalfd_siginfo) -> Option<Received> {
    let number = i32::try_from(signal.ssi_signo).ok()?;
    // A broken pipe of our own does not concern the agent.
    if number == libc::SIGPIPE && signal.ssi_pid == std::process::id() {
        return None;
    }
    Some(if number == Signal::SIGCHLD as i32 {
        Received::Child
    } else {
        let value = (signal.ssi_code == libc::SI_QUEUE).then_some(signal.ssi_ptr);
        Received::Signal(Sent { number, value })
    })
}
