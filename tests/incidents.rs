//! Incidents, gates and recovery of a whole fleet, from beats to records and deeds: the machine as a hub runs it, in virtual
//! time.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "support/stage.rs"]
mod stage;

use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::by_hand::{Ask, Quiet};
use heartbeat::fleet::card::word;
use heartbeat::fleet::gates::GateKind;
use heartbeat::fleet::incidents::IncidentChangeKind;
use heartbeat::fleet::ladder::exchange::{Claim, Performed, Ticket};
use heartbeat::fleet::machine::{FleetEffect, FleetInput, FleetSettings};
use heartbeat::fleet::recovery::{RecoveryEffect, RecoveryInput};
use heartbeat::fleet::view::ViewTime;
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::fleet::word::Word;
use heartbeat::wire::beat::{Beat, Exit, Runtime};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::incident::{Incident, IncidentId, Scope};
use heartbeat::wire::leader::{Leader, Standing};
use heartbeat::wire::life::Reason;
use heartbeat::wire::roster::RosterEntry;
use heartbeat::wire::silence::Matcher;
use stage::{Agents, Hub, WALL_MS, id, leader};
use std::collections::BTreeMap;
use std::time::Duration;

const AGENTS: Agents = Agents {
    interval: Duration::from_secs(30),
    a_host: 2,
};

/// A monitor, its store and its agents; two agents a host.
struct Stage {
    watch: Watch,
    second: u64,
    /// The hash `hb:incidents`.
    records: BTreeMap<IncidentId, Incident>,
    /// Agents that beat, and their incarnation.
    living: BTreeMap<usize, u64>,
    opened: usize,
    closed: usize,
    gates: Vec<GateKind>,
    /// Whether the store answers.
    answers: bool,
    /// Intents of the store.
    intents: BTreeMap<String, String>,
    /// Rungs that were carried out.
    performed: Vec<Ticket>,
    pages: usize,
    /// The monitor ends before it takes this many more answers about its rungs.
    answers_left: usize,
    /// The monitor ends before it carries out this many more effects.
    effects_left: usize,
    answers_due: Vec<WatchInput>,
    /// Whether it takes writes.
    writes: bool,
    /// Another monitor of the store, while it leads.
    leader: Option<Leader>,
    /// How often this monitor began to lead.
    took_over: usize,
    /// What the surroundings of failed agents were asked about.
    asked: Vec<Runtime>,
}

impl Stage {
    fn new(agents: usize) -> Self {
        let mut stage = Self {
            watch: Watch::new(FleetSettings::default(), 1, Moment::default()),
            second: 1000,
            records: BTreeMap::new(),
            living: (0..agents).map(|n| (n, 0)).collect(),
            opened: 0,
            closed: 0,
            gates: Vec::new(),
            answers: true,
            intents: BTreeMap::new(),
            performed: Vec::new(),
            pages: 0,
            answers_left: usize::MAX,
            effects_left: usize::MAX,
            answers_due: Vec::new(),
            writes: true,
            leader: None,
            took_over: 0,
            asked: Vec::new(),
        };
        stage.start();
        stage.run(60);
        stage
    }

    /// A monitor that knows nothing reads the store.
    fn start(&mut self) {
        self.watch = Watch::new(FleetSettings::default(), self.second, self.now());
        self.reads();
    }

    /// The connection is made, also one after another.
    fn reads(&mut self) {
        self.input(WatchInput::Stands(self.now(), self.standing()));
        self.input(FleetInput::StoreClock(WALL_MS + self.second * 1000));
        self.input(WatchInput::Incidents(
            self.records.values().cloned().collect(),
        ));
        for n in 0..100 {
            let known = self.living.contains_key(&n)
                || self.records.values().any(|r| r.agents.contains(&id(n)));
            if known {
                self.input(FleetInput::RosterEntry(id(n), Box::new(roster(n))));
            }
        }
        self.input(FleetInput::LinkUp);
    }

    /// What the store answers to the wish to lead.
    fn standing(&self) -> Standing {
        match &self.leader {
            Some(leader) => Standing::Follows(leader.clone()),
            None => Standing::Leads(leader("own", 1)),
        }
    }

