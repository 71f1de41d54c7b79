//! Stories of pages and deliveries: the machine with a store and receivers in virtual time.

use super::Alerts;
use super::exchange::{AlertsEffect, AlertsInput, Delivered, Now, Outcome, Receiver, Standing};
use super::matter::Matter;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::wire::activity::Evidence;
use crate::wire::beat::Source;
use crate::wire::incident::{GateKind, Incident, IncidentId, Scope};
use crate::wire::life::Reason;
use crate::wire::notification::{Message, Notification, Occasion, ReceiverName, Severity, Subject};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const WALL_MS: u64 = 1_764_000_000_000;

/// The store, and receivers that answer as they are asked to.
struct Stage {
    alerts: Alerts,
    second: u64,
    receivers: Vec<Receiver>,
    store: BTreeMap<String, Notification>,
    incidents: BTreeMap<IncidentId, Incident>,
    /// What receivers do not take.
    sick: BTreeMap<&'static str, Outcome>,
    /// What receivers took: the receiver, the id, the message.
    got: Vec<(String, String, Message)>,
    batches: Vec<usize>,
    writes: bool,
    renewed: Vec<usize>,
}

fn name(text: &str) -> ReceiverName {
    ReceiverName::parse(text).unwrap()
}

fn receiver(text: &str) -> Receiver {
    Receiver {
        name: name(text),
        severities: vec![Severity::Info, Severity::Warning, Severity::Critical],
        fallback: None,
        tracks: false,
        takes_changes: false,
        digests: false,
        renews: false,
        pace: None,
    }
}

fn agent(text: &str) -> AgentId {
    AgentId::parse(text).unwrap()
}

fn failed() -> Outcome {
    Outcome::Later {
        error: "connection refused".to_owned(),
        after: None,
    }
}

impl Stage {
    fn new(receivers: Vec<Receiver>) -> Self {
        let mut stage = Self {
            alerts: Alerts::new(1),
            second: 100_000,
            receivers,
            store: BTreeMap::new(),
            incidents: BTreeMap::new(),
            sick: BTreeMap::new(),
            got: Vec::new(),
            batches: Vec::new(),
            writes: true,
            renewed: Vec::new(),
        };
        stage.start();
        stage
    }

    /// A monitor starts and reads the store.
    fn start(&mut self) {
        self.alerts = Alerts::new(self.second);
        self.input(AlertsInput::Receivers(self.receivers.clone()));
        self.reads();
        self.input(AlertsInput::LinkUp);
    }

    fn reads(&mut self) {
        let matters = self
            .incidents
            .values()
            .map(|i| Matter::of(i, Severity::Critical, true));
        let (matters, outbox) = (matters.collect(), self.store.values().cloned().collect());
        self.input(AlertsInput::Restored { matters, outbox });
    }

    fn now(&self) -> Now {
        Now {
            at: Moment::from_millis(self.second * 1000),
            wall_ms: WALL_MS + self.second * 1000,
        }
    }

    fn input(&mut self, input: AlertsInput) {
        let now = self.now();
        for effect in self.alerts.handle(input, now) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: AlertsEffect) {
        match effect {
            AlertsEffect::Store(record) if self.writes => {
                let id = record.id.clone();
                self.store.insert(id.clone(), *record);
                self.input(AlertsInput::Stored(id));
            }
            AlertsEffect::Store(_) => {}
            AlertsEffect::Remove(id) => drop(self.store.remove(&id)),
            AlertsEffect::Paged(ids, page) => {
                for id in ids {
                    if let Some(incident) = self.incidents.get_mut(&id) {
                        incident.page = Some(page.clone());
                    }
                }
            }
            AlertsEffect::Notified(ids, notified) => {
                for id in ids {
                    if let Some(incident) = self.incidents.get_mut(&id) {
                        incident.notified.push(notified.clone());
                    }
                }
            }
            AlertsEffect::Deliver(batch) => self.deliver(batch),
            AlertsEffect::Renew(_, messages) => self.renewed.push(messages.len()),
            AlertsEffect::ReceiverChanged(..) => {}
        }
    }

