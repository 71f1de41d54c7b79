//! The status contract's room: a stream socket, a datagram socket and a file through which an agent reports what it does.
//!
//! What comes in is parsed at once and passed to the hub as [`StatusLine`]; a bad line is answered, counted and changes
//! nothing. Whatever the agent sends, memory is bounded and no sender waits for the hub. The process sleeps
//! while no line arrives.

mod datagram;
mod file;
mod intake;
mod place;
mod sender;
mod stream;

#[cfg(test)]
mod tests;

use file::Follower;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::contract::line::Line;
pub(crate) use intake::Counts;
use intake::Intake;
use place::Sockets;
pub(crate) use sender::{Belongs, IsOfTree};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Lines that wait for the hub; it takes them at once, so more than a second's worth is never needed.
const WAITING_MAX: usize = 64;
/// Turns in which all that waits in the sockets is read: connections and datagrams are taken one a turn.
const TURNS: usize = 32;
/// How long a file may take; its disk may hang.
const FILE_WITHIN: Duration = Duration::from_millis(50);

/// What the contract is opened with.
pub(crate) struct Settings {
    /// Whose contract it is.
    pub(crate) id: AgentId,
    /// The path of the stream socket; by default in the user's runtime directory.
    pub(crate) socket: Option<PathBuf>,
    /// The file that is followed, if any.
    pub(crate) status_file: Option<PathBuf>,
    /// Whether a process is of the agent's tree.
    pub(crate) is_of_tree: IsOfTree,
}

/// A valid status line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusLine {
    /// The parsed line.
    pub(crate) line: Line,
    /// The line itself, for evidence.
    pub(crate) raw: String,
    /// When it came.
    pub(crate) at: Moment,
    /// The process that sent it as a datagram, as the kernel names it.
    pub(crate) sender: Option<i32>,
}

/// The answer to a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Beats reach the store.
    Beating,
    /// They do not, and why.
    NotBeating(String),
}

/// Why there is no contract. The agent runs without one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContractError {
    /// No directory for the sockets, not even a private one.
    #[error(
        "no directory for the agent's sockets: {0}; choose a path with --socket, or mount an empty volume at /tmp or /run/hb, \
         as a container with a read-only root needs it"
    )]
    NoPlace(std::io::Error),
    /// The runtime does not take a socket.
    #[error("cannot listen on the agent's sockets: {0}")]
    Listen(std::io::Error),
}

/// An open contract. Dropped, it takes its sockets away.
pub(crate) struct Contract {
    /// Good lines, in the order they came.
    pub(crate) lines: mpsc::Receiver<StatusLine>,
    /// The answer to health checks.
    pub(crate) health: watch::Sender<Health>,
    intake: Arc<Intake>,
    ends: Option<Ends>,
    follower: Option<Follower>,
    is_of_tree: IsOfTree,
}

/// Both sockets. Dropped, they are taken away.
struct Ends {
    sockets: Sockets,
    listeners: [AbortHandle; 2],
    /// That the place is lost was logged.
    lost: bool,
    /// Who may connect beside root.
    owner: u32,
}

impl Contract {
    /// Opens sockets and file; without a place for the sockets the file alone, which is logged. Must be called inside the
    /// runtime, before the agent is started.
    pub(crate) fn open(settings: Settings) -> Result<Self, ContractError> {
        let (send, lines) = mpsc::channel(WAITING_MAX);
        let (health, asked) = watch::channel(Health::NotBeating("no beat was sent yet".to_owned()));
        let intake = Arc::new(Intake::new(send));
        let opened = place::open(&settings.id, settings.socket.as_deref());
        let opened = opened.and_then(|(sockets, stream, datagram)| {
            let listeners = listen([stream, datagram], &intake, &settings.is_of_tree, asked)?;
            Ok(Ends::new(sockets, listeners))
        });
        let ends = match opened {
            Ok(ends) => Some(ends),
            Err(error) if settings.status_file.is_some() => {
                tracing::warn!("{error}; reading the status file alone");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            lines,
            health,
            follower: settings
                .status_file
                .map(|path| Follower::start(path, Arc::clone(&intake)))
                .transpose()
                .map_err(ContractError::Listen)?,
            intake,
            ends,
            is_of_tree: settings.is_of_tree,
        })
    }

