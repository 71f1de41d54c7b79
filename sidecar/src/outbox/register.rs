//! The lease on the id: an epoch from the store, unless a living holder has it.

use super::{RETRY_MAX, StoreEvent, StoreSession};
use crate::clock;
use crate::process::handle;
use hbshell::store::Link;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::lease::{Grant, Lease};
use std::time::Duration;

/// A holder on another machine is dead when it had no subscriber for this long, at every one of so many checks. On a cluster a
/// holder whose node has failed learns that with its next beat, and has to find another one then: there it is an interval and
/// this much, or as long as a lease lasts.
const SILENT_FOR: Duration = Duration::from_secs(2);
const SILENT_ON_CLUSTER: Duration = Duration::from_secs(15);
const SILENT_CHECKS: u32 = 8;
/// How often a lost lease is checked: a quarter of the interval, within these.
const CHECK_MIN: Duration = Duration::from_millis(100);
const CHECK_MAX: Duration = Duration::from_secs(5);

/// How another holds the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// It is alive, as far as is known: a newcomer gives up.
    Lives,
    /// Its exclusive lease runs out, or its agent is being ended: an exclusive newcomer waits.
    RunsOut,
}

impl StoreSession {
    /// Acquires the lease, however long a living holder keeps it; false when the hub has ended before.
    pub(super) async fn acquire_lease(&mut self, connection: &mut Link) -> anyhow::Result<bool> {
        if self.fenced.is_some() && !self.is_free_again(connection).await? {
            self.release_lease(connection).await?;
            return Ok(false);
        }
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let mut breakable = if self.registration.takeover && self.fenced.is_none() {
            "*".to_owned()
        } else {
            String::new()
        };
        let mut reported = self.fenced.is_some().then_some(Holding::Lives);
        let mut taken_over = false;
        loop {
            let sent = clock::now();
            let lease = match self.grant(connection, &breakable).await? {
                Grant::Granted(epoch) => {
                    self.granted(epoch, sent);
                    return Ok(true);
                }
                Grant::Held(lease) => lease,
            };
            if breakable == "*" {
                // Fenced: it ends its agent. This one starts when that is done.
                breakable.clear();
                taken_over = true;
            }
            if breakable != lease.instance && self.is_dead(connection, &lease).await? {
                breakable = lease.instance;
                continue;
            }
            let holding = self.holding(connection, &lease, taken_over).await?;
            let left = lease.exclusive_for.unwrap_or(RETRY_MAX);
            if reported != Some(holding) {
                reported = Some(holding);
                let event = match holding {
                    Holding::Lives => StoreEvent::LeaseHeld(lease),
                    Holding::RunsOut => StoreEvent::LeaseAwaited(lease),
                };
                let _ = self.store_events.send(event).await; // the hub is ending anyway
            }
            self.publish_beside(connection).await?;
            self.wait(RETRY_MAX.min(interval).min(left)).await;
            if self.latest.has_changed().is_err() {
                self.finish(connection).await?;
                return Ok(false);
            }
        }
    }

    fn granted(&mut self, epoch: u64, sent: Moment) {
        self.epoch = epoch;
        self.beside_since = None;
        if self.registration.exclusive.is_some() {
            self.leased.send_replace(Some(sent));
        }
        if self.fenced.take().is_some() {
            // What happened while another had the id is no part of this registration.
            self.waiting.clear();
            while self.events.try_recv().is_ok() {}
        }
    }

    /// What a newcomer does about a holder that is not provably dead.
    async fn holding(
        &self,
        connection: &mut Link,
        lease: &Lease,
        taken_over: bool,
    ) -> anyhow::Result<Holding> {
        let waits = self.registration.exclusive.is_some() && lease.exclusive_for.is_some();
        if waits && (taken_over || !self.is_listening(connection).await?) {
            return Ok(Holding::RunsOut);
        }
        Ok(Holding::Lives)
    }

    /// Time until the exclusive lease is to be renewed: as often as a beat is sent, whether one is offered or not.
    pub(super) fn until_renewal(&self) -> Option<Duration> {
        let terms = self.registration.exclusive.as_ref()?;
        let last = *self.leased.borrow();
        Some(last.map_or(Duration::ZERO, |last| {
            (last + terms.interval).since(clock::now())
        }))
    }

    /// Renews the exclusive lease; false when it is another's.
    pub(super) async fn renew_lease(&self, connection: &mut Link) -> anyhow::Result<bool> {
        let Some(terms) = &self.registration.exclusive else {
            return Ok(true);
        };
        let sent = clock::now();
        let renewed = self.lease(connection, millis(terms.time_to_live())).await?;
        if renewed {
            self.leased.send_replace(Some(sent));
        }
        Ok(renewed)
    }

