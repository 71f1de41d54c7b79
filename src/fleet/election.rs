//! Which of several monitors on one store acts: a lead that is renewed, and what this monitor is without one.
//!
//! ```text
//! Alone ── another leads ──► Follows ── its lead ran out ──► Leads ── renewed in time ──► Leads
//!   ▲                          ▲  │                            │
//!   │                          │  └─ the store refuses ──►Alone│
//!   └── the store refuses ─────┼───────────────────────────────┤
//!                              └──────── another leads ◄───────┘
//! ```
//!
//! Actions fail closed, alerts fail open: only who renewed its lead a moment ago acts, and where the store lets none lead
//! each monitor records and alerts. Two may then alert about one failure; each receiver knows the page by its key.

use crate::base::moment::Moment;
use crate::wire::leader::{Leader, Standing};
use std::time::Duration;

/// How often the lead is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often a follower asks whether the lead is free.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Nothing is done this long after the last renewal was asked for: the store keeps the lead for half as long again.
const ACTS_WITHIN: Duration = Duration::from_secs(10);
/// A follower that the store refuses for so long is on its own: no other monitor can renew a lead either.
const REFUSED_FOR: Duration = Duration::from_secs(20);

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Election {
    role: Role,
    link_up: bool,
    ask_at: Moment,
    /// When the question was asked to which the last answer belongs.
    answered_at: Moment,
    refused_since: Option<Moment>,
}

/// What this monitor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// No lead is known: it records and alerts, and does not act.
    #[default]
    Alone,
    /// It records, alerts, and acts while its lead is fresh.
    Leads {
        /// Itself, with its fencing token.
        leader: Leader,
        /// When the last renewal that the store carried out was asked for.
        renewed_at: Moment,
    },
    /// It shows what the leader records.
    Follows(Leader),
}

/// An input.
#[derive(Clone, Debug)]
pub enum ElectionInput {
    /// What the store answered to a question of this moment.
    Answered(Moment, Standing),
    /// The store answered a question of this moment, and carries it out for none: read-only, full, or not allowed.
    Refused(Moment),
    /// The store is connected and was read.
    LinkUp,
    /// The connection is lost.
    LinkDown,
    /// Time passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionEffect {
    /// Ask the store for the lead.
    Ask,
    /// It records and alerts from now on: what the store holds is to be read.
    TakeOver,
    /// Another one records and alerts from now on.
    StepDown,
}

impl Election {
    /// Applies one input.
    pub fn handle(&mut self, input: ElectionInput, now: Moment) -> Vec<ElectionEffect> {
        match input {
            // The answer to an earlier question says nothing new.
            ElectionInput::Answered(asked_at, _) | ElectionInput::Refused(asked_at)
                if asked_at < self.answered_at =>
            {
                Vec::new()
            }
            ElectionInput::Answered(asked_at, standing) => self.answered(asked_at, standing),
            ElectionInput::Refused(asked_at) => self.refused(asked_at, now),
            ElectionInput::LinkUp => {
                self.link_up = true;
                Vec::new()
            }
            ElectionInput::LinkDown => {
                self.link_up = false;
                Vec::new()
            }
            ElectionInput::Tick if self.link_up && self.ask_at <= now => {
                self.ask_at = now + ASK_EVERY;
                vec![ElectionEffect::Ask]
            }
            ElectionInput::Tick => Vec::new(),
        }
    }

