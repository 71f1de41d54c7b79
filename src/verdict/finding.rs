//! Something found that keeps an agent from going on: since when, how long it must last, what it means.

use crate::wire::beat::{Evidence, Source, Verdict};
use std::time::Duration;

/// What can be done about it here, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fix {
    /// Nothing, or nothing here.
    None,
    /// `SIGCONT` to this process.
    Cont {
        /// The process.
        pid: u32,
    },
    /// An end of file on the agent's standard input, which the sidecar owns.
    CloseStdin,
    /// The kernel shall ask the peer whether it is there; harms no living connection.
    KeepAlive {
        /// The process that holds the socket.
        pid: u32,
        /// Its descriptor.
        fd: i32,
        /// The socket: a descriptor may have come to mean another one.
        inode: u64,
    },
    /// Break this one connection; the agent sees an error it already handles.
    ResetSocket {
        /// The process that holds the socket.
        pid: u32,
        /// Its descriptor.
        fd: i32,
        /// The socket.
        inode: u64,
    },
    /// End this process of the tree, not the agent.
    EndChild {
        /// The process.
        pid: u32,
        /// In clock ticks since the machine started: with the number it names the process.
        started: u64,
    },
    /// The work is done: ask the agent to end, and count that as success.
    End,
    /// End the agent and start a new incarnation.
    Restart,
}

/// How sure the verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// It follows from what was seen.
    Proof,
    /// It is likely.
    Suspicion,
    /// Nothing is claimed.
    None,
}

/// What must last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// These threads, by process and thread, did not even wake.
    ThreadsAsleep(Vec<(u32, u32)>),
    /// The condition was found in every look.
    Observed,
    /// The kernel has counted already.
    KernelCounted,
}

/// One finding.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// The same in every look.
    pub(super) key: String,
    pub(super) verdict: Verdict,
    pub(super) persistence: Persistence,
    /// At patience 1.
    pub(super) after: Duration,
    /// Follows from the waits alone: a one-off diagnosis need not wait so long.
    pub(super) logical: bool,
    pub(super) sentence: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) fix: Fix,
}

impl Finding {
    pub(super) fn new(key: String, verdict: Verdict, after: Duration, sentence: String) -> Self {
        Self {
            key,
            verdict,
            persistence: Persistence::Observed,
            after,
            logical: false,
            sentence,
            evidence: Vec::new(),
            fix: Fix::None,
        }
    }

    pub(super) fn while_asleep(mut self, threads: impl IntoIterator<Item = (u32, u32)>) -> Self {
        self.persistence = Persistence::ThreadsAsleep(threads.into_iter().collect());
        self
    }

    pub(super) fn kernel_counted(mut self) -> Self {
        self.persistence = Persistence::KernelCounted;
        self
    }

    pub(super) fn logical(mut self) -> Self {
        self.logical = true;
        self
    }

    pub(super) fn observed(mut self, signal: &str, value: impl Into<String>) -> Self {
        self.evidence.push(observed(signal, value));
        self
    }

    pub(super) fn reported(mut self, signal: &str, value: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            signal: signal.to_owned(),
            value: value.into(),
            source: Source::Reported,
        });
        self
    }

    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix = fix;
        self
    }
}

/// Evidence seen from outside.
pub(super) fn observed(signal: &str, value: impl Into<String>) -> Evidence {
    Evidence {
        signal: signal.to_owned(),
        value: value.into(),
        source: Source::Observed,
    }
}
