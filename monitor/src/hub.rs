//! The hub: one loop, the only owner of the fleet. Inputs in, effects performed, a snapshot published.

use crate::bus::inbox::{Inbox, Lookup};
use crate::clock;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::machine::{Change, Fleet, FleetEffect, FleetInput, FleetSettings, Snapshot};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// How often time is told to the fleet: also how late a verdict can be, and how soon a pause of our own is seen.
const TICK: Duration = Duration::from_millis(250);
/// Inputs taken before a snapshot is published.
const BATCH: usize = 256;

/// The hub and what it owns.
pub(crate) struct Hub {
    fleet: Fleet,
    inbox: Inbox,
    snapshots: watch::Sender<Snapshot>,
    changes: broadcast::Sender<Change>,
}

impl Hub {
    pub(crate) fn new(
        settings: FleetSettings,
        inbox: Inbox,
        changes: broadcast::Sender<Change>,
    ) -> (Self, watch::Receiver<Snapshot>) {
        let fleet = Fleet::new(settings, clock::now());
        let (snapshots, shown) = watch::channel(fleet.view());
        (
            Self {
                fleet,
                inbox,
                snapshots,
                changes,
            },
            shown,
        )
    }

    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => batch.push(FleetInput::Tick),
                count = self.inbox.inputs.recv_many(&mut batch, BATCH) => if count == 0 {
                    return; // the inbox never ends while we live
                },
            }
            let now = clock::now();
            for input in batch.drain(..) {
                for effect in self.fleet.handle(input, now) {
                    self.perform(effect);
                }
            }
            self.snapshots.send_replace(self.fleet.view());
        }
    }

    fn perform(&self, effect: FleetEffect) {
        let lookup = match effect {
            FleetEffect::Verify(id) => Lookup::Verify(id),
            FleetEffect::ReadTtl(id) => Lookup::ReadTtl(id),
            FleetEffect::ReadEvents => Lookup::ReadEvents,
            FleetEffect::Changed(change) => return self.announce(change),
        };
        // Unanswered questions time out in the fleet; a full queue is one more way not to be answered.
        if let Err(error) = self.inbox.lookups.try_send(lookup) {
            tracing::debug!("a lookup to the store was not asked: {error}");
        }
    }

    fn announce(&self, change: Change) {
        let Change {
            agent,
            from,
            to,
            sentence,
            ..
        } = &change;
        match to {
            State::Failed if *from == Some(State::Failed) => {
                tracing::error!("{agent} still failed: {sentence}");
            }
            State::Healthy => tracing::info!("{agent} is healthy: {sentence}"),
            State::Stopped => tracing::info!("{agent} is stopped: {sentence}"),
            State::Missing => tracing::warn!("{agent} is missing: {sentence}"),
            State::Failed => tracing::error!("{agent} failed: {sentence}"),
        }
        let _ = self.changes.send(change); // nobody listens: the log has it
    }
}
