//! What is written to the store: events, the roster entry, the beat, in this order.

use super::refusal::{Refusal, refusal, remedy_of_refusal};
use super::{Offer, Queued, StoreSession};
use crate::clock;
use hbshell::store::{Link, add_event};
use heartbeat::base::moment::millis;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::wire::beat::Beat;
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::roster::RosterEntry;
use std::time::Duration;

/// An agent whose id was taken has so many intervals to end before it counts as a second one: a rollout with `--takeover` lets
/// both run for a while.
const INTERVALS_TO_END: u32 = 10;
/// With which of the beats the roster is looked at where that costs a connection to another node of a cluster.
const ROSTER_EVERY: u64 = 10;

impl StoreSession {
    /// Writes the roster entry when it has changed. A registration that was replaced writes nothing. What the store refuses
    /// is tried again with the next beat.
    pub(super) async fn write_roster(&mut self, connection: &mut Link) -> anyhow::Result<()> {
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
        let written = call.invoke_async::<u64>(connection).await;
        let written = match self.taken("the roster entry", written)? {
            Some(_) => true,
            None => self.write_roster_plainly(connection, &entry).await?,
        };
        if written {
            self.roster_written = Some(offered);
        }
        Ok(())
    }

    /// Writes the roster entry again when the roster no longer holds the agent: a store that was emptied under a living
    /// connection has lost it.
    pub(super) async fn check_roster(&mut self, connection: &mut Link) -> anyhow::Result<()> {
        if !connection.reaches(keys::ROSTER) && !self.sent.is_multiple_of(ROSTER_EVERY) {
            return Ok(());
        }
        let held: redis::RedisResult<bool> = redis::cmd("HEXISTS")
            .arg(keys::ROSTER)
            .arg(self.registration.id.as_str())
            .query_async(connection)
            .await;
        if self.taken("a question", held)? == Some(false) {
            self.roster_written = None;
            self.write_roster(connection).await?;
        }
        Ok(())
    }

