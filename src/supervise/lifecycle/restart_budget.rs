//! What restarts cost: a back-off that doubles, a budget in a sliding window, both refilled by proven progress only.

use crate::base::moment::Moment;
use crate::supervise::lifecycle::{NOW, Policy, Then};
use std::collections::VecDeque;
use std::time::Duration;

/// Proven progress that halves the back-off.
const HALVES: Duration = Duration::from_secs(600);
/// Proven progress that forgets all restarts.
const FORGETS: Duration = Duration::from_secs(1800);

/// What restarts have cost so far.
#[derive(Clone, Debug, Default)]
pub(super) struct RestartBudget {
    pub(super) exponent: u32,
    pub(super) counted: VecDeque<Moment>,
    /// The last restart was one of the budget's.
    pub(super) charged: bool,
    /// Of this incarnation.
    last_progress: Option<Moment>,
    proven: Duration,
}

impl RestartBudget {
    pub(super) fn new_incarnation(&mut self) {
        self.last_progress = None;
        self.proven = Duration::ZERO;
    }

    pub(super) fn progress(&mut self, now: Moment) {
        let before = self.proven;
        if let Some(last) = self.last_progress.replace(now) {
            // A long gap proves no more than one step of it.
            self.proven += now.since(last).min(HALVES);
        }
        if self.proven >= FORGETS {
            self.exponent = 0;
            self.counted.clear();
        } else if self.proven.as_millis() / HALVES.as_millis()
            > before.as_millis() / HALVES.as_millis()
        {
            self.exponent /= 2;
        }
    }

    /// A restart that costs: one of the window's budget.
    pub(super) fn charge(&mut self, policy: &Policy, now: Moment, random: f64) -> Then {
        self.counted.retain(|at| now.since(*at) < policy.window);
        if self.counted.len() >= policy.restarts_max as usize {
            return Then::CrashLoop;
        }
        self.counted.push_back(now);
        self.charged = true;
        if self.exponent == 0 && self.last_progress.is_some() {
            self.exponent = 1;
            return NOW;
        }
        self.postpone(policy, random)
    }

    /// A restart that costs nothing but the wait.
    pub(super) fn postpone(&mut self, policy: &Policy, random: f64) -> Then {
        let delay = policy
            .backoff
            .saturating_mul(2_u32.saturating_pow(self.exponent))
            .min(policy.backoff_max);
        self.exponent = self.exponent.saturating_add(1);
        Then::Start {
            delay: delay.mul_f64(1.0 + random.clamp(0.0, 1.0) / 4.0),
        }
    }
}
