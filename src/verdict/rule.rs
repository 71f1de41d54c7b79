//! The identity of every rule. A rule's name travels on the beat as `cause`, groups verdicts in the monitor and is what tests
//! expect; it never changes once released.

use crate::wire::activity::Cause;

/// Declares the rules with their names, so that no rule is without one.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal,)+) => {
        /// The rule that decided a verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RuleId {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl RuleId {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// The stable kebab-case name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }
        }
    };
}

rules! {
    /// No sample was taken yet.
    NoSample = "no-sample",
    /// The process cannot be sampled.
    Unseen = "unseen",
    /// Nothing moves, and what the agent waits for is unreadable.
    Unreadable = "unreadable",
    /// Not ready yet, by its own report.
    Starting = "starting",
    /// Work moves, reported or observed.
    Progress = "progress",
    /// Work is owed, and the silence is within its limit.
    WorkOwed = "work-owed",
    /// Work is owed, and nothing has moved for longer than the limit.
    NoProgress = "no-progress",
    /// No work is owed.
    Idle = "idle",
    /// The agent announced that it will be silent (`expect=`).
    Expect = "expect",
    /// The model's service asked the agent to wait.
    RateLimit = "rate-limit",
    /// A timer whose deadline was read.
    Timer = "timer",
    /// A request is unanswered, within its budget.
    AnswerPending = "answer-pending",
    /// A request is unanswered for longer than its budget.
    AnswerLate = "answer-late",
    /// A program on this machine has not answered yet.
    LocalPeer = "local-peer",
    /// A tool runs, within its budget.
    ToolPending = "tool-pending",
    /// A tool has not moved for longer than its budget.
    ToolLate = "tool-late",
    /// The agent reports that a person must answer.
    AsksPerson = "asks-person",
    /// A process reads from a terminal.
    TerminalInput = "terminal-input",
    /// A process reads its standard input, which stays open.
    StdinInput = "stdin-input",
    /// A writer waits for the reader of a pager.
    Pager = "pager",
    /// Stopped as a background job of its terminal.
    BackgroundJob = "background-job",
    /// Held by a debugger.
    Debugger = "debugger",
    /// Its control group is frozen.
    Frozen = "frozen",
    /// Stopped by a signal.
    Stopped = "stopped",
    /// Threads that wait for each other's mutexes.
    MutexRing = "mutex-ring",
    /// Forked while another thread held a lock.
    ForkedLock = "forked-lock",
    /// Every thread of every process waits for a lock.
    Deadlock = "deadlock",
    /// An event loop with no source of events left.
    DeadAwait = "dead-await",
    /// A pipe or terminal is full, and the reader outside does not read.
    FullPipe = "full-pipe",
    /// A pipe is full, and its reader waits for something else.
    PipeCycle = "pipe-cycle",
    /// The peer's machine answers neither probes nor data.
    DeadPeer = "dead-peer",
    /// The peer closed the connection, and the agent waits for something else.
    ClosedUnread = "closed-unread",
    /// A connection request is unanswered.
    NoConnection = "no-connection",
    /// A child ended, and its parent waits for an answer from it.
    DeadChild = "dead-child",
    /// A process left behind by a tool keeps the tool's output open.
    LeftBehind = "left-behind",
    /// A program on this machine that must answer is stopped.
    StoppedPeer = "stopped-peer",
    /// A lock on a file.
    FileLock = "file-lock",
    /// Retries while another process holds a lock on a file.
    BusyLock = "busy-lock",
    /// A wait that no signal can end.
    DiskWait = "disk-wait",
    /// Clients wait, and the main thread serves none.
    Unserved = "unserved",
    /// A tool that must end has become a server.
    ServerAsTool = "server-as-tool",
    /// The work is reported done, and the process stays.
    DoneNotExited = "done-not-exited",
    /// The main thread uses a core without effect.
    Spinning = "spinning",
    /// The same tool call with the same result.
    SameCallAgain = "same-call-again",
    /// The same failure again and again.
    RetryStorm = "retry-storm",
    /// The same reported step or error again and again.
    SameReportAgain = "same-report-again",
}

impl From<RuleId> for Cause {
    fn from(rule: RuleId) -> Self {
        Self::known(rule.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_a_name_of_its_own_that_the_wire_accepts() {
        let names: BTreeSet<&str> = RuleId::ALL.iter().map(|rule| rule.as_str()).collect();
        assert_eq!(names.len(), RuleId::ALL.len());
        for rule in RuleId::ALL {
            assert_eq!(Cause::parse(rule.as_str()), Some(Cause::from(*rule)));
        }
    }
}