    fn recover(&mut self, effect: RecoveryEffect) {
        let answer = match effect {
            RecoveryEffect::Claim(ticket, _) if !self.writes => {
                RecoveryInput::Claimed(ticket, Claim::Refused)
            }
            RecoveryEffect::Claim(ticket, value) => {
                let key = format!("{}:{}:{}", ticket.agent, ticket.epoch, ticket.rung.as_str());
                let held = self.intents.entry(key).or_insert_with(|| value.clone());
                let claim = if *held == value {
                    Claim::Granted
                } else {
                    Claim::Taken
                };
                RecoveryInput::Claimed(ticket, claim)
            }
            RecoveryEffect::Begin(ticket, incident) => {
                if self.writes {
                    let record = Incident::clone(&incident);
                    self.records.insert(incident.id.clone(), record);
                    self.answers_due.push(WatchInput::IncidentSaved(incident));
                }
                RecoveryInput::Begun(ticket, self.writes)
            }
            RecoveryEffect::Perform(deed) => {
                self.performed.push(deed.ticket.clone());
                let done = Performed::Done("done".to_owned());
                RecoveryInput::Performed(deed.ticket, done)
            }
            RecoveryEffect::Release(tickets) => {
                for ticket in tickets {
                    let key = format!("{}:{}:{}", ticket.agent, ticket.epoch, ticket.rung.as_str());
                    self.intents.remove(&key);
                }
                return;
            }
            RecoveryEffect::Page(..) => {
                self.pages += 1;
                return;
            }
            RecoveryEffect::AskSurroundings(_, runtime) => {
                self.asked.push(runtime);
                return;
            }
            // No sidecar of this stage outlives its agent.
            RecoveryEffect::Order(..)
            | RecoveryEffect::Forget(_)
            | RecoveryEffect::StorePause(_)
            | RecoveryEffect::StoreSilence(_)
            | RecoveryEffect::RemoveSilence(_)
            | RecoveryEffect::Silences(_)
            | RecoveryEffect::Audit(_)
            | RecoveryEffect::TroubleAcknowledged(..)
            | RecoveryEffect::Answer(..) => return,
        };
        if self.answers_left == 0 {
            return;
        }
        self.answers_left -= 1;
        self.answers_due.push(answer.into());
    }

    fn rungs(&self) -> Vec<&str> {
        self.performed
            .iter()
            .map(|ticket| ticket.rung.as_str())
            .collect()
    }

    /// Passes so many seconds; living agents beat.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.input(FleetInput::Tick);
            for (n, incarnation) in self.living.clone() {
                if self.answers && self.second.is_multiple_of(30) {
                    self.input(FleetInput::Beat(Box::new(beat(
                        n,
                        self.second / 30,
                        incarnation,
                    ))));
                }
            }
        }
    }

    fn silence(&mut self, agents: std::ops::Range<usize>) {
        self.living.retain(|n, _| !agents.contains(n));
    }

    fn revive(&mut self, agents: std::ops::Range<usize>, incarnation: u64) {
        self.living.extend(agents.map(|n| (n, incarnation)));
    }

    fn exits(&mut self, n: usize) {
        self.living.remove(&n);
        let detail = Detail {
            exit: Some(Exit {
                code: Some(3),
                signal: None,
            }),
            ..Detail::default()
        };
        self.input(FleetInput::Event(Box::new(Event {
            kind: EventKind::Exited,
            agent: id(n),
            epoch: 1,
            at_ms: 0,
            detail,
        })));
    }

    /// Its sidecar stops it and ends; the next one registers.
    fn redeploys(&mut self, n: usize) {
        self.living.remove(&n);
        let event = |kind, epoch, detail| {
            FleetInput::Event(Box::new(Event {
                kind,
                agent: id(n),
                epoch,
                at_ms: 0,
                detail,
            }))
        };
        let stopped = Detail {
            requested: true,
            ..Detail::default()
        };
        self.input(event(EventKind::Stopped, 1, stopped));
        let registered = Detail {
            registration: Some(Box::new(RosterEntry {
                epoch: 2,
                ..roster(n)
            })),
            ..Detail::default()
        };
        self.input(event(EventKind::Registered, 2, registered));
    }

    fn open(&self) -> Vec<&Incident> {
        self.records
            .values()
            .filter(|record| !record.is_closed())
            .collect()
    }
}

impl Hub for Stage {
    fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    fn now(&self) -> Moment {
        Moment::from_millis(self.second * 1000)
    }

    fn answers(&mut self) -> &mut Vec<WatchInput> {
        &mut self.answers_due
    }

