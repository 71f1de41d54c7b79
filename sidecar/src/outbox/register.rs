//! How an id becomes ours: an epoch from the store, unless a living holder has it.

use super::{RETRY_MAX, StoreEvent, StoreSession};
use crate::process::handle;
use heartbeat::base::moment::millis;
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::lease::{Grant, Lease};
use redis::aio::MultiplexedConnection;
use std::time::Duration;

/// A holder that cannot be looked at is dead when it has not listened for this long, at every one of so many looks.
const SILENT_FOR: Duration = Duration::from_secs(2);
const SILENT_LOOKS: u32 = 8;
/// How often a lost id is looked at: a quarter of the interval, within these.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(5);

impl StoreSession {
    /// Gets an epoch, however long a living holder keeps the id; false when the hub gave up before.
    pub(super) async fn acquire_lease(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<bool> {
        if self.fenced.is_some() && !self.is_free_again(connection).await? {
            return Ok(false);
        }
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let mut breakable = if self.registration.takeover && self.fenced.is_none() {
            "*".to_owned()
        } else {
            String::new()
        };
        let mut said = self.fenced.is_some();
        loop {
            let lease = match self.grant(connection, &breakable).await? {
                Grant::Granted(epoch) => {
                    self.epoch = epoch;
                    self.fenced = None;
                    return Ok(true);
                }
                Grant::Held(lease) => lease,
            };
            if breakable != lease.instance && self.is_dead(connection, &lease).await? {
                breakable = lease.instance;
                continue;
            }
            if !said {
                said = true;
                let _ = self.store_events.send(StoreEvent::LeaseHeld(lease)).await; // the hub is ending anyway
            }
            self.wait(RETRY_MAX.min(interval)).await;
            if self.latest.has_changed().is_err() {
                self.finish(connection).await?;
                return Ok(false);
            }
        }
    }

    /// Waits until whoever has the id has given it up, or its lease is over; false when the hub has ended before. What
    /// is started again at once keeps the id: a planned restart is no invitation.
    async fn is_free_again(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<bool> {
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let look = (interval / 4).clamp(LOOK_MIN, LOOK_MAX);
        let mut free = false;
        loop {
            let holder: Option<String> = redis::cmd("HGET")
                .arg(keys::agent(&self.registration.id))
                .arg("instance")
                .query_async(connection)
                .await?;
            let was_free = std::mem::replace(&mut free, holder.is_none_or(|id| id.is_empty()));
            if free && was_free {
                return Ok(true);
            }
            self.wait(look).await;
            if self.latest.has_changed().is_err() {
                return Ok(false);
            }
        }
    }

    async fn grant(
        &self,
        connection: &mut MultiplexedConnection,
        breakable: &str,
    ) -> anyhow::Result<Grant> {
        let about = &self.registration;
        let interval = Duration::from_millis(about.entry.interval_ms);
        let mut call = self.register.prepare_invoke();
        call.key(keys::epoch(&about.id))
            .key(keys::agent(&about.id))
            .arg(self.fenced.unwrap_or(self.epoch))
            .arg(&about.instance)
            .arg(millis(keys::time_to_live(interval)))
            .arg(breakable);
        for (field, value) in hash::registration(&about.entry, about.registered_ms, &about.holder) {
            call.arg(field).arg(value);
        }
        let answer: Vec<String> = call.invoke_async(connection).await?;
        Ok(Grant::decode(&answer)?)
    }

    /// Whether this holder is dead although its lease is not over: its machine shows no such process, or it has not
    /// listened for orders for a while.
    async fn is_dead(
        &self,
        connection: &mut MultiplexedConnection,
        lease: &Lease,
    ) -> anyhow::Result<bool> {
        let me = &self.registration.holder;
        if let Some(holder) = lease
            .holder
            .as_ref()
            .filter(|holder| holder.is_visible_to(me))
        {
            return Ok(handle::is_dead(holder, me));
        }
        let _ = self.store_events.send(StoreEvent::LeaseContested).await; // the hub is ending anyway
        for _ in 0..SILENT_LOOKS {
            let (_, listeners): (String, u64) = redis::cmd("PUBSUB")
                .arg("NUMSUB")
                .arg(self.channels.control(&self.registration.id))
                .query_async(connection)
                .await?;
            if listeners > 0 {
                return Ok(false);
            }
            tokio::time::sleep(SILENT_FOR / SILENT_LOOKS).await;
        }
        Ok(true)
    }
}