    /// Gives the exclusive lease up: nothing of the agent is left.
    pub(super) async fn release_lease(&self, connection: &mut Link) -> anyhow::Result<()> {
        if self.registration.exclusive.is_some() && self.leased.borrow().is_some() {
            self.lease(connection, 0).await?;
        }
        Ok(())
    }

    async fn lease(&self, connection: &mut Link, time_to_live: u64) -> anyhow::Result<bool> {
        let about = &self.registration;
        let mut call = self.lease.prepare_invoke();
        call.key(keys::lease(&about.id))
            .key(keys::agent(&about.id))
            .key(keys::epoch(&about.id))
            .arg(self.epoch)
            .arg(&about.instance)
            .arg(time_to_live);
        Ok(call.invoke_async::<u64>(connection).await? == 1)
    }

    /// Waits until the holder has released the id, or its lease has expired; false when the hub has ended before. A
    /// holder that is restarted at once keeps the id.
    async fn is_free_again(&mut self, connection: &mut Link) -> anyhow::Result<bool> {
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let every = (interval / 4).clamp(CHECK_MIN, CHECK_MAX);
        let mut free = false;
        loop {
            let holder: Option<String> = redis::cmd("HGET")
                .arg(keys::agent(&self.registration.id))
                .arg("instance")
                .query_async(connection)
                .await?;
            self.publish_beside(connection).await?;
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

    async fn grant(&mut self, connection: &mut Link, breakable: &str) -> anyhow::Result<Grant> {
        let about = &self.registration;
        let interval = Duration::from_millis(about.entry.interval_ms);
        let mut call = self.register.prepare_invoke();
        call.key(keys::epoch(&about.id))
            .key(keys::agent(&about.id))
            .key(keys::lease(&about.id))
            .arg(self.fenced.unwrap_or(self.epoch))
            .arg(&about.instance)
            .arg(millis(keys::time_to_live(interval)))
            .arg(breakable)
            .arg(
                about
                    .exclusive
                    .map_or(0, |terms| millis(terms.time_to_live())),
            );
        for (field, value) in hash::registration(&about.entry, about.registered_ms, &about.holder) {
            call.arg(field).arg(value);
        }
        let answer = call.invoke_async::<Vec<String>>(connection).await;
        if self.registration.exclusive.is_some() {
            return Ok(Grant::decode(&answer?)?); // single commands are no lease
        }
        match self.taken("a registration", answer)? {
            Some(answer) => Ok(Grant::decode(&answer)?),
            None => self.grant_plainly(connection, breakable).await,
        }
    }

    /// Whether this holder is dead although its lease has not expired: its machine has no such process, or it has had no
    /// subscription to its order channel for a while. Who listens is alive: two machines that were made from one snapshot
    /// share boot, names and numbers, and each would take the other's process for dead. An exclusive lease is broken only
    /// by the first, and only where its holder left its record: a clone of this machine from before has none.
    async fn is_dead(&self, connection: &mut Link, lease: &Lease) -> anyhow::Result<bool> {
        let me = &self.registration.holder;
        let visible = lease.holder.as_ref();
        let visible = visible.filter(|holder| handle::is_shown(holder, me));
        let proven = visible.map(|holder| handle::is_dead(holder, me));
        let left_here = self.registration.left_here.as_ref() == Some(&lease.instance);
        if proven == Some(false)
            || (lease.exclusive_for.is_some() && !(proven.is_some() && left_here))
        {
            return Ok(false);
        }
        let _ = self.store_events.send(StoreEvent::LeaseContested).await; // the hub is ending anyway
        let interval = Duration::from_millis(self.registration.entry.interval_ms);
        let silent_for = if connection.is_of_cluster() {
            keys::time_to_live(interval).min(interval + SILENT_ON_CLUSTER)
        } else {
            SILENT_FOR
        };
        for _ in 0..SILENT_CHECKS {
            let listening = self.is_listening(connection).await?;
            match (proven.is_some(), listening) {
                (true, false) => return Ok(true),
                (false, true) => return Ok(false),
                (true, true) | (false, false) => {}
            }
            tokio::time::sleep(silent_for / SILENT_CHECKS).await;
        }
        Ok(proven.is_none())
    }

    /// Whether a sidecar listens for orders to this agent.
    async fn is_listening(&self, connection: &mut Link) -> anyhow::Result<bool> {
        let channel = self.channels.control(&self.registration.id);
        let listeners = connection.listeners(&channel).await?;
        Ok(listeners > 0)
    }
}
