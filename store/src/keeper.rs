//! The thread that writes the store's file: a disk may take seconds, and the server never waits for it.

use super::changes::Write;
use super::disk::DiskFile;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::mpsc;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is on the disk.
    Written,
    /// It is not; the next batch must be everything.
    Failed,
}

/// The server's side of the thread. One batch at a time: what changes meanwhile is in the next one.
#[derive(Debug)]
pub(super) struct Keeper {
    batches: SyncSender<Vec<Write>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    is_writing: bool,
}

impl Keeper {
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(file: DiskFile) -> std::io::Result<Self> {
        let (batches, incoming) = sync_channel(1);
        let (done, outcomes) = mpsc::unbounded_channel(); // at most one for each batch
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write(file, &incoming, &done))?; // the file is closed before `done`
        Ok(Self {
            batches,
            outcomes,
            is_writing: false,
        })
    }

    pub(super) fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// Hands a batch to the thread, unless it still writes the one before.
    pub(super) fn write(&mut self, batch: Vec<Write>) {
        self.is_writing = match self.batches.try_send(batch) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.is_writing,
        };
    }

    /// The outcome of the batch that is being written; waits without limit when there is none.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcomes.recv().await {
            Some(outcome) => {
                self.is_writing = false;
                outcome
            }
            None => std::future::pending().await, // the thread ends with the server only
        }
    }

    /// Ends the thread; the file is closed then.
    pub(super) async fn close(self) {
        let Self {
            batches,
            mut outcomes,
            is_writing: _,
        } = self;
        drop(batches);
        while outcomes.recv().await.is_some() {}
    }
}

fn write(
    mut file: DiskFile,
    batches: &Receiver<Vec<Write>>,
    done: &mpsc::UnboundedSender<Outcome>,
) {
    let mut fails = !file.is_open();
    while let Ok(batch) = batches.recv() {
        let path = file.path().display().to_string();
        let outcome = match file.write(&batch) {
            Ok(()) => {
                if std::mem::take(&mut fails) {
                    tracing::info!("the embedded store writes {path} again");
                }
                Outcome::Written
            }
            Err(why) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::error!(
                        "the embedded store cannot write {path}: {why}; it goes on in memory and tries again"
                    );
                }
                Outcome::Failed
            }
        };
        if done.send(outcome).is_err() {
            return; // the server has ended
        }
    }
}