    fn perform(&mut self, effect: WatchEffect) {
        if self.effects_left == 0 {
            return;
        }
        self.effects_left -= 1;
        match effect {
            WatchEffect::Fleet(FleetEffect::Verify(id)) if self.answers => {
                self.input(FleetInput::Verified(id));
            }
            WatchEffect::SendCanary(number) if self.answers => {
                self.input(WatchInput::CanaryBack(number));
                self.input(WatchInput::IncidentsHeld(self.records.len()));
            }
            WatchEffect::AskForLead if self.answers => {
                let stands = WatchInput::Stands(self.now(), self.standing());
                self.answers_due.push(stands);
            }
            WatchEffect::ReadRecords => {
                let records = self.records.values().cloned().collect();
                self.answers_due.push(WatchInput::Incidents(records));
            }
            WatchEffect::TookOver => self.took_over += 1,
            WatchEffect::StoreIncident(incident) if self.writes => {
                self.records
                    .insert(incident.id.clone(), Incident::clone(&incident));
                self.input(WatchInput::IncidentSaved(incident));
            }
            WatchEffect::RemoveIncident(id) if self.writes => {
                self.records.remove(&id);
                self.input(WatchInput::IncidentRemoved(id));
            }
            WatchEffect::StoreIncident(_) | WatchEffect::RemoveIncident(_) => {}
            WatchEffect::IncidentChanged(change) => match change.kind {
                IncidentChangeKind::Opened => self.opened += 1,
                IncidentChangeKind::Closed => self.closed += 1,
                IncidentChangeKind::Updated => {}
            },
            WatchEffect::GateClosed(gate) => self.gates.push(gate.gate),
            WatchEffect::Fleet(_)
            | WatchEffect::SendCanary(_)
            | WatchEffect::Reconnect
            | WatchEffect::StoreNotice(_)
            | WatchEffect::RemoveNotice(_)
            | WatchEffect::NoticeChanged(_)
            | WatchEffect::AskForLead
            | WatchEffect::SteppedDown
            | WatchEffect::GateOpened(_) => {}
            WatchEffect::Recovery(effect) => self.recover(effect),
        }
    }
}

fn roster(n: usize) -> RosterEntry {
    AGENTS.roster(n)
}

fn beat(n: usize, slot: u64, incarnation: u64) -> Beat {
    let mut beat = AGENTS.beat(n, slot);
    beat.hb.as_mut().unwrap().restarts = incarnation;
    beat
}

#[test]
fn an_incident_opens_with_the_failure_and_closes_after_one_healthy_interval() {
    let mut stage = Stage::new(20);
    stage.silence(0..1);
    stage.run(120);
    let open = stage.open();
    let facts = (open[0].reason, open[0].scope, open[0].agents.as_slice());
    assert_eq!(facts, (Reason::HeartbeatLost, Scope::Agent, &[id(0)][..]));
    let incident = open[0].id.clone();
    let view = stage.watch.view();
    assert_eq!(view.watch.incidents.of_agent.get(&id(0)), Some(&incident));
    stage.revive(0..1, 1);
    stage.run(31);
    assert_eq!(stage.open().len(), 1, "one healthy beat is not enough");
    stage.run(31);
    assert_eq!((stage.open().len(), stage.opened, stage.closed), (0, 1, 1));
    assert!(stage.records[&incident].closed_at > Some(stage.records[&incident].opened_at));
}

#[test]
fn what_surrounds_a_failed_agent_is_asked_once_and_said_in_its_incident() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    assert_eq!(stage.asked, [], "no pod");
    let pod = Runtime {
        kind: "kubernetes".into(),
        id: "agents/writer-0".into(),
    };
    let entry = RosterEntry {
        runtime: Some(pod.clone()),
        ..roster(50)
    };
    stage.input(FleetInput::RosterEntry(id(50), Box::new(entry)));
    stage.exits(50);
    assert_eq!(stage.asked, [pod]);
    let incident = stage.watch.view().watch.incidents.of_agent[&id(50)].clone();
    for _ in 0..2 {
        let said = "Kubernetes evicted its pod.".to_owned();
        stage.input(RecoveryInput::Surroundings(incident.clone(), said));
    }
    let sentence = &stage.records[&incident].sentence;
    assert_eq!(
        sentence,
        "It exited with code 3. Kubernetes evicted its pod."
    );
}

