//! Whether the monitor can observe at all: a message to itself through the store, and how late answers are.
//!
//! A quiet channel and a dead connection look alike, and so do a silent agent and a store that stands still. So the monitor
//! publishes a number (the canary) on a channel of its own every 2 s and expects it back on the connection that brings
//! the beats. A store that is slow is not dead: the time that an answer may take follows the times that answers took.
//! An answer that is later than usual shows a gap, also before it comes: what was not delivered meanwhile proves nothing, and a
//! beat that was held up arrives before the answer does.

use crate::base::moment::Moment;
use crate::fleet::machine::TICK_MAX;
use std::collections::VecDeque;
use std::time::Duration;

/// How often the canary is sent.
const CANARY_EVERY: Duration = Duration::from_secs(2);
/// How often when one is wanted.
const CANARY_WANTED_EVERY: Duration = Duration::from_millis(100);
/// The bounds of the time that an answer may take: with the first one a dead link is noticed within 7 s.
const LIMIT_MIN: Duration = Duration::from_secs(5);
const LIMIT_MAX: Duration = Duration::from_secs(30);
/// An answer may take so many times the usual time.
const LIMIT_FACTOR: u32 = 3;
/// A difference to the usual time that is no gap.
const GAP_MIN: Duration = Duration::from_millis(200);

/// The machine.
#[derive(Debug, Default)]
pub struct Observer {
    up: bool,
    number: u64,
    canary_at: Moment,
    /// When the last one was sent.
    sent_at: Moment,
    /// Those that have not come back.
    sent: VecDeque<Sent>,
    last_tick: Moment,
    usual: Option<Duration>,
    /// When a gap that goes on is reported next.
    gap_at: Moment,
    /// Links that were given up in a row.
    given_up: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Moment,
    /// Without the time in which the monitor itself stood still.
    counted_from: Moment,
}

/// An input of the observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverInput {
    /// The store is connected and was read.
    LinkUp,
    /// The connection is lost.
    LinkDown,
    /// The canary of this number came back.
    CanaryBack(u64),
    /// A question was answered after this time.
    Answered(Duration),
    /// An agent's silence is to be verified: what is published up to now must be known to have arrived.
    Wanted,
    /// Time passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverEffect {
    /// Publish this number on the canary's channel.
    SendCanary(u64),
    /// The link is dead: connect again.
    Reconnect,
    /// What was published before this has arrived.
    Witnessed(Moment),
    /// For so long up to now nothing could be observed.
    Gap(Duration),
}

impl Observer {
    /// Applies one input.
    pub fn handle(&mut self, input: ObserverInput, now: Moment) -> Vec<ObserverEffect> {
        match input {
            ObserverInput::LinkUp => {
                self.up = true;
                self.sent.clear();
                self.canary_at = now;
                self.last_tick = now;
                Vec::new()
            }
            ObserverInput::LinkDown => {
                self.up = false;
                self.sent.clear();
                Vec::new()
            }
            ObserverInput::CanaryBack(number) => {
                let sent = self.sent.iter().find(|sent| sent.number == number);
                let Some(sent) = sent.copied() else {
                    return Vec::new(); // of a connection before, or of another program
                };
                self.sent.retain(|sent| sent.number > number);
                self.given_up = 0;
                let mut effects = self.answered(now.since(sent.counted_from));
                effects.push(ObserverEffect::Witnessed(sent.at));
                effects
            }
            ObserverInput::Wanted => {
                let soon = self.sent_at + CANARY_WANTED_EVERY;
                self.canary_at = self.canary_at.min(soon.max(now));
                Vec::new()
            }
            ObserverInput::Answered(took) => self.answered(took),
            ObserverInput::Tick => self.tick(now),
        }
    }

