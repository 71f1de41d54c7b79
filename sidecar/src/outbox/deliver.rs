//! What is written to the store: events, the roster entry, the beat, in this order.

use super::{Offer, Queued, ROSTER_CHECK_EVERY, StoreSession};
use crate::clock;
use heartbeat::base::moment::millis;
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::roster::RosterEntry;
use redis::aio::MultiplexedConnection;
use std::time::Duration;

impl StoreSession {
    /// Writes the roster entry when it has changed. A registration that was replaced writes nothing.
    pub(super) async fn write_roster(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        let offered = self.entry.borrow_and_update().clone();
        let Some(entry) = offered.filter(|entry| self.roster_written.as_ref() != Some(entry))
        else {
            return Ok(());
        };
        let offered = entry.clone();
        let entry = RosterEntry {
            epoch: self.epoch,
            ..entry
        };
        let mut call = self.roster.prepare_invoke();
        call.key(keys::ROSTER)
            .arg(self.registration.id.as_str())
            .arg(self.epoch)
            .arg(entry.encode());
        call.invoke_async::<u64>(connection).await?;
        self.roster_written = Some(offered);
        Ok(())
    }

    /// Writes the roster entry again when the roster no longer holds the agent.
    pub(super) async fn check_roster(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        let now = clock::now();
        if now.since(self.roster_checked) < ROSTER_CHECK_EVERY {
            return Ok(());
        }
        let held: bool = redis::cmd("HEXISTS")
            .arg(keys::ROSTER)
            .arg(self.registration.id.as_str())
            .query_async(connection)
            .await?;
        self.roster_checked = now;
        if !held {
            self.roster_written = None;
            self.write_roster(connection).await?;
        }
        Ok(())
    }

    /// Reports the end of this registration: a higher epoch has the id.
    pub(super) async fn write_fenced(
        &mut self,
        connection: &mut MultiplexedConnection,
        holder: u64,
    ) -> anyhow::Result<()> {
        let event = Event {
            kind: EventKind::Fenced,
            agent: self.registration.id.clone(),
            epoch: self.epoch,
            at_ms: clock::wall_ms(),
            detail: Detail {
                host: Some(self.registration.entry.host.clone()),
                message: Some(format!("epoch {holder} has the id")),
                ..Detail::default()
            },
        };
        self.waiting.push_back(Queued {
            event,
            at: clock::now(),
        });
        self.deliver_events(connection).await
    }

    /// Sends one beat; returns the higher epoch when the store refused it.
    pub(super) async fn deliver(
        &mut self,
        connection: &mut MultiplexedConnection,
        Offer { beat, last }: &Offer,
    ) -> anyhow::Result<Option<u64>> {
        let id = &self.registration.id;
        let json = beat.encode();
        let interval = beat.hb.as_ref().map_or(Duration::ZERO, |hb| hb.interval);
        let mut call = self.beat.prepare_invoke();
        call.key(keys::agent(id))
            .key(keys::epoch(id))
            .key(keys::control(id))
            .arg(self.epoch)
            .arg(millis(keys::time_to_live(interval)))
            .arg(self.channels.beats())
            .arg(&json);
        for (field, value) in hash::fields(beat, &json, self.registration.registered_ms, *last) {
            call.arg(field).arg(value);
        }
        let (answer, detail): (String, String) = call.invoke_async(connection).await?;
        if answer == "fenced" {
            return Ok(Some(detail.parse().unwrap_or(self.epoch)));
        }
        if !detail.is_empty() {
            self.order(&detail);
        }
        Ok(None)
    }

    pub(super) async fn deliver_events(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> anyhow::Result<()> {
        while let Some(Queued { event, at }) = self.waiting.front() {
            let delayed_ms = self.away_until.map_or(0, |until| millis(until.since(*at)));
            let mut add = redis::cmd("XADD");
            add.arg(keys::EVENTS)
                .arg("MAXLEN")
                .arg("~")
                .arg(keys::EVENTS_KEPT)
                .arg("*");
            let detail = Detail {
                delayed_ms,
                ..event.detail.clone()
            };
            for (field, value) in (Event {
                epoch: self.epoch,
                detail,
                ..event.clone()
            })
            .encode()
            {
                add.arg(field).arg(value);
            }
            add.exec_async(connection).await?;
            self.waiting.pop_front();
        }
        Ok(())
    }
}
