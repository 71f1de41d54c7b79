//! Signals as inputs. All that can be forwarded are read, with the value a real-time signal carries.
//!
//! They are blocked for good (`inherited`) and read from one descriptor: none is lost between two reads, none interrupts
//! a call, and as PID 1 of a container they reach us although the kernel shields PID 1 from unhandled ones.

use crate::process::handle::until_readable;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
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
pub(crate) struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Listens; what was sent since the signals were blocked is read too.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&SigSet::all(), flags)?;
        Ok(Self(until_readable(fd)?))
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> std::io::Result<Received> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            match ready.get_inner_mut().read_signal()? {
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
