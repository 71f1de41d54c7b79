//! The effects of recovery, and what people ask for.

use super::{Hub, Outputs};
use crate::asks::Asks;
use crate::bus::inbox::Request;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::recovery::{RecoveryEffect, RecoveryInput};
use heartbeat::fleet::watch::{WatchEffect, WatchInput};

impl Hub {
    /// Takes what people asked for.
    pub(super) fn take_asks(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        while let Some(asked) = self.asks.take() {
            let asked = WatchInput::Recovery(RecoveryInput::Asked(asked));
            effects.append(&mut self.watch.handle(asked, now));
        }
    }
}

impl Outputs {
    pub(super) fn recover(&self, effect: RecoveryEffect, asks: &mut Asks) {
        match effect {
            RecoveryEffect::Order(agent, order) => {
                let who = order.by.as_deref().unwrap_or("hb");
                tracing::warn!("{who} orders: {:?} {agent}", order.action);
                self.request(Request::Order(agent, order));
            }
            RecoveryEffect::Forget(agent) => {
                tracing::warn!("{agent} is forgotten, as a person asked");
                self.request(Request::Forget(agent));
            }
            RecoveryEffect::StoreSilence(silence) => self.request(Request::StoreSilence(silence)),
            RecoveryEffect::RemoveSilence(id) => self.request(Request::RemoveSilence(id)),
            RecoveryEffect::Silences(_) => {} // the alerts follow them
            RecoveryEffect::StorePause(pause) => self.request(Request::StorePause(pause)),
            RecoveryEffect::Audit(entry) => self.request(Request::Audit(entry)),
            RecoveryEffect::Answer(number, answer) => asks.answer(number, answer),
        }
    }
}
