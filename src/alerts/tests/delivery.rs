//! How what must reach a receiver reaches it, or is known not to.

use super::*;
use proptest::prelude::*;

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
fn more_than_ten_that_wait_become_one_and_one_a_second_otherwise() {
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
            let reported = stage.got.iter().any(|(.., m)| m.incidents.contains(id) && m.occasion != Occasion::Resolved);
            prop_assert!(reported, "an open incident was never reported");
        }
        for incident in stage.incidents.values().filter(|i| i.closed_at.is_some()) {
            let about = |m: &Message| m.incidents.contains(&incident.id);
            let last = stage.got.iter().rfind(|(.., m)| about(m)).map(|(.., m)| m);
            let lasts = |other: &Incident| other.closed_at.is_none() && other.page == incident.page;
            let page_lasts = stage.incidents.values().any(lasts);
            if let Some(last) = last.filter(|_| !page_lasts) {
                prop_assert_eq!(last.occasion, Occasion::Resolved, "{:?}", &last.title);
            }
        }
        prop_assert!(stage.store.is_empty(), "all is delivered");
    }
}
