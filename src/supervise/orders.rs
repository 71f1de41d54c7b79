//! Orders of the monitor: each is checked and carried out once, and answered once.

use crate::wire::beat::{OrderOutcome, cut};
use crate::wire::order::{Action, DONE, Order, OrderReport};
use std::collections::VecDeque;

/// Order ids that are remembered: the store returns a pending order with every beat.
const REMEMBERED: usize = 32;
/// The longest id that is repeated in an answer, in characters.
const ID_CHARS_MAX: usize = 200;

/// The agent as an order finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Its registration; 0 before the first.
    pub epoch: u64,
    /// Its present incarnation.
    pub incarnation: u64,
    /// Whether the sidecar starts the agent, or follows the one that does.
    pub restartable: bool,
    /// Whether it is in a phase in which a restart can begin.
    pub accepts_restart: bool,
    /// Whether the pod restarts all its containers when the sidecar exits with the code for that.
    pub pod_restart: bool,
    /// Whether it is in a phase in which that can begin.
    pub accepts_pod_restart: bool,
}

/// What an order leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEffect {
    /// Seen before: nothing.
    None,
    /// It is settled: publish this.
    Answer(Answer),
    /// Apply the fix that is offered; `Orders::settled` answers.
    Unblock {
        /// The order to answer.
        order: Order,
    },
    /// Do not restart it for its present suspicion; `Orders::settled` answers.
    Hold {
        /// The order to answer.
        order: Order,
    },
    /// Report what its processes wait for; `Orders::settled` answers.
    Capture {
        /// The order to answer.
        order: Order,
    },
    /// Stop the agent; the answer follows when it has ended.
    Stop {
        /// Why, for people.
        reason: String,
        /// A person asked for it.
        by_person: bool,
    },
    /// Restart the agent; the answer follows when the next incarnation runs.
    Restart {
        /// Why, for people.
        reason: String,
    },
    /// End the agent as for a restart, and then the sidecar with [`crate::wire::order::POD_RESTART`].
    RestartPod {
        /// Why, for people.
        reason: String,
    },
}

/// What is published of a settled order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For the event, for people.
    pub message: String,
    /// The same for programs.
    pub report: OrderReport,
    /// For the beat.
    pub outcome: OrderOutcome,
}

/// The orders of one sidecar. Memory: 32 ids and one pending order.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    seen: VecDeque<String>,
    /// The highest fencing token that an order came with.
    token: u64,
    pending: Option<Order>,
}