#[test]
fn an_agent_whose_first_rung_is_due_needs_no_person_unless_a_gate_holds_it() {
    let shown = |stage: &Stage| {
        let view = stage.watch.view();
        let at = ViewTime {
            now: stage.now(),
            wall_ms: WALL_MS,
        };
        word(&id(0), view.agents.get(&id(0)).unwrap(), &view, at)
    };
    let mut stage = Stage::new(20);
    stage.exits(0);
    assert_eq!(stage.open().len(), 1);
    assert_eq!(shown(&stage), Word::Returning);

    let mut paused = Stage::new(20);
    paused.asks(Ask::Pause(None));
    paused.exits(0);
    assert_eq!(shown(&paused), Word::Failed);
    paused.run(5);
    assert_eq!(shown(&paused), Word::Failed);
}

#[test]
fn failures_of_one_host_for_one_reason_are_one_incident_until_all_recovered() {
    let mut stage = Stage::new(20);
    stage.silence(0..2);
    stage.run(120);
    let open = stage.open();
    assert_eq!(
        (open.len(), open[0].scope, open[0].agents.len()),
        (1, Scope::Host, 2)
    );
    assert_eq!(open[0].sentence, "2 agents of h0 are silent.");
    stage.revive(0..1, 0);
    stage.run(100);
    assert_eq!(stage.open().len(), 1);
    stage.revive(1..2, 0);
    stage.run(100);
    assert_eq!(stage.open().len(), 0);
}

#[test]
fn what_fails_beside_an_acknowledged_incident_is_another_one() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.run(1);
    stage.asks(Ask::Acknowledge(id(0)));
    stage.exits(1);
    stage.run(1);
    let acked: Vec<bool> = stage.open().iter().map(|i| i.acked_by.is_some()).collect();
    assert_eq!(acked.len(), 2);
    assert!(acked.contains(&true) && acked.contains(&false), "{acked:?}");
}

#[test]
fn an_agent_that_was_forgotten_stands_in_no_incident_that_goes_on() {
    let mut stage = Stage::new(20);
    stage.silence(0..2);
    stage.run(120);
    stage.asks(Ask::Forget(id(0)));
    let open = stage.open();
    assert_eq!((open.len(), &open[0].agents), (1, &vec![id(1)]));
}

#[test]
fn what_is_silenced_and_what_is_not_are_two_incidents() {
    let mut stage = Stage::new(20);
    stage.asks(Ask::Silence(Quiet {
        matchers: vec![Matcher::equal("agent", "a1")],
        lasts: Duration::from_secs(400),
        comment: "moving it".to_owned(),
    }));
    stage.exits(0);
    stage.exits(1);
    stage.run(1);
    assert_eq!(stage.open().len(), 2);
}

#[test]
fn another_host_or_another_reason_is_another_incident() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.exits(2);
    stage.run(1);
    assert_eq!(stage.open().len(), 2);
}

#[test]
fn a_restart_of_the_monitor_opens_nothing_twice_and_forgets_nothing() {
    let mut stage = Stage::new(20);
    stage.silence(0..1);
    stage.exits(4);
    stage.run(120);
    let before = stage.records.clone();
    assert_eq!(before.len(), 2);
    for _ in 0..3 {
        stage.start();
        stage.run(200);
    }
    // The exit is not in the roster of this stage: for a new monitor that agent is silent. It is the same incident.
    let after: Vec<&IncidentId> = stage.records.keys().collect();
    assert_eq!(after, before.keys().collect::<Vec<_>>());
    assert_eq!((stage.opened, stage.open().len()), (2, 2));
    stage.revive(0..1, 1);
    stage.revive(4..5, 1);
    stage.start();
    stage.run(100);
    assert_eq!(
        (stage.opened, stage.open().len()),
        (2, 0),
        "closed by a monitor that did not open it"
    );
}

#[test]
fn records_that_the_store_lost_are_written_again() {
    let mut stage = Stage::new(20);
    stage.silence(0..1);
    stage.run(120);
    let before = stage.records.clone();
    stage.records.clear();
    stage.run(10);
    assert_eq!(stage.records, before);
    assert_eq!(stage.opened, 1);
}

