//! `--status-file`: followed however it is written. A thread of its own, since a file may lie on a disk that hangs; it
//! sleeps in the kernel until the file changes.

mod tail;

use super::intake::Intake;
use crate::wake::{self, Listener, Notifier, Woken};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tail::{Look, Tail};

/// A file that is written without end is read this often and no more.
const BETWEEN_READS: Duration = Duration::from_millis(20);
/// A line without its end counts as whole when nothing followed for this long.
const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// Where the kernel does not report changes, or there is no directory yet to watch.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The thread that follows. Dropped, it ends; it is not waited for.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    notifier: Notifier,
    new_incarnation: Arc<AtomicBool>,
}

impl Follower {
    /// Starts to follow. What is in the file now was left by an earlier incarnation and is not read.
    pub(super) fn start(path: PathBuf, intake: Arc<Intake>) -> io::Result<Self> {
        let (notifier, listener) = wake::pair()?;
        // The agent must not find its own first line taken for an old one: this read comes before the agent starts.
        let mut tail = Tail::new(path.clone());
        tail.pass_over();
        let new_incarnation = Arc::new(AtomicBool::new(false));
        let follower = Self {
            path,
            notifier,
            new_incarnation: Arc::clone(&new_incarnation),
        };
        let run = move || follow(&mut tail, &listener, &new_incarnation, &intake);
        std::thread::Builder::new()
            .name("status-file".to_owned())
            .stack_size(128 * 1024)
            .spawn(run)?;
        Ok(follower)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was read so far does not count for the incarnation that is about to start.
    pub(super) fn new_incarnation(&self) {
        self.new_incarnation.store(true, Ordering::Relaxed);
    }

    /// Looks again: when a directory on the way to the file, or a link, was exchanged, nothing that is watched has changed.
    pub(super) fn look_after(&self) {
        self.notifier.notify();
    }

    /// Waits until all that is in the file by now was taken, but no longer than `within`.
    pub(super) async fn caught_up(&self, within: Duration) {
        self.notifier.caught_up(within).await;
    }
}

fn follow(tail: &mut Tail, listener: &Listener, new_incarnation: &AtomicBool, intake: &Intake) {
    let mut watch = Watch::new();
    if watch.is_none() {
        intake.warn_once("inotify", || {
            "inotify is not available; reading the status file every second".to_owned()
        });
    }
    loop {
        // Watched before it is read: a change in between is seen twice, not missed.
        let watched = watch.as_mut().is_some_and(|watch| watch.cover(tail.path()));
        let woken = listener.woken();
        if new_incarnation.swap(false, Ordering::Relaxed) {
            tail.new_incarnation();
        }
        let look = tail.look(intake);
        match woken {
            Woken::Otherwise => {}
            Woken::ToCatchUp(asked) => {
                // Its writer has ended: the line will get no end.
                if look == Look::Unended {
                    tail.settle(intake);
                }
                drop(asked);
                continue;
            }
            Woken::ToEnd => return,
        }
        let wait = match (look, watched) {
            (Look::Unended, _) => Some(SETTLED_AFTER),
            (Look::Whole, true) => None,
            (Look::Whole, false) => Some(POLL_EVERY),
        };
        let silent = sleep(listener, watch.as_mut(), wait);
        if silent && look == Look::Unended {
            tail.settle(intake);
            let wait = (!watched).then_some(POLL_EVERY);
            sleep(listener, watch.as_mut(), wait);
        }
        sleep(listener, None, Some(BETWEEN_READS));
    }
}

/// Sleeps until something happens; true when nothing did.
fn sleep(listener: &Listener, watch: Option<&mut Watch>, wait: Option<Duration>) -> bool {
    let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
    let Some(watch) = watch else {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        return !matches!(poll(&mut fds, timeout.as_ref()), Ok(1..));
    };
    let mut fds = [
        PollFd::new(listener, PollFlags::IN),
        PollFd::new(&watch.inotify, PollFlags::IN),
    ];
    let silent = !matches!(poll(&mut fds, timeout.as_ref()), Ok(1..));
    watch.drain();
    silent
}

/// What the kernel reports: changes of the file itself, and names that appear in its directory.
struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    fn new() -> Option<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self { inotify })
    }

    /// Watches whatever is there under that name now; false when the kernel would not report a change.
    fn cover(&mut self, path: &Path) -> bool {
        let of_file = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        let of_directory =
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let directory = directory.unwrap_or(Path::new("."));
        let names = inotify::add_watch(&self.inotify, directory, of_directory).is_ok();
        let file = inotify::add_watch(&self.inotify, path, of_file);
        names && matches!(file, Ok(_) | Err(Errno::NOENT))
    }

    fn drain(&mut self) {
        let mut events = [0_u8; 4096];
        while matches!(rustix::io::read(self.inotify.as_fd(), &mut events), Ok(1..)) {}
    }
}
