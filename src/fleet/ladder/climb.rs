//! One agent's climb: which rung, in which step, with what known outcome.

use crate::base::moment::Moment;
use crate::fleet::ladder::exchange::{
    Climbed, Facts, LadderEffect, Next, Performed, RungOutcome, Ticket,
};
use crate::fleet::ladder::policy::Policy;
use crate::fleet::ladder::rung::{Rung, VerifyTimes};
use std::time::Duration;

/// How long a rung may take to act; an engine that has not answered by then counts as not answering.
pub(super) const ACT_MAX: Duration = Duration::from_secs(60);

/// How long the store may take to grant a claim.
const CLAIM_WITHIN: Duration = Duration::from_secs(10);

/// The climb of one agent with an open incident.
#[derive(Clone, Debug)]
pub(super) struct Climb {
    pub(super) policy: Box<Policy>,
    /// The next place in the policy's ladder.
    pub(super) place: usize,
    pub(super) climbed: Vec<Ticket>,
    /// The agent's host: the next action there waits for this one.
    pub(super) host: String,
    pub(super) step: Step,
    /// What the last action answered.
    detail: String,
    /// The last action's answer is not known.
    lost_sight: bool,
    /// The last `next` that was announced.
    next: Option<Next>,
    pub(super) is_paged: bool,
    /// A person asked for the next rung, which is not claimed yet.
    pub(super) by_hand: bool,
    /// A person asked for the present rung.
    pub(super) asked_for: bool,
    /// What this registration ran in was removed.
    gone: Option<u64>,
    /// The run, epoch and incarnation, in which a rung was carried out and no beat came.
    unseen: Option<(u64, u64)>,
}

/// Where a climb is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The next rung is chosen, at this time at the earliest.
    Due(Moment),
    /// The intent is being written, until then at the latest.
    Claiming(Ticket, Moment),
    /// The action runs, until then at the latest.
    Acting(Ticket, Moment),
    /// It was refused for now: again at the first moment, while the second has not come.
    Repeating(Ticket, Moment, Moment),
    /// A beat of a new incarnation must come until then.
    Verifying(Ticket, Moment),
    /// It came. The incident closes once that has lasted.
    Proving,
    /// Only people can go on, or a budget that allows another try at this moment.
    People(Option<Moment>),
}

impl Climb {
    pub(super) fn new(policy: Box<Policy>, now: Moment) -> Self {
        Self {
            policy,
            place: 0,
            climbed: Vec::new(),
            host: String::new(),
            step: Step::Due(now),
            detail: String::new(),
            lost_sight: false,
            next: None,
            is_paged: false,
            by_hand: false,
            asked_for: false,
            gone: None,
            unseen: None,
        }
    }

    /// A rung that was climbed before this monitor knew of it.
    pub(super) fn remember(&mut self, past: &Climbed) {
        let ticket = &past.ticket;
        self.place = self.place.max(self.place_of(ticket.rung) + 1);
        self.climbed.push(ticket.clone());
        if past.unseen {
            self.unseen = Some((ticket.epoch, ticket.incarnation));
        }
    }

    /// Whether a rung may have started a process in this run that does not reach the store: what is known of the end of the one
    /// before says nothing of it.
    pub(super) fn may_work_unseen(&self, facts: &Facts) -> bool {
        self.unseen == Some((facts.epoch, facts.incarnation))
    }

    /// Where this rung stands in the ladder; behind its end when it does not.
    pub(super) fn place_of(&self, rung: Rung) -> usize {
        let rungs = self.policy.ladder.iter();
        rungs.take_while(|other| **other != rung).count()
    }

    /// The same, for a rung that a person chose: one that the policy does not name comes first.
    pub(super) fn reach(&mut self, rung: Rung) -> usize {
        if !self.policy.ladder.contains(&rung) {
            self.policy.ladder.insert(0, rung);
        }
        self.place_of(rung)
    }

    /// A rung is claimed.
    pub(super) fn claim(&mut self, ticket: Ticket, now: Moment) {
        self.step = Step::Claiming(ticket, now + CLAIM_WITHIN);
    }

    /// Whether the grant of this claim is waited for.
    pub(super) fn is_claiming(&self, ticket: &Ticket) -> bool {
        matches!(&self.step, Step::Claiming(claimed, _) if claimed == ticket)
    }

    /// Whether what this registration ran in was removed: no process of it is left.
    pub(super) fn is_gone(&self, epoch: u64) -> bool {
        self.gone == Some(epoch)
    }

    /// Whether this rung is being carried out.
    pub(super) fn is_performing(&self, ticket: &Ticket) -> bool {
        matches!(&self.step, Step::Acting(acting, _) if acting == ticket)
    }

    /// The claim could not be made: the same rung again, not before this time.
    pub(super) fn retry(&mut self, ticket: &Ticket, at: Moment) {
        self.place = self.place_of(ticket.rung);
        self.step = Step::Due(at);
    }

    /// A rung begins.
    pub(super) fn begin(&mut self, ticket: &Ticket, now: Moment) {
        self.climbed.push(ticket.clone());
        self.detail.clear();
        self.lost_sight = false;
        self.asked_for = std::mem::take(&mut self.by_hand);
        self.step = Step::Acting(ticket.clone(), now + ACT_MAX);
    }

