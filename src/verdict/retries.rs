//! A request that got no answer and is sent again: it goes on waiting for the same answer.

use crate::base::moment::Moment;
use crate::verdict::cadence::ConnectionCadence;
use crate::verdict::thresholds;
use std::time::Duration;

/// A request that was given up without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// When it was sent the first time.
    pub(super) first: Moment,
    /// When it was given up the last time.
    ended: Moment,
    attempts: u32,
    /// The longest that a connection of it was kept.
    longest: Duration,
    /// What was received, which is no answer: greetings, certificates, headers.
    received: u64,
    /// What was sent.
    sent: u64,
}

/// What a connection that follows a given-up one has carried so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// No more than the one before, in both directions.
    Unanswered,
    /// About the same was sent, and more was received.
    Answered,
    /// Something else.
    Other,
}

impl GivenUp {
    /// What ends with this connection at `now`; `before`: what that connection itself repeated.
    pub(super) fn with(connection: &ConnectionCadence, before: Option<Self>, now: Moment) -> Self {
        let first = connection.first.unwrap_or(now);
        let ended = Self {
            first,
            ended: now,
            attempts: 1,
            longest: now.since(first),
            received: connection.received,
            sent: connection.acked,
        };
        before.map_or(ended, |before| Self {
            first: before.first,
            attempts: before.attempts + 1,
            longest: ended.longest.max(before.longest),
            // A connection that is resumed is greeted in fewer bytes.
            received: ended.received.min(before.received),
            ..ended
        })
    }

    /// The same where the request was sent again on that connection itself, as HTTP/2 allows: what has passed there is no
    /// answer.
    pub(super) fn on_the_same(
        connection: &ConnectionCadence,
        before: Option<Self>,
        now: Moment,
    ) -> Self {
        Self {
            received: connection.received,
            ..Self::with(connection, before, now)
        }
    }

    /// What a later connection is to it.
    pub(super) fn repeat(&self, received: u64, sent: u64) -> Repeat {
        let greeted = received <= self.received + thresholds::PING_BYTES;
        if greeted && sent <= self.sent + thresholds::SAME_REQUEST {
            Repeat::Unanswered
        } else if self.is_sent_again(sent) {
            Repeat::Answered
        } else {
            Repeat::Other
        }
    }

    /// Whether so many bytes may be the same request.
    pub(super) fn is_sent_again(&self, sent: u64) -> bool {
        sent.abs_diff(self.sent) <= thresholds::SAME_REQUEST
    }

    /// Whether an attempt may still be answered, however long ago the first was made: two may fail, as where a peer closes
    /// silent connections, and the third has `moment` to begin. `since`: when the present one was made; none in the pause
    /// before the next.
    pub(super) fn may_be_answered(
        &self,
        since: Option<Moment>,
        now: Moment,
        moment: Duration,
    ) -> bool {
        // The next attempt, and the pause before it, take no longer than the one before did.
        let alike = self.longest + self.longest / 8;
        let lasts = match (self.attempts, since) {
            (1, _) | (2, None) => alike,
            (2, Some(_)) => moment,
            (_, _) => return false,
        };
        now.since(since.unwrap_or(self.ended)) < lasts
    }
}
