//! The input of the verdict: the user's settings, and what happens.

use crate::base::patience::Patience;
use crate::verdict::sample::Sample;
use crate::verdict::self_report::SelfReport;
use std::time::Duration;

/// The user's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The factor on every waiting time.
    pub patience: Patience,
    /// Silence that makes owed work suspicious, at patience 1.
    pub stall_after: Duration,
    /// Set for a one-off diagnosis: a finding that follows from the waits alone need last no longer than this.
    pub one_off: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Patience::ONE,
            stall_after: Duration::from_secs(300),
            one_off: None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A sample of the tree, as deep as [`crate::verdict::machine::VerdictMachine::depth`] asked.
    Sample(Box<Sample>),
    /// A change of what the agent reports.
    SelfReport(SelfReport),
    /// Programs that the agent started since the last such input, oldest first; see
    /// [`crate::verdict::machine::VerdictMachine::starts_tools`].
    ToolCalls(Vec<ToolCall>),
}

/// A program that the agent started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its command line.
    pub command: String,
    /// A shell in the same process became this program: what else the call did was not seen.
    pub is_tail: bool,
    /// So many other children ended since the call before and were too short to be seen.
    pub unseen: u32,
}
