//! `hbsidecar healthcheck`: what a liveness probe, cron or a person gets to know.

use crate::harness::{Day, INTERVAL, a_day};
use crate::support::eventually;

/// Exit code 0 with these flags; what is printed.
fn passes(day: &Day, flags: &[&str]) -> String {
    let (code, words) = day.healthcheck("a1", flags);
    assert_eq!(code, 0, "{words}");
    words
}

fn beats_get_through(day: &Day, expected: bool) {
    eventually(&format!("beats get through: {expected}"), || {
        (expected == (day.healthcheck("a1", &["--beats"]).0 == 0)).then_some(())
    });
}

#[test]
fn a_running_agent_passes_its_healthcheck() {
    a_day(|day| {
        let mut sidecar = day.start("a1");
        passes(day, &[]);
        passes(day, &["--beats"]);
        sidecar.stop();
        assert_ne!(day.healthcheck("a1", &[]).0, 0);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn redis_is_away_and_no_probe_kills_the_agent_for_it() {
    a_day(|day| {
        let mut sidecar = day.start("a1");
        day.redis_is_killed();
        beats_get_through(day, false);
        let words = passes(day, &[]);
        assert!(!words.trim().is_empty(), "it says that the store is away");
        day.redis_starts();
        beats_get_through(day, true);
        passes(day, &[]);
        day.becomes("a1", "healthy");
        assert!(sidecar.runs());
    });
}

#[test]
fn redis_was_never_there_and_no_probe_kills_the_agent_for_it() {
    a_day(|day| {
        let sidecar = day.agent("a1").store("redis://127.0.0.1:1").sleeps();
        sidecar.agent();
        eventually("the sidecar answers", || {
            (day.healthcheck("a1", &[]).0 == 0).then_some(())
        });
        assert_ne!(day.healthcheck("a1", &["--beats"]).0, 0);
    });
}

#[test]
fn an_agent_that_waits_for_its_restart_passes() {
    a_day(|day| {
        let flags = ["--backoff", "20s", "--backoff-max", "20s"];
        let _sidecar = day.agent("a1").with(&flags).runs("sleep 0.6; exit 3");
        day.becomes("a1", "failed");
        passes(day, &[]);
    });
}

#[test]
fn what_a_killed_sidecar_left_behind_is_not_in_the_way() {
    a_day(|day| {
        day.start("a1").dies_with_its_agent();
        let _second = day.start("a2");
        let (code, words) = day.healthcheck_of_the_only_one();
        assert_eq!(code, 0, "{words}");
        assert_ne!(day.healthcheck("a1", &[]).0, 0);
        day.becomes("a1", "failed");
    });
}

#[test]
fn two_that_run_must_be_asked_by_name() {
    a_day(|day| {
        let _first = day.start("a1");
        let _second = day.start("a2");
        let (code, words) = day.healthcheck_of_the_only_one();
        assert_ne!(code, 0, "{words}");
        passes(day, &[]);
        day.stays("a1", "healthy", INTERVAL);
    });
}

#[test]
fn a_sidecar_that_stands_still_does_not_pass() {
    a_day(|day| {
        let sidecar = day.start("a1");
        sidecar.signal("STOP");
        assert_ne!(day.healthcheck("a1", &[]).0, 0);
        sidecar.signal("CONT");
        eventually("it answers again", || {
            (day.healthcheck("a1", &[]).0 == 0).then_some(())
        });
        day.becomes("a1", "healthy");
    });
}
