//! The outbox: every notification reaches its receiver at least once, in order, or it is known why not.
//!
//! A record is written before the first attempt and removed after the receiver took it. A receiver gets one message at a
//! time, so that none overtakes another; of one page it gets the newest. Once three attempts have failed, or for two
//! minutes, the fallback gets what waits. Deliberately absent: a store that must answer before people are notified.

use crate::alerts::exchange::{AlertsEffect, Delivered, Now, Outcome, Receiver, ReceiverView};
use crate::alerts::lane::{Lane, Queued, done};
use crate::alerts::matter::outcome;
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::notification::{Notification, Occasion, PageId, ReceiverName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A record that the store has not confirmed goes out after this time all the same.
const STORED_WITHIN: Duration = Duration::from_secs(2);
/// The longest wait that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_secs(15 * 60);
/// Between two messages of one pace.
const PACE: Duration = Duration::from_secs(1);
/// Notifications that wait for one receiver; beyond it the oldest is dropped.
const QUEUED_MAX: usize = 1000;

/// The machine.
#[derive(Debug)]
pub(super) struct Outbox {
    lanes: BTreeMap<ReceiverName, Lane>,
    /// When the next message of a pace may go out.
    paces: BTreeMap<String, Moment>,
    /// What a receiver refused and its fallback gets.
    refused: Vec<Notification>,
    link: bool,
    random: u64,
    pub(super) patience: Patience,
}

pub(super) enum OutboxEffect {
    Out(AlertsEffect),
    /// For the fallback of a receiver, unless it knows the page.
    FallBack(Box<Notification>),
}

impl Outbox {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            lanes: BTreeMap::new(),
            paces: BTreeMap::new(),
            refused: Vec::new(),
            link: false,
            random: seed,
            patience: Patience::ONE,
        }
    }

    /// What waits for a receiver that is no longer configured is dropped with it.
    pub(super) fn configure(&mut self, receivers: &[Receiver], now: Now) {
        let names: BTreeSet<&ReceiverName> = receivers.iter().map(|r| &r.name).collect();
        self.lanes.retain(|name, _| names.contains(name));
        for receiver in receivers {
            match self.lanes.get_mut(&receiver.name) {
                Some(lane) => {
                    // It may have been mended.
                    (lane.receiver, lane.not_before) = (receiver.clone(), now.at);
                    lane.backoff.reset();
                }
                None => {
                    let lane = Lane::new(receiver.clone(), self.patience);
                    self.lanes.insert(receiver.name.clone(), lane);
                }
            }
        }
    }

    /// A monitor before this one found that a receiver takes nothing.
    pub(super) fn takes_nothing(&mut self, receiver: &ReceiverName) {
        if let Some(lane) = self.lanes.get_mut(receiver) {
            lane.dead = true;
        }
    }

    /// A receiver knows a page by this name, as the store says.
    pub(super) fn named(&mut self, receiver: &str, page: PageId, receipt: &str) {
        let lane = ReceiverName::parse(receiver).ok();
        if let Some(lane) = lane.and_then(|name| self.lanes.get_mut(&name)) {
            lane.named(page, receipt.to_owned());
        }
    }

    pub(super) fn link(&mut self, up: bool, now: Now) {
        self.link = up;
        if !up {
            let waiting = self
                .lanes
                .values_mut()
                .flat_map(|lane| lane.queue.values_mut());
            for queued in waiting.filter(|queued| queued.written_by.is_some()) {
                queued.written_by = Some(now.at);
            }
        }
    }

    pub(super) fn stored(&mut self, id: &str) {
        let waiting = self
            .lanes
            .values_mut()
            .flat_map(|lane| lane.queue.values_mut());
        for queued in waiting.filter(|queued| queued.record.id == id) {
            queued.written_by = None;
        }
    }

    /// Adds one; of what waits about the same page the newest state stands.
    pub(super) fn push(
        &mut self,
        record: Box<Notification>,
        now: Now,
        effects: &mut Vec<AlertsEffect>,
    ) {
        let Some(lane) = self.lanes.get_mut(&record.receiver) else {
            return;
        };
        let mut record = *record;
        let page = record.message.page.clone();
        let waits = |(order, queued): &(&u64, &Queued)| {
            queued.record.message.page == page && !lane.sending.contains(order)
        };
        let known = lane.queue.iter().find(waits).map(|(order, _)| *order);
        if let Some(old) = known.and_then(|order| lane.queue.remove(&order)) {
            effects.push(AlertsEffect::Remove(old.record.id));
            let never_sent = matches!(
                old.record.message.occasion,
                Occasion::Firing | Occasion::Notice
            );
            if never_sent && record.message.occasion == Occasion::Updated {
                record.message.occasion = old.record.message.occasion;
            }
        }
        if lane.queue.len() >= QUEUED_MAX
            && let Some(order) = lane
                .queue
                .keys()
                .find(|order| !lane.sending.contains(order))
                .copied()
            && let Some(old) = lane.queue.remove(&order)
        {
            lane.failed += 1;
            effects.push(AlertsEffect::Remove(old.record.id));
        }
        let wait = if self.link {
            STORED_WITHIN
        } else {
            Duration::ZERO
        };
        effects.push(AlertsEffect::Store(Box::new(record.clone())));
        let written_by = Some(now.at + wait);
        lane.queue
            .insert(record.order, Queued { record, written_by });
    }

    /// What the store holds: what is not known here goes out; what it lost is written again.
    pub(super) fn restore(
        &mut self,
        records: Vec<Notification>,
        now: Now,
        effects: &mut Vec<AlertsEffect>,
    ) {
        let held: BTreeSet<String> = records.iter().map(|record| record.id.clone()).collect();
        let mut strangers = Vec::new();
        for mut record in records {
            let Some(lane) = self.lanes.get_mut(&record.receiver) else {
                strangers.push(record.id);
                continue;
            };
            if lane
                .queue
                .values()
                .any(|known| known.record.id == record.id)
            {
                continue;
            }
            while lane.queue.contains_key(&record.order) {
                record.order += 1;
            }
            let written_by = None;
            lane.queue
                .insert(record.order, Queued { record, written_by });
        }
        for queued in self
            .lanes
            .values_mut()
            .flat_map(|lane| lane.queue.values_mut())
        {
            if !held.contains(&queued.record.id) {
                effects.push(AlertsEffect::Store(Box::new(queued.record.clone())));
                queued.written_by.get_or_insert(now.at);
            }
        }
        effects.extend(strangers.into_iter().map(AlertsEffect::Remove));
    }

    pub(super) fn delivered(
        &mut self,
        delivered: Delivered,
        now: Now,
        effects: &mut Vec<AlertsEffect>,
    ) {
        let random = self.next_random();
        let Some(lane) = self.lanes.get_mut(&delivered.receiver) else {
            return;
        };
        let was_dead = lane.dead;
        let sent = std::mem::take(&mut lane.sending);
        let receipt = match &delivered.outcome {
            // Several in one message have no name of their own.
            Outcome::Posted(receipt) if sent.len() == 1 => Some(receipt.clone()),
            Outcome::Posted(_)
            | Outcome::Taken
            | Outcome::Later { .. }
            | Outcome::Refused { .. } => None,
        };
        match delivered.outcome {
            Outcome::Taken | Outcome::Posted(_) => {
                for order in sent {
                    if let Some(Queued { record, .. }) = lane.queue.remove(&order) {
                        lane.took(&record, now);
                        let page = record.message.page.clone();
                        if record.message.occasion == Occasion::Resolved {
                            lane.receipts.remove(&page);
                        } else if let Some(receipt) = &receipt {
                            lane.named(page, receipt.clone());
                        }
                        done(record, receipt.clone(), None, now, effects);
                    }
                }
                lane.well(now);
            }
            Outcome::Later { error, after } => {
                let drawn = lane.backoff.next(random);
                let wait = after.map_or(drawn, |after| after.min(AFTER_MAX));
                lane.not_before = now.at + wait;
                lane.fails(&error, now);
                for order in sent {
                    if let Some(queued) = lane.queue.get_mut(&order) {
                        queued.record.attempts += 1;
                        queued.record.last_error = Some(error.clone());
                        effects.push(AlertsEffect::Store(Box::new(queued.record.clone())));
                    }
                }
            }
            Outcome::Refused { error } => {
                lane.fails(&error, now);
                if sent.len() > 1 {
                    // Which of them is the wrong one shows when each is sent alone.
                    lane.alone = sent.len();
                    return;
                }
                lane.dead = true;
                for queued in sent.iter().filter_map(|order| lane.queue.remove(order)) {
                    if let Some(fallback) = &lane.receiver.fallback {
                        self.refused.push(copy(&queued.record, fallback));
                    }
                    let error = Some((outcome::REFUSED, &*error));
                    done(queued.record, None, error, now, effects);
                }
            }
        }
        if was_dead != lane.dead {
            let error = lane.error.clone().filter(|_| lane.dead);
            effects.push(AlertsEffect::ReceiverChanged(delivered.receiver, error));
        }
    }

    pub(super) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let lanes = self.lanes.values().filter(|lane| lane.sending.is_empty());
        let sends = lanes.filter_map(|lane| {
            let pace = lane
                .receiver
                .pace
                .as_ref()
                .and_then(|pace| self.paces.get(pace));
            let ready = lane.ready_at()?;
            Some(pace.map_or(ready, |pace| ready.max(*pace)))
        });
        let falls = self.lanes.values().filter_map(Lane::falls_back_at);
        sends.chain(falls).min().map(|at| (at, "notification"))
    }

    pub(super) fn advance(&mut self, now: Now) -> Vec<OutboxEffect> {
        let mut effects = Vec::new();
        self.fall_back(now, &mut effects);
        for lane in self.lanes.values_mut() {
            lane.expire(now, &mut effects);
            let pace = lane.receiver.pace.clone();
            let paced = pace.as_ref().and_then(|pace| self.paces.get(pace));
            if paced.is_some_and(|at| *at > now.at) {
                continue;
            }
            let batch = lane.take(now);
            if batch.is_empty() {
                continue;
            }
            if let Some(pace) = pace {
                self.paces.insert(pace, now.at + PACE);
            }
            effects.push(OutboxEffect::Out(AlertsEffect::Deliver(batch)));
        }
        effects
    }

    pub(super) fn view(&self) -> Vec<ReceiverView> {
        let view = |lane: &Lane| ReceiverView {
            name: lane.receiver.name.clone(),
            queued: lane.queue.len(),
            delivered: lane.delivered,
            failed: lane.failed,
            delivered_at: lane.delivered_at,
            error: lane.error.clone(),
            latency: lane.latency.clone(),
        };
        self.lanes.values().map(view).collect()
    }

    /// Gives what waits for a receiver that does not take it to its fallback, once.
    fn fall_back(&mut self, now: Now, effects: &mut Vec<OutboxEffect>) {
        let mut copies = std::mem::take(&mut self.refused);
        for lane in self.lanes.values_mut() {
            let due = lane.falls_back_at().is_some_and(|at| at <= now.at);
            let Some(fallback) = lane.receiver.fallback.clone().filter(|_| due) else {
                continue;
            };
            for queued in lane
                .queue
                .values_mut()
                .filter(|queued| !queued.record.fell_back)
            {
                queued.record.fell_back = true;
                copies.push(copy(&queued.record, &fallback));
                let original = Box::new(queued.record.clone());
                effects.push(OutboxEffect::Out(AlertsEffect::Store(original)));
            }
        }
        // That it is over, or in good hands, reaches every receiver that has the page by itself.
        let news = |copy: &Notification| match copy.message.occasion {
            Occasion::Firing | Occasion::Updated | Occasion::Notice => true,
            Occasion::Acknowledged | Occasion::Resolved | Occasion::Repaired | Occasion::Test => {
                false
            }
        };
        let copies = copies.into_iter().filter(news);
        effects.extend(copies.map(|copy| OutboxEffect::FallBack(Box::new(copy))));
    }

    /// SplitMix64, as a number from 0 to 1.
    fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn copy(record: &Notification, fallback: &ReceiverName) -> Notification {
    let mut copy = record.clone();
    copy.id = format!("{}-for-{fallback}", record.id);
    (copy.attempts, copy.last_error, copy.fell_back) = (0, None, false);
    copy.instead_of = Some(record.receiver.clone());
    copy.receipt = None;
    copy.receiver = fallback.clone();
    copy
}
