//! Orders of the monitor: carried out through the lifecycle, answered with an event and on the next beat.

use super::Hub;
use heartbeat::supervise::lifecycle::{Input, Restart};
use heartbeat::supervise::orders::{Answer, OrderEffect, Orders, Recipient};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::life::Reason;
use heartbeat::wire::order::Order;

impl Hub {
    pub(super) fn ordered(&mut self, order: Order) {
        let recipient = Recipient {
            epoch: self.publisher.epoch.unwrap_or(0),
            incarnation: self.agent.life.incarnation(),
            restartable: self.config.work.starts_agents()
                || self.config.policy.restart == Restart::Follow,
            accepts_restart: self.agent.life.takes_restart(),
        };
        match self.orders.handle(order, recipient) {
            OrderEffect::None => {}
            OrderEffect::Answer(answer) => self.answer_order(answer),
            OrderEffect::Unblock { order } => {
                tracing::warn!("order received: unblock the agent: {}", order.reason);
                let done = self.unblock();
                let done = done.as_deref().map_err(String::as_str);
                self.answer_order(Orders::settled(&order, done));
            }
            OrderEffect::Hold { order } => {
                tracing::info!("order received: no restart for now: {}", order.reason);
                let done = self.hold();
                let done = done.as_deref().map_err(String::as_str);
                self.answer_order(Orders::settled(&order, done));
            }
            OrderEffect::Stop { reason, by_person } => {
                tracing::warn!("order received: stop the agent: {reason}");
                self.agent.facts.stopped_by = by_person.then_some(Reason::Operator);
                self.decide(Input::Stop);
            }
            OrderEffect::Restart { reason } => {
                tracing::warn!("order received: restart the agent: {reason}");
                self.decide(Input::Restart);
            }
        }
    }

    pub(super) fn answer_order(&mut self, answer: Answer) {
        self.report_event(
            EventKind::Order,
            Detail {
                message: Some(answer.message),
                order: Some(answer.report),
                ..Detail::default()
            },
        );
        self.publisher.order_outcome = Some(answer.outcome);
        self.beat();
    }
}
