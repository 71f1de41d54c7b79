//! Notices from beats to messages: the fleet and the alerts as a hub runs them, with a store, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "support/stage.rs"]
mod stage;

use heartbeat::alerts::Alerts;
use heartbeat::alerts::exchange::{AlertsEffect, AlertsInput, Delivered, Now, Outcome, Receiver};
use heartbeat::alerts::matter::Matter;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::by_hand::{Ask, Quiet};
use heartbeat::fleet::ladder::policy::{Policies, Policy};
use heartbeat::fleet::ladder::rung::VerifyTimes;
use heartbeat::fleet::machine::{FleetEffect, FleetInput, FleetSettings};
use heartbeat::fleet::overview::{Overview, Query};
use heartbeat::fleet::recovery::{RecoveryEffect, RecoveryInput};
use heartbeat::fleet::view::{HealthStatus, ViewTime};
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::beat::{Activity, Beat, Verdict};
use heartbeat::wire::incident::IncidentId;
use heartbeat::wire::leader::Standing;
use heartbeat::wire::life::Life;
use heartbeat::wire::notice::Notice;
use heartbeat::wire::notification::{Notification, Occasion, ReceiverName, Severity};
use heartbeat::wire::order::Action;
use heartbeat::wire::silence::{Matcher, Silence};
use stage::{Agents, Hub, WALL_MS, id, leader};
use std::collections::BTreeMap;
use std::time::Duration;

const AGENTS: Agents = Agents {
    interval: Duration::from_secs(5),
    a_host: 3,
};

fn name(text: &str) -> ReceiverName {
    ReceiverName::parse(text).unwrap()
}

fn receiver(text: &str, tracks: bool) -> Receiver {
    Receiver {
        name: name(text),
        severities: vec![Severity::Info, Severity::Warning, Severity::Critical],
        fallback: None,
        tracks,
        takes_changes: false,
        digests: false,
        renews: false,
        pace: None,
    }
}

/// A monitor, its store, and agents that beat; three agents a host. `chat` is read by people, `pager` keeps open and closed
/// apart.
struct Stage {
    watch: Watch,
    alerts: Alerts,
    second: u64,
    /// The hashes `hb:notices` and `hb:outbox`.
    notices: BTreeMap<IncidentId, Notice>,
    outbox: BTreeMap<String, Notification>,
    silences: Vec<Silence>,
    doing: BTreeMap<usize, Verdict>,
    /// What `--on-stalled restart` of each sidecar says, with a stall-after of one minute.
    restarts_itself: bool,
    /// The second since which verdicts hold.
    since: u64,
    /// What the policy says.
    policy_restarts: bool,
    orders: Vec<(AgentId, Action)>,
    /// What the store will answer to what was asked of it.
    answers: Vec<WatchInput>,
    got: Vec<(String, Occasion, String)>,
}

impl Stage {
    fn new(agents: usize) -> Self {
        let mut stage = Self {
            watch: Watch::new(FleetSettings::default(), 1, Moment::default()),
            alerts: Alerts::new(1),
            second: 1000,
            notices: BTreeMap::new(),
            outbox: BTreeMap::new(),
            silences: Vec::new(),
            doing: (0..agents).map(|n| (n, Verdict::Working)).collect(),
            restarts_itself: false,
            since: 0,
            policy_restarts: false,
            orders: Vec::new(),
            answers: Vec::new(),
            got: Vec::new(),
        };
        stage.start();
        stage.run(30);
        stage
    }

    /// A monitor that knows nothing reads the store.
    fn start(&mut self) {
        let policy = Policy {
            restarts_stalled: self.policy_restarts,
            ..Policy::default()
        };
        let watch = Watch::new(FleetSettings::default(), self.second, self.now());
        self.watch = watch.recovering(Policies::new(vec![policy]), VerifyTimes::default());
        self.alerts = Alerts::new(self.second);
        let receivers = vec![receiver("chat", false), receiver("pager", true)];
        self.alert(AlertsInput::Receivers(receivers));
        self.link_up();
    }

