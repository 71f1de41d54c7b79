//! Which failures are one page, and when it goes out.

use super::*;
use crate::wire::silence::{Matcher, Silence};

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
fn patience_multiplies_the_wait_and_the_repeat() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.patience = Patience::new(6.0).unwrap();
    stage.start();
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(59);
    assert!(stage.got.is_empty());
    stage.run(1);
    stage.run(24 * 3600 - 1);
    assert_eq!(stage.occasions("team"), [Occasion::Firing]);
    stage.run(1);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Updated]
    );
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
    (matter.id, matter.place) = (id, Place::Host("h1".to_owned()));
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

/// 3,000 agents in a minute, with the gate that closes for it after 600 of them, or without one.
fn three_thousand_fail(hosts: u64, reason: Reason, gate: Option<(GateKind, Option<&str>)>) {
    let mut stage = Stage::new(vec![receiver("team")]);
    for n in 0..3000_u64 {
        if let (Some((kind, scope)), 600) = (gate, n) {
            stage.input(AlertsInput::Gate(kind, scope.map(str::to_owned), true));
        }
        stage.opens(n, &format!("h{}", n % hosts), reason, &[&format!("a{n}")]);
        if n % 50 == 49 {
            stage.run(1);
        }
    }
    stage.run(600);
    let of = |occasion| {
        stage
            .occasions("team")
            .iter()
            .filter(|o| **o == occasion)
            .count()
    };
    assert_eq!(of(Occasion::Firing), 1, "{gate:?}");
    let last = &stage.got.last().unwrap().2;
    assert_eq!((last.agents_total, last.agents.len()), (3000, 20));
    assert!(stage.got.len() <= 3, "{} messages", stage.got.len());
}

#[test]
fn three_thousand_agents_of_one_deploy_are_one_page() {
    three_thousand_fail(300, Reason::Exited, None);
    three_thousand_fail(300, Reason::Exited, Some((GateKind::MassCrash, None)));
}

#[test]
fn three_thousand_agents_of_one_host_are_one_page() {
    for reason in [Reason::Exited, Reason::HeartbeatLost] {
        three_thousand_fail(1, reason, None);
        three_thousand_fail(1, reason, Some((GateKind::Storm, Some("h0"))));
    }
}

/// As after an outage between the agents and the store: beats come to the monitor, and none of theirs.
#[test]
fn three_thousand_agents_that_lost_the_store_are_one_page() {
    three_thousand_fail(300, Reason::HeartbeatLost, None);
    three_thousand_fail(300, Reason::HeartbeatLost, Some((GateKind::Storm, None)));
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

/// Two sidecars of it were killed: silent are they, and not their host.
#[test]
fn what_fails_on_a_host_after_it_was_called_silent_shows_that_it_lives() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.opens(1, "h1", Reason::HeartbeatLost, &["a1", "a2"]);
    stage.run(30);
    stage.opens(2, "h1", Reason::CrashLoop, &["a3"]);
    stage.run(30);
    assert_eq!(
        stage.got.last().unwrap().2.title,
        "a3: crash loop (no automatic action)"
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
fn a_silence_holds_a_page_back_until_it_ends_and_the_end_of_a_page_is_reported() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let until = stage.now().wall_ms + 600_000;
    let silence = |value: &str| Silence {
        id: IncidentId::new(1, 1),
        matchers: vec![Matcher::equal("agent", value)],
        starts_at: 0,
        ends_at: until,
        created_by: "ops".to_owned(),
        comment: String::new(),
    };
    stage.input(AlertsInput::Silences(vec![silence("a1")]));
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    let other = stage.opens(2, "h2", Reason::Exited, &["a2"]);
    stage.run(590);
    let agents: Vec<&str> = stage
        .got
        .iter()
        .map(|(.., m)| m.agents[0].as_str())
        .collect();
    assert_eq!(agents, ["a2"]);
    stage.run(20);
    assert_eq!(
        stage.occasions("team"),
        [Occasion::Firing, Occasion::Firing]
    );
    stage.input(AlertsInput::Silences(vec![silence("a2")]));
    stage.closes(&other);
    assert_eq!(stage.occasions("team").last(), Some(&Occasion::Resolved));
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
    (matter.id, matter.place) = (IncidentId::new(WALL_MS, 9), Place::Host("h1".to_owned()));
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

/// At 10,000 agents on 500 hosts: what fails at once, alone, or with its host is delivered within half a minute, grouping
/// included, and what waits stays bounded.
#[test]
fn of_ten_thousand_agents_a_page_reaches_its_receiver_within_half_a_minute() {
    let mut team = receiver("team");
    (team.digests, team.pace) = (true, Some("one URL".to_owned()));
    let mut stage = Stage::new(vec![team, receiver("oncall")]);
    // A seeded hour: each second an agent fails with a chance of one in ten, each five minutes a host with its 20 agents.
    let mut random: u64 = 0x9e37_79b9;
    let mut next = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let mut opened: BTreeMap<IncidentId, u64> = BTreeMap::new();
    let (mut delays, mut seen, mut longest) = (Vec::new(), 0, 0);
    for second in 0..3600_u64 {
        if next(10) == 0 {
            let n = next(10_000);
            let host = format!("h{}", n % 500);
            let reason = [Reason::Exited, Reason::Hung, Reason::HeartbeatLost];
            let reason = reason[usize::try_from(next(3)).unwrap()];
            let id = stage.opens(second * 2, &host, reason, &[&format!("a{n}")]);
            opened.insert(id, second);
        }
        if second % 300 == 150 {
            let host = next(500);
            let all: Vec<String> = (0..20).map(|n| format!("a{}", host + 500 * n)).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let id = stage.opens(
                second * 2 + 1,
                &format!("h{host}"),
                Reason::HeartbeatLost,
                &all,
            );
            opened.insert(id, second);
        }
        stage.run(1);
        longest = longest.max(stage.store.len());
        for (_, _, message) in &stage.got[seen..] {
            let news = matches!(message.occasion, Occasion::Firing | Occasion::Updated);
            for id in message.incidents.iter().filter(|_| news) {
                delays.extend(opened.remove(id).map(|at| second - at));
            }
        }
        seen = stage.got.len();
    }
    delays.sort_unstable();
    let p99 = delays[delays.len() * 99 / 100];
    assert!(delays.len() > 300, "{} failures were paged", delays.len());
    assert!(p99 <= 30, "p99 is {p99} s of {} failures", delays.len());
    assert!(longest < 200, "{longest} notifications waited at once");
}
