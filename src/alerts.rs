//! Who is notified of what, and when: pages from incidents, and the outbox that brings them to their receivers.
//!
//! ```text
//! incident ─► Pages (group, wait, mute, repeat) ─[message]─► Outbox (store, pace, retry, fall back) ─[delivery]─► receiver
//! ```
//!
//! Both are machines of their own; here the effects of one become the inputs of the other. Alerts fail open: a store that
//! is unreachable delays no page. Deliberately absent: how a message looks at its receiver, and how it gets there.

pub mod exchange;
mod flaps;
mod lane;
pub mod matter;
mod outbox;
mod page;
mod pages;
mod restore;
mod sending;
#[cfg(test)]
mod tests;
mod troubled;
mod wide;
mod words;

use crate::alerts::outbox::{Outbox, OutboxEffect};
use crate::alerts::pages::{Pages, PagesEffect};
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::notification::PageId;
use exchange::{AlertsEffect, AlertsInput, AlertsView, Now};

/// Both machines.
#[derive(Debug)]
pub struct Alerts {
    pages: Pages,
    outbox: Outbox,
}

impl Alerts {
    /// Nothing to report and no receivers yet. `seed` spreads retries.
    pub fn new(seed: u64) -> Self {
        Self {
            pages: Pages::default(),
            outbox: Outbox::new(seed),
        }
    }

    /// The same with this factor on every waiting time, before it is used. What receivers ask for is not scaled.
    #[must_use]
    pub fn patient(mut self, patience: Patience) -> Self {
        self.pages.patience = patience;
        self.outbox.patience = patience;
        self
    }

    /// Applies one input and returns what the caller must do, in this order.
    pub fn handle(&mut self, input: AlertsInput, now: Now) -> Vec<AlertsEffect> {
        let mut effects = Vec::new();
        match input {
            AlertsInput::Receivers(receivers) => {
                self.outbox.configure(&receivers, now);
                self.pages.configure(receivers);
            }
            AlertsInput::Restored { matters, outbox } => {
                let open = matters.iter().filter(|matter| matter.closed_at.is_none());
                for receiver in open.filter_map(|matter| matter.about.as_ref()) {
                    self.outbox.takes_nothing(receiver);
                }
                for matter in &matters {
                    let page = matter.page.as_ref().unwrap_or(&matter.id);
                    for (receiver, receipt) in &matter.receipts {
                        self.outbox.named(receiver, PageId::from(page), receipt);
                    }
                }
                self.pages.restore(matters, &outbox, now);
                self.outbox.restore(outbox, now, &mut effects);
            }
            AlertsInput::Matter(matter) => self.pages.matter(*matter, now),
            AlertsInput::Agent(agent, standing) => self.pages.agent(&agent, standing),
            AlertsInput::Gate(gate, host, closed) => self.pages.gate(gate, host, closed, now),
            AlertsInput::Silences(silences) => self.pages.silence(silences),
            AlertsInput::LinkUp => self.outbox.link(true, now),
            AlertsInput::LinkDown => self.outbox.link(false, now),
            AlertsInput::Stored(id) => self.outbox.stored(&id),
            AlertsInput::Delivered(delivered) => {
                self.outbox.delivered(delivered, now, &mut effects);
            }
            AlertsInput::Tick => {}
        }
        self.settle(now, &mut effects);
        effects
    }

    /// When something changes by itself next, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let machines = [self.pages.deadline(), self.outbox.deadline()];
        machines.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The receivers and what waits for them.
    pub fn view(&self) -> AlertsView {
        AlertsView {
            receivers: self.outbox.view(),
            pages: self.pages.sent(),
            firing: self.pages.firing(),
            muted: self.pages.muted(),
            suppressed: self.pages.suppressed(),
        }
    }

    fn settle(&mut self, now: Now, effects: &mut Vec<AlertsEffect>) {
        for effect in self.pages.advance(now) {
            match effect {
                PagesEffect::Send(notification) => self.outbox.push(notification, now, effects),
                PagesEffect::Paged(incidents, page) => {
                    effects.push(AlertsEffect::Paged(incidents, page));
                }
                PagesEffect::Renew(receiver, messages) => {
                    effects.push(AlertsEffect::Renew(receiver, messages));
                }
            }
        }
        // What falls back may go out at once.
        for _ in 0..2 {
            for effect in self.outbox.advance(now) {
                match effect {
                    OutboxEffect::Out(effect) => effects.push(effect),
                    OutboxEffect::FallBack(copy) => {
                        if self.pages.also_sent(&copy.message.page, &copy.receiver) {
                            self.outbox.push(copy, now, effects);
                        }
                    }
                }
            }
        }
    }
}