    fn link_up(&mut self) {
        self.input(FleetInput::StoreClock(self.clock().wall_ms));
        self.input(self.leads());
        self.input(WatchInput::Incidents(Vec::new()));
        self.input(WatchInput::Notices(
            self.notices.values().cloned().collect(),
        ));
        self.input(RecoveryInput::Silences(self.silences.clone()));
        for n in self.doing.clone().into_keys() {
            self.input(FleetInput::RosterEntry(id(n), Box::new(AGENTS.roster(n))));
            let age = Duration::from_secs(self.second % 5);
            let beat = self.beat(n, self.second / 5);
            self.input(FleetInput::AgedBeat(Box::new(beat), age));
        }
        self.input(FleetInput::LinkUp);
        let view = self.watch.view().watch;
        let all = view
            .notices
            .open
            .values()
            .chain(view.notices.closed.values());
        let matters = all
            .filter_map(|notice| Matter::noticed(notice, None))
            .collect();
        let outbox = self.outbox.values().cloned().collect();
        self.alert(AlertsInput::LinkUp);
        self.alert(AlertsInput::Restored { matters, outbox });
    }

    /// The store lets this monitor lead.
    fn leads(&self) -> WatchInput {
        WatchInput::Stands(self.now(), Standing::Leads(leader("own", 1)))
    }

    fn clock(&self) -> Now {
        Now {
            at: Moment::from_millis(self.second * 1000),
            wall_ms: WALL_MS + self.second * 1000,
        }
    }

    fn alert(&mut self, input: AlertsInput) {
        for effect in self.alerts.handle(input, self.clock()) {
            match effect {
                AlertsEffect::Store(record) => {
                    let id = record.id.clone();
                    self.outbox.insert(id.clone(), *record);
                    self.alert(AlertsInput::Stored(id));
                }
                AlertsEffect::Remove(id) => drop(self.outbox.remove(&id)),
                AlertsEffect::Paged(ids, page) => self.input(WatchInput::Paged(ids, page)),
                AlertsEffect::Notified(ids, notified) => {
                    self.input(WatchInput::Notified(ids, notified));
                }
                AlertsEffect::Deliver(batch) => {
                    let receiver = batch[0].receiver.clone();
                    for Notification { message, .. } in batch {
                        let to = receiver.to_string();
                        self.got.push((to, message.occasion, message.title));
                    }
                    let outcome = Outcome::Taken;
                    self.alert(AlertsInput::Delivered(Delivered { receiver, outcome }));
                }
                AlertsEffect::Renew(..) | AlertsEffect::ReceiverChanged(..) => {}
            }
        }
    }

    /// Passes so many seconds; agents beat.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.input(FleetInput::Tick);
            self.alert(AlertsInput::Tick);
            if self.second.is_multiple_of(5) {
                for n in self.doing.clone().into_keys() {
                    let beat = self.beat(n, self.second / 5);
                    self.input(FleetInput::Beat(Box::new(beat)));
                }
            }
        }
    }

    fn does(&mut self, n: usize, verdict: Verdict) {
        self.since = self.second;
        self.doing.insert(n, verdict);
    }

    fn beat(&self, n: usize, slot: u64) -> Beat {
        let mut beat = AGENTS.beat(n, slot);
        if let Some(hb) = &mut beat.hb {
            hb.activity = Some(Activity {
                verdict: self.doing[&n],
                since: WALL_MS + self.since * 1000,
                cause: None,
                confidence: None,
                sentence: "Nothing has moved for 6 min (limit 5 min).".to_owned(),
                evidence: Vec::new(),
            });
            hb.life = Some(Life {
                step: 1,
                restarts_stalled: self.restarts_itself,
                stall_ms: 60_000,
                ..Life::default()
            });
        }
        beat
    }

    /// What the API says happens next with an agent.
    fn next_of(&self, agent: &str) -> String {
        let view = self.watch.view();
        let agent = AgentId::parse(agent).unwrap();
        let now = self.clock();
        let at = ViewTime {
            now: now.at,
            wall_ms: now.wall_ms,
        };
        let known = view.agents.get(&agent).unwrap();
        let status = HealthStatus::of(&agent, known, at).watched_by(&view.watch, at);
        status.next.unwrap()
    }

    /// What a receiver got.
    fn of(&self, receiver: &str) -> Vec<(Occasion, &str)> {
        let own = self.got.iter().filter(|(to, ..)| to == receiver);
        own.map(|(_, occasion, title)| (*occasion, &**title))
            .collect()
    }
}

