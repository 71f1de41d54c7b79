//! The hub: one loop, the only owner of the fleet. Inputs in, effects performed, a snapshot published.

use crate::bus::inbox::{Inbox, Lookup};
use crate::clock;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::machine::{
    Change, Fleet, FleetEffect, FleetInput, FleetSettings, Snapshot, TICK_MAX,
};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// The shortest time between two ticks: deadlines of a large fleet are handled together.
const TICK_MIN: Duration = Duration::from_millis(10);
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
        let mut batch = Vec::with_capacity(BATCH);
        let mut last_tick = clock::now();
        loop {
            let wake = self.next_tick(last_tick);
            let wait = wake.since(clock::now());
            if wait.is_zero() {
                batch.push(FleetInput::Tick);
                last_tick = clock::now();
            } else {
                tokio::select! {
                    count = self.inbox.inputs.recv_many(&mut batch, BATCH) => if count == 0 {
                        return; // the inbox never ends while the hub lives
                    },
                    () = tokio::time::sleep(wait) => continue,
                }
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

    /// The fleet's next deadline, [`TICK_MIN`] to [`TICK_MAX`] after the last tick.
    fn next_tick(&self, last_tick: Moment) -> Moment {
        let latest = last_tick + TICK_MAX;
        match self.fleet.deadline() {
            Some((at, why)) if at < latest => {
                tracing::trace!("next tick for: {why}");
                at.max(last_tick + TICK_MIN)
            }
            Some(_) | None => latest,
        }
    }

    fn perform(&self, effect: FleetEffect) {
        let lookup = match effect {
            FleetEffect::Verify(id) => Lookup::Verify(id),
            FleetEffect::ReadTtl(id) => Lookup::ReadTtl(id),
            FleetEffect::ReadEvents => Lookup::ReadEvents,
            FleetEffect::Changed(change) => return self.announce(change),
        };
        // What was not answered is asked again; a full queue is one of the causes.
        if let Err(error) = self.inbox.lookups.try_send(lookup) {
            tracing::debug!("dropped a lookup in the store, the queue is full: {error}");
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
        let _ = self.changes.send(change); // no receiver: the change is logged all the same
    }
}
