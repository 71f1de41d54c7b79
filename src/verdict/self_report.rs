//! What an agent reports about itself, as the verdict needs it.

use crate::base::moment::Moment;
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

/// The agent's reports, gathered from its status lines. The default is an agent that reports nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfReport {
    /// Start-up is over. True for an agent that does not use the contract's readiness.
    pub ready: bool,
    /// A task is declared, or a tool call or message is unanswered.
    pub task_owed: bool,
    /// The last state it declared.
    pub state: Option<DeclaredState>,
    /// Silence up to then is normal.
    pub expect_until: Option<Moment>,
    /// The model's service asked it to wait until then.
    pub limited_until: Option<Moment>,
    /// When a progress value last changed.
    pub last_progress_at: Option<Moment>,
    /// When its last status line arrived.
    pub last_line_at: Option<Moment>,
    /// How often in a row it reported the very same action or error.
    pub repeats: u32,
    /// That action or error, for people.
    pub repeated: String,
    /// A clean end was announced.
    pub stopping: bool,
    /// It streams its turns as events: `done` ends one, and the next begins over its standard input or never.
    pub streams_turns: bool,
}

/// Why silence is normal for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The agent announced it (`expect=`).
    Silence,
    /// The model's service asked the agent to wait.
    RateLimit,
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
    /// Whether it owes work by its own report.
    pub(super) fn owes_work(&self) -> bool {
        match self.state {
            Some(DeclaredState::Idle | DeclaredState::Done) => false,
            Some(DeclaredState::Working | DeclaredState::WaitingModel) => true,
            Some(DeclaredState::WaitingInput) | None => self.task_owed,
        }
    }

    /// Whether it declares that no work is owed.
    pub(super) fn declares_no_work(&self) -> bool {
        matches!(self.state, Some(DeclaredState::Idle | DeclaredState::Done))
    }

    /// Until when silence is normal, and why; none when that is over.
    pub(super) fn announced_silence(&self, now: Moment) -> Option<(Moment, Announced)> {
        let limit = self
            .limited_until
            .map(|until| (until, Announced::RateLimit));
        let expect = self.expect_until.map(|until| (until, Announced::Silence));
        [expect, limit]
            .into_iter()
            .flatten()
            .filter(|(until, _)| *until > now)
            .max_by_key(|(until, _)| *until)
    }

    /// Whether it reported within this interval, and no progress among it.
    pub(super) fn reports_liveness_only(&self, now: Moment, interval: Duration) -> bool {
        let within = |at: Option<Moment>| at.is_some_and(|at| now.since(at) <= interval * 2);
        within(self.last_line_at) && !within(self.last_progress_at)
    }
}
