//! The keys of the contract, under every name they have.

use crate::contract::line::{LineError, quoted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Task,
    Progress,
    Step,
    State,
    Expect,
    Limited,
    Active,
    Queue,
    Tokens,
    Errors,
    Error,
    Ready,
    Stopping,
    Watchdog,
    // Of sd_notify alone.
    Status,
    ExtendTimeout,
    Errno,
    /// Descriptors that come with it are closed, which is all that it asks for.
    Barrier,
}

/// Every key under its own name and, where sd_notify has one, under that.
const KEYS: [(&str, Key); 21] = [
    ("task", Key::Task),
    ("progress", Key::Progress),
    ("step", Key::Step),
    ("state", Key::State),
    ("expect", Key::Expect),
    ("limited", Key::Limited),
    ("active", Key::Active),
    ("queue", Key::Queue),
    ("tokens", Key::Tokens),
    ("errors", Key::Errors),
    ("error", Key::Error),
    ("ready", Key::Ready),
    ("stopping", Key::Stopping),
    ("watchdog", Key::Watchdog),
    ("READY", Key::Ready),
    ("STOPPING", Key::Stopping),
    ("WATCHDOG", Key::Watchdog),
    ("STATUS", Key::Status),
    ("EXTEND_TIMEOUT_USEC", Key::ExtendTimeout),
    ("ERRNO", Key::Errno),
    ("BARRIER", Key::Barrier),
];
/// What other programs put before keys of their own.
const OURS: &str = "X_HB_";

impl Key {
    pub(super) fn named(name: &str) -> Option<Self> {
        let find = |name: &str| KEYS.iter().find(|(n, _)| *n == name).map(|(_, key)| *key);
        match name.strip_prefix(OURS) {
            Some(ours) => find(&ours.to_ascii_lowercase()),
            None => find(name),
        }
    }

    pub(super) fn name(self) -> &'static str {
        KEYS.iter()
            .find(|(_, key)| *key == self)
            .map_or("", |(name, _)| name)
    }

    pub(super) fn wants(self) -> &'static str {
        match self {
            Self::Progress => "a number from 0 to 100",
            Self::State => "working, waiting_input, waiting_model, idle or done",
            Self::Expect | Self::Limited => "seconds, at most a week of them",
            Self::ExtendTimeout => "microseconds, at most a week of them",
            Self::Active | Self::Queue | Self::Tokens | Self::Errors | Self::Errno => {
                "a whole number from 0 to 2^53 - 1"
            }
            Self::Ready | Self::Stopping | Self::Barrier => "1",
            Self::Watchdog => "1, or trigger",
            Self::Task | Self::Step | Self::Error | Self::Status => "a text",
        }
    }

    pub(super) fn error(self, got: &str) -> LineError {
        LineError::Value {
            key: self.name(),
            wants: self.wants(),
            got: quoted(got),
        }
    }
}