    /// The agent runs as this user now: when we are root, its sockets become that user's.
    pub(crate) fn give_to(&mut self, uid: u32) {
        if let Some(ends) = &mut self.ends {
            ends.give_to(uid);
        }
    }

    /// Makes the sockets again when another program has removed them, as cleaners of /tmp and logouts do, and looks for the
    /// status file under its name.
    pub(crate) fn look_after(&mut self) {
        if let Some(follower) = &self.follower {
            follower.look_after();
        }
        let Some(ends) = &mut self.ends else {
            return;
        };
        let (intake, is_of_tree, health) = (&self.intake, &self.is_of_tree, &self.health);
        ends.look_after(|sockets| listen(sockets, intake, is_of_tree, health.subscribe()));
    }

    /// The environment variables through which the agent finds it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = Vec::new();
        if let Some(Ends { sockets, .. }) = &self.ends {
            variables.push(("HB_SOCKET", sockets.stream().into()));
            variables.push(("NOTIFY_SOCKET", sockets.datagram().into()));
        }
        if let Some(follower) = &self.follower {
            variables.push(("HB_STATUS_FILE", follower.path().into()));
        }
        variables
    }

    /// Where the stream socket is.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.ends.as_ref().map(|ends| ends.sockets.stream())
    }

    /// What came in so far.
    pub(crate) fn counts(&self) -> Counts {
        self.intake.counts()
    }

    /// The agent has ended: lines that it sent before are read, and wait in `lines`.
    pub(crate) async fn caught_up(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        if let Some(follower) = &self.follower {
            follower.caught_up(FILE_WITHIN).await;
        }
    }

    /// The next incarnation is about to start: lines that the previous one left in the file do not count for it.
    pub(crate) fn new_incarnation(&self) {
        if let Some(follower) = &self.follower {
            follower.new_incarnation();
        }
    }
}

impl Ends {
    fn new(sockets: Sockets, listeners: [AbortHandle; 2]) -> Self {
        Self {
            sockets,
            listeners,
            lost: false,
            owner: rustix::process::geteuid().as_raw(),
        }
    }

    fn give_to(&mut self, uid: u32) {
        if !rustix::process::geteuid().is_root() || self.owner == uid {
            return;
        }
        self.owner = uid;
        if let Err(closed) = self.sockets.give_to(uid) {
            let socket = self.sockets.stream().display();
            tracing::warn!(
                "the agent runs as user {uid} and cannot reach its socket {socket}: {} is closed to it; choose another place with --socket",
                closed.display()
            );
        }
    }

    fn look_after(
        &mut self,
        listen: impl FnOnce([OwnedFd; 2]) -> Result<[AbortHandle; 2], ContractError>,
    ) {
        self.sockets.look_after_signpost();
        if self.sockets.are_there() {
            self.lost = false;
            return;
        }
        let opened = place::open_again(&mut self.sockets);
        let opened = opened.and_then(|(sockets, stream, datagram)| {
            let listeners = listen([stream, datagram])?;
            Ok(Self::new(sockets, listeners))
        });
        match opened {
            Ok(ends) => {
                let before = std::mem::replace(self, ends);
                self.give_to(before.owner);
                let path = self.sockets.stream().display();
                tracing::warn!("the agent's socket {path} was removed; it is there again");
            }
            Err(error) if !self.lost => {
                self.lost = true;
                tracing::warn!("the agent's socket was removed: {error}; retrying");
            }
            Err(_) => {}
        }
    }
}

fn listen(
    [stream, datagram]: [OwnedFd; 2],
    intake: &Arc<Intake>,
    is_of_tree: &IsOfTree,
    asked: watch::Receiver<Health>,
) -> Result<[AbortHandle; 2], ContractError> {
    let stream = stream::listen(stream, intake, is_of_tree, asked);
    let datagram = datagram::listen(datagram, intake, Arc::clone(is_of_tree));
    Ok([
        stream.map_err(ContractError::Listen)?,
        datagram.map_err(ContractError::Listen)?,
    ])
}

impl Drop for Ends {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}
