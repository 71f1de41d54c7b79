//! Stories of one failing agent, and random ones of many.

mod removed;
mod surroundings;

use super::*;
use crate::fleet::ladder::exchange::{Performed, RuntimeKind};
use crate::wire::life::Reason;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;

fn at(seconds: u64) -> Moment {
    Moment::from_millis(1_000_000 + seconds * 1000)
}

fn id(name: &str) -> AgentId {
    AgentId::parse(name).expect("an id")
}

fn killed() -> Facts {
    Facts {
        epoch: 7,
        incarnation: 2,
        host: "node-1".to_owned(),
        runtime: RuntimeKind::Docker,
        reason: Some(Reason::Killed),
        sidecar_answers: true,
        sidecar_acts: false,
        proof_of_death: true,
        exclusive: false,
        alert_only: false,
        pod_restart: false,
        silent: Duration::ZERO,
        interval: Duration::from_secs(10),
        gate: None,
        fleet_alive: 20,
    }
}

/// One agent under the ladder, with facts that the story changes.
struct Story {
    ladder: Ladder,
    facts: RefCell<Facts>,
    now: u64,
}

impl Story {
    fn of(facts: Facts) -> (Self, Vec<LadderEffect>) {
        Self::with(facts, Policy::default(), &[])
    }

    fn with(facts: Facts, policy: Policy, climbed: &[Climbed]) -> (Self, Vec<LadderEffect>) {
        let mut story = Self {
            ladder: Ladder::default(),
            facts: RefCell::new(facts),
            now: 0,
        };
        let effects = story.give(LadderInput::Opened {
            agent: id("a"),
            policy: Box::new(policy),
            climbed: climbed.to_vec(),
        });
        (story, effects)
    }

    fn give(&mut self, input: LadderInput) -> Vec<LadderEffect> {
        let facts = |_: &AgentId| Some(self.facts.borrow().clone());
        self.ladder.handle(input, &facts, at(self.now))
    }

    fn after(&mut self, seconds: u64) -> Vec<LadderEffect> {
        self.now += seconds;
        self.give(LadderInput::Tick)
    }

    fn ticket(&self, rung: Rung) -> Ticket {
        let facts = self.facts.borrow();
        Ticket {
            agent: id("a"),
            epoch: facts.epoch,
            incarnation: facts.incarnation,
            rung,
        }
    }

    /// The claim is granted and the action is carried out.
    fn climb(&mut self, rung: Rung) -> Vec<LadderEffect> {
        let ticket = self.ticket(rung);
        self.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
        self.give(LadderInput::Performed(
            ticket,
            Performed::Done("done".to_owned()),
        ))
    }
}

fn claims(effects: &[LadderEffect]) -> Vec<Rung> {
    let claim = |effect: &LadderEffect| match effect {
        LadderEffect::Claim(ticket) => Some(ticket.rung),
        LadderEffect::Began(_)
        | LadderEffect::Perform(_)
        | LadderEffect::Ended(..)
        | LadderEffect::Release(_)
        | LadderEffect::Next(..)
        | LadderEffect::Page(..) => None,
    };
    effects.iter().filter_map(claim).collect()
}

fn page(effects: &[LadderEffect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        LadderEffect::Page(_, why) => Some(why.as_str()),
        LadderEffect::Claim(_)
        | LadderEffect::Began(_)
        | LadderEffect::Perform(_)
        | LadderEffect::Ended(..)
        | LadderEffect::Release(_)
        | LadderEffect::Next(..) => None,
    })
}

fn ended(effects: &[LadderEffect]) -> Option<RungOutcome> {
    effects.iter().find_map(|effect| match effect {
        LadderEffect::Ended(_, outcome, _) => Some(*outcome),
        LadderEffect::Claim(_)
        | LadderEffect::Began(_)
        | LadderEffect::Perform(_)
        | LadderEffect::Page(..)
        | LadderEffect::Release(_)
        | LadderEffect::Next(..) => None,
    })
}

#[test]
fn a_rung_is_claimed_written_down_and_only_then_performed() {
    let (mut story, effects) = Story::of(killed());
    assert_eq!(claims(&effects), [Rung::Sidecar]);
    let ticket = story.ticket(Rung::Sidecar);
    let effects = story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
    assert_eq!(
        effects,
        [
            LadderEffect::Began(ticket.clone()),
            LadderEffect::Perform(ticket)
        ]
    );
}

#[test]
fn a_new_incarnation_ends_the_climb_and_its_intents_are_released() {
    let (mut story, _) = Story::of(killed());
    story.climb(Rung::Sidecar);
    let beat = story.give(LadderInput::Beat(id("a")));
    assert_eq!(ended(&beat), Some(RungOutcome::Recovered));
    let closed = story.give(LadderInput::Closed(id("a")));
    let ticket = story.ticket(Rung::Sidecar);
    assert_eq!(closed, [LadderEffect::Release(vec![ticket])]);
}