impl Hub for Stage {
    fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    fn now(&self) -> Moment {
        self.clock().at
    }

    fn answers(&mut self) -> &mut Vec<WatchInput> {
        &mut self.answers
    }

    fn perform(&mut self, effect: WatchEffect) {
        match effect {
            WatchEffect::StoreNotice(notice) => {
                self.notices
                    .insert(notice.id.clone(), Notice::clone(&notice));
            }
            WatchEffect::RemoveNotice(id) => drop(self.notices.remove(&id)),
            WatchEffect::NoticeChanged(notice) => {
                assert!(self.notices.contains_key(&notice.id), "stored first");
                let matter = Matter::noticed(&notice, None).unwrap();
                self.alert(AlertsInput::Matter(Box::new(matter)));
            }
            WatchEffect::Fleet(FleetEffect::Verify(id)) => self.input(FleetInput::Verified(id)),
            WatchEffect::SendCanary(number) => {
                self.input(WatchInput::CanaryBack(number));
                self.input(WatchInput::NoticesHeld(self.notices.len()));
            }
            WatchEffect::Recovery(RecoveryEffect::Silences(silences)) => {
                self.silences.clone_from(&silences);
                self.alert(AlertsInput::Silences(silences));
            }
            WatchEffect::Recovery(RecoveryEffect::Order(agent, order)) => {
                self.orders.push((agent, order.action));
            }
            WatchEffect::AskForLead => self.answers.push(self.leads()),
            WatchEffect::ReadRecords => {
                let notices = self.notices.values().cloned().collect();
                self.answers.push(WatchInput::Notices(notices));
                self.answers.push(WatchInput::Incidents(Vec::new()));
            }
            WatchEffect::Fleet(_)
            | WatchEffect::TookOver
            | WatchEffect::SteppedDown
            | WatchEffect::Reconnect
            | WatchEffect::GateClosed(_)
            | WatchEffect::GateOpened(_)
            | WatchEffect::StoreIncident(_)
            | WatchEffect::RemoveIncident(_)
            | WatchEffect::IncidentChanged(_)
            | WatchEffect::Recovery(_) => {}
        }
    }
}

#[test]
fn a_stalled_agent_is_one_message_for_as_long_as_it_does_not_move() {
    let mut stage = Stage::new(3);
    stage.does(0, Verdict::Stalled);
    stage.run(3600);
    stage.does(0, Verdict::Spinning);
    stage.run(6 * 3600);
    let said = "a0: stalled (no automatic action)";
    assert_eq!(stage.of("chat"), [(Occasion::Notice, said)]);
    assert_eq!(
        stage.notices.values().next().unwrap().verdict,
        Verdict::Spinning
    );
    stage.does(0, Verdict::Working);
    stage.run(60);
    assert_eq!(stage.of("chat").len(), 1, "people do not need its end");
    let ended = [
        (Occasion::Notice, said),
        (Occasion::Resolved, "a0: no longer spinning, after 7 h"),
    ];
    assert_eq!(stage.of("pager"), ended);
    stage.run(3 * 3600);
    assert!(stage.notices.is_empty() && stage.outbox.is_empty());
}

#[test]
fn an_agent_that_asks_a_person_is_noticed_again_at_its_next_question() {
    let mut stage = Stage::new(3);
    for _ in 0..2 {
        stage.does(1, Verdict::WaitingInput);
        stage.run(60);
        stage.does(1, Verdict::Working);
        stage.run(60);
    }
    let said = (Occasion::Notice, "a1: waiting for you (on h0)");
    assert_eq!(stage.of("chat"), [said, said]);
}