    fn deliver(&mut self, batch: Vec<Notification>) {
        let receiver = batch[0].receiver.clone();
        let outcome = self
            .sick
            .get(receiver.as_str())
            .cloned()
            .unwrap_or(Outcome::Taken);
        if outcome == Outcome::Taken {
            self.batches.push(batch.len());
            for sent in batch {
                assert!(
                    !self.writes || self.store.contains_key(&sent.id),
                    "sent before it is stored"
                );
                self.got.push((receiver.to_string(), sent.id, sent.message));
            }
        }
        self.input(AlertsInput::Delivered(Delivered { receiver, outcome }));
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.input(AlertsInput::Tick);
        }
    }

    /// An incident opens; its number is its name.
    fn opens(&mut self, n: u64, host: &str, reason: Reason, agents: &[&str]) -> IncidentId {
        let id = IncidentId::new(WALL_MS + n, u128::from(n));
        let incident = Incident {
            id: id.clone(),
            agents: agents.iter().map(|text| agent(text)).collect(),
            scope: if agents.len() > 1 {
                Scope::Host
            } else {
                Scope::Agent
            },
            host: Some(host.to_owned()),
            reason,
            sentence: "It exited with code 1.".to_owned(),
            evidence: vec![Evidence {
                signal: "exit.code".to_owned(),
                value: "1".to_owned(),
                source: Source::Observed,
            }],
            opened_at: self.now().wall_ms,
            closed_at: None,
            acked_by: None,
            gate: None,
            rungs: Vec::new(),
            next: None,
            page: None,
            notified: Vec::new(),
            more: serde_json::Map::new(),
        };
        self.incidents.insert(id.clone(), incident);
        self.reports(&id);
        id
    }

    fn reports(&mut self, id: &IncidentId) {
        let matter = Matter::of(&self.incidents[id], Severity::Critical, true);
        self.input(AlertsInput::Matter(Box::new(matter)));
    }

    fn closes(&mut self, id: &IncidentId) {
        let at = self.now().wall_ms;
        let incident = self.incidents.get_mut(id).unwrap();
        incident.closed_at = Some(at);
        let agents = incident.agents.clone();
        for agent in agents {
            self.input(AlertsInput::Agent(agent, Standing::Up));
        }
        self.reports(id);
    }

    fn occasions(&self, receiver: &str) -> Vec<Occasion> {
        let own = self.got.iter().filter(|(name, ..)| name == receiver);
        own.map(|(.., message)| message.occasion).collect()
    }
}

#[test]
fn a_failure_is_paged_after_ten_seconds_and_once_until_it_is_over() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(9);
    assert!(stage.got.is_empty(), "it waits for what belongs to it");
    stage.run(600);
    stage.closes(&id);
    stage.run(600);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Resolved]
    );
    let titles: Vec<&str> = stage.got.iter().map(|(.., m)| &*m.title).collect();
    assert_eq!(
        titles,
        [
            "a1: exited with code 1 (no automatic action)",
            "a1: healthy again after 10 min",
        ]
    );
    let outcomes: Vec<&str> = stage.incidents[&id]
        .notified
        .iter()
        .map(|n| &*n.outcome)
        .collect();
    assert_eq!(outcomes, ["paged", "resolved"]);
    assert!(stage.store.is_empty());
}

#[test]
fn an_agent_that_comes_back_by_itself_pages_no_one() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.input(AlertsInput::Agent(agent("a1"), Standing::Up));
    stage.run(30);
    stage.closes(&id);
    stage.run(60);
    assert!(stage.got.is_empty());
}

#[test]
fn an_agent_that_relapses_before_it_is_over_is_paged() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.input(AlertsInput::Agent(agent("a1"), Standing::Up));
    stage.run(20);
    stage.input(AlertsInput::Agent(agent("a1"), Standing::Down));
    stage.run(10);
    assert_eq!(stage.occasions("team"), [Occasion::Firing]);
}