    /// When the store is asked next, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        self.link_up.then_some((self.ask_at, "lead"))
    }

    /// What this monitor is.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The fencing token, while the lead is fresh enough to act.
    pub fn token(&self, now: Moment) -> Option<u64> {
        match &self.role {
            Role::Leads { leader, renewed_at } => {
                (now < *renewed_at + ACTS_WITHIN).then_some(leader.fence)
            }
            Role::Alone | Role::Follows(_) => None,
        }
    }

    /// Whether this monitor records and alerts.
    pub fn records(&self) -> bool {
        match self.role {
            Role::Alone | Role::Leads { .. } => true,
            Role::Follows(_) => false,
        }
    }

    /// Whether it must know first that it still leads: it reaches the store, and did not renew its lead in time.
    pub fn is_in_doubt(&self, now: Moment) -> bool {
        match &self.role {
            Role::Leads { .. } => self.link_up && self.token(now).is_none(),
            Role::Alone | Role::Follows(_) => false,
        }
    }

    fn answered(&mut self, asked_at: Moment, standing: Standing) -> Vec<ElectionEffect> {
        self.answered_at = asked_at;
        self.refused_since = None;
        let recorded = self.records();
        match standing {
            Standing::Leads(leader) => {
                self.ask_at = asked_at + RENEW_EVERY;
                let renewed_at = asked_at;
                self.role = Role::Leads { leader, renewed_at };
            }
            Standing::Follows(leader) => {
                self.ask_at = asked_at + ASK_EVERY;
                self.role = Role::Follows(leader);
            }
            Standing::Free => self.ask_at = asked_at + ASK_EVERY,
        }
        self.changed(recorded)
    }

    fn refused(&mut self, asked_at: Moment, now: Moment) -> Vec<ElectionEffect> {
        self.answered_at = asked_at;
        self.ask_at = asked_at + RENEW_EVERY;
        let recorded = self.records();
        let since = *self.refused_since.get_or_insert(now);
        let on_its_own = match self.role {
            Role::Alone | Role::Leads { .. } => true,
            Role::Follows(_) => now.since(since) >= REFUSED_FOR,
        };
        if on_its_own {
            self.role = Role::Alone;
        }
        self.changed(recorded)
    }

    fn changed(&self, recorded: bool) -> Vec<ElectionEffect> {
        match (recorded, self.records()) {
            (false, true) => vec![ElectionEffect::TakeOver],
            (true, false) => vec![ElectionEffect::StepDown],
            (true, true) | (false, false) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn leader(instance: &str, fence: u64) -> Leader {
        Leader {
            instance: instance.to_owned(),
            since: 1,
            fence,
        }
    }

    fn connected() -> Election {
        let mut election = Election::default();
        election.handle(ElectionInput::LinkUp, at(0));
        election
    }

    fn answer(election: &mut Election, second: u64, standing: Standing) -> Vec<ElectionEffect> {
        election.handle(ElectionInput::Answered(at(second), standing), at(second))
    }

    #[test]
    fn a_leader_renews_each_5_s_and_acts_for_10_s_after_a_renewal() {
        let mut election = connected();
        assert_eq!(election.token(at(0)), None, "nothing is known yet");
        answer(&mut election, 0, Standing::Leads(leader("a", 7)));
        assert_eq!(election.handle(ElectionInput::Tick, at(4)), []);
        let asks = election.handle(ElectionInput::Tick, at(5));
        assert_eq!(asks, [ElectionEffect::Ask]);
        assert_eq!(election.token(at(9)), Some(7));
        assert_eq!(
            (election.token(at(10)), election.is_in_doubt(at(10))),
            (None, true)
        );
        answer(&mut election, 11, Standing::Leads(leader("a", 7)));
        assert_eq!(election.token(at(12)), Some(7));
    }

    #[test]
    fn a_follower_asks_each_second_and_takes_over_once() {
        let mut election = connected();
        let stepped = answer(&mut election, 0, Standing::Follows(leader("b", 7)));
        assert_eq!(stepped, [ElectionEffect::StepDown]);
        assert_eq!(election.deadline(), Some((at(1), "lead")));
        assert_eq!(
            answer(&mut election, 1, Standing::Follows(leader("b", 7))),
            []
        );
        let taken = answer(&mut election, 16, Standing::Leads(leader("a", 8)));
        assert_eq!(taken, [ElectionEffect::TakeOver]);
        assert_eq!(
            answer(&mut election, 21, Standing::Leads(leader("a", 8))),
            []
        );
    }

    #[test]
    fn an_answer_that_was_overtaken_changes_nothing() {
        let mut election = connected();
        answer(&mut election, 5, Standing::Leads(leader("a", 7)));
        let overtaken = Standing::Follows(leader("b", 6));
        assert_eq!(answer(&mut election, 4, overtaken), []);
        assert_eq!(election.token(at(14)), Some(7));
    }

    #[test]
    fn one_that_wakes_up_after_its_lead_does_nothing_before_it_has_asked() {
        let mut election = connected();
        answer(&mut election, 0, Standing::Leads(leader("a", 7)));
        assert_eq!(
            (election.token(at(20)), election.is_in_doubt(at(20))),
            (None, true)
        );
        let stepped = answer(&mut election, 20, Standing::Follows(leader("b", 8)));
        assert_eq!(stepped, [ElectionEffect::StepDown]);
        assert!(!election.is_in_doubt(at(20)) && !election.records());
    }

    #[test]
    fn while_the_store_is_away_the_leader_does_not_act_and_still_alerts() {
        let mut election = connected();
        answer(&mut election, 0, Standing::Leads(leader("a", 7)));
        election.handle(ElectionInput::LinkDown, at(1));
        assert_eq!(election.deadline(), None);
        assert_eq!(election.token(at(11)), None);
        assert!(election.records() && !election.is_in_doubt(at(11)));
    }

    #[test]
    fn where_the_store_refuses_everyone_records_and_nobody_acts() {
        let mut election = connected();
        answer(&mut election, 0, Standing::Leads(leader("a", 7)));
        assert_eq!(election.handle(ElectionInput::Refused(at(5)), at(5)), []);
        assert_eq!(
            (election.role(), election.token(at(5))),
            (&Role::Alone, None)
        );
        answer(&mut election, 6, Standing::Follows(leader("b", 8)));
        assert_eq!(election.handle(ElectionInput::Refused(at(7)), at(7)), []);
        let taken = election.handle(ElectionInput::Refused(at(27)), at(27));
        assert_eq!(
            taken,
            [ElectionEffect::TakeOver],
            "its leader cannot renew either"
        );
        assert_eq!(election.token(at(27)), None);
    }
}
