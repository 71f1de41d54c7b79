//! What hbsidecar does about a stuck agent. By itself: a restart on a proof, and keep-alive on a silent connection whose answer
//! is late. Every other fix is offered, and applied only by the order `unblock`.
//!
//! Even a mild fix can destroy work: a stop was meant, a child holds data, a connection carries other requests.

use crate::base::moment::Moment;
use crate::verdict::{Confidence, Fix, Judgement};
use crate::wire::activity::VerdictClass;
use std::collections::VecDeque;
use std::time::Duration;

/// Sockets that are remembered as having keep-alive switched on.
const PROBED_MAX: usize = 64;

/// Which verdicts the user wants acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemedyPolicy {
    /// An agent that provably cannot go on is restarted, and keep-alive is switched on where an answer is late; otherwise
    /// hbsidecar only reports it.
    pub hung_is_restarted: bool,
    /// An agent is restarted when it has been under suspicion for this time; otherwise hbsidecar only reports it.
    pub stalled_is_restarted: Option<Duration>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A fix below a restart.
    Fix(Fix),
    /// SIGKILL to a child that did not end by SIGTERM.
    KillChild {
        /// The process.
        pid: u32,
        /// Start time in clock ticks since boot.
        started: u64,
    },
    /// The work is done: ask the agent to end.
    End,
    /// A new incarnation.
    Restart,
}

/// The machine, of one incarnation.
#[derive(Clone, Debug)]
pub struct Remedy {
    policy: RemedyPolicy,
    /// Since when the trouble lasts for which the agent was restarted.
    restarted_for: Option<Moment>,
    /// Since when it is under suspicion.
    suspected: Option<Moment>,
    /// A person takes care of that: it is not restarted.
    held: bool,
    /// What the last order to unblock did.
    unblocked: Option<Step>,
    probed: VecDeque<u64>,
}

impl Remedy {
    /// Nothing done yet.
    pub fn new(policy: RemedyPolicy) -> Self {
        Self {
            policy,
            restarted_for: None,
            suspected: None,
            held: false,
            unblocked: None,
            probed: VecDeque::new(),
        }
    }

    /// The step that is due by itself, given the present judgement: one restart for each trouble.
    pub fn handle(&mut self, judgement: &Judgement, now: Moment) -> Option<Step> {
        if judgement.verdict.class() == VerdictClass::Suspicion {
            self.suspected.get_or_insert(judgement.since);
        } else {
            (self.suspected, self.held) = (None, false);
        }
        if !self.acts_on(judgement, now) {
            self.restarted_for = None;
            return self.probe(judgement);
        }
        // A suspicion that becomes another is the same trouble.
        let since = self.suspected.unwrap_or(judgement.since);
        let before = self.restarted_for.replace(since);
        (before != Some(since)).then_some(Step::Restart)
    }

    /// The step of an order to unblock: the fix that the present judgement offers. A child that did not end by SIGTERM is
    /// killed at the second order. None where nothing below a restart may help.
    pub fn unblock(&mut self, judgement: &Judgement) -> Option<Step> {
        let step = match judgement.fix {
            Fix::None | Fix::Restart => return None,
            Fix::End => Step::End,
            Fix::EndChild { pid, started } if self.unblocked == Some(Step::Fix(judgement.fix)) => {
                Step::KillChild { pid, started }
            }
            fix @ (Fix::Cont { .. }
            | Fix::KeepAlive { .. }
            | Fix::ResetSocket { .. }
            | Fix::EndChild { .. }) => Step::Fix(fix),
        };
        self.unblocked = Some(step);
        Some(step)
    }

    /// A person takes care: no restart for the present suspicion. False when there is none.
    pub fn hold(&mut self) -> bool {
        self.held = self.suspected.is_some();
        self.held
    }

    fn acts_on(&self, judgement: &Judgement, now: Moment) -> bool {
        match judgement.verdict.class() {
            VerdictClass::Proof => {
                self.policy.hung_is_restarted && judgement.confidence == Confidence::Proof
            }
            VerdictClass::Suspicion => {
                let lasted = self
                    .suspected
                    .map_or(Duration::ZERO, |since| now.since(since));
                let after = self.policy.stalled_is_restarted;
                !self.held && after.is_some_and(|after| lasted >= after)
            }
            VerdictClass::Progress
            | VerdictClass::Waiting
            | VerdictClass::Person
            | VerdictClass::Undecided => false,
        }
    }

