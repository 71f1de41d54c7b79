//! Signals of progress: a kind that decisions are made on, and a value for people.

use crate::wire::activity::{Evidence, Source};

/// A kind of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalKind {
    CpuOfChildren,
    CpuOfHelperThreads,
    Processes,
    BytesReceived,
    BytesAcknowledged,
    FilesRead,
    FilesWritten,
    Output,
}

/// One observed sign of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) kind: SignalKind,
    /// For people.
    pub(super) value: String,
}

impl SignalKind {
    /// As evidence names it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CpuOfChildren => "cpu of children",
            Self::CpuOfHelperThreads => "cpu of helper threads",
            Self::Processes => "processes",
            Self::BytesReceived => "tcp.bytes_received",
            Self::BytesAcknowledged => "tcp.bytes_acked",
            Self::FilesRead => "files read",
            Self::FilesWritten => "files written",
            Self::Output => "output",
        }
    }
}

impl From<&Signal> for Evidence {
    fn from(signal: &Signal) -> Self {
        Self {
            signal: signal.kind.as_str().to_owned(),
            value: signal.value.clone(),
            source: Source::Observed,
        }
    }
}
