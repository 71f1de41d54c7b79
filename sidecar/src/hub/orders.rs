//! Orders of the monitor: checked, carried out through the lifecycle, answered on the next beat.

use super::Hub;
use heartbeat::supervise::lifecycle::{Input, Restart};
use heartbeat::wire::beat::{OrderOutcome, cut};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::order::{Action, Order};

/// Orders that are remembered: the store returns a pending one with every beat.
const REMEMBERED: usize = 32;
/// The longest id or reason that is repeated, in characters.
const WORDS_MAX: usize = 200;

impl Hub {
    pub(super) fn ordered(&mut self, order: Order) {
        if self.orders_seen.contains(&order.id) {
            return;
        }
        if self.orders_seen.len() == REMEMBERED {
            self.orders_seen.pop_front();
        }
        self.orders_seen.push_back(order.id.clone());
        if let Err(refusal) = order.check(self.epoch.unwrap_or(0), self.life.incarnation()) {
            return self.answer(&order, "refused", &refusal.to_string());
        }
        match order.action {
            Action::Ping => self.answer(&order, "done", ""),
            Action::Stop => {
                tracing::warn!("ordered to stop the agent: {}", order.reason);
                self.order = Some(order);
                self.decide(Input::Stop);
            }
            Action::Restart => self.ordered_restart(order),
        }
    }

    fn ordered_restart(&mut self, order: Order) {
        if !self.starts_agents() && self.config.policy.restart != Restart::Follow {
            let why = "attached: whoever started the agent starts it again";
            return self.answer(&order, "refused", why);
        }
        if !self.life.takes_restart() {
            return self.answer(&order, "refused", "it is being started or stopped already");
        }
        tracing::warn!("ordered to restart the agent: {}", order.reason);
        self.order = Some(order);
        self.decide(Input::Restart);
    }

    /// A new incarnation runs: an ordered restart is done.
    pub(super) fn restart_done(&mut self) {
        if let Some(order) = self.order.take_if(|order| order.action == Action::Restart) {
            self.answer(&order, "done", "");
        }
    }

    /// The agent is over, and with it whatever was ordered.
    pub(super) fn order_over(&mut self) {
        match self.order.take() {
            Some(order) if order.action == Action::Stop => self.answer(&order, "done", ""),
            Some(order) => self.answer(&order, "failed", "the agent could not be started again"),
            None => {}
        }
    }

    fn answer(&mut self, order: &Order, outcome: &str, detail: &str) {
        let action = match order.action {
            Action::Restart => "restart",
            Action::Stop => "stop",
            Action::Ping => "ping",
        };
        let id = cut(order.id.clone(), WORDS_MAX);
        let because = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        let message = Some(format!("{action} {id} {outcome}{because}"));
        self.report_event(
            EventKind::Order,
            Detail {
                message,
                ..Detail::default()
            },
        );
        self.outcome = Some(OrderOutcome {
            id,
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        });
        self.beat();
    }
}