#[test]
fn records_that_the_store_refused_are_written_when_it_takes_them() {
    let mut stage = Stage::new(20);
    stage.silence(0..1);
    stage.run(120);
    let opened = stage.records.clone();
    stage.writes = false;
    stage.revive(0..1, 1);
    stage.run(100);
    stage.exits(4);
    stage.run(100);
    assert_eq!((stage.closed, &stage.records), (1, &opened));
    stage.writes = true;
    stage.run(5);
    let open: Vec<&AgentId> = stage.open().iter().flat_map(|one| &one.agents).collect();
    assert_eq!((stage.records.len(), open), (2, vec![&id(4)]));
}

/// Backups of each second of a climb are put back a while later, and the monitor ends after that.
#[test]
fn a_store_that_is_replaced_by_an_older_backup_of_itself_makes_no_monitor_do_anything_twice() {
    for (taken, back) in (0..8).flat_map(|taken| [1, 4, 20, 100].map(|back| (taken, back))) {
        let mut stage = Stage::new(20);
        stage.exits(0);
        stage.run(taken);
        let backup = (stage.records.clone(), stage.intents.clone());
        stage.run(back);
        (stage.records, stage.intents) = backup;
        stage.input(FleetInput::LinkDown);
        stage.reads();
        stage.run(3);
        stage.start();
        stage.run(900);
        let done: std::collections::BTreeSet<&Ticket> = stage.performed.iter().collect();
        let place = format!("taken after {taken} s, put back {back} s later");
        assert_eq!(
            done.len(),
            stage.performed.len(),
            "{place}: {:?}",
            stage.performed
        );
        assert_eq!((stage.opened, stage.open().len()), (1, 1), "{place}");
    }
}

#[test]
fn records_that_were_under_way_when_the_link_broke_are_written_after_the_next_reading() {
    let mut stage = Stage::new(20);
    stage.writes = false;
    stage.exits(4);
    stage.input(FleetInput::LinkDown);
    stage.run(100);
    stage.writes = true;
    stage.run(100);
    assert_eq!(
        stage.records.len(),
        0,
        "nothing is written while the link is down"
    );
    stage.input(WatchInput::Incidents(Vec::new()));
    assert_eq!(stage.open().len(), 1);
}

#[test]
fn a_fifth_of_the_fleet_that_falls_silent_is_a_storm_and_one_incident() {
    let mut stage = Stage::new(20);
    stage.silence(0..6);
    stage.run(120);
    assert!(stage.gates.contains(&GateKind::Storm), "{:?}", stage.gates);
    let fleet: Vec<&Incident> = stage.open();
    assert_eq!(
        (fleet.len(), fleet[0].scope, fleet[0].agents.len()),
        (1, Scope::Fleet, 6)
    );
    assert_eq!(fleet[0].gate, Some(GateKind::Storm));
}

#[test]
fn a_store_that_stands_still_is_blindness_and_no_incident() {
    let mut stage = Stage::new(20);
    stage.answers = false;
    stage.run(600);
    assert_eq!(stage.gates, [GateKind::Blind]);
    stage.answers = true;
    stage.start();
    stage.run(200);
    assert_eq!((stage.opened, stage.records.len()), (0, 0));
}

#[test]
fn a_failed_agent_is_acted_upon_after_its_intent_and_its_record_and_the_record_shows_the_outcome() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.run(1);
    assert_eq!(stage.performed.len(), 0, "a common cause shows first");
    stage.run(4);
    assert_eq!(stage.rungs(), ["docker"]);
    let id = stage.open()[0].id.clone();
    let rung = &stage.records[&id].rungs[0];
    assert_eq!(
        (rung.rung.as_str(), rung.epoch, rung.ended_at),
        ("docker", 1, None)
    );
    assert_eq!(stage.intents.len(), 1);
    stage.revive(0..1, 1);
    stage.run(90);
    let record = &stage.records[&id];
    assert_eq!(record.rungs[0].outcome.as_deref(), Some("recovered"));
    assert!(record.is_closed() && record.next.is_none());
    assert_eq!(
        stage.intents.len(),
        0,
        "the next incident may climb it again"
    );
}

#[test]
fn when_no_rung_helps_people_are_asked_once() {
    let mut stage = Stage::new(20);
    stage.silence(0..1);
    stage.run(2000);
    assert_eq!((stage.rungs(), stage.pages), (vec!["docker"], 1));
    let open = stage.open();
    assert_eq!(open[0].rungs[0].outcome.as_deref(), Some("no_beat"));
    assert!(
        open[0].next.as_ref().unwrap().what.starts_with("people"),
        "{:?}",
        open[0].next
    );
}

