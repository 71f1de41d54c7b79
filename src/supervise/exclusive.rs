//! At most one agent under `--exclusive`: the arithmetic of its lease.
//!
//! ```text
//! holder's clock   sent ──────────── fence ── TERM ─ grace ─ KILL ─ all dead ┐
//!                  │<─ 4 intervals ─>│<────────── time to end ──────────────>│
//! store's clock    ?─ stored ────────────────────────────────────────── expiry ─► another may start
//! ```
//!
//! The store counts a lease from the moment it stores a renewal, which is not before the holder sent it. So a holder that
//! counts from the sending of its last renewal that was confirmed is early, whatever the network does. Two clocks that
//! count the same time may differ by [`CLOCK_ERROR`]; the lease is longer by that. A newcomer starts only with a lease of
//! its own, so no clock but the store's decides when it may, and none has to show the right time.
//!
//! What the holder itself cannot do, because it was killed or stands still, its guard does: a process of its own that ends
//! the agent at [`Terms::guard_after`]. A machine that stands still as a whole runs no agent meanwhile; when it goes on,
//! the guard is late by its own wake-up. A program that must exclude even that passes `HB_EPOCH` on as a fencing token.

use crate::base::moment::Moment;
use crate::supervise::lifecycle::AFTER_KILL;
use crate::wire::keys;
use std::time::Duration;

/// The most by which the rates of two clocks differ: one part in so many. Kernels slew a clock by at most one in 2,000,
/// crystals are off by one in 10,000; the rest is for virtual machines.
pub const CLOCK_ERROR: u32 = 100;
/// The time from a deadline to the signal that follows it, on a machine that is busy.
const REACTION: Duration = Duration::from_secs(1);

/// What the times of a lease depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Between beats, and so between renewals.
    pub interval: Duration,
    /// From the stop signal to KILL.
    pub grace: Duration,
}

impl Terms {
    /// How long the store lets a renewal last.
    pub fn time_to_live(&self) -> Duration {
        let needed = self.fence_after() + self.time_to_end();
        needed + needed / (CLOCK_ERROR - 1)
    }

    /// From the sending of the last confirmed renewal to the stop of the agent: four intervals.
    pub fn fence_after(&self) -> Duration {
        keys::time_to_live(self.interval)
    }

    /// From the sending of the last confirmed renewal to the end of the agent by its guard.
    pub fn guard_after(&self) -> Duration {
        self.fence_after() + REACTION + self.grace
    }

    /// From the deadline to the death of the agent's last process: stop signal, grace, KILL.
    fn time_to_end(&self) -> Duration {
        REACTION + self.grace + AFTER_KILL
    }
}

/// The lease of one sidecar, as far as it knows.
#[derive(Clone, Copy, Debug)]
pub struct ExclusiveLease {
    terms: Terms,
    /// When the last confirmed grant or renewal was sent.
    sent: Option<Moment>,
}

impl ExclusiveLease {
    /// Before it is granted.
    pub fn new(terms: Terms) -> Self {
        Self { terms, sent: None }
    }

    /// What its times depend on.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The store confirmed a grant or a renewal that was sent then.
    pub fn confirmed(&mut self, sent: Moment) {
        self.sent = self.sent.max(Some(sent));
    }

    /// Whether an agent may be started.
    pub fn covers(&self, now: Moment) -> bool {
        self.fence_at().is_some_and(|at| now < at)
    }

    /// When the agent must be asked to end; `None` before the first grant.
    pub fn fence_at(&self) -> Option<Moment> {
        Some(self.sent? + self.terms.fence_after())
    }

    /// When the guard ends the agent; `None` before the first grant.
    pub fn guard_at(&self) -> Option<Moment> {
        Some(self.sent? + self.terms.guard_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(interval_ms: u64, grace_ms: u64) -> Terms {
        Terms {
            interval: Duration::from_millis(interval_ms),
            grace: Duration::from_millis(grace_ms),
        }
    }

    #[test]
    fn at_the_defaults_a_lease_lasts_135_s_and_the_stop_begins_after_120() {
        let terms = terms(30_000, 10_000);
        assert_eq!(terms.fence_after(), Duration::from_secs(120));
        assert_eq!(terms.guard_after(), Duration::from_secs(131));
        assert_eq!(terms.time_to_live().as_secs(), 134);
    }

    #[test]
    fn without_a_grant_no_agent_may_start() {
        let mut lease = ExclusiveLease::new(terms(1000, 1000));
        assert!(!lease.covers(Moment::from_millis(0)));
        lease.confirmed(Moment::from_millis(500));
        assert!(lease.covers(Moment::from_millis(4499)));
        assert!(!lease.covers(Moment::from_millis(4500)));
    }

    #[test]
    fn a_confirmation_that_comes_late_does_not_shorten_a_lease() {
        let mut lease = ExclusiveLease::new(terms(1000, 1000));
        lease.confirmed(Moment::from_millis(900));
        lease.confirmed(Moment::from_millis(100));
        assert_eq!(lease.fence_at(), Some(Moment::from_millis(4900)));
    }

    proptest! {
        /// The store's clock is fast, the holder's slow: the worst case.
        #[test]
        fn the_last_process_is_dead_before_the_lease_runs_out(
            interval_ms in 100_u64..3_600_000,
            grace_ms in 0_u64..3_600_000,
        ) {
            let terms = terms(interval_ms, grace_ms);
            let dead = terms.fence_after() + REACTION + terms.grace + AFTER_KILL;
            let guarded = terms.guard_after() + AFTER_KILL;
            let rate = 1.0 - 1.0 / f64::from(CLOCK_ERROR);
            prop_assert!(dead.as_secs_f64() <= terms.time_to_live().as_secs_f64() * rate + 1e-6);
            prop_assert!(guarded <= dead);
        }
    }
}
