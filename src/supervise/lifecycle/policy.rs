//! What the user chose: whether and how often an agent that ended is restarted.

use std::time::Duration;

/// When an agent that ended is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// After anything but exit code 0.
    OnFailure,
    /// After everything but a fatal exit code.
    Always,
    /// Never automatically; an order still restarts it.
    Never,
    /// Another program starts it: the next process that matches is the next incarnation.
    Follow,
}

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether.
    pub restart: Restart,
    /// How many restarts a window holds.
    pub restarts_max: u32,
    /// The sliding window.
    pub window: Duration,
    /// The first delay; doubles with each restart.
    pub backoff: Duration,
    /// The longest delay, before its jitter of up to a quarter.
    pub backoff_max: Duration,
    /// From the stop signal to KILL.
    pub grace: Duration,
    /// Whether processes that outlive the agent are left alone.
    pub keep_orphans: bool,
}