#[test]
fn without_a_beat_in_time_the_next_rung_follows() {
    let (mut story, _) = Story::of(killed());
    story.climb(Rung::Sidecar);
    assert_eq!(story.after(29), []);
    let effects = story.after(1);
    assert_eq!(ended(&effects), Some(RungOutcome::NoBeat));
    assert_eq!(claims(&effects), [Rung::Docker]);
}

#[test]
fn when_no_rung_is_left_people_are_paged_once() {
    let (mut story, _) = Story::of(killed());
    story.climb(Rung::Sidecar);
    let mut pages = 0;
    for _ in 0..100 {
        let effects = story.after(5);
        pages += usize::from(page(&effects).is_some());
        for rung in claims(&effects) {
            story.climb(rung);
        }
    }
    assert_eq!(pages, 1);
}

#[test]
fn behind_a_gate_nothing_is_claimed_and_the_reason_is_shown() {
    let (mut story, effects) = Story::of(Facts {
        gate: Some("storm"),
        ..killed()
    });
    let LadderEffect::Next(_, next) = &effects[0] else {
        panic!("{effects:?}");
    };
    assert_eq!(next.what, "nothing by itself: storm");
    assert_eq!(claims(&story.after(3600)), []);
    story.facts.borrow_mut().gate = None;
    assert_eq!(claims(&story.after(5)), [Rung::Sidecar]);
}

#[test]
fn a_crash_loop_goes_to_people_at_once() {
    let (_, effects) = Story::of(Facts {
        reason: Some(Reason::CrashLoop),
        ..killed()
    });
    assert!(page(&effects).is_some_and(|why| why.contains("crash loop")));
}

#[test]
fn a_sidecar_that_restarts_its_agent_is_left_to_it() {
    let (mut story, effects) = Story::of(Facts {
        sidecar_acts: true,
        ..killed()
    });
    assert_eq!(claims(&effects), []);
    story.facts.borrow_mut().sidecar_acts = false;
    assert_eq!(claims(&story.after(5)), [Rung::Sidecar]);
}

#[test]
fn a_rung_that_a_dead_monitor_began_is_not_repeated() {
    let facts = killed();
    let ticket = Ticket {
        agent: id("a"),
        epoch: facts.epoch,
        incarnation: facts.incarnation,
        rung: Rung::Sidecar,
    };
    let begun = Climbed {
        ticket,
        settled: false,
        unseen: false,
    };
    let (mut story, effects) = Story::with(facts, Policy::default(), &[begun]);
    assert_eq!(effects, []);
    let effects = story.after(30);
    assert_eq!(ended(&effects), Some(RungOutcome::Unknown));
    assert_eq!(claims(&effects), [Rung::Docker]);
}

#[test]
fn a_rung_whose_intent_stands_already_is_only_waited_for() {
    let (mut story, _) = Story::of(killed());
    let ticket = story.ticket(Rung::Sidecar);
    let effects = story.give(LadderInput::Claimed(ticket.clone(), Claim::Taken));
    assert_eq!(effects, [LadderEffect::Began(ticket)]);
    assert_eq!(claims(&story.after(30)), [Rung::Docker]);
}

#[test]
fn a_store_that_does_not_grant_the_claim_holds_everything_back() {
    let (mut story, _) = Story::of(killed());
    let ticket = story.ticket(Rung::Sidecar);
    let effects = story.give(LadderInput::Claimed(ticket, Claim::Refused));
    assert_eq!(effects, []);
    assert_eq!(claims(&story.after(2)), [Rung::Sidecar]);
}

#[test]
fn an_action_that_is_refused_for_now_is_repeated_until_its_time_is_over() {
    let (mut story, _) = Story::of(killed());
    let ticket = story.ticket(Rung::Sidecar);
    story.give(LadderInput::Claimed(ticket.clone(), Claim::Granted));
    let later = Performed::Later("429".to_owned(), Duration::from_secs(25));
    for _ in 0..2 {
        story.give(LadderInput::Performed(ticket.clone(), later.clone()));
        assert_eq!(story.after(25), [LadderEffect::Perform(ticket.clone())]);
    }
    let effects = story.give(LadderInput::Performed(ticket, later));
    assert_eq!(ended(&effects), Some(RungOutcome::Failed));
}

#[test]
fn a_policy_that_is_not_automatic_proposes_and_waits_for_a_person() {
    let policy = Policy {
        auto: false,
        ..Policy::default()
    };
    let (mut story, effects) = Story::with(killed(), policy, &[]);
    assert!(page(&effects).is_some_and(|why| why.contains("hbmonitor restart")));
    assert_eq!(claims(&story.after(3600)), []);
    let effects = story.give(LadderInput::ByHand(id("a"), None));
    assert_eq!(claims(&effects), [Rung::Sidecar]);
}

