//! Orders of the monitor: carried out through the lifecycle, answered with an event and on the next beat.

use super::{Hub, Outcome};
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
            pod_restart: self.config.pod_restart,
            accepts_pod_restart: self.agent.life.takes_restart() || self.is_searching(),
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
            OrderEffect::Capture { order } => {
                let done = self.capture_by_order();
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
            OrderEffect::RestartPod { reason } => {
                tracing::warn!("order received: restart all containers of the pod: {reason}");
                self.restart_pod();
            }
        }
    }

    /// Waits for another program to start the agent: a restart of the pod may bring it, an order to restart it may not.
    fn is_searching(&self) -> bool {
        !self.config.work.starts_agents() && self.agent.life.is_starting()
    }

    /// What the sidecar has started is ended first; what another program started ends with its container.
    fn restart_pod(&mut self) {
        self.agent.facts.ends_for_pod = true;
        if self.config.work.starts_agents() {
            self.agent.facts.hung = self.watch.is_hung();
            self.decide(Input::Restart);
        } else {
            self.outcome = Some(Outcome::PodRestart);
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
