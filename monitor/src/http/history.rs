//! The history of the fleet: a task samples it twice a minute, pages draw it. Kept in memory, so it begins with the program.

use crate::clock;
use crate::snapshots::{Shown, Snapshots};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::history::{Curve, History};
use heartbeat::fleet::machine::{Change, Snapshot};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Four samples a span, so that none is left without.
const SAMPLE_EVERY: Duration = Duration::from_secs(30);
/// Agents that are sampled in one go, and the time until the next: 100,000 of them take long, and beats and requests come
/// meanwhile. All of them take about as long as the hub keeps a snapshot.
const PIECE: usize = 1024;
const PIECE_EVERY: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The readers' end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories(Arc<RwLock<History>>);

/// The histories of the agents of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curves<'a> {
    histories: &'a Histories,
    snapshot: &'a Snapshot,
}

impl Curves<'_> {
    /// None of an agent that was never seen.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<Curve> {
        let history = self.histories.0.read();
        let history = history.unwrap_or_else(PoisonError::into_inner);
        history.of(&self.snapshot.agents, agent)
    }
}

impl Histories {
    /// Those of the agents of this snapshot.
    pub(crate) fn over<'a>(&'a self, snapshot: &'a Snapshot) -> Curves<'a> {
        Curves {
            histories: self,
            snapshot,
        }
    }

    /// Samples until the hub has ended.
    pub(crate) async fn follow(self, snapshots: Snapshots, mut changes: Receiver<Change>) {
        let mut again = interval(SAMPLE_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = again.tick() => if self.sample(&snapshots).await.is_none() {
                    return;
                },
                change = changes.recv() => match change {
                    Ok(change) => self.change(|history| history.changed(&change.agent, change.to, minute())),
                    // Of a storm the next sample shows what lasts.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// `None` when the hub has ended.
    async fn sample(&self, snapshots: &Snapshots) -> Option<()> {
        let (mut shown, mut next) = (Shown::default(), Some(0));
        while let Some(from) = next {
            let snapshot = snapshots.present(&mut shown).await?;
            let agents = &snapshot.agents;
            next = self.change(|history| history.sample(agents, minute(), from, PIECE));
            drop(snapshot);
            if next.is_some() {
                sleep(PIECE_EVERY).await;
            }
        }
        Some(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Minutes of a clock that never goes back.
fn minute() -> u32 {
    let minutes = clock::now()
        .since(heartbeat::base::moment::Moment::default())
        .as_secs()
        / MINUTE.as_secs();
    u32::try_from(minutes).unwrap_or(u32::MAX)
}
