//! The table of rules: every way in which a verdict comes about, with what it promises and what it needs.
//!
//! A rule's name travels on the beat as `cause`, groups verdicts in the monitor and is what tests expect; it never changes
//! once released. docs/verdicts.md, the zoo and the tests are checked against [`RULES`].

use crate::verdict::finding::Finding;
use crate::verdict::rules::{blocked, deadlock, inputs, network, pipes};
use crate::verdict::sample::Subject;
use crate::verdict::tree_view::TreeView;
use crate::wire::activity::{Cause, Confidence, Verdict};
use std::time::Duration;

/// One way in which a verdict comes about.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its identity; the name is `id.as_str()`.
    pub id: RuleId,
    /// The verdict it leads to. How sure that is follows from it.
    pub verdict: Verdict,
    /// The promise: from the moment the cause is there until the verdict, at patience 1. Zero: with the next sample.
    pub after: Duration,
    /// What must hold for it to be asked at all.
    pub needs: &'static [Gate],
    /// Where the failure was seen: the row of the zoo that plays it, or an issue.
    pub source: &'static str,
    /// Finds it in a tree that does not move; none for what the machine decides by itself. Rules that explain the same wait
    /// share the check of the first of them.
    check: Option<Check>,
}

type Check = fn(&TreeView<'_>) -> Vec<Finding>;

/// A condition of a rule, beside what it looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Work is owed, by the agent's own report.
    WorkOwed,
    /// Every thread of the process it is about was sampled.
    WholeProcess,
    /// No process outside the tree can hold an end of a pipe without being known.
    HoldersKnown,
}

/// Sampling costs the promise of a rule this much: one sample finds that nothing moves, one follows the limit, and both may
/// come late.
const SAMPLING: Duration = Duration::from_secs(25);

impl Rule {
    /// How sure the verdict is.
    pub fn confidence(&self) -> Confidence {
        self.verdict.confidence()
    }

    /// How long the condition must have lasted, at patience 1, so that the promise is kept.
    pub fn lasts(&self) -> Duration {
        self.after.saturating_sub(SAMPLING).max(self.after / 3)
    }

    /// What it finds in this tree.
    pub(super) fn findings(&self, view: &TreeView<'_>) -> Vec<Finding> {
        let Some(check) = self.check else {
            return Vec::new();
        };
        let mut found = check(view);
        found.retain(|f| {
            let needs = f.id.rule.rule().needs;
            needs.iter().all(|gate| gate.is_open(view, f.id.subject))
        });
        found
    }
}

impl Gate {
    fn is_open(self, view: &TreeView<'_>, subject: Subject) -> bool {
        match self {
            Self::WorkOwed => view.report.owes_work(),
            Self::WholeProcess => match subject {
                Subject::Process(pid) => view.sample.process(pid).is_some_and(|p| p.is_whole()),
                Subject::Tree | Subject::Machine => view.living().all(|p| p.is_whole()),
            },
            Self::HoldersKnown => !view.sample.may_have_hidden_holders(),
        }
    }
}

impl RuleId {
    /// Its row of the table.
    pub fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }
}

impl From<RuleId> for Cause {
    fn from(rule: RuleId) -> Self {
        Self::known(rule.as_str())
    }
}

const AT_ONCE: Duration = Duration::ZERO;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

/// Declares identities and table together, so that no rule is without a row.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal, $verdict:ident, $after:expr, $needs:expr, $source:literal, $check:expr;)+) => {
        /// The rule that decided a verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RuleId {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl RuleId {
            /// The stable kebab-case name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }
        }

        /// Every rule.
        pub const RULES: &[Rule] = &[$(Rule {
            id: RuleId::$rule,
            verdict: Verdict::$verdict,
            after: $after,
            needs: &$needs,
            source: $source,
            check: $check,
        },)+];
    };
}