    /// When a tick next has an effect, and which.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let lost = self
            .sent
            .front()
            .map(|sent| (sent.counted_from + self.limit(), "canary lost"));
        let canary = Some((self.canary_at, "canary"));
        let late = self
            .late_at()
            .map(|at| (at.max(self.gap_at), "canary late"));
        let due = [lost, canary, late]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at);
        due.filter(|_| self.up)
    }

    /// The time that answers of the store usually take; `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        self.usual
    }

    /// The time after which a missing answer means a dead link.
    pub fn limit(&self) -> Duration {
        let by_usual = self.usual.unwrap_or_default() * LIMIT_FACTOR;
        let least = LIMIT_MIN * (1 << self.given_up.min(3));
        by_usual.max(least).min(LIMIT_MAX)
    }

    fn tick(&mut self, now: Moment) -> Vec<ObserverEffect> {
        // Time in which the monitor itself stood still is no time that the store took.
        let late = now.since(self.last_tick).saturating_sub(TICK_MAX);
        self.last_tick = now;
        for sent in &mut self.sent {
            sent.counted_from = sent.counted_from + late;
        }
        if !self.up {
            return Vec::new();
        }
        if self
            .sent
            .front()
            .is_some_and(|sent| sent.counted_from + self.limit() <= now)
        {
            self.given_up = self.given_up.saturating_add(1);
            self.up = false;
            self.sent.clear();
            return vec![ObserverEffect::Reconnect];
        }
        let mut effects = Vec::new();
        let is_late = |at: &Moment| late.is_zero() && (*at).max(self.gap_at) <= now;
        if let Some(at) = self.late_at().filter(is_late) {
            self.gap_at = now + GAP_MIN;
            effects.push(ObserverEffect::Gap(now.since(at) + GAP_MIN));
        }
        if self.canary_at > now {
            return effects;
        }
        self.number += 1;
        self.sent.push_back(Sent {
            number: self.number,
            at: now,
            counted_from: now,
        });
        self.sent_at = now;
        self.canary_at = now + CANARY_EVERY;
        effects.push(ObserverEffect::SendCanary(self.number));
        effects
    }

    /// When the answer that is waited for is late.
    fn late_at(&self) -> Option<Moment> {
        let (sent, usual) = (self.sent.front()?, self.usual?);
        Some(sent.counted_from + usual + GAP_MIN)
    }

    /// The usual time rises at once and falls slowly: a store that became slow makes one gap and not one at each answer.
    fn answered(&mut self, took: Duration) -> Vec<ObserverEffect> {
        let usual = self.usual.unwrap_or(took);
        self.usual = Some(took.max(usual - usual.saturating_sub(took) / 8));
        let gap = took.saturating_sub(usual);
        if gap >= GAP_MIN {
            vec![ObserverEffect::Gap(gap)]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(1_000_000 + ms)
    }

    fn up() -> Observer {
        let mut observer = Observer::default();
        observer.handle(ObserverInput::LinkUp, at(0));
        observer
    }

    /// Runs for so long over a store whose answers take `delay`; when it gave the link up, and the gaps.
    fn over(
        observer: &mut Observer,
        from: u64,
        ms: u64,
        delay: u64,
    ) -> (Option<u64>, Vec<Duration>) {
        let mut back = VecDeque::new();
        let mut gaps = Vec::new();
        for now in (from..from + ms).step_by(100) {
            let mut effects = observer.handle(ObserverInput::Tick, at(now));
            while let Some((number, _)) = back.pop_front_if(|(_, due)| *due <= now) {
                effects.extend(observer.handle(ObserverInput::CanaryBack(number), at(now)));
            }
            for effect in effects {
                match effect {
                    ObserverEffect::SendCanary(number) => back.push_back((number, now + delay)),
                    ObserverEffect::Reconnect => return (Some(now), gaps),
                    ObserverEffect::Gap(gap) => gaps.push(gap),
                    ObserverEffect::Witnessed(_) => {}
                }
            }
        }
        (None, gaps)
    }

    #[test]
    fn a_dead_link_is_noticed_within_seven_seconds() {
        let mut observer = up();
        over(&mut observer, 0, 10_000, 0);
        let (given_up, _) = over(&mut observer, 10_000, 20_000, 1 << 40);
        assert!(given_up.is_some_and(|at| at <= 17_000), "{given_up:?}");
    }

    #[test]
    fn a_store_that_becomes_slow_is_one_gap_and_no_dead_link() {
        let mut observer = up();
        over(&mut observer, 0, 10_000, 0);
        let (given_up, gaps) = over(&mut observer, 10_000, 600_000, 3000);
        // As long as the first slow answer is waited for, and not at each one after it.
        assert!(given_up.is_none() && gaps.len() <= 15, "{gaps:?}");
        assert!(
            gaps.last() >= Some(&Duration::from_millis(2900)),
            "{gaps:?}"
        );
        assert!(observer.limit() > Duration::from_secs(8));
    }

    #[test]
    fn a_monitor_that_stood_still_does_not_blame_the_store() {
        let mut observer = up();
        over(&mut observer, 0, 10_000, 0);
        observer.handle(ObserverInput::Tick, at(10_000));
        assert_eq!(
            observer.handle(ObserverInput::Tick, at(60_000)).len(),
            1,
            "a canary"
        );
        assert!(observer.deadline().is_some(), "the link is up");
    }

    #[test]
    fn each_link_that_was_given_up_makes_the_next_one_more_patient() {
        let mut observer = up();
        let mut limits = Vec::new();
        for _ in 0..5 {
            limits.push(observer.limit().as_secs());
            over(&mut observer, 0, 60_000, 1 << 40);
            observer.handle(ObserverInput::LinkUp, at(0));
        }
        assert_eq!(limits, [5, 10, 20, 30, 30]);
    }
}