#[test]
fn in_a_storm_nothing_is_done() {
    let mut stage = Stage::new(20);
    stage.silence(0..12);
    stage.run(800);
    assert_eq!(stage.performed, []);
    assert_eq!(stage.open().len(), 1);
}

#[test]
fn a_mass_crash_stops_every_action() {
    let mut stage = Stage::new(20);
    for n in 0..6 {
        stage.exits(n);
    }
    stage.run(250);
    assert_eq!(stage.performed, []);
}

#[test]
fn of_a_fleet_that_is_scaled_down_no_agent_is_acted_upon() {
    let mut stage = Stage::new(20);
    for n in 0..15 {
        stage.living.remove(&n);
        stage.input(FleetInput::Event(Box::new(Event {
            kind: EventKind::Stopped,
            agent: id(n),
            epoch: 1,
            at_ms: 0,
            detail: Detail::default(),
        })));
    }
    stage.run(600);
    assert_eq!(
        (stage.performed.len(), stage.pages, stage.opened),
        (0, 0, 0)
    );
}

#[test]
fn while_recovery_is_paused_nothing_is_done_and_afterwards_it_goes_on() {
    let mut stage = Stage::new(20);
    stage.asks(Ask::Pause(Some(Duration::from_secs(400))));
    stage.exits(0);
    stage.run(390);
    assert_eq!((stage.performed.len(), stage.pages), (0, 0));
    stage.run(30);
    assert_eq!(stage.rungs(), ["docker"], "the pause has ended by itself");
}

#[test]
fn what_is_silenced_is_not_acted_upon_until_the_silence_ends() {
    let mut stage = Stage::new(20);
    let quiet = Quiet {
        matchers: vec![Matcher::equal("agent", "a0")],
        lasts: Duration::from_secs(400),
        comment: "moving it".to_owned(),
    };
    stage.asks(Ask::Silence(quiet));
    stage.exits(0);
    stage.run(390);
    assert_eq!((stage.performed.len(), stage.pages), (0, 0));
    stage.run(30);
    assert_eq!(stage.rungs(), ["docker"]);
}

/// Wherever a monitor ends between its claim and the outcome: the next one goes on, climbs no rung twice and forgets nothing.
#[test]
fn a_monitor_that_ends_anywhere_in_a_climb_is_followed_by_one_that_goes_on() {
    // 200 places: before an effect is carried out, and before its answer is known.
    for (before_effect, place) in (0..20).flat_map(|place| [(true, place), (false, place)]) {
        for later in [1, 5, 40, 119, 121] {
            let mut stage = Stage::new(20);
            stage.exits(0);
            if before_effect {
                stage.effects_left = place;
            } else {
                stage.answers_left = place;
            }
            stage.run(later);
            (stage.effects_left, stage.answers_left) = (usize::MAX, usize::MAX);
            stage.start();
            stage.run(900);
            let place = format!("{place} (before an effect: {before_effect}), {later} s");
            let done: std::collections::BTreeSet<&Ticket> = stage.performed.iter().collect();
            assert_eq!(
                done.len(),
                stage.performed.len(),
                "{place}: {:?}",
                stage.performed
            );
            assert_eq!(stage.records.len(), 1, "{place}");
            assert_eq!(stage.open().len(), 1, "{place}");
            assert!(stage.pages >= 1, "{place}: people are asked in the end");
        }
    }
}

#[test]
fn of_a_rolling_deploy_of_100_agents_none_fails_and_none_is_acted_upon() {
    let mut stage = Stage::new(100);
    let mut deployed: BTreeMap<usize, usize> = BTreeMap::new();
    for second in 0..240 {
        for n in [2 * second, 2 * second + 1]
            .into_iter()
            .filter(|n| *n < 100)
        {
            stage.redeploys(n);
            deployed.insert(n, second);
        }
        for (n, since) in &deployed {
            let age = second - since;
            if age.is_multiple_of(30) {
                let mut beat = beat(*n, age as u64 / 30, 0);
                beat.hb.as_mut().unwrap().epoch = 2;
                beat.hb.as_mut().unwrap().instance = "j".into();
                stage.input(FleetInput::Beat(Box::new(beat)));
            }
        }
        stage.run(1);
    }
    let view = stage.watch.view();
    let renewed = view.agents.iter().filter(|(_, agent)| agent.run.epoch == 2);
    assert_eq!((renewed.count(), view.counts.healthy), (100, 100));
    assert_eq!((stage.opened, stage.pages), (0, 0));
    assert_eq!((stage.performed.len(), stage.gates.len()), (0, 0));
}

