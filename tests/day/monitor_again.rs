//! A monitor that starts tells what is, once, and not more than it knows.

use crate::harness::{Day, INTERVAL, Sidecar, a_day, a_day_with, now_ms};
use crate::support::pty::{CTRL_Z, Terminal};
use crate::support::{Redis, eventually, signal};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(2);

/// A run that has ended with this code, at 300 ms so that its hash expires soon.
fn exits(day: &Day, code: i32) {
    let flags = ["--restart", "never"];
    let mut run = day
        .agent("a1")
        .every("300ms")
        .with(&flags)
        .runs(&format!("sleep 1; exit {code}"));
    assert_eq!(run.ends(), code);
}

/// An agent that has crashed once, and runs again.
fn recovers_from_a_crash(day: &Day) -> Sidecar {
    let sidecar = day
        .agent("a1")
        .with(&["--backoff", "200ms"])
        .runs("[ -e once ] && exec sleep 1000; touch once; sleep 1; exit 3");
    day.shows("a1", "restarts", 1);
    day.becomes("a1", "healthy");
    sidecar
}

#[test]
fn an_agent_that_is_missing_is_not_healthy_for_a_new_monitor() {
    a_day(|day| {
        let sidecar = day.agent("a1").every("1s").starts();
        // The second beat comes early, when the first sample is there: in the middle of its slot.
        day.has_beaten("a1", 2);
        sidecar.signal("STOP");
        day.becomes("a1", "missing");
        day.monitor_is_killed_and_started();
        day.monitor().is_never_healthy("a1", SOON);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"healthy".to_owned()), "{story:?}");
        sidecar.signal("CONT");
        day.becomes("a1", "healthy");
    });
}

#[test]
fn an_agent_that_failed_by_silence_is_not_healthy_for_a_new_monitor() {
    a_day(|day| {
        let mut sidecar = day.start("a1");
        day.has_beaten("a1", 2);
        sidecar.dies_with_its_agent();
        day.becomes("a1", "failed");
        day.monitor_is_killed_and_started();
        day.monitor().is_never_healthy("a1", SOON);
        day.becomes("a1", "failed");
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"healthy".to_owned()), "{story:?}");
    });
}

#[test]
fn an_exit_code_survives_the_monitor_and_the_hash() {
    a_day(|day| {
        exits(day, 3);
        day.becomes("a1", "failed");
        for _ in 0..2 {
            day.monitor_is_killed_and_started();
            day.becomes("a1", "failed");
            day.shows("a1", "reason", "exited");
            day.says("a1", "sentence", "exited with code 3");
            day.story("a1", &["failed"]);
            day.its_hash_expires("a1");
        }
    });
}

#[test]
fn a_signal_that_ended_an_agent_survives_the_monitor() {
    a_day(|day| {
        let flags = ["--restart", "never"];
        let mut sidecar = day.agent("a1").every("300ms").with(&flags).starts();
        signal(sidecar.agent(), "KILL");
        sidecar.ends();
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "killed");
        day.says("a1", "sentence", "signal 9");
        day.story("a1", &["failed"]);
    });
}

#[test]
fn a_crash_loop_survives_the_monitor_the_hash_and_the_stream() {
    a_day(|day| {
        let mut broken = day
            .agent("a1")
            .every("300ms")
            .with(&[
                "--backoff",
                "50ms",
                "--backoff-max",
                "50ms",
                "--max-restarts",
                "2",
            ])
            .runs("sleep 0.2; exit 9");
        assert_eq!(broken.ends(), 9);
        day.shows("a1", "reason", "crash_loop");
        let later: [&dyn Fn(); 3] = [
            &|| day.its_hash_expires("a1"),
            &|| day.ask(&["XTRIM", "hb:events", "MAXLEN", "0"]),
            &|| (),
        ];
        for happens in later {
            day.monitor_is_killed_and_started();
            day.becomes("a1", "failed");
            day.shows("a1", "reason", "crash_loop");
            day.story("a1", &["failed"]);
            happens();
        }
        let _repaired = day.start("a1");
        day.story("a1", &["failed", "healthy"]);
    });
}

#[test]
fn a_pause_before_the_next_start_survives_the_monitor() {
    a_day(|day| {
        let _sidecar = day
            .agent("a1")
            .with(&["--backoff", "4s", "--backoff-max", "4s"])
            .runs("[ -e once ] && exec sleep 1000; touch once; sleep 1; exit 3");
        day.becomes("a1", "failed");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
        day.says("a1", "next", "restarting in");
        day.becomes("a1", "healthy");
        day.shows("a1", "restarts", 1);
        day.story("a1", &["failed", "healthy"]);
    });
}

