//! Ctrl-Z: a person suspends the agent at its terminal, and the sidecar with it. The store gets the report first, because
//! the sidecar's silence would look like a death.

use crate::base::moment::Moment;
use std::time::Duration;

/// How long a person who pressed Ctrl-Z waits for the store at most: less than is noticed.
pub const STORED_WITHIN: Duration = Duration::from_millis(300);

/// One suspension, from the report to the resumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspension {
    signal: Option<i32>,
    sequence: u64,
    until: Moment,
    stopped: bool,
}

/// The sidecar stops itself now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSelf {
    /// The signal to forward to the sidecar's own process group first; `None` when the terminal has sent it.
    pub signal: Option<i32>,
}

impl Suspension {
    /// The agent has stopped. `sequence` is the beat that reports it; without a `connected` store nothing is waited for.
    pub fn new(signal: Option<i32>, sequence: u64, connected: bool, now: Moment) -> Self {
        let wait = if connected {
            STORED_WITHIN
        } else {
            Duration::ZERO
        };
        Self {
            signal,
            sequence,
            until: now + wait,
            stopped: false,
        }
    }

    /// Whether the report is still on its way and the sidecar runs.
    pub fn is_pending(&self) -> bool {
        !self.stopped
    }

    /// When the sidecar stops even though the report is not stored.
    pub fn deadline(&self) -> Option<Moment> {
        self.is_pending().then_some(self.until)
    }

    /// Returns the stop once: when a beat of this sequence is `stored`, or at the deadline.
    pub fn handle(&mut self, stored: Option<u64>, now: Moment) -> Option<StopSelf> {
        let reported = stored.is_some_and(|stored| stored >= self.sequence);
        if self.stopped || !(reported || self.until <= now) {
            return None;
        }
        self.stopped = true;
        Some(StopSelf {
            signal: self.signal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Option<StopSelf> = Some(StopSelf { signal: Some(20) });

    fn now() -> Moment {
        Moment::from_millis(5_000)
    }

    fn suspended() -> Suspension {
        Suspension::new(Some(20), 7, true, now())
    }

    #[test]
    fn it_stops_as_soon_as_the_report_is_stored_and_only_once() {
        let mut suspension = suspended();
        assert_eq!(suspension.handle(None, now()), None);
        assert_eq!(suspension.handle(Some(6), now()), None, "an earlier beat");
        assert_eq!(suspension.handle(Some(7), now()), STOP);
        assert_eq!(suspension.handle(Some(7), now()), None);
        assert!(!suspension.is_pending() && suspension.deadline().is_none());
    }

    #[test]
    fn a_slow_store_delays_it_by_300_ms_at_most() {
        let mut suspension = suspended();
        let until = now() + STORED_WITHIN;
        assert_eq!(suspension.deadline(), Some(until));
        assert_eq!(suspension.handle(Some(6), until), STOP);
    }

    #[test]
    fn without_a_store_it_stops_at_once() {
        let mut suspension = Suspension::new(None, 1, false, now());
        assert_eq!(
            suspension.handle(None, now()),
            Some(StopSelf { signal: None })
        );
    }
}