#[test]
fn a_container_in_which_another_agent_works_is_left_alone() {
    let mut stage = Stage::new(20);
    let together = |n: usize, second: u64| {
        let mut beat = beat(n, second / 30, 0);
        let hb = beat.hb.as_mut().unwrap();
        hb.runtime = Some(Runtime {
            kind: "docker".into(),
            id: "c0ffee".into(),
        });
        beat.sequence += 1;
        FleetInput::Beat(Box::new(beat))
    };
    for n in 0..2 {
        stage.input(together(n, stage.second + 30));
    }
    stage.exits(0);
    stage.run(20);
    assert_eq!(stage.performed, []);
    let rung = &stage.open()[0].rungs[0];
    assert_eq!(rung.outcome.as_deref(), Some("not_applicable"));
    assert!(
        rung.detail.as_ref().unwrap().starts_with("a1 works"),
        "{rung:?}"
    );
}

#[test]
fn a_monitor_that_follows_records_nothing_and_shows_what_its_leader_records() {
    let mut stage = Stage::new(20);
    stage.leader = Some(leader("other", 2));
    stage.run(10);
    stage.exits(0);
    stage.run(10);
    assert_eq!((stage.opened, stage.records.len()), (0, 0));
    assert_eq!(stage.performed, []);
    let mut leading = Stage::new(20);
    leading.exits(0);
    leading.run(10);
    stage.records = leading.records.clone();
    stage.run(10);
    let shown = stage.watch.view().watch;
    assert_eq!((shown.incidents.open.len(), shown.leads), (1, false));
    let next = |stage: &Stage| {
        let shown = stage.watch.view().watch;
        shown.next.get(&id(0)).map(|next| next.what.clone())
    };
    assert_eq!(next(&stage), next(&leading));
    assert_eq!((stage.pages, stage.performed.len()), (0, 0));
}

#[test]
fn a_monitor_that_takes_over_goes_on_with_the_records_and_opens_what_its_leader_did_not() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.run(10);
    let before = stage.open()[0].id.clone();
    stage.leader = Some(leader("other", 2));
    stage.run(10);
    stage.exits(2);
    stage.run(10);
    assert_eq!(stage.records.len(), 1, "the leader died before it saw it");
    stage.leader = None;
    stage.run(10);
    assert_eq!((stage.took_over, stage.open().len()), (1, 2));
    assert!(stage.records.contains_key(&before));
    stage.revive(0..1, 1);
    stage.revive(2..3, 1);
    stage.run(90);
    assert_eq!((stage.open().len(), stage.records.len()), (0, 2));
}

#[test]
fn what_a_monitor_wrote_that_led_beside_this_one_is_read_and_ends() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.run(10);
    let own = stage.open()[0].id.clone();
    let other = IncidentId::parse("other").unwrap();
    let mut record = stage.records[&own].clone();
    record.id = other.clone();
    stage.records.insert(other.clone(), record);
    stage.run(10);
    let open: Vec<&IncidentId> = stage.open().into_iter().map(|one| &one.id).collect();
    assert_eq!((open, stage.records.len()), (vec![&own], 2));
    assert!(stage.records[&other].is_closed());
}

#[test]
fn an_old_record_that_another_one_wrote_late_is_written_again_within_a_minute() {
    let mut stage = Stage::new(20);
    stage.exits(0);
    stage.run(10);
    let old = stage.open()[0].clone();
    stage.revive(0..1, 1);
    stage.run(60);
    assert_eq!(stage.open().len(), 0);
    stage.records.insert(old.id.clone(), old);
    stage.run(60);
    assert_eq!((stage.open().len(), stage.took_over), (0, 0));
}

#[test]
fn a_leader_that_wakes_up_records_nothing_before_it_knows_who_leads() {
    for replaced in [true, false] {
        let mut stage = Stage::new(20);
        stage.answers = false;
        stage.second += 12;
        stage.exits(0);
        assert_eq!(stage.opened, 0, "its lead was renewed 12 s ago");
        stage.leader = replaced.then(|| leader("other", 2));
        stage.answers = true;
        stage.run(2);
        assert_eq!(stage.opened, usize::from(!replaced));
    }
}
