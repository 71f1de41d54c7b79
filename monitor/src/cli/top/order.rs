//! What the list of `hbmonitor top` is ordered by.

use serde_json::Value;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Usual,
    Name,
    Progress,
    Cpu,
    Memory,
    Restarts,
}

impl Order {
    /// The one after it.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Usual => Self::Name,
            Self::Name => Self::Progress,
            Self::Progress => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Restarts,
            Self::Restarts => Self::Usual,
        }
    }

    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Usual => "worst first",
            Self::Name => "by name",
            Self::Progress => "most progress first",
            Self::Cpu => "most CPU first",
            Self::Memory => "most memory first",
            Self::Restarts => "most restarts first",
        }
    }

    /// The figure that is ordered by, the largest first.
    pub(super) fn figure(self, of: &Value) -> Option<f64> {
        match self {
            Self::Usual | Self::Name => None,
            Self::Progress => of["taskProgress"].as_f64(),
            Self::Cpu => of["metrics"]["cpuPercent"].as_f64(),
            Self::Memory => of["metrics"]["memoryMB"].as_f64(),
            Self::Restarts => of["restarts"].as_f64(),
        }
    }
}
