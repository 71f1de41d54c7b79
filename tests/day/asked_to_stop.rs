//! Asked to stop means stopped, whatever comes after.

use crate::harness::{Day, INTERVAL, Sidecar, a_day, a_day_with};
use crate::support::pty::{CTRL_C, CTRL_Z, Terminal};
use crate::support::{Redis, eventually};

/// An agent that works on for half a minute when it is asked to stop.
fn drains(day: &Day) -> Sidecar {
    let sidecar = day
        .agent("a1")
        .with(&["--grace", "60s"])
        .runs("trap 'touch draining; sleep 30' TERM; while :; do sleep 0.05; done");
    day.becomes("a1", "healthy");
    day.has_beaten("a1", 2);
    sidecar
}

/// The way of `docker stop` and of systemd.
fn term_then_kill(day: &Day, sidecar: &mut Sidecar) {
    sidecar.signal("TERM");
    eventually("the agent drains", || {
        day.path("draining").exists().then_some(())
    });
    day.monitor().holds(INTERVAL, || ());
    sidecar.dies_with_its_agent();
}

#[test]
fn term_and_then_kill_of_all_while_the_agent_drains() {
    a_day(|day| {
        let mut sidecar = drains(day);
        term_then_kill(day, &mut sidecar);
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 5 * INTERVAL);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"failed".to_owned()), "{story:?}");
    });
}

#[test]
fn nothing_of_a_run_that_was_killed_while_it_drained_is_shown() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .with(&["--grace", "60s"])
            .runs("trap 'touch draining; sleep 30' TERM; hbsidecar notify task=build progress=7; while :; do sleep 0.05; done");
        day.shows("a1", "currentTask", "build");
        term_then_kill(day, &mut sidecar);
        day.becomes("a1", "stopped");
        let health = day.health("a1");
        for field in ["currentTask", "taskProgress", "activity", "pid", "next"] {
            assert_eq!(
                health[field],
                serde_json::Value::Null,
                "{field} of {health}"
            );
        }
        assert_eq!(health["uptimeSeconds"], 0, "{health}");
        assert_eq!(health["status"], "stopped", "{health}");
    });
}

#[test]
fn term_and_then_kill_of_all_and_a_new_monitor() {
    a_day(|day| {
        let mut sidecar = drains(day);
        term_then_kill(day, &mut sidecar);
        day.becomes("a1", "stopped");
        for _ in 0..2 {
            day.monitor_is_killed_and_started();
            day.becomes("a1", "stopped");
            day.stays("a1", "stopped", 3 * INTERVAL);
            day.story("a1", &["stopped"]);
            day.its_hash_expires("a1");
        }
    });
}

#[test]
fn term_and_then_kill_and_the_next_start() {
    a_day(|day| {
        let mut sidecar = drains(day);
        term_then_kill(day, &mut sidecar);
        day.becomes("a1", "stopped");
        let _next = day.start("a1");
        day.stays("a1", "healthy", 3 * INTERVAL);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"failed".to_owned()), "{story:?}");
    });
}

#[test]
fn the_monitor_is_restarted_while_the_agent_drains() {
    a_day(|day| {
        let mut sidecar = drains(day);
        sidecar.signal("TERM");
        eventually("the agent drains", || {
            day.path("draining").exists().then_some(())
        });
        day.monitor_is_killed_and_started();
        sidecar.dies_with_its_agent();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 5 * INTERVAL);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"failed".to_owned()), "{story:?}");
    });
}

#[test]
fn every_signal_that_asks_for_an_end() {
    a_day(|day| {
        for (id, signals) in [
            ("int", &["INT"][..]),
            ("twice", &["TERM", "TERM"]),
            ("quit", &["QUIT"]),
            ("hup", &["HUP"]),
        ] {
            let mut sidecar = day.start(id);
            for name in signals {
                if sidecar.runs() {
                    sidecar.signal(name);
                }
            }
            sidecar.ends();
            day.becomes(id, "stopped");
            day.story(id, &["healthy", "stopped"]);
        }
    });
}

#[test]
fn an_agent_that_ends_with_7_because_it_was_asked_to() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .runs("trap 'exit 7' TERM; while :; do sleep 0.05; done");
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 1);
        assert_eq!(sidecar.stop(), 7);
        day.becomes("a1", "stopped");
        day.shows("a1", "reason", ());
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_that_does_not_listen_is_killed_and_was_stopped() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .with(&["--grace", "500ms"])
            .runs("trap '' TERM; while :; do sleep 0.05; done");
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 1);
        assert_eq!(sidecar.stop(), 137);
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_that_says_that_it_stops_may_end_as_it_likes() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .runs("sleep 0.6; hbsidecar notify stopping=1; exit 3");
        assert_eq!(sidecar.ends(), 3);
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

/// Redis and PostgreSQL say so when they end, to whom their environment names.
#[test]
fn the_end_that_a_daemon_of_the_agent_announces_is_its_own() {
    const DAEMON: &str = "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                          s.sendto(b'STOPPING=1', os.environ['NOTIFY_SOCKET']); time.sleep(1)";
    a_day(|day| {
        let script = format!("python3 -c \"{DAEMON}\"; sleep 9; exit 7");
        let mut sidecar = day.agent("a1").with(&["--restart", "never"]).runs(&script);
        assert_eq!(sidecar.ends(), 7);
        day.becomes("a1", "failed");
        day.says("a1", "sentence", "exited with code 7");
    });
}

#[test]
fn a_stop_while_redis_is_away_takes_no_longer() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let mut sidecar = day.start("a1");
        day.redis_is_killed();
        sidecar.stop(); // and it ends: hbsidecar gives up on the store, which stays away until then
        day.redis_starts();
        // What did not reach the store in time can only be seen as silence.
        day.becomes("a1", "failed");
        let _again = day.start("a1");
        day.stays("a1", "healthy", 3 * INTERVAL);
    });
}

#[test]
fn suspended_and_then_the_machine_is_switched_off() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        terminal.type_line(&day.typed("a1", "sh -c 'sleep 1000; true'"));
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 1);
        terminal.press(CTRL_Z);
        terminal.wait_for_prompt();
        day.becomes("a1", "stopped");
        drop(terminal); // with everybody in its session
        day.its_hash_expires("a1");
        day.stays("a1", "stopped", 3 * INTERVAL);
        let health = day.health("a1");
        let sentence = health["sentence"].as_str().unwrap();
        assert!(!sentence.contains("process is there"), "{health}");
    });
}

#[test]
fn ctrl_c_of_an_agent_that_cleans_up() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        let script = "sh -c 'trap \"sleep 0.5; exit 130\" INT; while :; do sleep 0.05; done'";
        terminal.type_line(&day.typed("a1", script));
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 1);
        terminal.press(CTRL_C);
        terminal.wait_for_prompt();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}
