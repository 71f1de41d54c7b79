//! What is put into the verdict: the user's choice, and what happens.

use crate::verdict::sample::Sample;
use crate::verdict::self_report::SelfReport;
use std::time::Duration;

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Multiplies every waiting time; 0.01 to 100.
    pub patience: f64,
    /// Silence that makes an owed piece of work suspicious, at patience 1.
    pub stall_after: Duration,
    /// The sidecar holds the writing end of the agent's standard input and can close it.
    pub owns_stdin: bool,
    /// A one-off diagnosis: what follows from the waits alone need last no longer than this.
    pub one_off: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: 1.0,
            stall_after: Duration::from_secs(300),
            owns_stdin: false,
            one_off: None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A look at the tree, as close as [`crate::verdict::machine::VerdictMachine::depth`] asked.
    Sample(Box<Sample>),
    /// The agent said something.
    SelfReport(SelfReport),
}