#[test]
fn what_clears_within_its_wait_is_no_message() {
    let mut stage = Stage::new(3);
    stage.does(0, Verdict::Stalled);
    stage.does(1, Verdict::Paused);
    stage.run(6);
    stage.does(0, Verdict::Working);
    stage.run(4);
    stage.does(1, Verdict::Idle);
    stage.run(120);
    assert_eq!(stage.of("pager"), []);
}

#[test]
fn a_pause_that_lasts_for_15_s_is_noticed() {
    let mut stage = Stage::new(3);
    stage.does(2, Verdict::Paused);
    stage.run(16);
    assert!(stage.notices.is_empty(), "someone may have meant it");
    stage.run(30);
    assert_eq!(
        stage.of("chat"),
        [(Occasion::Notice, "a2: paused (no automatic action)")]
    );
}

#[test]
fn agents_of_one_host_are_one_message_and_of_many_hosts_one_too() {
    let mut stage = Stage::new(3);
    for n in 0..3 {
        stage.does(n, Verdict::Stalled);
    }
    stage.run(60);
    let said = "h0: 3 agents are stalled (first: a0) (no automatic action)";
    assert_eq!(stage.of("chat"), [(Occasion::Notice, said)]);
    let mut stage = Stage::new(30);
    for n in 0..30 {
        stage.does(n, Verdict::Stalled);
    }
    stage.run(60);
    let said = "fleet: 30 agents are stalled (no automatic action)";
    assert_eq!(stage.of("chat"), [(Occasion::Notice, said)]);
}

#[test]
fn a_monitor_that_starts_repeats_no_notice_and_loses_none() {
    // It ends at every second of the story once; while it is away, the agent goes on.
    for killed_at in 0..40 {
        let mut stage = Stage::new(3);
        stage.does(0, Verdict::Stalled);
        for second in 0..40 {
            if second == 20 {
                stage.does(0, Verdict::Working);
            }
            if second == killed_at {
                stage.start();
            }
            stage.run(1);
        }
        stage.run(60);
        let occasions: Vec<Occasion> = stage.of("pager").iter().map(|(o, _)| *o).collect();
        let both = [Occasion::Notice, Occasion::Resolved];
        assert_eq!(occasions, both, "killed at {killed_at} s");
        assert_eq!(stage.of("chat").len(), 1, "killed at {killed_at} s");
    }
}

#[test]
fn a_store_that_lost_the_notices_gets_them_again_and_no_one_hears_twice() {
    let mut stage = Stage::new(3);
    stage.does(0, Verdict::Stalled);
    stage.run(60);
    stage.notices.clear();
    stage.run(10);
    assert_eq!(stage.notices.len(), 1, "while it answers");
    stage.notices.clear();
    stage.input(FleetInput::LinkDown);
    stage.run(20);
    stage.link_up();
    stage.run(120);
    assert_eq!((stage.notices.len(), stage.of("chat").len()), (1, 1));
}

#[test]
fn a_silent_agent_keeps_its_notice_and_a_failed_one_loses_it_to_the_incident() {
    let mut stage = Stage::new(3);
    stage.does(0, Verdict::Stalled);
    stage.run(30);
    stage.doing.remove(&0);
    stage.run(8);
    stage.does(0, Verdict::Stalled);
    stage.run(60);
    assert_eq!(stage.of("pager").len(), 1, "one beat was late");
    stage.doing.remove(&0);
    stage.run(60);
    let ended = stage
        .of("pager")
        .iter()
        .any(|(o, _)| *o == Occasion::Resolved);
    assert!(ended, "it failed");
}

#[test]
fn a_silence_holds_a_notice_back_and_an_acknowledgement_ends_the_matter() {
    let mut stage = Stage::new(3);
    stage.asks(Ask::Silence(Quiet {
        matchers: vec![Matcher::equal("agent", "a0")],
        lasts: Duration::from_secs(600),
        comment: String::new(),
    }));
    stage.does(0, Verdict::WaitingInput);
    stage.does(1, Verdict::Stalled);
    stage.run(3);
    stage.run(7);
    stage.asks(Ask::Acknowledge(id(1)));
    stage.run(300);
    assert_eq!(
        stage.of("chat"),
        [],
        "one is silenced, a person has the other"
    );
    let acked = stage.notices.values().find(|notice| notice.agent == id(1));
    assert_eq!(acked.unwrap().acked_by.as_deref(), Some("ann"));
    stage.run(600);
    let said = (Occasion::Notice, "a0: waiting for you (on h0)");
    assert_eq!(stage.of("chat"), [said], "what lasts when the silence ends");
}

