//! What is written to the store: events, the roster entry, the beat, in this order.

use super::{Offer, Queued, StoreSession};
use heartbeat::base::moment::millis;
use heartbeat::wire::event::{Detail, Event};
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
