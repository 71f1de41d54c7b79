//! The same call again and again: whether that is a circle, or somebody who asks now and then how a long job goes.

use super::limits;
use super::time::Time;
use std::time::Duration;

/// Since when the same call is seen again and again, and when last; on the counted clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Circle(Option<(Duration, Duration)>);

impl Circle {
    /// A close look. `repeats`: the output ends in the same call again; `grew`: and there is more of it now.
    pub(super) fn see(&mut self, repeats: bool, grew: bool, time: &Time) {
        let now = time.clock();
        let recent = time.scaled(limits::CIRCLE_EVERY);
        let known = self
            .0
            .filter(|(_, last)| repeats && now.saturating_sub(*last) <= recent);
        self.0 = if repeats && grew {
            Some((known.map_or(now, |(since, _)| since), now))
        } else {
            known
        };
    }

    /// It may become one.
    pub(super) fn is_begun(&self) -> bool {
        self.0.is_some()
    }

    /// It has lasted long enough.
    pub(super) fn is_closed(&self, time: &Time) -> bool {
        let long = time.scaled(limits::LOOP);
        self.0
            .is_some_and(|(since, last)| last.saturating_sub(since) >= long)
    }
}
