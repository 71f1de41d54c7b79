//! What hbsidecar does about a stuck agent: the mildest fix first, each with time to take effect.
//!
//! Only a proof leads to an action, unless the user asks for more. The judgement after an action shows whether it helped: an
//! agent that works again has left the hang, and the next hang starts from the mildest fix.

use crate::base::moment::Moment;
use crate::verdict::{Confidence, Fix, Judgement, Patience};
use crate::wire::activity::VerdictClass;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a fix may take to take effect, at patience 1: an agent's own retry waits some seconds.
const EFFECT_WITHIN: Duration = Duration::from_secs(15);
/// After this many fixes within [`FIXES_WITHIN`] the hang is assumed to recur, and the agent is restarted.
const FIXES_MAX: usize = 3;
/// At patience 1.
const FIXES_WITHIN: Duration = Duration::from_secs(600);
/// Sockets that are remembered as having keep-alive switched on.
const PROBED_MAX: usize = 64;

/// Which verdicts the user wants acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemedyPolicy {
    /// An agent that provably cannot go on is fixed or restarted; otherwise hbsidecar only reports it.
    pub hung_is_restarted: bool,
    /// An agent under suspicion is restarted; otherwise hbsidecar only reports it.
    pub stalled_is_restarted: bool,
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
    effect_within: Duration,
    /// Since when the present hang or suspicion lasts.
    trouble_since: Option<Moment>,
    last: Option<(Step, Moment)>,
    probed: VecDeque<u64>,
    fixes_within: Duration,
    fixes: VecDeque<Moment>,
}

impl Remedy {
    /// Nothing done yet. `patience` scales the time that a fix has.
    pub fn new(policy: RemedyPolicy, patience: Patience) -> Self {
        Self {
            policy,
            effect_within: patience.scale(EFFECT_WITHIN),
            fixes_within: patience.scale(FIXES_WITHIN),
            fixes: VecDeque::new(),
            trouble_since: None,
            last: None,
            probed: VecDeque::new(),
        }
    }

    /// When the present step must have taken effect.
    pub fn deadline(&self) -> Option<Moment> {
        let (step, at) = self.last?;
        match step {
            Step::Fix(_) | Step::KillChild { .. } => Some(at + self.effect_within),
            Step::End | Step::Restart => None,
        }
    }

    /// The step that is due now, given the present judgement.
    pub fn handle(&mut self, judgement: &Judgement, now: Moment) -> Option<Step> {
        if !self.acts_on(judgement) {
            self.trouble_since = None;
            self.last = None;
            return self.probe(judgement);
        }
        if self.trouble_since.replace(judgement.since) != Some(judgement.since) {
            self.last = None;
        }
        let step = match self.last {
            None => self.first(judgement, now),
            Some((_, at)) if now.since(at) < self.effect_within => return None,
            Some((Step::Fix(Fix::EndChild { pid, started }), _)) => {
                Step::KillChild { pid, started }
            }
            Some((Step::Fix(_) | Step::KillChild { .. }, _)) => Step::Restart,
            Some((Step::End | Step::Restart, _)) => return None,
        };
        self.last = Some((step, now));
        Some(step)
    }

    /// The mildest step that may help. A suspicion proves no cause, so it leads to a restart and to no fix.
    fn first(&mut self, judgement: &Judgement, now: Moment) -> Step {
        if judgement.verdict.class() != VerdictClass::Proof {
            return Step::Restart;
        }
        match judgement.fix {
            fix @ (Fix::Cont { .. } | Fix::ResetSocket { .. } | Fix::EndChild { .. }) => {
                self.fixes.retain(|at| now.since(*at) < self.fixes_within);
                if self.fixes.len() >= FIXES_MAX {
                    return Step::Restart;
                }
                self.fixes.push_back(now);
                Step::Fix(fix)
            }
            Fix::End => Step::End,
            Fix::None | Fix::KeepAlive { .. } | Fix::Restart => Step::Restart,
        }
    }

    fn acts_on(&self, judgement: &Judgement) -> bool {
        match judgement.verdict.class() {
            VerdictClass::Proof => {
                self.policy.hung_is_restarted && judgement.confidence == Confidence::Proof
            }
            VerdictClass::Suspicion => self.policy.stalled_is_restarted,
            VerdictClass::Progress
            | VerdictClass::Waiting
            | VerdictClass::Person
            | VerdictClass::Undecided => false,
        }
    }