    /// Keep-alive harms no live connection: the kernel finds out whether the peer is there.
    fn probe(&mut self, judgement: &Judgement) -> Option<Step> {
        let Fix::KeepAlive { inode, .. } = judgement.fix else {
            return None;
        };
        if !self.policy.hung_is_restarted || self.probed.contains(&inode) {
            return None;
        }
        if self.probed.len() == PROBED_MAX {
            self.probed.pop_front();
        }
        self.probed.push_back(inode);
        Some(Step::Fix(judgement.fix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::RuleId;
    use crate::wire::activity::Verdict;

    const BOTH: RemedyPolicy = RemedyPolicy {
        hung_is_restarted: true,
        stalled_is_restarted: Some(Duration::from_secs(60)),
    };
    const HUNG: RemedyPolicy = RemedyPolicy {
        hung_is_restarted: true,
        stalled_is_restarted: None,
    };
    const NOTHING: RemedyPolicy = RemedyPolicy {
        hung_is_restarted: false,
        stalled_is_restarted: None,
    };
    const CHILD: Fix = Fix::EndChild { pid: 9, started: 7 };
    const FIXES: [Fix; 5] = [
        Fix::Cont { pid: 9, started: 1 },
        Fix::ResetSocket {
            pid: 9,
            fd: 3,
            inode: 1,
        },
        CHILD,
        Fix::End,
        Fix::None,
    ];
    const ASK: Fix = Fix::KeepAlive {
        pid: 9,
        fd: 3,
        inode: 1,
    };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn judged(verdict: Verdict, fix: Fix, since: u64) -> Judgement {
        Judgement {
            verdict,
            cause: RuleId::Doomed,
            since: at(since),
            confidence: verdict.confidence(),
            sentence: String::new(),
            evidence: Vec::new(),
            fix,
            until: None,
        }
    }

    #[test]
    fn a_doomed_agent_is_restarted_once_for_each_hang() {
        let mut remedy = Remedy::new(HUNG);
        let hung = |since| judged(Verdict::Hung, Fix::Restart, since);
        let works = judged(Verdict::Working, Fix::None, 50);
        assert_eq!(remedy.handle(&hung(0), at(999)), Some(Step::Restart));
        assert_eq!(remedy.handle(&hung(0), at(999)), None);
        assert_eq!(remedy.handle(&works, at(999)), None);
        assert_eq!(remedy.handle(&hung(99), at(999)), Some(Step::Restart));
    }

    #[test]
    fn no_fix_below_a_restart_is_applied_by_itself() {
        let mut remedy = Remedy::new(HUNG);
        for verdict in [
            Verdict::Stalled,
            Verdict::Spinning,
            Verdict::Looping,
            Verdict::WaitingInput,
            Verdict::WaitingModel,
        ] {
            for fix in FIXES {
                assert_eq!(
                    remedy.handle(&judged(verdict, fix, 0), at(999)),
                    None,
                    "{fix:?}"
                );
            }
        }
    }

    #[test]
    fn an_order_applies_the_fix_that_is_offered_and_kills_a_child_at_the_second() {
        let mut remedy = Remedy::new(NOTHING);
        let stalled = judged(Verdict::Stalled, CHILD, 0);
        assert_eq!(remedy.unblock(&stalled), Some(Step::Fix(CHILD)));
        let kill = Step::KillChild { pid: 9, started: 7 };
        assert_eq!(remedy.unblock(&stalled), Some(kill));
        let done = judged(Verdict::Stalled, Fix::End, 0);
        assert_eq!(remedy.unblock(&done), Some(Step::End));
        for fix in [Fix::None, Fix::Restart] {
            assert_eq!(remedy.unblock(&judged(Verdict::Stalled, fix, 0)), None);
        }
    }

    #[test]
    fn nothing_is_done_when_the_policy_is_to_report_only() {
        let mut remedy = Remedy::new(NOTHING);
        for verdict in [
            Verdict::Hung,
            Verdict::Stalled,
            Verdict::Spinning,
            Verdict::Looping,
        ] {
            for fix in [CHILD, ASK] {
                assert_eq!(remedy.handle(&judged(verdict, fix, 0), at(999)), None);
            }
        }
    }

    #[test]
    fn an_agent_that_waits_works_or_cannot_be_sampled_is_left_alone() {
        let mut remedy = Remedy::new(BOTH);
        for verdict in [
            Verdict::Starting,
            Verdict::Working,
            Verdict::WaitingModel,
            Verdict::WaitingInput,
            Verdict::Sleeping,
            Verdict::Idle,
            Verdict::Paused,
            Verdict::Unknown,
        ] {
            assert_eq!(
                remedy.handle(&judged(verdict, CHILD, 0), at(999)),
                None,
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_hang_without_a_proof_is_reported_only() {
        let mut remedy = Remedy::new(BOTH);
        let likely = Judgement {
            confidence: Confidence::Suspicion,
            ..judged(Verdict::Hung, CHILD, 0)
        };
        assert_eq!(remedy.handle(&likely, at(999)), None);
    }

    #[test]
    fn a_suspicion_that_lasts_leads_to_a_restart_only_where_it_is_wanted() {
        let suspect = |verdict, since| judged(verdict, CHILD, since);
        let stalled = suspect(Verdict::Stalled, 5);
        assert_eq!(Remedy::new(HUNG).handle(&stalled, at(500)), None);
        let mut remedy = Remedy::new(BOTH);
        assert_eq!(remedy.handle(&stalled, at(5)), None);
        let spins = suspect(Verdict::Spinning, 50);
        assert_eq!(remedy.handle(&spins, at(64)), None);
        assert_eq!(remedy.handle(&spins, at(65)), Some(Step::Restart));
        assert_eq!(remedy.handle(&spins, at(70)), None, "once");
    }

    #[test]
    fn progress_and_a_person_cancel_the_restart_of_one_suspicion() {
        let mut remedy = Remedy::new(BOTH);
        let stalled = |since| judged(Verdict::Stalled, CHILD, since);
        assert!(!remedy.hold(), "there is none");
        remedy.handle(&stalled(0), at(0));
        assert!(remedy.hold());
        assert_eq!(remedy.handle(&stalled(0), at(100)), None, "a person has it");
        let works = judged(Verdict::Working, Fix::None, 100);
        remedy.handle(&works, at(100));
        assert_eq!(remedy.handle(&stalled(110), at(160)), None);
        let due = remedy.handle(&stalled(110), at(170));
        assert_eq!(due, Some(Step::Restart), "the next one starts again");
    }

    #[test]
    fn keep_alive_is_switched_on_once_per_socket() {
        let mut remedy = Remedy::new(HUNG);
        let ask = |inode| {
            let fix = Fix::KeepAlive {
                pid: 9,
                fd: 3,
                inode,
            };
            judged(Verdict::Stalled, fix, 0)
        };
        assert!(remedy.handle(&ask(1), at(999)).is_some());
        assert_eq!(remedy.handle(&ask(1), at(999)), None);
        assert!(remedy.handle(&ask(2), at(999)).is_some());
    }
}
