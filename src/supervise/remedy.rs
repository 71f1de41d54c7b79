//! What is done here about an agent that does not work: the mildest fix first, each with time to show its effect.
//!
//! Only a proof is acted upon, unless the user wants more. Whatever is done, the judgement that follows decides whether
//! it helped: an agent that works again has left the hang, and the next one starts from the mildest fix.

use crate::base::moment::Moment;
use crate::verdict::{Confidence, Fix, Judgement};
use crate::wire::beat::Verdict;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a fix may take to show its effect, at patience 1: an agent's own retry waits some seconds.
const SHOWS_WITHIN: Duration = Duration::from_secs(15);
/// So many fixes within this time, at patience 1, did not help: the same comes again.
const FIXES_MAX: usize = 3;
const FIXES_WITHIN: Duration = Duration::from_secs(600);
/// Sockets that are remembered as asked.
const ASKED_MAX: usize = 64;

/// What the user wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// An agent that provably cannot go on is unblocked or restarted; else people are told.
    pub hung_is_restarted: bool,
    /// An agent that is suspected is restarted; else people are told.
    pub stalled_is_restarted: bool,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Below a restart.
    Fix(Fix),
    /// A child that did not follow TERM.
    KillChild {
        /// The process.
        pid: u32,
        /// In clock ticks since the machine started.
        started: u64,
    },
    /// The work is done: the agent is asked to end.
    End,
    /// A new incarnation.
    Restart,
}

/// The machine, of one incarnation.
#[derive(Clone, Debug)]
pub struct Remedy {
    wanted: Wanted,
    shows_within: Duration,
    /// Since when the present trouble lasts.
    trouble: Option<Moment>,
    last: Option<(Step, Moment)>,
    asked: VecDeque<u64>,
    fixes_within: Duration,
    fixes: VecDeque<Moment>,
}

impl Remedy {
    /// Nothing done yet. `patience` stretches the time a fix has.
    pub fn new(wanted: Wanted, patience: f64) -> Self {
        let patience = patience.clamp(0.001, 1000.0);
        Self {
            wanted,
            shows_within: SHOWS_WITHIN.mul_f64(patience),
            fixes_within: FIXES_WITHIN.mul_f64(patience),
            fixes: VecDeque::new(),
            trouble: None,
            last: None,
            asked: VecDeque::new(),
        }
    }

    /// When the present step must have shown its effect.
    pub fn deadline(&self) -> Option<Moment> {
        let (step, at) = self.last?;
        match step {
            Step::Fix(_) | Step::KillChild { .. } => Some(at + self.shows_within),
            Step::End | Step::Restart => None,
        }
    }

    /// What is to be done now, given the present judgement.
    pub fn handle(&mut self, judgement: &Judgement, now: Moment) -> Option<Step> {
        if !self.acts_on(judgement) {
            self.trouble = None;
            self.last = None;
            return self.ask(judgement);
        }
        if self.trouble.replace(judgement.since) != Some(judgement.since) {
            self.last = None;
        }
        let step = match self.last {
            None => self.first(judgement, now),
            Some((_, at)) if now.since(at) < self.shows_within => return None,
            Some((Step::Fix(Fix::EndChild { pid, started }), _)) => {
                Step::KillChild { pid, started }
            }
            Some((Step::Fix(_) | Step::KillChild { .. }, _)) => Step::Restart,
            Some((Step::End | Step::Restart, _)) => return None,
        };
        self.last = Some((step, now));
        Some(step)
    }

    /// The mildest step that may help. A suspicion proves no cause, so no single thing is mended for it.
    fn first(&mut self, judgement: &Judgement, now: Moment) -> Step {
        if judgement.verdict != Verdict::Hung {
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
            Fix::None | Fix::CloseStdin | Fix::KeepAlive { .. } | Fix::Restart => Step::Restart,
        }
    }

    fn acts_on(&self, judgement: &Judgement) -> bool {
        match judgement.verdict {
            Verdict::Hung => {
                self.wanted.hung_is_restarted && judgement.confidence == Confidence::Proof
            }
            Verdict::Stalled | Verdict::Spinning | Verdict::Looping => {
                self.wanted.stalled_is_restarted
            }
            Verdict::Starting
            | Verdict::Working
            | Verdict::WaitingModel
            | Verdict::WaitingInput
            | Verdict::Sleeping
            | Verdict::Idle
            | Verdict::Paused
            | Verdict::Unknown => false,
        }
    }

    /// A question to a peer's kernel harms no living connection and is the only proof there is, so it waits for nobody's wish.
    fn ask(&mut self, judgement: &Judgement) -> Option<Step> {
        let Fix::KeepAlive { inode, .. } = judgement.fix else {
            return None;
        };
        if self.asked.contains(&inode) {
            return None;
        }
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(inode);
        Some(Step::Fix(judgement.fix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Wanted = Wanted {
        hung_is_restarted: true,
        stalled_is_restarted: true,
    };
    const HUNG: Wanted = Wanted {
        hung_is_restarted: true,
        stalled_is_restarted: false,
    };
    const NOTHING: Wanted = Wanted {
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
            since: at(since),
            confidence: Confidence::Proof,
            sentence: String::new(),
            evidence: Vec::new(),
            fix,
            until: None,
        }
    }

    #[test]
    fn a_child_is_asked_then_killed_then_the_agent_is_restarted_once() {
        let mut remedy = Remedy::new(HUNG, 1.0);
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
        let mut remedy = Remedy::new(HUNG, 1.0);
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
        let mut remedy = Remedy::new(HUNG, 1.0);
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
    fn nothing_is_done_about_an_agent_whose_user_wants_to_be_told() {
        let mut remedy = Remedy::new(NOTHING, 1.0);
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
    fn nobody_who_waits_works_or_cannot_be_seen_is_touched() {
        let mut remedy = Remedy::new(BOTH, 1.0);
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
    fn a_hang_without_a_proof_is_told_and_no_more() {
        let mut remedy = Remedy::new(BOTH, 1.0);
        let likely = Judgement {
            confidence: Confidence::Suspicion,
            ..judged(Verdict::Hung, CHILD, 0)
        };
        assert_eq!(remedy.handle(&likely, at(0)), None);
    }

    #[test]
    fn a_suspicion_leads_to_a_restart_only_where_it_is_wanted_and_to_no_fix() {
        let stalled = judged(Verdict::Stalled, CHILD, 0);
        assert_eq!(Remedy::new(HUNG, 1.0).handle(&stalled, at(0)), None);
        assert_eq!(
            Remedy::new(BOTH, 1.0).handle(&stalled, at(0)),
            Some(Step::Restart)
        );
    }

    #[test]
    fn a_silent_peer_is_asked_once_a_socket() {
        let mut remedy = Remedy::new(HUNG, 1.0);
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
        let mut remedy = Remedy::new(HUNG, 1.0);
        let done = judged(Verdict::Hung, Fix::End, 0);
        assert_eq!(remedy.handle(&done, at(0)), Some(Step::End));
        assert_eq!(remedy.handle(&done, at(500)), None);
    }
}
