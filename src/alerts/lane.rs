//! What waits for one receiver, in order, and how the receiver fares.

use super::exchange::{AlertsEffect, Now, Receiver};
use super::matter::outcome;
use super::outbox::OutboxEffect;
use crate::base::backoff::Backoff;
use crate::base::histogram::Histogram;
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::incident::Notified;
use crate::wire::notification::{Notification, Occasion, PageId};
use std::collections::BTreeMap;
use std::time::Duration;

const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The fallback gets what waits after so many failures, or after this time.
const FALLBACK_FAILURES: u32 = 3;
const FALLBACK_AFTER: Duration = Duration::from_secs(120);
/// What a receiver did not take for a day is no news.
const EXPIRES_MS: u64 = 24 * 3600 * 1000;
/// More than so many that wait become one message, of so many at most.
const DIGEST_ABOVE: usize = 10;
const DIGEST_MAX: usize = 50;

/// Upper bounds of the buckets of a delivery, in seconds: at once, after retries, after the fallback took over, late.
const LATENCY: [f64; 8] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0, 900.0];
/// Names of pages that are remembered.
const RECEIPTS_MAX: usize = 10_000;

/// What waits for one receiver.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) receiver: Receiver,
    /// By order.
    pub(super) queue: BTreeMap<u64, Queued>,
    /// Those that are on their way.
    pub(super) sending: Vec<u64>,
    pub(super) backoff: Backoff,
    pub(super) not_before: Moment,
    pub(super) failures: u32,
    pub(super) failing_since: Option<Moment>,
    /// It takes nothing: so often, or for so long, that its fallback takes over.
    pub(super) dead: bool,
    /// So many go out one by one: together they were refused.
    pub(super) alone: usize,
    /// By what names it knows pages.
    pub(super) receipts: BTreeMap<PageId, String>,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) delivered_at: Option<u64>,
    pub(super) error: Option<String>,
    patience: Patience,
    pub(super) latency: Histogram,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) record: Notification,
    /// It may go out from here on; `None` once its record is written.
    pub(super) written_by: Option<Moment>,
}

impl Lane {
    pub(super) fn new(receiver: Receiver, patience: Patience) -> Self {
        let (first, last) = (patience.scale(RETRY_MIN), patience.scale(RETRY_MAX));
        Self {
            receiver,
            queue: BTreeMap::new(),
            sending: Vec::new(),
            backoff: Backoff::new(first, last),
            not_before: Moment::default(),
            failures: 0,
            failing_since: None,
            dead: false,
            alone: 0,
            receipts: BTreeMap::new(),
            delivered: 0,
            failed: 0,
            delivered_at: None,
            error: None,
            patience,
            latency: Histogram::new(&LATENCY),
        }
    }

    pub(super) fn well(&mut self, now: Now) {
        self.backoff.reset();
        self.delivered_at = Some(now.wall_ms);
        (self.failures, self.failing_since, self.error, self.dead) = (0, None, None, false);
    }

    /// It took this record.
    pub(super) fn took(&mut self, record: &Notification, now: Now) {
        self.delivered += 1;
        // The order of a notification is when it was due, Unix milliseconds, also across a restart of the monitor.
        let late = now.wall_ms.saturating_sub(record.order);
        self.latency.add(Duration::from_millis(late));
    }

    pub(super) fn fails(&mut self, error: &str, now: Now) {
        self.failures += 1;
        self.failed += 1;
        let since = *self.failing_since.get_or_insert(now.at);
        self.error = Some(error.to_owned());
        self.dead |=
            self.failures >= FALLBACK_FAILURES || now.at.since(since) >= self.fallback_after();
    }

    fn fallback_after(&self) -> Duration {
        self.patience.scale(FALLBACK_AFTER)
    }

    /// When the first in the queue may go out.
    pub(super) fn ready_at(&self) -> Option<Moment> {
        let (_, first) = self.queue.first_key_value()?;
        Some(first.written_by.unwrap_or_default().max(self.not_before))
    }

    pub(super) fn falls_back_at(&self) -> Option<Moment> {
        self.receiver.fallback.as_ref()?;
        let since = self.failing_since?;
        let waits = self.queue.values().any(|queued| !queued.record.fell_back);
        let at = match self.failures {
            0..FALLBACK_FAILURES => since + self.fallback_after(),
            FALLBACK_FAILURES.. => since,
        };
        waits.then_some(at)
    }

    pub(super) fn take(&mut self, now: Now) -> Vec<Notification> {
        let ready = self.ready_at().is_some_and(|at| at <= now.at);
        if !ready || !self.sending.is_empty() {
            return Vec::new();
        }
        let together = self.receiver.digests && self.queue.len() > DIGEST_ABOVE;
        let count = if together && self.alone == 0 {
            DIGEST_MAX
        } else {
            1
        };
        self.alone = self.alone.saturating_sub(1);
        let batch = self.queue.iter().take(count);
        let batch = batch.take_while(|(_, queued)| queued.written_by.is_none_or(|at| at <= now.at));
        let batch: Vec<(u64, Notification)> = batch
            .map(|(order, queued)| (*order, self.addressed(&queued.record)))
            .collect();
        self.sending = batch.iter().map(|(order, _)| *order).collect();
        batch.into_iter().map(|(_, record)| record).collect()
    }

    /// With the name by which the receiver knows the page.
    fn addressed(&self, record: &Notification) -> Notification {
        let mut record = record.clone();
        record.receipt = self.receipts.get(&record.message.page).cloned();
        record
    }

    /// The receiver gave a page this name.
    pub(super) fn named(&mut self, page: PageId, receipt: String) {
        if self.receipts.len() >= RECEIPTS_MAX {
            self.receipts.pop_first(); // ids sort by time
        }
        self.receipts.insert(page, receipt);
    }

    pub(super) fn expire(&mut self, now: Now, effects: &mut Vec<OutboxEffect>) {
        while let Some((order, first)) = self.queue.first_key_value() {
            let old = first.record.order.saturating_add(EXPIRES_MS) < now.wall_ms;
            if !old || self.sending.contains(order) {
                return;
            }
            if let Some((_, queued)) = self.queue.pop_first() {
                let error = queued.record.last_error.clone().unwrap_or_default();
                let mut out = Vec::new();
                done(
                    queued.record,
                    None,
                    Some((outcome::EXPIRED, &error)),
                    now,
                    &mut out,
                );
                effects.extend(out.into_iter().map(OutboxEffect::Out));
            }
        }
    }
}

/// A record leaves the outbox, and the incidents it was about say so.
pub(super) fn done(
    record: Notification,
    receipt: Option<String>,
    error: Option<(&str, &str)>,
    now: Now,
    effects: &mut Vec<AlertsEffect>,
) {
    let (word, error) = match error {
        Some((word, error)) => (word, Some(error.to_owned())),
        None => (taken(record.message.occasion), None),
    };
    let notified = Notified {
        receiver: record.receiver.to_string(),
        at: now.wall_ms,
        outcome: word.to_owned(),
        error,
        receipt,
    };
    if !record.message.incidents.is_empty() {
        effects.push(AlertsEffect::Notified(record.message.incidents, notified));
    }
    effects.push(AlertsEffect::Remove(record.id));
}

const fn taken(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Firing | Occasion::Notice => outcome::PAGED,
        Occasion::Updated | Occasion::Acknowledged | Occasion::Repaired | Occasion::Test => {
            outcome::UPDATED
        }
        Occasion::Resolved => outcome::RESOLVED,
    }
}
