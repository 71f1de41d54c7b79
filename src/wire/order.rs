//! Orders: what a monitor asks of a sidecar. Bound to one epoch and one incarnation, with an expiry.

use crate::base::number;
use serde::{Deserialize, Serialize};

/// The exit code for which a pod declares `RestartAllContainers`.
pub const POD_RESTART: u8 = 88;

/// The value of `hb:control:{agent:ID}` and the message on the channel of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Names the order; its outcome carries it back.
    pub id: String,
    /// What to do.
    pub action: Action,
    /// The registration it is meant for; another one drops it.
    #[serde(deserialize_with = "number::count")]
    pub epoch: u64,
    /// The incarnation it is meant for; another one drops it.
    #[serde(deserialize_with = "number::count")]
    pub incarnation: u64,
    /// Milliseconds from its receipt after which it must not be carried out any more.
    #[serde(deserialize_with = "number::count")]
    pub ttl_ms: u64,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// The fencing token of the monitor that gives it: an order of a monitor that another one has replaced is refused. 0:
    /// of no monitor.
    #[serde(
        default,
        deserialize_with = "number::count",
        skip_serializing_if = "is_zero"
    )]
    pub token: u64,
    /// The person who asked for it; absent: a monitor gives it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// End the agent and start a new incarnation.
    Restart,
    /// Apply the fix that the present verdict offers, below a restart.
    Unblock,
    /// Do not restart the agent for its present suspicion: a person takes care of it.
    Hold,
    /// Report what each of the agent's processes waits for; nothing is done to them.
    Capture,
    /// End the agent for good.
    Stop,
    /// Exit with [`POD_RESTART`], so that the kubelet restarts all containers of the pod.
    Pod,
    /// Beat at once.
    Ping,
    /// An action of a newer version: it is refused, and the refusal is reported.
    #[serde(other)]
    Unknown,
}

/// What became of an order, as the event `order` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReport {
    /// The order's id.
    pub id: String,
    /// What it asked for.
    pub action: Action,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// What was done, or why nothing was, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Why an order is not carried out; the text goes back to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another registration.
    #[error("the order is for epoch {0}, this is epoch {1}")]
    Epoch(u64, u64),
    /// It is for another incarnation.
    #[error("the order is for incarnation {0}, this is incarnation {1}")]
    Incarnation(u64, u64),
    /// It is of a monitor that another one has replaced.
    #[error("a later monitor gives the orders now: it has token {1}, the order has token {0}")]
    Stale(u64, u64),
    /// It expired before it was received.
    #[error("the order has expired")]
    Expired,
    /// The action is of a newer version.
    #[error("this version of hbsidecar does not know the action; upgrade it")]
    Action,
}

/// The outcome of an order that was carried out.
pub const DONE: &str = "done";

impl Action {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Unblock => "unblock",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Stop => "stop",
            Self::Pod => "pod",
            Self::Ping => "ping",
            Self::Unknown => "unknown",
        }
    }
}

impl Order {
    /// Whether it may be carried out now, by this epoch and incarnation, when no order came with a token above `token`.
    pub fn check(&self, epoch: u64, incarnation: u64, token: u64) -> Result<(), Refusal> {
        if self.token > 0 && self.token < token {
            return Err(Refusal::Stale(self.token, token));
        }
        if self.epoch != epoch {
            return Err(Refusal::Epoch(self.epoch, epoch));
        }
        if self.incarnation != incarnation {
            return Err(Refusal::Incarnation(self.incarnation, incarnation));
        }
        if self.ttl_ms == 0 {
            return Err(Refusal::Expired);
        }
        match self.action {
            Action::Unknown => Err(Refusal::Action),
            Action::Restart
            | Action::Unblock
            | Action::Hold
            | Action::Capture
            | Action::Stop
            | Action::Pod
            | Action::Ping => Ok(()),
        }
    }

    /// Takes a value from the store.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value for the store.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_binds_one_incarnation_of_one_epoch_for_a_while() {
        let order = Order {
            id: "o1".into(),
            action: Action::Restart,
            epoch: 7,
            incarnation: 2,
            ttl_ms: 1000,
            reason: String::new(),
            token: 5,
            by: None,
        };
        assert_eq!(order.check(7, 2, 5), Ok(()));
        assert_eq!(order.check(8, 2, 5), Err(Refusal::Epoch(7, 8)));
        assert_eq!(order.check(7, 3, 5), Err(Refusal::Incarnation(2, 3)));
        assert_eq!(order.check(7, 2, 6), Err(Refusal::Stale(5, 6)));
        let late = Order { ttl_ms: 0, ..order };
        assert_eq!(late.check(7, 2, 5), Err(Refusal::Expired));
    }
}
