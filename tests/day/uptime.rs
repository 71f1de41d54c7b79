//! Uptime, restarts and `since` are those of the agent.

use crate::harness::{Day, INTERVAL, a_day, now_ms};
use crate::support::{eventually, signal};
use std::time::{Duration, Instant};

fn uptime(day: &Day, id: &str) -> u64 {
    day.health(id)["uptimeSeconds"].as_u64().unwrap()
}

fn is_up(day: &Day, id: &str, seconds: u64) {
    eventually(&format!("{id} has been up for {seconds} s"), || {
        (uptime(day, id) >= seconds).then_some(())
    });
}

#[test]
fn an_attached_agent_shows_its_own_uptime() {
    a_day(|day| {
        let started_at = Instant::now();
        let agent = day.foreign(&["sleep", "1000"]);
        eventually("it has run for a while", || {
            (started_at.elapsed() > Duration::from_secs(4)).then_some(())
        });
        let _sidecar = day.agent("a1").attaches(agent.0.id());
        day.becomes("a1", "healthy");
        is_up(day, "a1", 3);
        let shown = uptime(day, "a1");
        let most = started_at.elapsed().as_secs() + 1;
        assert!(shown <= most, "{shown} s, not 3 to {most} s");
    });
}

#[test]
fn a_new_run_starts_from_nothing() {
    a_day(|day| {
        let mut first = day.start("a1");
        is_up(day, "a1", 3);
        first.stop();
        day.becomes("a1", "stopped");
        let asked_at = now_ms();
        let _second = day.start("a1");
        let health = day.health("a1");
        let number = |field: &str| health[field].as_u64().unwrap();
        // Both began after it was asked for; a clock that is read twice may differ by some milliseconds.
        let ago = now_ms() - asked_at + 20;
        assert!(number("uptimeSeconds") * 1000 <= ago, "{health}");
        assert!(now_ms() - number("since") <= ago, "{health}");
        assert_eq!(health["restarts"], 0, "{health}");
    });
}

#[test]
fn an_agent_that_is_restarted_starts_from_nothing() {
    a_day(|day| {
        let sidecar = day.agent("a1").with(&["--backoff", "100ms"]).starts();
        is_up(day, "a1", 3);
        let killed_at = now_ms();
        signal(sidecar.agent(), "KILL");
        day.shows("a1", "restarts", 1);
        day.becomes("a1", "healthy");
        assert!(uptime(day, "a1") * 1000 <= now_ms() - killed_at);
    });
}

#[test]
fn a_new_monitor_knows_the_uptime() {
    a_day(|day| {
        let _sidecar = day.start("a1");
        is_up(day, "a1", 3);
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        assert!(uptime(day, "a1") >= 3);
    });
}

#[test]
fn an_upgrade_of_the_sidecar_does_not_touch_the_uptime() {
    a_day(|day| {
        let mut old = day.start("a1");
        let agent = old.agent();
        is_up(day, "a1", 3);
        old.is_killed();
        let _new = day.agent("a1").attaches(agent);
        eventually("the new one has registered", || {
            (day.events("a1").len() == 2).then_some(())
        });
        day.becomes("a1", "healthy");
        day.shows("a1", "pid", agent);
        day.monitor().holds(3 * INTERVAL, || {
            let shown = uptime(day, "a1");
            assert!(shown >= 3, "{shown} s");
        });
    });
}

#[test]
fn the_restarts_of_a_bad_day_are_not_those_of_the_next() {
    a_day(|day| {
        let mut sidecar = day.agent("a1").with(&["--backoff", "100ms"]).starts();
        for restarts in 1..=2 {
            signal(sidecar.agent(), "KILL");
            day.shows("a1", "restarts", restarts);
        }
        sidecar.stop();
        day.becomes("a1", "stopped");
        let _next = day.start("a1");
        day.shows("a1", "restarts", 0);
    });
}

#[test]
fn a_stopped_agent_does_not_grow_older() {
    a_day(|day| {
        let mut sidecar = day.start("a1");
        is_up(day, "a1", 1);
        let asked_at = now_ms();
        sidecar.stop();
        let ended_at = now_ms();
        day.becomes("a1", "stopped");
        let before = uptime(day, "a1");
        day.stays("a1", "stopped", 5 * INTERVAL);
        assert_eq!(uptime(day, "a1"), before);
        let since = day.health("a1")["since"].as_u64().unwrap();
        // A clock that is read twice may differ by some milliseconds.
        assert!(
            (asked_at - 20..=ended_at + 20).contains(&since),
            "{since}, not {asked_at} to {ended_at}"
        );
    });
}