impl Orders {
    /// Takes an order as it arrived.
    pub fn handle(&mut self, order: Order, to: Recipient) -> OrderEffect {
        if self.seen.contains(&order.id) {
            return OrderEffect::None;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(order.id.clone());
        if let Err(refusal) = order.check(to.epoch, to.incarnation, self.token) {
            return OrderEffect::Answer(refused(&order, &refusal.to_string()));
        }
        self.token = self.token.max(order.token);
        let reason = order.reason.clone();
        match order.action {
            Action::Ping => OrderEffect::Answer(answer(&order, DONE, "")),
            Action::Unblock => OrderEffect::Unblock { order },
            Action::Hold => OrderEffect::Hold { order },
            Action::Capture => OrderEffect::Capture { order },
            Action::Stop => {
                let by_person = order.by.is_some();
                self.pending = Some(order);
                OrderEffect::Stop { reason, by_person }
            }
            Action::Pod if !to.pod_restart => {
                let why = "hbsidecar does not know that its pod restarts all containers; declare it in the pod and set HB_POD_RESTART=1";
                OrderEffect::Answer(refused(&order, why))
            }
            Action::Pod if !to.accepts_pod_restart => {
                OrderEffect::Answer(refused(&order, "the agent is already starting or stopping"))
            }
            Action::Pod => {
                self.pending = Some(order);
                OrderEffect::RestartPod { reason }
            }
            Action::Restart if !to.restartable => {
                let why = "hbsidecar is attached; restart the agent where it was started";
                OrderEffect::Answer(refused(&order, why))
            }
            Action::Restart if !to.accepts_restart => {
                OrderEffect::Answer(refused(&order, "the agent is already starting or stopping"))
            }
            Action::Restart => {
                self.pending = Some(order);
                OrderEffect::Restart { reason }
            }
            Action::Unknown => OrderEffect::None, // `check` has refused it
        }
    }

    /// What became of an order that is settled at once: what was done, or why nothing was.
    pub fn settled(order: &Order, done: Result<&str, &str>) -> Answer {
        match done {
            Ok(what) => answer(order, DONE, what),
            Err(why) => refused(order, why),
        }
    }

    /// A new incarnation runs: a pending restart is done.
    pub fn restarted(&mut self) -> Option<Answer> {
        let order = self
            .pending
            .take_if(|order| order.action == Action::Restart)?;
        Some(answer(&order, DONE, ""))
    }

    /// The agent has ended for good: a pending stop is done, a pending restart has failed.
    pub fn ended(&mut self) -> Option<Answer> {
        let order = self.pending.take()?;
        Some(match order.action {
            Action::Stop | Action::Pod | Action::Ping => answer(&order, DONE, ""),
            Action::Restart
            | Action::Unblock
            | Action::Hold
            | Action::Capture
            | Action::Unknown => answer(&order, "failed", "the agent could not be restarted"),
        })
    }
}

fn refused(order: &Order, why: &str) -> Answer {
    answer(order, "refused", why)
}

fn answer(order: &Order, outcome: &str, detail: &str) -> Answer {
    let action = order.action.as_str();
    let id = cut(order.id.clone(), ID_CHARS_MAX);
    let because = if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    };
    Answer {
        message: format!("{action} {id} {outcome}{because}"),
        report: OrderReport {
            id: id.clone(),
            action: order.action,
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        },
        outcome: OrderOutcome {
            id,
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENT: Recipient = Recipient {
        epoch: 7,
        incarnation: 2,
        restartable: true,
        accepts_restart: true,
        pod_restart: true,
        accepts_pod_restart: true,
    };

    fn order(id: &str, action: Action) -> Order {
        Order {
            id: id.to_owned(),
            action,
            epoch: 7,
            incarnation: 2,
            ttl_ms: 1000,
            reason: "why".to_owned(),
            token: 0,
            by: Some("ops".to_owned()),
        }
    }

    fn outcome(effect: OrderEffect) -> String {
        let OrderEffect::Answer(answer) = effect else {
            panic!("no answer: {effect:?}");
        };
        answer.outcome.outcome
    }

    #[test]
    fn an_order_that_arrives_with_every_beat_is_carried_out_once() {
        let mut orders = Orders::default();
        let stop = || order("a", Action::Stop);
        let reason = "why".to_owned();
        assert_eq!(
            orders.handle(stop(), RECIPIENT),
            OrderEffect::Stop {
                reason,
                by_person: true
            }
        );
        assert_eq!(orders.handle(stop(), RECIPIENT), OrderEffect::None);
        assert_eq!(orders.ended().unwrap().outcome.outcome, "done");
        assert_eq!(orders.ended(), None);
    }

    #[test]
    fn a_restart_is_done_when_the_next_incarnation_runs_and_failed_when_none_follows() {
        let mut orders = Orders::default();
        orders.handle(order("a", Action::Restart), RECIPIENT);
        assert_eq!(orders.restarted().unwrap().message, "restart a done");
        orders.handle(order("b", Action::Restart), RECIPIENT);
        assert_eq!(orders.ended().unwrap().outcome.outcome, "failed");
    }

    #[test]
    fn a_restart_of_the_pod_is_done_when_the_sidecar_ends_for_it() {
        let mut orders = Orders::default();
        let reason = "why".to_owned();
        let effect = orders.handle(order("a", Action::Pod), RECIPIENT);
        assert_eq!(effect, OrderEffect::RestartPod { reason });
        assert_eq!(orders.restarted(), None);
        assert_eq!(orders.ended().unwrap().outcome.outcome, "done");
    }

    #[test]
    fn a_new_incarnation_does_not_settle_a_stop() {
        let mut orders = Orders::default();
        orders.handle(order("a", Action::Stop), RECIPIENT);
        assert_eq!(orders.restarted(), None);
    }

    #[test]
    fn orders_for_others_and_impossible_restarts_are_refused() {
        let mut orders = Orders::default();
        let attached = Recipient {
            restartable: false,
            ..RECIPIENT
        };
        let stopping = Recipient {
            accepts_restart: false,
            accepts_pod_restart: false,
            ..RECIPIENT
        };
        let later = Recipient {
            incarnation: 3,
            ..RECIPIENT
        };
        let undeclared = Recipient {
            pod_restart: false,
            ..RECIPIENT
        };
        for (id, action, to) in [
            ("a", Action::Restart, attached),
            ("b", Action::Restart, stopping),
            ("c", Action::Stop, later),
            ("d", Action::Pod, undeclared),
            ("e", Action::Pod, stopping),
        ] {
            assert_eq!(
                outcome(orders.handle(order(id, action), to)),
                "refused",
                "{id}"
            );
        }
        assert_eq!(orders.ended(), None, "nothing is pending");
    }

    #[test]
    fn an_order_of_a_monitor_that_was_replaced_is_refused() {
        let of = |id: &str, token| Order {
            token,
            ..order(id, Action::Ping)
        };
        let mut orders = Orders::default();
        for (id, token, expected) in [
            ("a", 4, "done"),
            ("b", 5, "done"),
            ("c", 4, "refused"),
            ("d", 0, "done"),
            ("e", 5, "done"),
        ] {
            let effect = orders.handle(of(id, token), RECIPIENT);
            assert_eq!(outcome(effect), expected, "{id}");
        }
    }

    #[test]
    fn an_order_to_unblock_is_answered_with_what_was_done() {
        let mut orders = Orders::default();
        let unblock = order("a", Action::Unblock);
        let effect = orders.handle(unblock.clone(), RECIPIENT);
        assert_eq!(
            effect,
            OrderEffect::Unblock {
                order: unblock.clone()
            }
        );
        let done = Orders::settled(&unblock, Ok("ended child 9"));
        assert_eq!(done.message, "unblock a done: ended child 9");
        let refused = Orders::settled(&unblock, Err("nothing to do"));
        assert_eq!(refused.outcome.outcome, "refused");
    }

    #[test]
    fn memory_is_bounded() {
        let mut orders = Orders::default();
        for n in 0..1000 {
            orders.handle(order(&n.to_string(), Action::Ping), RECIPIENT);
        }
        assert_eq!(orders.seen.len(), REMEMBERED);
    }
}
