//! A process stands still for a while: one matter, one story.

use crate::harness::{INTERVAL, a_day};
use crate::support::pty::{CTRL_Z, Terminal};
use crate::support::{eventually, signal};
use std::time::{Duration, Instant};

fn pass(time: Duration) {
    let start = Instant::now();
    eventually("that time has passed", || {
        (start.elapsed() > time).then_some(())
    });
}

#[test]
fn a_sidecar_stands_still_for_three_seconds() {
    a_day(|day| {
        let sidecar = day.start("a1");
        let agent = sidecar.agent();
        day.has_beaten("a1", 2);
        sidecar.signal("STOP");
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "heartbeat_lost");
        sidecar.signal("CONT");
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.shows("a1", "pid", agent);
        day.shows("a1", "restarts", 0);
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
    });
}

#[test]
fn a_sidecar_stands_still_for_a_moment() {
    a_day(|day| {
        let sidecar = day.agent("a1").every("1s").starts();
        day.has_beaten("a1", 2);
        for _ in 0..3 {
            sidecar.signal("STOP");
            pass(Duration::from_millis(100));
            sidecar.signal("CONT");
        }
        day.stays("a1", "healthy", 5 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn an_agent_crashes_while_its_sidecar_stands_still() {
    a_day(|day| {
        let sidecar = day.agent("a1").with(&["--backoff", "100ms"]).starts();
        day.has_beaten("a1", 2);
        sidecar.signal("STOP");
        signal(sidecar.agent(), "KILL");
        day.becomes("a1", "failed");
        pass(INTERVAL);
        sidecar.signal("CONT");
        day.shows("a1", "restarts", 1);
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
    });
}

#[test]
fn an_agent_is_done_while_its_sidecar_stands_still() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .runs("until [ -e done ]; do sleep 0.05; done");
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 2);
        sidecar.signal("STOP");
        day.write("done", "");
        day.becomes("a1", "failed");
        sidecar.signal("CONT");
        assert_eq!(sidecar.ends(), 0);
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["healthy", "missing", "failed", "stopped"]);
    });
}

#[test]
fn the_lid_of_the_laptop_is_closed() {
    a_day(|day| {
        let sidecar = day.agent("a1").every("1s").starts();
        day.has_beaten("a1", 2);
        let all = [
            sidecar.pid(),
            sidecar.agent(),
            day.monitor().pid(),
            day.redis.borrow().pid(),
        ];
        for pid in all {
            signal(pid, "STOP");
        }
        pass(Duration::from_secs(5));
        for pid in all.iter().rev() {
            signal(*pid, "CONT");
        }
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 6 * INTERVAL);
        day.shows("a1", "restarts", 0);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn only_the_monitor_stands_still() {
    a_day(|day| {
        let _sidecar = day.start("a1");
        day.has_beaten("a1", 2);
        signal(day.monitor().pid(), "STOP");
        pass(Duration::from_secs(3));
        signal(day.monitor().pid(), "CONT");
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn only_redis_stands_still() {
    a_day(|day| {
        let _sidecar = day.agent("a1").every("1s").starts();
        day.has_beaten("a1", 2);
        let redis = day.redis.borrow().pid();
        signal(redis, "STOP");
        pass(Duration::from_secs(2));
        signal(redis, "CONT");
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 4 * INTERVAL);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"failed".to_owned()), "{story:?}");
    });
}

#[test]
fn ctrl_z_and_fg() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        terminal.type_line(&day.typed("a1", "sh -c 'sleep 1000; true'"));
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 2);
        for _ in 0..2 {
            terminal.press(CTRL_Z);
            terminal.wait_for_prompt();
            day.becomes("a1", "stopped");
            day.says("a1", "sentence", "suspended");
            day.stays("a1", "stopped", 4 * INTERVAL);
            terminal.type_line("fg");
            day.becomes("a1", "healthy");
        }
        let story = ["healthy", "stopped", "healthy", "stopped", "healthy"];
        day.story("a1", &story);
    });
}

#[test]
fn an_agent_that_was_stopped_by_a_signal_goes_on() {
    a_day(|day| {
        let sidecar = day.start("a1");
        let agent = sidecar.agent();
        day.has_beaten("a1", 2);
        signal(agent, "STOP");
        pass(Duration::from_secs(2));
        signal(agent, "CONT");
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.shows("a1", "pid", agent);
        day.story("a1", &["healthy"]);
    });
}