#[test]
fn nothing_of_five_stops_and_starts_is_told_again() {
    a_day(|day| {
        for _ in 0..5 {
            day.start("a1").stop();
        }
        let _running = day.start("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn a_crash_that_was_overcome_is_not_told_again() {
    a_day(|day| {
        let _sidecar = recovers_from_a_crash(day);
        day.has_beaten("a1", 2);
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.shows("a1", "restarts", 1);
        day.story("a1", &["healthy"]);
    });
}

/// Waits for a child that writes more than fits into a pipe which only its parent could read.
const HANGS: &str = "
import subprocess, time
subprocess.Popen(['head', '-c', '1000000', '/dev/zero'], stdout=subprocess.PIPE).wait()
while True: time.sleep(0.1); sum(range(1000000))";

#[test]
fn a_hang_that_was_overcome_is_not_told_again() {
    a_day(|day| {
        let flags = &["--patience", "0.05", "--on-hung", "alert"];
        let sidecar = day.agent("a1").with(flags);
        let sidecar = sidecar.command(&["python3", "-c", HANGS]);
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "hung");
        let agent = sidecar.agent();
        let children = format!("/proc/{agent}/task/{agent}/children");
        let children = std::fs::read_to_string(children).unwrap();
        let child: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
        signal(child, "KILL");
        day.becomes("a1", "healthy");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn a_lost_machine_is_not_blamed_on_the_crash_before() {
    a_day(|day| {
        let mut sidecar = recovers_from_a_crash(day);
        sidecar.dies_with_its_agent();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "heartbeat_lost");
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "heartbeat_lost");
    });
}

#[test]
fn the_time_of_an_end_survives_the_monitor() {
    a_day(|day| {
        let begun_at = now_ms();
        exits(day, 3);
        let failed_at = now_ms();
        let mut sidecar = day.agent("a2").every("300ms").starts();
        let asked_at = now_ms();
        sidecar.stop();
        let stopped_at = now_ms();
        day.its_hash_expires("a2");
        day.stays("a2", "stopped", 3 * INTERVAL);
        day.monitor_is_killed_and_started();
        for (id, state, from, to) in [
            ("a1", "failed", begun_at, failed_at),
            ("a2", "stopped", asked_at, stopped_at),
        ] {
            day.becomes(id, state);
            let since = day.health(id)["since"].as_u64().unwrap();
            // A clock that is read twice may differ by some milliseconds.
            let then = from - 20..=to + 20;
            assert!(then.contains(&since), "{id}: {since}, not in {then:?}");
        }
    });
}

#[test]
fn an_agent_at_rest_behind_ctrl_z_is_suspended_for_a_new_monitor() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        terminal.type_line(&day.typed("a1", "sh -c 'sleep 1000; true'"));
        day.becomes("a1", "healthy");
        terminal.press(CTRL_Z);
        terminal.wait_for_prompt();
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "suspended");
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "suspended");
        terminal.type_line("fg");
        day.becomes("a1", "healthy");
        day.story("a1", &["stopped", "healthy"]);
    });
}

#[test]
fn ctrl_z_and_fg_are_not_told_again() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        terminal.type_line(&day.typed("a1", "sh -c 'sleep 1000; true'"));
        day.becomes("a1", "healthy");
        terminal.press(CTRL_Z);
        terminal.wait_for_prompt();
        day.becomes("a1", "stopped");
        terminal.type_line("fg");
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy", "stopped", "healthy"]);
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn an_agent_that_was_left_running_has_not_ended() {
    a_day(|day| {
        let agent = day.foreign(&["sleep", "1000"]);
        let mut sidecar = day.agent("a1").every("300ms").attaches(agent.0.id());
        day.becomes("a1", "healthy");
        sidecar.stop();
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "does not watch");
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "does not watch");
        let health = day.health("a1");
        assert!(
            !health["sentence"].as_str().unwrap().contains("ended"),
            "{health}"
        );
    });
}