#[test]
fn no_page_while_a_rung_is_coming_and_a_notice_when_it_helped() {
    let mut team = receiver("team");
    team.severities = vec![Severity::Critical];
    let mut changes = receiver("changes");
    (changes.severities, changes.takes_changes) = (vec![Severity::Critical], true);
    let mut stage = Stage::new(vec![team, changes]);
    let id = IncidentId::new(WALL_MS, 7);
    let mut matter = Matter::trouble("x", Subject::Hung, Severity::Critical, stage.now().wall_ms);
    (matter.id, matter.place) = (id, super::matter::Place::Host("h1".to_owned()));
    (matter.agents, matter.label) = (vec![agent("a1")], "hung".to_owned());
    matter.needs_people = false;
    stage.input(AlertsInput::Matter(Box::new(matter.clone())));
    stage.run(60);
    assert!(stage.got.is_empty());
    matter.repaired_by = Some("sidecar".to_owned());
    matter.closed_at = Some(stage.now().wall_ms);
    stage.input(AlertsInput::Matter(Box::new(matter)));
    assert_eq!(
        (stage.occasions("team"), stage.occasions("changes")),
        (vec![], vec![Occasion::Repaired])
    );
    assert_eq!(
        stage.got[0].2.title,
        "a1: hung, healthy again after 1 min (by sidecar)"
    );
}

#[test]
fn three_thousand_agents_of_one_deploy_are_one_page() {
    for gate in [true, false] {
        let mut stage = Stage::new(vec![receiver("team")]);
        for n in 0..3000_u64 {
            if gate && n == 600 {
                stage.input(AlertsInput::Gate(GateKind::MassCrash, None, true));
            }
            stage.opens(
                n,
                &format!("h{}", n % 300),
                Reason::Exited,
                &[&format!("a{n}")],
            );
            if n % 50 == 49 {
                stage.run(1);
            }
        }
        stage.run(600);
        let firing = stage
            .occasions("team")
            .iter()
            .filter(|o| **o == Occasion::Firing)
            .count();
        assert_eq!(firing, 1, "gate {gate}");
        let last = &stage.got.last().unwrap().2;
        assert_eq!((last.agents_total, last.agents.len()), (3000, 20));
        assert!(stage.got.len() <= 3, "{} messages", stage.got.len());
    }
}

#[test]
fn a_silent_host_is_one_page_and_explains_what_else_fails_there() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.input(AlertsInput::Gate(
        GateKind::Storm,
        Some("h1".to_owned()),
        true,
    ));
    let silent = stage.opens(1, "h1", Reason::HeartbeatLost, &["a1", "a2", "a3"]);
    stage.opens(2, "h1", Reason::Exited, &["a4"]);
    stage.opens(3, "h2", Reason::Exited, &["b1"]);
    stage.run(30);
    let titles: Vec<&str> = stage.got.iter().map(|(.., m)| &*m.title).collect();
    assert_eq!(
        titles,
        [
            "h1: silent with 3 agents (no automatic action)",
            "b1: exited with code 1 (no automatic action)",
        ]
    );
    stage.closes(&silent);
    stage.run(10);
    assert_eq!(
        stage.got.last().unwrap().2.title,
        "a4: exited with code 1 (no automatic action)"
    );
}

#[test]
fn a_failure_that_comes_later_gets_a_page_of_its_own() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(1000);
    stage.opens(2, "h1", Reason::Exited, &["a2"]);
    stage.run(60);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Firing]
    );
}

#[test]
fn what_lasts_is_repeated_after_four_hours_unless_a_person_takes_care() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(4 * 3600 + 20);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Updated]
    );
    stage.incidents.get_mut(&id).unwrap().acked_by = Some("ops".to_owned());
    stage.reports(&id);
    stage.run(9 * 3600);
    stage.closes(&id);
    assert_eq!(
        stage.occasions("team")[2..],
        [Occasion::Acknowledged, Occasion::Resolved]
    );
}

