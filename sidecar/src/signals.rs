//! Signals as a stream of inputs for the hub.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What the hub hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Some child ended or stopped.
    Child,
    /// Pass it on; it asks for no end.
    Forward(Signal),
    /// Pass it on; the end that follows was asked for.
    End(Signal),
}

/// Signals that wait for the hub: more of one kind than this say nothing new.
const WAITING_MAX: usize = 16;

const SIGNALS: [(Signal, Heard); 9] = [
    (Signal::SIGCHLD, Heard::Child),
    (Signal::SIGTERM, Heard::End(Signal::SIGTERM)),
    (Signal::SIGINT, Heard::End(Signal::SIGINT)),
    (Signal::SIGQUIT, Heard::End(Signal::SIGQUIT)),
    (Signal::SIGHUP, Heard::End(Signal::SIGHUP)),
    (Signal::SIGUSR1, Heard::Forward(Signal::SIGUSR1)),
    (Signal::SIGUSR2, Heard::Forward(Signal::SIGUSR2)),
    (Signal::SIGCONT, Heard::Forward(Signal::SIGCONT)),
    (Signal::SIGWINCH, Heard::Forward(Signal::SIGWINCH)),
];

/// Listens from now on; a signal that comes before the agent is started is kept.
pub(crate) fn listen() -> std::io::Result<mpsc::Receiver<Heard>> {
    let (send, heard) = mpsc::channel(WAITING_MAX);
    for (number, what) in SIGNALS {
        let mut stream = signal(SignalKind::from_raw(number as i32))?;
        let send = send.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if send.send(what).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(heard)
}