#[test]
fn a_busy_hour_without_a_monitor() {
    a_day(|day| {
        let mut stops = day.start("stops");
        let mut bounces = day.start("bounces");
        let mut crashes = day
            .agent("crashes")
            .with(&["--restart", "never"])
            .runs("until [ -e crash ]; do sleep 0.05; done; exit 5");
        day.becomes("crashes", "healthy");
        day.monitor().stop();
        stops.stop();
        bounces.stop();
        day.write("crash", "");
        assert_eq!(crashes.ends(), 5);
        let _again = day.agent("bounces").sleeps();
        let _new = day.agent("comes").sleeps();
        day.has_beaten("comes", 1);
        day.has_beaten("bounces", 1);
        day.monitor().start();
        for (id, state) in [
            ("stops", "stopped"),
            ("crashes", "failed"),
            ("bounces", "healthy"),
            ("comes", "healthy"),
        ] {
            day.becomes(id, state);
            day.story(id, &[state]);
        }
        day.stays("bounces", "healthy", 3 * INTERVAL);
    });
}

#[test]
fn the_monitor_is_killed_three_times_and_the_fleet_stays_healthy() {
    a_day(|day| {
        let _agent = day.start("a1");
        for _ in 0..3 {
            day.monitor_is_killed_and_started();
            day.becomes("a1", "healthy");
            day.stays("a1", "healthy", 2 * INTERVAL);
            day.story("a1", &["healthy"]);
        }
    });
}

#[test]
fn what_a_stopped_agent_was_survives_the_monitor() {
    a_day(|day| {
        let flags = ["--type", "reader"];
        day.agent("a1").every("300ms").with(&flags).starts().stop();
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "stopped");
        day.shows("a1", "agentType", "reader");
        assert_eq!(day.agents_in("?type=reader&state=stopped"), 1);
        assert!(!day.health("a1")["host"].as_str().unwrap().is_empty());
        day.says("a1", "sentence", "ended cleanly");
        day.story("a1", &["stopped"]);
    });
}

#[test]
fn the_machine_of_redis_and_the_monitor_is_rebooted() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let _runs = day.agent("runs").every("1s").starts();
        day.agent("stops").every("1s").starts().stop();
        let flags = ["--restart", "never"];
        day.agent("crashes")
            .every("1s")
            .with(&flags)
            .runs("sleep 0.5; exit 4")
            .ends();
        day.becomes("crashes", "failed");
        day.monitor().kill();
        day.redis_is_killed();
        day.monitor().start();
        day.monitor().is_not_ready();
        day.redis_starts();
        for (id, state) in [
            ("runs", "healthy"),
            ("stops", "stopped"),
            ("crashes", "failed"),
        ] {
            day.becomes(id, state);
        }
        day.stays("runs", "healthy", 4 * INTERVAL);
        day.says("crashes", "sentence", "exited with code 4");
        for (id, state) in [
            ("runs", "healthy"),
            ("stops", "stopped"),
            ("crashes", "failed"),
        ] {
            day.story(id, &[state]);
        }
    });
}

#[test]
fn a_second_monitor_of_the_same_fleet() {
    a_day(|day| {
        let mut first = day.start("a1");
        let second = day.new_monitor();
        second.becomes("a1", "healthy");
        first.stop();
        second.becomes("a1", "stopped");
        day.becomes("a1", "stopped");
        let _again = day.start("a1");
        let story = ["healthy", "stopped", "healthy"];
        day.story("a1", &story);
        second.story_is("a1", &story);
    });
}

#[test]
fn one_of_two_monitors_is_killed_and_the_other_goes_on() {
    a_day(|day| {
        let mut agent = day.start("a1");
        let second = day.new_monitor();
        second.becomes("a1", "healthy");
        day.monitor().kill();
        agent.stop();
        second.story_is("a1", &["healthy", "stopped"]);
        day.monitor().start();
        day.becomes("a1", "stopped");
        day.story("a1", &["stopped"]);
        eventually("both say the same", || {
            let words = |health: serde_json::Value| health["sentence"].clone();
            (words(day.health("a1")) == words(second.health("a1")?)).then_some(())
        });
    });
}

#[test]
fn the_monitor_is_killed_at_every_step_of_a_life() {
    a_day(|day| {
        let is_known_as = |state| {
            day.becomes("a1", state);
            day.monitor_is_killed_and_started();
            day.becomes("a1", state);
            day.stays("a1", state, 2 * INTERVAL);
            day.story("a1", &[state]);
        };
        let mut first = day.start("a1");
        is_known_as("healthy");
        first.stop();
        is_known_as("stopped");
        let mut second = day.agent("a1").with(&["--restart", "never"]).starts();
        is_known_as("healthy");
        signal(second.agent(), "KILL");
        second.ends();
        is_known_as("failed");
        let _third = day.start("a1");
        is_known_as("healthy");
    });
}