#[test]
fn forty_openings_are_four_pages_and_the_last_of_them_reports_that_it_flaps() {
    let mut stage = Stage::new(vec![receiver("team")]);
    for n in 0..40 {
        let id = stage.opens(n, "h1", Reason::Exited, &["a1"]);
        stage.run(30);
        stage.closes(&id);
        stage.run(30);
    }
    let firing = stage
        .got
        .iter()
        .filter(|(.., m)| m.occasion == Occasion::Firing);
    let titles: Vec<&str> = firing.map(|(.., m)| &*m.title).collect();
    assert_eq!(titles.len(), 4);
    assert!(titles[3].contains("4 times within 1 h"), "{}", titles[3]);
    stage.opens(99, "h1", Reason::Exited, &["a1"]);
    stage.run(15 * 60 + 10);
    assert_eq!(
        stage.occasions("team").last(),
        Some(&Occasion::Firing),
        "it stays failed"
    );
}

#[test]
fn a_receiver_that_is_down_gets_everything_in_order_although_the_monitor_is_killed() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.sick.insert("team", failed());
    let mut opened = Vec::new();
    for n in 0..6 {
        opened.push(stage.opens(n, &format!("h{n}"), Reason::Exited, &[&format!("a{n}")]));
        stage.run(100);
        if n % 2 == 0 {
            stage.start();
        }
    }
    assert!(stage.got.is_empty());
    stage.sick.clear();
    stage.run(70);
    let got: Vec<&str> = stage
        .got
        .iter()
        .map(|(.., m)| m.agents[0].as_str())
        .collect();
    assert_eq!(got, ["a0", "a1", "a2", "a3", "a4", "a5"]);
    stage.start();
    stage.run(600);
    assert_eq!(stage.got.len(), 6, "a new monitor pages nothing twice");
    stage.closes(&opened[0]);
    assert_eq!(stage.occasions("team").last(), Some(&Occasion::Resolved));
}

#[test]
fn what_was_over_while_no_monitor_ran_is_reported_as_over() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(20);
    stage.incidents.get_mut(&id).unwrap().closed_at = Some(stage.now().wall_ms);
    stage.start();
    stage.start();
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Resolved]
    );
}

#[test]
fn the_newest_state_stands_and_its_end_is_not_lost() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.sick.insert("team", failed());
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(60);
    stage.closes(&id);
    stage.run(60);
    assert_eq!(stage.store.len(), 1);
    stage.sick.clear();
    stage.run(70);
    assert_eq!(stage.occasions("team"), [Occasion::Resolved]);
}

#[test]
fn a_store_that_is_away_delays_no_page_by_more_than_two_seconds() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.writes = false;
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(13);
    assert_eq!(stage.got.len(), 1);
    stage.input(AlertsInput::LinkDown);
    stage.opens(2, "h2", Reason::Exited, &["a2"]);
    stage.run(10);
    assert_eq!(stage.got.len(), 2);
}

#[test]
fn a_store_that_lost_its_data_gets_the_outbox_again() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.sick.insert("team", failed());
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(20);
    stage.store.clear();
    stage.reads();
    assert_eq!(stage.store.len(), 1);
}

#[test]
fn the_fallback_gets_what_waits_after_three_failures_and_what_was_refused_at_once() {
    let mut oncall = receiver("oncall");
    oncall.fallback = Some(name("team"));
    let mut team = receiver("team");
    team.severities = vec![Severity::Info];
    let mut stage = Stage::new(vec![oncall, team]);
    stage.sick.insert("oncall", failed());
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(130);
    assert_eq!(stage.occasions("team"), [Occasion::Firing]);
    let refused = Outcome::Refused {
        error: "404 no_service".to_owned(),
    };
    stage.sick.insert("oncall", refused);
    stage.run(60);
    stage.opens(2, "h2", Reason::Exited, &["a2"]);
    stage.run(100);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Firing]
    );
    let outcomes: Vec<&str> = stage.incidents[&id]
        .notified
        .iter()
        .map(|n| &*n.outcome)
        .collect();
    assert_eq!(outcomes, ["paged", "refused"]);
    assert!(
        stage.alerts.view().receivers[0].error.is_some(),
        "it is shown red"
    );
    stage.closes(&id);
    assert_eq!(stage.occasions("team").last(), Some(&Occasion::Resolved));
}

#[test]
fn a_receiver_that_names_a_time_is_left_alone_until_then() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let after = Some(Duration::from_secs(30));
    stage.sick.insert(
        "team",
        Outcome::Later {
            error: "429".to_owned(),
            after,
        },
    );
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(11);
    stage.sick.clear();
    stage.run(28);
    assert!(stage.got.is_empty());
    stage.run(2);
    assert_eq!(stage.got.len(), 1);
}