/// A stage whose policy restarts what stalls, where the first agent has stalled.
fn with_a_restart(restarts_itself: bool) -> Stage {
    let mut stage = Stage::new(3);
    stage.policy_restarts = !restarts_itself;
    stage.restarts_itself = restarts_itself;
    stage.start();
    stage.run(10);
    stage.does(0, Verdict::Stalled);
    stage.run(20);
    stage
}

#[test]
fn a_policy_that_restarts_names_the_time_and_orders_one_restart_then() {
    let mut stage = with_a_restart(false);
    let restart = stage.notices.values().next().unwrap().restart.unwrap();
    assert!(!restart.by_sidecar && restart.at.abs_diff(stage.clock().wall_ms + 43_000) < 6000);
    let (_, said) = stage.of("chat")[0];
    assert!(
        said.starts_with("a0: stalled (restart at ") && said.ends_with(" UTC unless it moves)")
    );
    let next = stage.next_of("a0");
    assert!(
        next.starts_with("hb restarts it in ") && next.contains("unless it moves"),
        "{next}"
    );
    stage.run(30);
    assert_eq!(stage.orders, []);
    stage.run(20);
    assert_eq!(stage.orders, [(id(0), Action::Restart)]);
    stage.start();
    stage.run(300);
    assert_eq!(stage.orders.len(), 1, "once, also with another monitor");
}

#[test]
fn an_agent_whose_restart_is_due_needs_no_person_until_that_is_cancelled() {
    let attention = |stage: &Stage| {
        let view = stage.watch.view();
        let now = stage.clock();
        let at = ViewTime {
            now: now.at,
            wall_ms: now.wall_ms,
        };
        let tally = Overview::of(&view, &Query::default(), at).tally;
        (tally.needs_you, tally.on_it)
    };
    let mut stage = with_a_restart(false);
    assert_eq!(attention(&stage), (0, 1));
    stage.asks(Ask::Acknowledge(id(0)));
    assert_eq!(attention(&stage), (1, 0));
}

#[test]
fn what_its_sidecar_does_is_named_and_not_ordered() {
    let mut stage = with_a_restart(true);
    let (_, said) = stage.of("chat")[0];
    assert!(said.contains("(restart at "), "{said}");
    stage.run(300);
    assert_eq!(stage.orders, []);
}

#[test]
fn progress_an_acknowledgement_and_a_silence_cancel_a_restart() {
    for restarts_itself in [false, true] {
        for cancels in ["progress", "ack", "silence"] {
            let mut stage = with_a_restart(restarts_itself);
            match cancels {
                "progress" => stage.does(0, Verdict::Working),
                "ack" => stage.asks(Ask::Acknowledge(id(0))),
                _ => stage.asks(Ask::Silence(Quiet {
                    matchers: vec![Matcher::equal("agent", "a0")],
                    lasts: Duration::from_secs(20),
                    comment: String::new(),
                })),
            }
            stage.run(300);
            let held = restarts_itself && cancels != "progress";
            let orders: Vec<_> = held.then_some((id(0), Action::Hold)).into_iter().collect();
            assert_eq!(
                stage.orders, orders,
                "{cancels}, by itself: {restarts_itself}"
            );
        }
    }
}

#[test]
fn a_pause_of_recovery_delays_the_restart_and_a_person_is_never_restarted() {
    let mut stage = with_a_restart(false);
    stage.does(1, Verdict::WaitingInput);
    stage.asks(Ask::Pause(Some(Duration::from_secs(300))));
    stage.run(250);
    assert_eq!(stage.orders, []);
    stage.run(100);
    assert_eq!(stage.orders, [(id(0), Action::Restart)]);
}
