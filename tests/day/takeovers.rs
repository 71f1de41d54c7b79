//! One id, two holders: taken over, refused, given back.

use crate::harness::{Day, INTERVAL, Launch, a_day};

/// A second sidecar of the id, with sockets of its own.
fn takes_over(day: &Day) -> Launch<'_> {
    day.agent("a1").apart("second").with(&["--takeover"])
}

#[test]
fn a_second_one_takes_the_id_over() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.start("a1");
        day.has_beaten("a1", 4);
        let _taker = takes_over(day).starts();
        first.logs("has the id");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn the_taker_has_a_longer_interval() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.agent("a1").every("300ms").starts();
        day.has_beaten("a1", 4);
        let taker = takes_over(day).every("2s");
        let _taker = taker.starts();
        first.logs("has the id");
        day.stays("a1", "healthy", 8 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn the_one_that_lost_its_id_says_so_when_it_is_asked() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.start("a1");
        assert_eq!(day.healthcheck("a1", &["--beats"]).0, 0);
        let _taker = takes_over(day).starts();
        first.logs("has the id");
        let (code, words) = day.healthcheck("a1", &["--beats"]);
        assert_ne!(code, 0, "{words}");
        let (code, words) = day.healthcheck("a1", &[]);
        assert_eq!(code, 0, "{words}");
        assert!(words.contains("has the id"), "{words}");
    });
}

#[test]
fn the_id_is_given_back_when_the_taker_is_stopped() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.start("a1");
        let mut taker = takes_over(day).starts();
        first.logs("has the id");
        taker.stop();
        day.shows("a1", "pid", first.agent());
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        assert_eq!(day.healthcheck("a1", &["--beats"]).0, 0);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn the_id_is_given_back_when_the_taker_dies() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.start("a1");
        let mut taker = takes_over(day).starts();
        first.logs("has the id");
        taker.dies_with_its_agent();
        day.shows("a1", "pid", first.agent());
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
    });
}

#[test]
fn a_sidecar_that_stood_still_finds_its_id_taken() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let first = day.start("a1");
        day.has_beaten("a1", 2);
        first.signal("STOP");
        day.becomes("a1", "failed");
        let mut second = takes_over(day).starts();
        first.signal("CONT");
        first.logs("has the id");
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.shows("a1", "pid", second.agent());
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
        second.stop();
        day.shows("a1", "pid", first.agent());
    });
}

#[test]
fn where_both_live_after_one_stood_still_the_fleet_says_so_until_one_has_gone() {
    a_day(|day| {
        day.monitor();
        let mut first = day.start("a1");
        day.has_beaten("a1", 2);
        first.signal("STOP");
        day.becomes("a1", "failed");
        let second = day.agent("a1").apart("second").starts();
        day.becomes("a1", "healthy");
        first.signal("CONT");
        first.logs("has the id");
        day.shows("a1", "reason", "duplicate");
        day.shows("a1", "pid", second.agent());
        first.stop();
        day.shows("a1", "reason", serde_json::Value::Null);
        day.story(
            "a1",
            &["healthy", "missing", "failed", "healthy", "healthy"],
        );
    });
}

#[test]
fn a_second_start_by_mistake_leaves_no_trace() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let mut first = day.agent("a1").with(&["--type", "real"]).starts();
        let before: String = day.ask(&["HGET", "hb:agents", "a1"]);
        for _ in 0..3 {
            let mistake = day.agent("a1").apart("second").with(&["--type", "other"]);
            assert_eq!(mistake.sleeps().ends(), 73);
        }
        let after: String = day.ask(&["HGET", "hb:agents", "a1"]);
        assert_eq!(before, after);
        assert_eq!(day.hash("a1")["type"], "real");
        day.shows("a1", "agentType", "real");
        day.shows("a1", "pid", first.agent());
        first.stop();
        day.story("a1", &["healthy", "stopped"]);
        let events = day.events("a1");
        assert_eq!(
            events.iter().filter(|event| *event == "registered").count(),
            1
        );
        assert!(!events.contains(&"restarted".to_owned()), "{events:?}");
    });
}

#[test]
fn a_crash_of_the_one_that_lost_its_id_is_no_crash_of_the_agent() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let crashes_once = "[ -e once ] && exec sleep 1000; touch once; while [ ! -e crash ]; do sleep 0.05; done; exit 9";
        let first = day
            .agent("a1")
            .with(&["--backoff", "100ms"])
            .runs(crashes_once);
        day.becomes("a1", "healthy");
        let taker = takes_over(day);
        let mut taker = taker.starts();
        first.logs("has the id");
        day.write("crash", "");
        day.stays("a1", "healthy", 3 * INTERVAL);
        taker.stop();
        day.shows("a1", "pid", first.agent());
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}