#[test]
fn a_person_may_climb_a_rung_that_the_policy_does_not_name() {
    let policy = Policy {
        ladder: vec![Rung::Alert],
        ..Policy::default()
    };
    let (mut story, _) = Story::with(killed(), policy, &[]);
    let effects = story.give(LadderInput::ByHand(id("a"), Some(Rung::Replace)));
    assert_eq!(claims(&effects), [Rung::Replace]);
}

#[test]
fn an_agent_that_fails_again_gets_the_next_rung() {
    let (mut story, _) = Story::of(killed());
    story.climb(Rung::Sidecar);
    story.give(LadderInput::Beat(id("a")));
    let effects = story.give(LadderInput::FailedAgain(id("a")));
    assert_eq!(claims(&effects), [Rung::Docker]);
}

/// What happens to a random fleet in a random step.
#[derive(Clone, Debug)]
enum Chance {
    Wait(u64),
    Claim(Claim),
    Perform(bool),
    Beat,
    Close,
    Gate(bool),
    Fail,
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        (1u64..200).prop_map(Chance::Wait),
        prop_oneof![
            4 => Just(Claim::Granted),
            1 => Just(Claim::Taken),
            1 => Just(Claim::Refused)
        ]
        .prop_map(Chance::Claim),
        any::<bool>().prop_map(Chance::Perform),
        Just(Chance::Beat),
        Just(Chance::Close),
        any::<bool>().prop_map(Chance::Gate),
        Just(Chance::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_rung_is_climbed_twice_in_one_incident_nor_behind_a_gate_nor_without_a_claim(
        chances in prop::collection::vec((0usize..5, chance()), 1..120)
    ) {
        let mut ladder = Ladder::default();
        let facts = RefCell::new(killed());
        let names: Vec<AgentId> = (0..5).map(|n| id(&format!("a{n}"))).collect();
        let (mut now, mut open, mut climbed) = (0, BTreeSet::new(), BTreeSet::new());
        let mut granted: BTreeSet<Ticket> = BTreeSet::new();
        let mut waiting: Vec<Ticket> = Vec::new();
        for (who, chance) in chances {
            let agent = names[who].clone();
            let input = match chance {
                Chance::Wait(seconds) => {
                    now += seconds;
                    LadderInput::Tick
                }
                Chance::Claim(claim) => {
                    let Some(ticket) = waiting.pop() else { continue };
                    if claim == Claim::Granted {
                        granted.insert(ticket.clone());
                    }
                    LadderInput::Claimed(ticket, claim)
                }
                Chance::Perform(done) => {
                    let Some(ticket) = granted.iter().find(|t| t.agent == agent).cloned() else { continue };
                    let answer = if done { Performed::Done(String::new()) } else { Performed::Failed(String::new()) };
                    LadderInput::Performed(ticket, answer)
                }
                Chance::Beat => LadderInput::Beat(agent),
                Chance::Close => {
                    open.remove(&agent);
                    climbed.retain(|t: &Ticket| t.agent != agent);
                    granted.retain(|t| t.agent != agent);
                    waiting.retain(|t| t.agent != agent);
                    LadderInput::Closed(agent)
                }
                Chance::Gate(shut) => {
                    facts.borrow_mut().gate = shut.then_some("storm");
                    continue;
                }
                Chance::Fail if open.insert(agent.clone()) => LadderInput::Opened {
                    agent,
                    policy: Box::default(),
                    climbed: Vec::new(),
                },
                Chance::Fail => LadderInput::FailedAgain(agent),
            };
            let gated = facts.borrow().gate.is_some();
            let see = |_: &AgentId| Some(facts.borrow().clone());
            for effect in ladder.handle(input, &see, at(now)) {
                match effect {
                    LadderEffect::Claim(ticket) => {
                        prop_assert!(!gated, "a claim behind a gate");
                        waiting.push(ticket);
                    }
                    LadderEffect::Began(ticket) => {
                        prop_assert!(climbed.insert(ticket.clone()), "{ticket:?} twice");
                    }
                    LadderEffect::Perform(ticket) => {
                        prop_assert!(granted.contains(&ticket), "without a claim: {ticket:?}");
                    }
                    LadderEffect::Ended(..) | LadderEffect::Release(_) | LadderEffect::Next(..)
                    | LadderEffect::Page(..) => {}
                }
            }
            let acting = names.iter().filter(|name| ladder.is_acting(name)).count();
            prop_assert!(acting <= 1, "one host: one after the other, not {acting}");
        }
    }
}
