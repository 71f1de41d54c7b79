//! The steps of recovery: what each acts on, what limits it, how long its success may take.

use std::time::Duration;

/// One step of the ladder, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// An order to the agent's own sidecar.
    Sidecar,
    /// A restart of its container through the engine's API.
    Docker,
    /// An order to its sidecar to end, so that the kubelet restarts all containers of the pod in place.
    Pod,
    /// Eviction of its pod; the pod's controller makes another one.
    Kubernetes,
    /// A restart of its unit over D-Bus.
    Systemd,
    /// A configured command.
    Exec,
    /// Another container in the place of the old one.
    Replace,
    /// People.
    Alert,
}

/// What a rung is counted as: each kind has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RungKind {
    /// A restart inside the agent's surroundings.
    Restart,
    /// A restart of what surrounds the agent.
    Container,
    /// Another copy.
    Replacement,
}

impl Rung {
    /// Every rung, in the order of the default ladder.
    pub const ALL: [Self; 8] = [
        Self::Sidecar,
        Self::Docker,
        Self::Pod,
        Self::Kubernetes,
        Self::Systemd,
        Self::Exec,
        Self::Replace,
        Self::Alert,
    ];

    /// The word in configuration, keys, incidents and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Docker => "docker",
            Self::Pod => "pod",
            Self::Kubernetes => "kubernetes",
            Self::Systemd => "systemd",
            Self::Exec => "exec",
            Self::Replace => "replace",
            Self::Alert => "alert",
        }
    }

    /// The rung of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.as_str() == word)
    }

    /// What it counts as; none for people.
    pub const fn kind(self) -> Option<RungKind> {
        match self {
            Self::Sidecar => Some(RungKind::Restart),
            Self::Docker | Self::Pod | Self::Kubernetes | Self::Systemd | Self::Exec => {
                Some(RungKind::Container)
            }
            Self::Replace => Some(RungKind::Replacement),
            Self::Alert => None,
        }
    }

    /// What it does, for people: "hb restarts its container".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Sidecar => "asks its sidecar to restart it",
            Self::Docker => "restarts its container",
            Self::Pod => "has all containers of its pod restarted",
            Self::Kubernetes => "evicts its pod",
            Self::Systemd => "restarts its unit",
            Self::Exec => "runs the configured command",
            Self::Replace => "starts a replacement",
            Self::Alert => "alerts people",
        }
    }
}

/// Within which time a fresh beat of a new incarnation must come.
#[derive(Clone, Copy, Debug)]
pub struct VerifyTimes {
    /// After an order to the sidecar; at least two intervals of the agent.
    pub sidecar: Duration,
    /// After a restart of its container, pod or unit, or the command.
    pub container: Duration,
    /// After a replacement.
    pub replace: Duration,
}

impl Default for VerifyTimes {
    fn default() -> Self {
        Self {
            sidecar: Duration::from_secs(30),
            container: Duration::from_secs(120),
            replace: Duration::from_secs(180),
        }
    }
}

impl VerifyTimes {
    /// For an agent with this interval.
    pub(super) fn of(&self, rung: Rung, interval: Duration) -> Duration {
        match rung.kind() {
            Some(RungKind::Restart) => self.sidecar.max(interval * 2),
            Some(RungKind::Container) => self.container.max(interval * 2),
            Some(RungKind::Replacement) => self.replace.max(interval * 2),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_is_found_by_its_word() {
        for rung in Rung::ALL {
            assert_eq!(Rung::parse(rung.as_str()), Some(rung));
        }
    }
}
