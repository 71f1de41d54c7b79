//! Wakes a thread that sleeps in `poll`: to process what has arrived, or to end.

use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// The waking side. Dropped, it ends the thread without waiting for it.
#[derive(Debug)]
pub(crate) struct Notifier {
    eventfd: Arc<OwnedFd>,
    ask: Option<mpsc::Sender<oneshot::Sender<()>>>,
}

/// The thread's side.
#[derive(Debug)]
pub(crate) struct Listener {
    eventfd: Arc<OwnedFd>,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

/// A caller waits until the thread has processed what has arrived. Dropping it is the answer.
#[derive(Debug)]
pub(crate) struct Request(
    #[expect(dead_code, reason = "its end is the answer")] oneshot::Sender<()>,
);

/// Why a thread was woken.
#[derive(Debug)]
pub(crate) enum Woken {
    /// By another descriptor.
    Otherwise,
    /// To process what has arrived.
    ToCatchUp(Request),
    /// To end.
    ToEnd,
}

/// Both sides.
pub(crate) fn pair() -> io::Result<(Notifier, Listener)> {
    let eventfd = Arc::new(rustix::event::eventfd(
        0,
        EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
    )?);
    let (ask, asked) = mpsc::channel();
    let notifier = Notifier {
        eventfd: Arc::clone(&eventfd),
        ask: Some(ask),
    };
    Ok((notifier, Listener { eventfd, asked }))
}

impl Notifier {
    /// Waits until the thread has processed all that had arrived, or has ended, but no longer than `within`.
    pub(crate) async fn caught_up(&self, within: Duration) {
        let (done, over) = oneshot::channel();
        if self.ask.as_ref().is_some_and(|ask| ask.send(done).is_ok()) {
            self.notify();
            let _ = tokio::time::timeout(within, over).await; // a thread that hangs is not waited for
        }
    }

    /// Wakes the thread to look again.
    pub(crate) fn notify(&self) {
        // A counter at its limit wakes as well.
        let _ = rustix::io::write(&*self.eventfd, &1_u64.to_ne_bytes());
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.ask = None;
        self.notify();
    }
}

impl Listener {
    /// Why the thread was woken.
    pub(crate) fn woken(&self) -> Woken {
        let _ = rustix::io::read(&*self.eventfd, &mut [0_u8; 8]); // no notification is pending
        match self.asked.try_recv() {
            Ok(done) => Woken::ToCatchUp(Request(done)),
            Err(mpsc::TryRecvError::Empty) => Woken::Otherwise,
            Err(mpsc::TryRecvError::Disconnected) => Woken::ToEnd,
        }
    }
}

impl AsFd for Listener {
    /// Readable when the notifier has written.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
