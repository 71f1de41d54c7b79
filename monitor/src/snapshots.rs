//! Snapshots of the fleet, made on demand: the hub makes one when a reader asks, and lets go of it soon after.
//!
//! While a snapshot is held, agents that change are copied. So the hub keeps each for [`KEPT`] only, and a reader that needs
//! longer, however many there are, holds a [`Shown`] that may end and asks for the next.

use crate::clock;
use crate::wake::Wake;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::machine::Snapshot;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// A younger snapshot is handed out again.
const FRESH: Duration = Duration::from_millis(50);
/// For how long the hub keeps a snapshot: as long as a listing of 100,000 agents takes. Each beat that comes meanwhile copies
/// its agent, and the memory of all those copies stays with the program: at 80,000 beats/s a second of them is a third of it.
const KEPT: Duration = Duration::from_millis(250);

/// The readers' end.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    wanted: Arc<AtomicBool>,
    wake: Wake,
    latest: watch::Receiver<Latest>,
}

/// The hub's end.
#[derive(Debug)]
pub(crate) struct Showcase {
    wanted: Arc<AtomicBool>,
    latest: watch::Sender<Latest>,
    kept: VecDeque<(Moment, Arc<Snapshot>)>,
}

/// A snapshot that its holder does not keep alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Weak<Snapshot>);

type Latest = Option<(Moment, Weak<Snapshot>)>;

/// Both ends; `wake` wakes the hub.
pub(crate) fn pair(wake: Wake) -> (Snapshots, Showcase) {
    let wanted = Arc::new(AtomicBool::new(false));
    let (sender, latest) = watch::channel(None);
    let showcase = Showcase {
        wanted: Arc::clone(&wanted),
        latest: sender,
        kept: VecDeque::new(),
    };
    let snapshots = Snapshots {
        wanted,
        wake,
        latest,
    };
    (snapshots, showcase)
}

impl Snapshots {
    /// The fleet as it is now, or was a moment ago; `None` when the hub has ended.
    pub(crate) async fn get(&self) -> Option<Arc<Snapshot>> {
        let mut latest = self.latest.clone();
        loop {
            let shown = latest.borrow_and_update().clone();
            let fresh = shown.filter(|(at, _)| clock::now().since(*at) < FRESH);
            if let Some(snapshot) = fresh.and_then(|(_, snapshot)| snapshot.upgrade()) {
                return Some(snapshot);
            }
            self.wanted.store(true, Ordering::Release);
            self.wake.wake();
            latest.changed().await.ok()?;
        }
    }

    /// The snapshot that was used before, or the next one: for what takes longer than the hub keeps one.
    pub(crate) async fn present(&self, shown: &mut Shown) -> Option<Arc<Snapshot>> {
        if let Some(snapshot) = shown.get() {
            return Some(snapshot);
        }
        let snapshot = self.get().await?;
        *shown = Shown::of(&snapshot);
        Some(snapshot)
    }
}

impl Showcase {
    /// A reader gets another snapshot from now on: a person who was answered sees what was done.
    pub(crate) fn outdate(&self) {
        self.latest.send_replace(None);
    }

    /// Makes a snapshot if a reader waits for one, and lets go of those that were kept long enough.
    pub(crate) fn serve(&mut self, now: Moment, view: impl FnOnce() -> Snapshot) {
        while self
            .kept
            .front()
            .is_some_and(|(at, _)| now.since(*at) >= KEPT)
        {
            self.kept.pop_front();
        }
        if self.wanted.swap(false, Ordering::AcqRel) {
            let snapshot = Arc::new(view());
            let shown = (now, Arc::downgrade(&snapshot));
            self.kept.push_back((now, snapshot));
            self.latest.send_replace(Some(shown));
        }
    }
}

impl Shown {
    /// This snapshot, as long as the hub keeps it.
    pub(crate) fn of(snapshot: &Arc<Snapshot>) -> Self {
        Self(Arc::downgrade(snapshot))
    }

    /// The snapshot, if the hub still keeps it.
    fn get(&self) -> Option<Arc<Snapshot>> {
        self.0.upgrade()
    }
}
