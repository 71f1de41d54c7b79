//! SIGHUP: the configuration is read again. One that cannot be used changes nothing, and is shown.

use crate::clock;
use crate::config::receivers::Reread;
use crate::config::{Args, Config};
use crate::wake::Wake;
use hbshell::service_manager::ServiceManager;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

/// Configurations that wait for the hub.
const WAITING_MAX: usize = 8;

/// What became of the last reading.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// Why it was not taken; then the one before goes on.
    pub(crate) error: Option<String>,
}

/// For those who read and those who show: the hub's end, the readers' end, the reader's own.
pub(crate) fn pair(wake: Wake) -> (mpsc::Receiver<Reread>, watch::Receiver<Reading>, Reader) {
    let (sender, reread) = mpsc::channel(WAITING_MAX);
    let first = Reading {
        at: clock::wall_ms(),
        error: None,
    };
    let (show, shown) = watch::channel(first);
    let reader = Reader { sender, show, wake };
    (reread, shown, reader)
}

/// Reads again when asked to.
#[derive(Debug)]
pub(crate) struct Reader {
    sender: mpsc::Sender<Reread>,
    show: watch::Sender<Reading>,
    wake: Wake,
}

impl Reader {
    /// Follows SIGHUP. The service manager that sent it learns when the reading begins and ends.
    pub(crate) async fn run(self, args: Args, mut hangup: Signal, above: ServiceManager) {
        while hangup.recv().await.is_some() {
            above.reloading();
            let args = args.clone();
            let read = tokio::task::spawn_blocking(move || Config::try_from(args)).await;
            let reread = match read {
                Ok(Ok(config)) => Ok(config.receivers),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match &reread {
                Ok(receivers) => tracing::info!(
                    "SIGHUP: {} receivers are in force; the other keys take effect at the next start",
                    receivers.len()
                ),
                Err(error) => tracing::error!("SIGHUP: the configuration before goes on: {error}"),
            }
            self.show.send_replace(Reading {
                at: clock::wall_ms(),
                error: reread.as_ref().err().cloned(),
            });
            let _ = self.sender.send(reread).await; // the hub has ended
            self.wake.wake();
            above.ready();
        }
    }
}
