//! The lease on the id: an epoch from the store, unless a living holder has it.

use super::{RETRY_MAX, StoreEvent, StoreSession};
use crate::process::handle;
use heartbeat::base::moment::millis;
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::lease::{Grant, Lease};
use redis::aio::MultiplexedConnection;
use std::time::Duration;

/// A holder on another machine is dead when it had no subscriber for this long, at every one of so many checks.
const SILENT_FOR: Duration = Duration::from_secs(2);
const SILENT_CHECKS: u32 = 8;
/// How often a lost lease is checked: a quarter of the interval, within these.
const CHECK_MIN: Duration = Duration::from_millis(100);
const CHECK_MAX: Duration = Duration::from_secs(5);

impl StoreSession {
    /// Acquires the lease, however long a living holder keeps it; false when the hub has ended before.
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
        let mut reported = self.fenced.is_some();
        loop {
            let lease = match self.grant(connection, &breakable).await? {
                Grant::Granted(epoch) => {
                    self.epoch = epoch;
                    if self.fenced.take().is_some() {
                        // What happened while another had the id is no part of this registration.
                        self.waiting.clear();
                        while self.events.try_recv().is_ok() {}
                    }
                    return Ok(true);
                }
                Grant::Held(lease) => lease,
            };
            if breakable != lease.instance && self.is_dead(connection, &lease).await? {
                breakable = lease.instance;
                continue;
            }
            if !reported {
                reported = true;
                let _ = self.store_events.send(StoreEvent::LeaseHeld(lease)).await; // the hub is ending anyway
            }
            self.wait(RETRY_MAX.min(interval)).await;
            if self.latest.has_changed().is_err() {
                self.finish(connection).await?;
                return Ok(false);
            }
        }
    }

    /// Waits until the holder has released the id, or its lease has expired; false when the hub has ended before. A
    /// holder that is restarted at once keeps the id.
    async fn is_free_again(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<bool> {
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let every = (interval / 4).clamp(CHECK_MIN, CHECK_MAX);
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
            self.wait(every).await;
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

    /// Whether this holder is dead although its lease has not expired: its machine has no such process, or it has had no
    /// subscription to its order channel for 2 s.
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
        for _ in 0..SILENT_CHECKS {
            let (_, listeners): (String, u64) = redis::cmd("PUBSUB")
                .arg("NUMSUB")
                .arg(self.channels.control(&self.registration.id))
                .query_async(connection)
                .await?;
            if listeners > 0 {
                return Ok(false);
            }
            tokio::time::sleep(SILENT_FOR / SILENT_CHECKS).await;
        }
        Ok(true)
    }
}