    /// Keep-alive harms no live connection and is the only way to a proof, so it is switched on whatever the policy.
    fn probe(&mut self, judgement: &Judgement) -> Option<Step> {
        let Fix::KeepAlive { inode, .. } = judgement.fix else {
            return None;
        };
        if self.probed.contains(&inode) {
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
        stalled_is_restarted: true,
    };
    const HUNG: RemedyPolicy = RemedyPolicy {
        hung_is_restarted: true,
        stalled_is_restarted: false,
    };
    const NOTHING: RemedyPolicy = RemedyPolicy {
        hung_is_restarted: false,
        stalled_is_restarted: false,
    };
    const CHILD: Fix = Fix::EndChild { pid: 9, started: 7 };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn judged(verdict: Verdict, fix: Fix, since: u64) -> Judgement {
        Judgement {
            verdict,
            cause: RuleId::PipeCycle,
            since: at(since),
            confidence: Confidence::Proof,
            sentence: String::new(),
            evidence: Vec::new(),
            fix,
            until: None,
        }
    }

    #[test]
    fn a_child_is_asked_to_end_then_killed_then_the_agent_is_restarted_once() {
        let mut remedy = Remedy::new(HUNG, Patience::ONE);
        let hung = judged(Verdict::Hung, CHILD, 0);
        let steps: Vec<_> = [0, 1, 15, 16, 30, 60, 900]
            .into_iter()
            .map(|now| remedy.handle(&hung, at(now)))
            .collect();
        let kill = Step::KillChild { pid: 9, started: 7 };
        assert_eq!(
            steps,
            [
                Some(Step::Fix(CHILD)),
                None,
                Some(kill),
                None,
                Some(Step::Restart),
                None,
                None
            ]
        );
    }

    #[test]
    fn a_fix_that_helped_is_the_first_again_at_the_next_hang() {
        let mut remedy = Remedy::new(HUNG, Patience::ONE);
        let fix = Fix::Cont { pid: 9 };
        assert_eq!(
            remedy.handle(&judged(Verdict::Hung, fix, 0), at(0)),
            Some(Step::Fix(fix))
        );
        assert_eq!(
            remedy.handle(&judged(Verdict::Working, Fix::None, 5), at(5)),
            None
        );
        assert_eq!(
            remedy.handle(&judged(Verdict::Hung, fix, 99), at(99)),
            Some(Step::Fix(fix))
        );
    }

    #[test]
    fn a_trouble_that_comes_again_after_three_fixes_is_no_longer_fixed() {
        let mut remedy = Remedy::new(HUNG, Patience::ONE);
        let fix = Fix::Cont { pid: 9 };
        let mut hang = |now| {
            remedy.handle(&judged(Verdict::Working, Fix::None, now), at(now));
            remedy.handle(&judged(Verdict::Hung, fix, now + 1), at(now + 1))
        };
        let steps = [0, 100, 200, 300, 2000].map(&mut hang);
        let fixed = Some(Step::Fix(fix));
        assert_eq!(steps, [fixed, fixed, fixed, Some(Step::Restart), fixed]);
    }

    #[test]
    fn nothing_is_done_when_the_policy_is_to_report_only() {
        let mut remedy = Remedy::new(NOTHING, Patience::ONE);
        for verdict in [
            Verdict::Hung,
            Verdict::Stalled,
            Verdict::Spinning,
            Verdict::Looping,
        ] {
            assert_eq!(remedy.handle(&judged(verdict, CHILD, 0), at(0)), None);
        }
    }

    #[test]
    fn an_agent_that_waits_works_or_cannot_be_sampled_is_left_alone() {
        let mut remedy = Remedy::new(BOTH, Patience::ONE);
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
                remedy.handle(&judged(verdict, CHILD, 0), at(0)),
                None,
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_hang_without_a_proof_is_reported_only() {
        let mut remedy = Remedy::new(BOTH, Patience::ONE);
        let likely = Judgement {
            confidence: Confidence::Suspicion,
            ..judged(Verdict::Hung, CHILD, 0)
        };
        assert_eq!(remedy.handle(&likely, at(0)), None);
    }

    #[test]
    fn a_suspicion_leads_to_a_restart_only_where_it_is_wanted_and_to_no_fix() {
        let stalled = judged(Verdict::Stalled, CHILD, 0);
        assert_eq!(
            Remedy::new(HUNG, Patience::ONE).handle(&stalled, at(0)),
            None
        );
        assert_eq!(
            Remedy::new(BOTH, Patience::ONE).handle(&stalled, at(0)),
            Some(Step::Restart)
        );
    }

    #[test]
    fn keep_alive_is_switched_on_once_per_socket() {
        let mut remedy = Remedy::new(HUNG, Patience::ONE);
        let ask = |inode| {
            judged(
                Verdict::WaitingModel,
                Fix::KeepAlive {
                    pid: 9,
                    fd: 3,
                    inode,
                },
                0,
            )
        };
        assert!(remedy.handle(&ask(1), at(0)).is_some());
        assert_eq!(remedy.handle(&ask(1), at(5)), None);
        assert!(remedy.handle(&ask(2), at(6)).is_some());
    }

    #[test]
    fn done_work_is_asked_to_end_and_not_restarted() {
        let mut remedy = Remedy::new(HUNG, Patience::ONE);
        let done = judged(Verdict::Hung, Fix::End, 0);
        assert_eq!(remedy.handle(&done, at(0)), Some(Step::End));
        assert_eq!(remedy.handle(&done, at(500)), None);
    }
}
