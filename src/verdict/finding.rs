//! What a rule found: which rule, about what, how long it must last, what it means, what can be done.

use crate::verdict::rule::{Rule, RuleId};
use crate::verdict::sample::Subject;
use crate::wire::activity::{Evidence, Source, Verdict};
use std::time::Duration;

/// What can be done about it on this machine, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fix {
    /// Nothing, or nothing on this machine.
    None,
    /// `SIGCONT` to this process.
    Cont {
        /// The process.
        pid: u32,
        /// Start time in clock ticks since boot. Number and start time together identify the process.
        started: u64,
    },
    /// Switch on keep-alive: the kernel asks the peer whether it is there. Harms no live connection.
    KeepAlive {
        /// The process that holds the socket.
        pid: u32,
        /// Its descriptor.
        fd: i32,
        /// The socket; the descriptor may refer to another one by then.
        inode: u64,
    },
    /// Reset this one connection; the agent gets an error that it already handles.
    ResetSocket {
        /// The process that holds the socket.
        pid: u32,
        /// Its descriptor.
        fd: i32,
        /// The socket; the descriptor may refer to another one by then.
        inode: u64,
    },
    /// End this process of the tree, not the agent.
    EndChild {
        /// The process.
        pid: u32,
        /// Start time in clock ticks since boot. Number and start time together identify the process.
        started: u64,
    },
    /// The work is done: ask the agent to end, and count that as success.
    End,
    /// End the agent and start a new incarnation.
    Restart,
}

impl Fix {
    /// What it does, as a command: `end process 4711`.
    pub fn describe(self) -> String {
        match self {
            Self::None => "do nothing".to_owned(),
            Self::Cont { pid, .. } => format!("continue process {pid} with SIGCONT"),
            Self::KeepAlive { pid, fd, .. } => {
                format!(
                    "switch on keep-alive for the connection at descriptor {fd} of process {pid}"
                )
            }
            Self::ResetSocket { pid, fd, .. } => {
                format!("reset the connection at descriptor {fd} of process {pid}")
            }
            Self::EndChild { pid, .. } => format!("end process {pid} with SIGTERM"),
            Self::End => "ask the agent to end".to_owned(),
            Self::Restart => "restart the agent".to_owned(),
        }
    }

    /// Whether it is a remedy that a person may choose: below a restart.
    pub fn is_offered(self) -> bool {
        match self {
            Self::Cont { .. }
            | Self::KeepAlive { .. }
            | Self::ResetSocket { .. }
            | Self::EndChild { .. }
            | Self::End => true,
            Self::None | Self::Restart => false,
        }
    }
}

/// What must last for a finding to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// These threads, by process and thread, did not wake.
    ThreadsAsleep(Vec<(u32, u32)>),
    /// The condition was found in every sample.
    Observed,
    /// The kernel has counted already.
    KernelCounted,
}

/// What makes a finding the same one in the next sample: the rule, the subject and, where one process can have several, the
/// descriptor, socket or peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FindingId {
    pub(super) rule: RuleId,
    pub(super) subject: Subject,
    pub(super) object: u64,
}

/// One finding.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) id: FindingId,
    pub(super) verdict: Verdict,
    pub(super) persistence: Persistence,
    /// How long it must last, at patience 1.
    pub(super) lasts: Duration,
    /// It follows from the waits alone, so a one-off diagnosis need not watch for all of `after`.
    pub(super) logical: bool,
    pub(super) sentence: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) fix: Fix,
}

impl Finding {
    /// A finding about one process or the tree.
    pub(super) fn new(rule: RuleId, subject: Subject, sentence: String) -> Self {
        let Rule { verdict, .. } = *rule.rule();
        Self {
            id: FindingId {
                rule,
                subject,
                object: 0,
            },
            verdict,
            persistence: Persistence::Observed,
            lasts: rule.rule().lasts(),
            logical: false,
            sentence,
            evidence: Vec::new(),
            fix: Fix::None,
        }
    }

    /// The descriptor, socket or peer it is about.
    pub(super) fn about(mut self, object: u64) -> Self {
        self.id.object = object;
        self
    }

    /// It must last this many times as long as its rule asks.
    pub(super) fn patiently(mut self, times: u32) -> Self {
        self.lasts *= times;
        self
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
        self.evidence.push(reported(signal, value));
        self
    }

    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix = fix;
        self
    }
}

/// Evidence from samples.
pub(super) fn observed(signal: &str, value: impl Into<String>) -> Evidence {
    Evidence {
        signal: signal.to_owned(),
        value: value.into(),
        source: Source::Observed,
    }
}

/// Evidence from the agent's own status lines.
pub(super) fn reported(signal: &str, value: impl Into<String>) -> Evidence {
    Evidence {
        signal: signal.to_owned(),
        value: value.into(),
        source: Source::Reported,
    }
}