#[test]
fn more_than_ten_that_wait_are_told_as_one_and_one_a_second_otherwise() {
    let mut slack = receiver("slack");
    (slack.digests, slack.pace) = (true, Some("url".to_owned()));
    let mut stage = Stage::new(vec![slack]);
    stage.sick.insert("slack", failed());
    for n in 0..14 {
        stage.opens(n, &format!("h{n}"), Reason::Exited, &[&format!("a{n}")]);
        stage.run(70);
    }
    stage.sick.clear();
    stage.run(70);
    assert_eq!(stage.batches, [14]);
}

#[test]
fn a_receiver_that_forgets_gets_all_that_is_open_each_minute_and_the_end_for_five() {
    let mut am = receiver("am");
    am.renews = true;
    let mut stage = Stage::new(vec![am]);
    let id = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(120);
    assert_eq!(stage.renewed.last(), Some(&1));
    stage.closes(&id);
    stage.run(240);
    assert_eq!(stage.renewed.last(), Some(&1));
    stage.run(120);
    assert_eq!(stage.renewed.last(), Some(&0));
}

#[test]
fn a_notice_is_one_message_without_an_end() {
    let mut tracker = receiver("tracker");
    tracker.tracks = true;
    let mut stage = Stage::new(vec![receiver("team"), tracker]);
    let mut matter = Matter::trouble(
        "n",
        Subject::Stalled,
        Severity::Warning,
        stage.now().wall_ms,
    );
    (matter.id, matter.place) = (
        IncidentId::new(WALL_MS, 9),
        super::matter::Place::Host("h1".to_owned()),
    );
    (matter.agents, matter.label) = (vec![agent("a1")], "stalled".to_owned());
    stage.input(AlertsInput::Matter(Box::new(matter.clone())));
    stage.run(9 * 3600);
    matter.closed_at = Some(stage.now().wall_ms);
    stage.input(AlertsInput::Matter(Box::new(matter)));
    assert_eq!(stage.occasions("team"), [Occasion::Notice]);
    assert_eq!(
        stage.occasions("tracker"),
        [Occasion::Notice, Occasion::Resolved]
    );
}

proptest! {
    /// Whatever opens, closes, fails and is killed: after a calm hour every failure that lasts has been reported to the
    /// receiver, and what is over and was reported has been reported as over.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec((0..7_u8, 0..12_u64, 1..90_u64), 1..60)) {
        let mut stage = Stage::new(vec![receiver("team")]);
        let mut open: BTreeMap<u64, IncidentId> = BTreeMap::new();
        let mut number = 100;
        for (step, n, seconds) in steps {
            match step {
                0 | 1 => {
                    number += 1;
                    open.entry(n).or_insert_with(|| {
                        stage.opens(number, &format!("h{}", n % 3), Reason::Exited, &[&format!("a{n}")])
                    });
                }
                2 => if let Some(id) = open.remove(&n) { stage.closes(&id) },
                3 => drop(stage.sick.insert("team", failed())),
                4 => stage.sick.clear(),
                5 => stage.start(),
                _ => stage.run(1),
            }
            stage.run(seconds);
        }
        stage.sick.clear();
        stage.run(3600);
        for id in open.values() {
            let told = stage.got.iter().any(|(.., m)| m.incidents.contains(id) && m.occasion != Occasion::Resolved);
            prop_assert!(told, "an open incident was never reported");
        }
        for incident in stage.incidents.values().filter(|i| i.closed_at.is_some()) {
            let about = |m: &Message| m.incidents.contains(&incident.id);
            let last = stage.got.iter().rfind(|(.., m)| about(m)).map(|(.., m)| m);
            if let Some(last) = last {
                let with_others = last.incidents.len() > 1;
                prop_assert!(last.occasion == Occasion::Resolved || with_others, "{:?}", last.title);
            }
        }
        prop_assert!(stage.store.is_empty(), "all is delivered");
    }
}