    /// Reports the end of this registration: a higher epoch has the id.
    pub(super) async fn write_fenced(
        &mut self,
        connection: &mut Link,
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

    /// Publishes the beat of an agent that runs without the id: nothing holds it, and monitors see that there are two.
    pub(super) async fn publish_beside(&mut self, connection: &mut Link) -> anyhow::Result<()> {
        let Some(Offer { beat, .. }) = self.newer() else {
            return Ok(());
        };
        let Some(hb) = beat.hb.as_ref().filter(|hb| hb.fenced) else {
            return Ok(());
        };
        self.sent = beat.sequence;
        let since = *self.beside_since.get_or_insert_with(clock::now);
        if clock::now().since(since) >= hb.interval * INTERVALS_TO_END {
            let published = redis::cmd("PUBLISH")
                .arg(self.channels.beats())
                .arg(beat.encode())
                .exec_async(connection)
                .await;
            self.taken("a beat", published)?;
        }
        Ok(())
    }

    /// Sends one beat. A store that refuses to write it publishes it all the same: the agent lives.
    pub(super) async fn deliver(
        &mut self,
        connection: &mut Link,
        Offer { beat, last }: &Offer,
    ) -> anyhow::Result<Delivered> {
        let id = &self.registration.id;
        let mut beat = Beat::clone(beat);
        if let Some(hb) = &mut beat.hb {
            hb.store_refuses = self.refused;
        }
        let json = beat.encode();
        let interval = beat.hb.as_ref().map_or(Duration::ZERO, |hb| hb.interval);
        let fields = hash::fields(&beat, &json, self.registration.registered_ms, *last);
        let time_to_live = millis(keys::time_to_live(interval));
        let mut call = self.beat.prepare_invoke();
        call.key(keys::agent(id))
            .key(keys::epoch(id))
            .key(keys::control(id))
            .arg(self.epoch)
            .arg(time_to_live)
            .arg(self.channels.beats())
            .arg(&json);
        for (field, value) in &fields {
            call.arg(*field).arg(value);
        }
        let answer = call.invoke_async::<(String, String)>(connection).await;
        let Some((answer, detail)) = self.taken("a beat", answer)? else {
            return self
                .deliver_plainly(connection, &json, &fields, time_to_live)
                .await;
        };
        if answer == "fenced" {
            return Ok(Delivered::Fenced(detail.parse().unwrap_or(self.epoch)));
        }
        // What was refused just before this beat is logged already.
        self.refusal_logged &= std::mem::take(&mut self.refused);
        self.replica.wrote();
        if !detail.is_empty() {
            self.order(&detail);
        }
        Ok(Delivered::Stored)
    }

    /// Sends one beat by single commands, where the script is refused: what the store takes of them counts.
    async fn deliver_plainly(
        &mut self,
        connection: &mut Link,
        json: &str,
        fields: &[(&'static str, String)],
        time_to_live: u64,
    ) -> anyhow::Result<Delivered> {
        let key = keys::agent(&self.registration.id);
        let held: redis::RedisResult<Option<String>> = redis::cmd("HGET")
            .arg(&key)
            .arg("epoch")
            .query_async(connection)
            .await;
        let held = self.taken("a question", held)?.flatten();
        let held = held.and_then(|epoch| epoch.parse::<u64>().ok());
        if let Some(higher) = held.filter(|held| *held > self.epoch && *held <= COUNT_MAX) {
            return Ok(Delivered::Fenced(higher));
        }
        let mut commands = redis::pipe();
        commands.cmd("HSET").arg(&key);
        for (field, value) in fields {
            commands.arg(*field).arg(value);
        }
        commands.cmd("PEXPIRE").arg(&key).arg(time_to_live);
        commands.cmd("PUBLISH").arg(self.channels.beats()).arg(json);
        commands.ignore_errors();
        let answers: Vec<redis::RedisResult<redis::Value>> =
            commands.query_async(connection).await?;
        let mut answers = answers.into_iter();
        let stored = answers.next().is_some_and(|answer| answer.is_ok());
        if let Some(Err(error)) = answers.nth(1) {
            return Err(error.into()); // not even published
        }
        self.refused = !stored;
        Ok(if stored {
            Delivered::Stored
        } else {
            Delivered::Published
        })
    }

    /// Stores the events that wait, in order. One that the store refuses for good is dropped; one that it refuses for now
    /// waits, and no beat waits behind it.
    pub(super) async fn deliver_events(&mut self, connection: &mut Link) -> anyhow::Result<()> {
        while let Some(Queued { event, at }) = self.waiting.front() {
            let delayed_ms = self.away_until.map_or(0, |until| millis(until.since(*at)));
            let detail = Detail {
                delayed_ms,
                ..event.detail.clone()
            };
            let add = add_event(&Event {
                epoch: self.epoch,
                detail,
                ..event.clone()
            });
            match add.exec_async(connection).await {
                Ok(()) => {}
                Err(error) if refusal(&error) == Some(Refusal::ForNow) => {
                    self.report_refusal("an event", &error);
                    return Ok(());
                }
                Err(error) if refusal(&error) == Some(Refusal::ForGood) => {
                    self.report_refusal("an event, which is dropped,", &error);
                }
                Err(error) => return Err(error.into()),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// The answer of the store; `None` when it refused, which is logged once and shown on the next beats.
    pub(super) fn taken<T>(
        &mut self,
        what: &str,
        answer: redis::RedisResult<T>,
    ) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if refusal(&error).is_some() => {
                self.report_refusal(what, &error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn report_refusal(&mut self, what: &str, error: &redis::RedisError) {
        self.refused = true;
        self.replica.refused(error);
        self.replica.cut_off(error);
        if !std::mem::replace(&mut self.refusal_logged, true) {
            let (address, remedy) = (&self.address, remedy_of_refusal(error));
            tracing::warn!(
                "the store at {address} refuses {what}; beats are published all the same: {error}; {remedy}"
            );
        }
    }
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The hash holds it, and it was published.
    Stored,
    /// It was published; the store refuses to hold it.
    Published,
    /// A higher epoch has the id.
    Fenced(u64),
}
