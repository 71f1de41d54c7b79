//! What an agent says of itself, as the verdict needs it.

use crate::base::moment::Moment;
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

/// The agent's own word, gathered from its status lines. The default is an agent that says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfReport {
    /// Start-up is over. True for an agent that never said anything about it.
    pub ready: bool,
    /// A task is declared, or a tool call or message is unanswered.
    pub task_owed: bool,
    /// The last state it named.
    pub state: Option<DeclaredState>,
    /// Silence up to then is normal.
    pub expect_until: Option<Moment>,
    /// Its provider lets it continue then.
    pub limited_until: Option<Moment>,
    /// When a progress value last changed.
    pub last_progress_at: Option<Moment>,
    /// When it last said anything.
    pub last_line_at: Option<Moment>,
    /// How often in a row it reported the very same action or error.
    pub repeats: u32,
    /// That action or error, for people.
    pub repeated: String,
    /// A clean end was announced.
    pub stopping: bool,
    /// It tells its turns as a stream of events: `done` ends one, and the next comes over its standard input or never.
    pub streams_turns: bool,
}

impl Default for SelfReport {
    fn default() -> Self {
        Self {
            ready: true,
            task_owed: false,
            state: None,
            expect_until: None,
            limited_until: None,
            last_progress_at: None,
            last_line_at: None,
            repeats: 0,
            repeated: String::new(),
            stopping: false,
            streams_turns: false,
        }
    }
}

impl SelfReport {
    /// Work is owed. `idle` and `done` say that none is, whatever task still stands.
    pub(super) fn owes_work(&self) -> bool {
        match self.state {
            Some(DeclaredState::Idle | DeclaredState::Done) => false,
            Some(DeclaredState::Working | DeclaredState::WaitingModel) => true,
            Some(DeclaredState::WaitingInput) | None => self.task_owed,
        }
    }

    /// It says that nothing is owed, whatever it looks like.
    pub(super) fn declares_no_work(&self) -> bool {
        matches!(self.state, Some(DeclaredState::Idle | DeclaredState::Done))
    }

    /// Until when it asked for patience, if that is not over.
    pub(super) fn patience_until(&self, now: Moment) -> Option<Moment> {
        self.expect_until
            .max(self.limited_until)
            .filter(|until| *until > now)
    }

    /// It spoke in this interval and reported no progress.
    pub(super) fn reports_liveness_only(&self, now: Moment, interval: Duration) -> bool {
        let within = |at: Option<Moment>| at.is_some_and(|at| now.since(at) <= interval * 2);
        within(self.last_line_at) && !within(self.last_progress_at)
    }
}