rules! {
    /// No sample was taken yet.
    NoSample = "no-sample", Unknown, AT_ONCE, [], "every start", None;
    /// The process cannot be sampled.
    Unseen = "unseen", Unknown, AT_ONCE, [], "another user's process", None;
    /// Nothing moves, and what the agent waits for is unreadable.
    Unreadable = "unreadable", Unknown, AT_ONCE, [], "Yama, seccomp", None;
    /// Not ready yet, by its own report.
    Starting = "starting", Starting, AT_ONCE, [], "sd_notify READY=1", None;
    /// Work moves, reported or observed.
    Progress = "progress", Working, AT_ONCE, [], "zoo g02 g05 g06", None;
    /// Work is owed, and the silence is within its limit.
    WorkOwed = "work-owed", Working, AT_ONCE, [], "AgEnD#97", None;
    /// A tool runs, within its budget.
    ToolPending = "tool-pending", Working, AT_ONCE, [], "zoo g06", None;
    /// No work is owed.
    Idle = "idle", Idle, AT_ONCE, [], "zoo g11 g12", None;
    /// The agent announced that it will be silent (`expect=`).
    Expect = "expect", Sleeping, AT_ONCE, [], "KiroCrew's wait", None;
    /// The model's service asked the agent to wait.
    RateLimit = "rate-limit", WaitingModel, AT_ONCE, [], "hermes PR#26893", None;
    /// A timer whose deadline was read.
    Timer = "timer", Sleeping, AT_ONCE, [], "zoo g09 g10", None;
    /// A request is unanswered, within its budget.
    AnswerPending = "answer-pending", WaitingModel, AT_ONCE, [], "zoo g01", None;
    /// A program on this machine has not answered yet.
    LocalPeer = "local-peer", WaitingModel, AT_ONCE, [], "zoo g17", None;
    /// The agent reports that a person must answer.
    AsksPerson = "asks-person", WaitingInput, AT_ONCE, [], "multi-agent-ralph-loop#66", None;
    /// Held by a debugger.
    Debugger = "debugger", Paused, AT_ONCE, [], "zoo g21", None;
    /// Its control group is frozen.
    Frozen = "frozen", Paused, AT_ONCE, [], "zoo g24", None;
    /// A process reads from a terminal.
    TerminalInput = "terminal-input", WaitingInput, seconds(30), [], "zoo h14", Some(inputs::find);
    /// A process reads its standard input, which stays open.
    StdinInput = "stdin-input", WaitingInput, seconds(30), [], "zoo h13; codex#20919", None;
    /// A writer waits for the reader of a pager.
    Pager = "pager", WaitingInput, seconds(30), [], "zoo h16", None;
    /// Stopped as a background job of its terminal.
    BackgroundJob = "background-job", WaitingInput, seconds(30), [], "SIGTTIN, Ctrl-Z", None;
    /// Nothing that could wake the main thread can happen.
    Doomed = "doomed", Hung, seconds(30), [], "zoo h10c h12", None;
    /// Stopped by a signal.
    Stopped = "stopped", Stalled, seconds(15), [], "zoo h17",
        Some(|view| view.living().filter_map(deadlock::stopped).collect());
    /// Threads that wait for each other's mutexes.
    MutexRing = "mutex-ring", Stalled, minutes(1), [], "zoo h10c",
        Some(|view| view.living().filter_map(|p| deadlock::mutex_ring(view, p)).collect());
    /// Forked while another thread held a lock.
    ForkedLock = "forked-lock", Stalled, minutes(1), [Gate::WholeProcess], "zoo h11; tokenizers#187",
        Some(|view| view.own().filter_map(|p| deadlock::forked_lock(view, p)).collect());
    /// Every thread of every process waits for a lock.
    Deadlock = "deadlock", Stalled, minutes(2), [Gate::WorkOwed, Gate::WholeProcess], "zoo h10",
        Some(|view| deadlock::deadlock(view).into_iter().collect());
    /// An event loop with no source of events left.
    DeadAwait = "dead-await", Stalled, minutes(5), [Gate::WorkOwed, Gate::WholeProcess], "zoo h06; claude-code#41086",
        Some(|view| deadlock::dead_await(view).into_iter().collect());
    /// A pipe or terminal is full, and the reader outside does not read.
    FullPipe = "full-pipe", Stalled, minutes(5), [], "zoo h18 h19",
        Some(|view| view.waits().filter_map(|(p, t, w)| pipes::undrained(view, p, t, w)).collect());
    /// A pipe is full, and its reader waits for something else.
    PipeCycle = "pipe-cycle", Stalled, minutes(5), [], "zoo h12; mergeCraft#449", None;
    /// The peer's machine answers neither probes nor data.
    DeadPeer = "dead-peer", Stalled, seconds(90), [], "zoo h07; openai-python#3269",
        Some(|view| view.tcp().filter_map(|(s, tcp)| network::dead_peer(view, s, tcp)).collect());
    /// The peer closed the connection, and the agent waits for something else.
    ClosedUnread = "closed-unread", Stalled, minutes(1), [Gate::WholeProcess], "zoo h08; connectonion#1116",
        Some(|view| view.tcp().filter_map(|(s, tcp)| network::closed_unread(view, s, tcp)).collect());
    /// A child ended, and its parent waits for an answer from it.
    DeadChild = "dead-child", Stalled, minutes(1), [Gate::HoldersKnown], "zoo h25; fastmcp#499",
        Some(|view| view.own().filter_map(|p| network::dead_child(view, p)).collect());
    /// A process left behind by a tool keeps the tool's output open.
    LeftBehind = "left-behind", Stalled, minutes(10), [Gate::HoldersKnown], "zoo h22; opencode#48414",
        Some(|view| view.own().filter_map(|p| network::left_behind(view, p)).collect());
    /// The work is reported done, and the process stays.
    DoneNotExited = "done-not-exited", Stalled, seconds(30), [], "zoo h34; claude-code#25629",
        Some(|view| blocked::done(view).into_iter().collect());
    /// A connection request is unanswered.
    NoConnection = "no-connection", Stalled, minutes(1), [], "zoo h09",
        Some(|view| view.tcp().filter_map(|(s, tcp)| network::no_connection(view, s, tcp)).collect());
    /// A program on this machine that must answer is stopped.
    StoppedPeer = "stopped-peer", Stalled, minutes(2), [], "zoo h24; multica PR#2691",
        Some(|view| view.waits().filter_map(|(p, t, w)| network::stopped_peer(view, p, t.tid, w)).collect());
    /// A lock on a file.
    FileLock = "file-lock", Stalled, minutes(2), [], "zoo h20",
        Some(|view| view.waits().filter_map(|(p, t, w)| blocked::file_lock(view, p, t.tid, w)).collect());
    /// Retries while another process holds a lock on a file.
    BusyLock = "busy-lock", Stalled, minutes(5), [], "zoo h21",
        Some(|view| view.living().filter_map(|p| blocked::busy_lock(view, p)).collect());
    /// A wait that no signal can end.
    DiskWait = "disk-wait", Stalled, minutes(2), [], "zoo h38",
        Some(|view| view.living().filter_map(|p| blocked::disk(view, p)).collect());
    /// Clients wait, and the main thread serves none.
    Unserved = "unserved", Stalled, minutes(2), [], "zoo h26",
        Some(|view| view.own().filter_map(|p| blocked::unserved(view, p)).collect());
    /// A tool that must end has become a server.
    ServerAsTool = "server-as-tool", Stalled, minutes(5), [], "zoo h23; gemini-cli#4074",
        Some(|view| view.own().filter_map(|p| blocked::server_as_tool(view, p)).collect());
    /// A child reads an input that only its parent holds open, and the parent waits for the child.
    HeldInput = "held-input", Stalled, minutes(5), [Gate::HoldersKnown], "codex-mcp-server#153; command-code#515",
        Some(|view| view.own().filter_map(|p| blocked::held_input(view, p)).collect());
    /// Work is owed, and nothing has moved for longer than the limit (`--stall-after`).
    NoProgress = "no-progress", Stalled, minutes(5), [], "zoo h10b h30; AgEnD#97", None;
    /// A tool has not moved for longer than its budget.
    ToolLate = "tool-late", Stalled, minutes(10), [], "AutoGPT#2459", None;
    /// A request is unanswered for longer than its budget.
    AnswerLate = "answer-late", Stalled, minutes(10), [], "zoo h01 h02 h03", None;
    /// The main thread uses a core without effect.
    Spinning = "spinning", Spinning, minutes(5), [], "zoo h27 h28 h29", None;
    /// The same tool call with the same result.
    SameCallAgain = "same-call-again", Looping, minutes(2), [], "zoo h32", None;
    /// The same failure again and again.
    RetryStorm = "retry-storm", Looping, minutes(2), [], "zoo h33", None;
    /// The same reported step or error again and again.
    SameReportAgain = "same-report-again", Looping, minutes(2), [], "zoo h32", None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_a_name_of_its_own_that_the_wire_accepts() {
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            let name = rule.id.as_str();
            assert_eq!(Cause::parse(name), Some(Cause::from(rule.id)));
            assert_eq!(rule.id.rule().id, rule.id);
        }
    }

    #[test]
    fn a_condition_lasts_for_most_of_the_promise_and_leaves_time_for_sampling() {
        let lasts = |rule: RuleId| rule.rule().lasts().as_secs();
        assert_eq!(lasts(RuleId::Stopped), 5);
        assert_eq!(lasts(RuleId::StdinInput), 10);
        assert_eq!(lasts(RuleId::NoConnection), 35);
        assert_eq!(lasts(RuleId::FileLock), 95);
    }
}
