//! The history of the fleet: a task samples it once a minute, pages draw it. Kept in memory, so it begins with the program.

use crate::clock;
use crate::snapshots::Snapshots;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::history::{Curve, History};
use heartbeat::fleet::machine::Change;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{MissedTickBehavior, interval};

/// Two samples a minute, so that none is left without.
const SAMPLE_EVERY: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// The readers' end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories(Arc<RwLock<History>>);

impl Histories {
    /// The history of an agent; none of one that was never sampled.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<Curve> {
        let history = self.0.read().unwrap_or_else(PoisonError::into_inner);
        history.of(agent)
    }

    /// Samples until the hub has ended.
    pub(crate) async fn follow(self, snapshots: Snapshots, mut changes: Receiver<Change>) {
        let mut again = interval(SAMPLE_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = again.tick() => {
                    let Some(snapshot) = snapshots.get().await else {
                        return;
                    };
                    self.change(|history| history.sample(&snapshot, minute()));
                }
                change = changes.recv() => match change {
                    Ok(change) => self.change(|history| history.changed(&change.agent, change.to, minute())),
                    // Of a storm the next sample shows what lasts.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
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