    /// A rung was begun by a monitor whose answer is not known: only its effect can show.
    pub(super) fn watch(&mut self, ticket: &Ticket, until: Moment, why: &str) {
        why.clone_into(&mut self.detail);
        self.lost_sight = true;
        self.step = Step::Verifying(ticket.clone(), until);
    }

    /// An action answered. Its rung has ended unless the effect must show in the beats.
    pub(super) fn answered(
        &mut self,
        ticket: &Ticket,
        answer: Performed,
        verify_until: Moment,
        now: Moment,
    ) -> Option<(RungOutcome, String)> {
        let until = match &self.step {
            Step::Acting(acting, until) if acting == ticket => *until,
            // An order is given, and its sidecar answers later that it cannot carry it out.
            Step::Verifying(watched, _) if watched == ticket => now,
            Step::Acting(..)
            | Step::Verifying(..)
            | Step::Due(_)
            | Step::Claiming(..)
            | Step::Repeating(..)
            | Step::Proving
            | Step::People(_) => return None,
        };
        let is_verifying = matches!(self.step, Step::Verifying(..));
        let ended = match answer {
            Performed::Done(detail) => {
                self.detail = detail;
                if is_verifying {
                    return None;
                }
                self.step = Step::Verifying(ticket.clone(), verify_until);
                return None;
            }
            Performed::Later(_, after) if now + after < until => {
                self.step = Step::Repeating(ticket.clone(), now + after, until);
                return None;
            }
            Performed::NotApplicable(detail) => (RungOutcome::NotApplicable, detail),
            Performed::Gone(detail) => {
                self.gone = Some(ticket.epoch);
                (RungOutcome::NotApplicable, detail)
            }
            Performed::Failed(detail) | Performed::Later(detail, _) => {
                (RungOutcome::Failed, detail)
            }
        };
        self.step = Step::Due(now);
        Some(ended)
    }

    /// Time passed: what ran out has ended, what was put off begins.
    pub(super) fn pass(
        &mut self,
        times: &VerifyTimes,
        interval: Duration,
        now: Moment,
    ) -> Option<LadderEffect> {
        match self.step.clone() {
            Step::Acting(ticket, until) if until <= now => {
                let verify = now + times.of(ticket.rung, interval);
                self.watch(&ticket, verify, "no answer within 60 s");
                None
            }
            Step::Repeating(ticket, at, until) if at <= now => {
                self.step = Step::Acting(ticket.clone(), until);
                Some(LadderEffect::Perform(ticket))
            }
            Step::Verifying(ticket, until) if until <= now => {
                self.step = Step::Due(now);
                let outcome = if self.lost_sight {
                    RungOutcome::Unknown
                } else {
                    RungOutcome::NoBeat
                };
                self.unseen = Some((ticket.epoch, ticket.incarnation));
                let detail = std::mem::take(&mut self.detail);
                Some(LadderEffect::Ended(ticket, outcome, detail))
            }
            Step::People(Some(at)) if at <= now => {
                self.step = Step::Due(now);
                self.place = 0;
                None
            }
            Step::Claiming(ticket, until) if until <= now => {
                self.retry(&ticket, now);
                None
            }
            Step::Due(_)
            | Step::Claiming(..)
            | Step::Acting(..)
            | Step::Repeating(..)
            | Step::Verifying(..)
            | Step::Proving
            | Step::People(_) => None,
        }
    }

    /// The agent beats again: what was under way has helped.
    pub(super) fn recovered(&mut self) -> Option<LadderEffect> {
        let ticket = match std::mem::replace(&mut self.step, Step::Proving) {
            Step::Acting(ticket, _)
            | Step::Repeating(ticket, _, _)
            | Step::Verifying(ticket, _) => ticket,
            Step::Due(_) | Step::Claiming(..) | Step::Proving | Step::People(_) => return None,
        };
        let detail = std::mem::take(&mut self.detail);
        Some(LadderEffect::Ended(ticket, RungOutcome::Recovered, detail))
    }

    /// Whether something is done to the agent, or its effect is waited for.
    pub(super) fn is_acting(&self) -> bool {
        match self.step {
            Step::Claiming(..) | Step::Acting(..) | Step::Repeating(..) | Step::Verifying(..) => {
                true
            }
            Step::Due(_) | Step::Proving | Step::People(_) => false,
        }
    }

    /// When it changes by itself next, and why.
    pub(super) fn deadline(&self) -> Option<(Moment, &'static str)> {
        match &self.step {
            Step::Due(at) => Some((*at, "the next rung is due")),
            Step::Acting(_, until) => Some((*until, "an action times out")),
            Step::Repeating(_, at, _) => Some((*at, "an action is repeated")),
            Step::Verifying(_, until) => Some((*until, "a rung is verified")),
            Step::People(at) => at.map(|at| (at, "a budget allows another try")),
            Step::Claiming(_, until) => Some((*until, "a claim times out")),
            Step::Proving => None,
        }
    }

    /// Remembers what comes next; true when it is news.
    pub(super) fn announce(&mut self, next: &Next) -> bool {
        let is_news = self.next.as_ref() != Some(next);
        if is_news {
            self.next = Some(next.clone());
        }
        is_news
    }
}
