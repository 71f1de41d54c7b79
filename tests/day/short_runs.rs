//! Short runs and quick changes are announced, each once and in order.

use crate::harness::{Day, INTERVAL, a_day};
use crate::support::signal;

/// One run to its end; the exit code.
fn run(day: &Day, script: &str) -> i32 {
    day.agent("job")
        .with(&["--restart", "never"])
        .runs(script)
        .ends()
}

#[test]
fn five_runs_of_a_cron_job() {
    a_day(|day| {
        for _ in 0..5 {
            assert_eq!(run(day, "sleep 0.3"), 0);
            day.becomes("job", "stopped");
        }
        day.stays("job", "stopped", 4 * INTERVAL);
        day.story("job", &["healthy", "stopped"].repeat(5));
    });
}

#[test]
fn five_runs_right_after_each_other() {
    a_day(|day| {
        for _ in 0..5 {
            assert_eq!(run(day, "true"), 0);
        }
        day.becomes("job", "stopped");
        day.story("job", &["healthy", "stopped"].repeat(5));
        let events = day.events("job");
        assert_eq!(
            events.iter().filter(|event| *event == "registered").count(),
            5
        );
    });
}

#[test]
fn a_cron_job_that_fails_once_between_two_good_runs() {
    a_day(|day| {
        assert_eq!(run(day, "sleep 0.8"), 0);
        day.becomes("job", "stopped");
        assert_eq!(run(day, "sleep 0.8; exit 3"), 3);
        day.becomes("job", "failed");
        day.shows("job", "reason", "exited");
        assert_eq!(run(day, "sleep 0.8"), 0);
        day.becomes("job", "stopped");
        day.shows("job", "reason", ());
        let story = [
            "healthy", "stopped", "healthy", "failed", "healthy", "stopped",
        ];
        day.story("job", &story);
    });
}

#[test]
fn exit_3_and_then_exit_4_tells_both_codes() {
    a_day(|day| {
        assert_eq!(run(day, "sleep 0.6; exit 3"), 3);
        day.says("job", "sentence", "exited with code 3");
        assert_eq!(run(day, "sleep 0.6; exit 4"), 4);
        day.says("job", "sentence", "exited with code 4");
        day.story("job", &["healthy", "failed", "healthy", "failed"]);
        let log = day.monitor().log();
        let codes = ["exited with code 3", "exited with code 4"];
        let at = codes.map(|code| log.find(code).unwrap());
        assert!(at[0] < at[1], "{log}");
    });
}

#[test]
fn a_long_run_is_stopped_and_a_short_one_fails() {
    a_day(|day| {
        let mut long = day.start("job");
        day.has_beaten("job", 5);
        long.stop();
        day.becomes("job", "stopped");
        assert_eq!(run(day, "sleep 1.2; exit 4"), 4);
        day.becomes("job", "failed");
        day.says("job", "sentence", "exited with code 4");
        day.stays("job", "failed", 4 * INTERVAL);
        day.story("job", &["healthy", "stopped", "healthy", "failed"]);
    });
}

#[test]
fn a_start_that_fails_at_once_after_a_clean_stop() {
    a_day(|day| {
        day.start("job").stop();
        day.becomes("job", "stopped");
        assert_eq!(run(day, "exit 3"), 3);
        day.becomes("job", "failed");
        day.says("job", "sentence", "exited with code 3");
        day.story("job", &["healthy", "stopped", "healthy", "failed"]);
    });
}

#[test]
fn the_command_is_not_found_any_more_after_a_deploy() {
    a_day(|day| {
        day.start("job").stop();
        day.becomes("job", "stopped");
        assert_eq!(day.agent("job").command(&["/nowhere/agent"]).ends(), 127);
        day.becomes("job", "failed");
        day.stays("job", "failed", 3 * INTERVAL);
        day.story("job", &["healthy", "stopped", "failed"]);
    });
}

#[test]
fn the_command_is_not_executable_any_more() {
    a_day(|day| {
        day.start("job").stop();
        day.becomes("job", "stopped");
        day.write("agent", "no program");
        assert_eq!(day.agent("job").command(&["./agent"]).ends(), 126);
        day.becomes("job", "failed");
        day.story("job", &["healthy", "stopped", "failed"]);
    });
}

#[test]
fn the_command_is_not_found_and_the_monitor_only_knew_that_it_was_stopped() {
    a_day(|day| {
        day.agent("job").every("300ms").starts().stop();
        day.its_hash_expires("job");
        day.monitor_is_killed_and_started();
        day.becomes("job", "stopped");
        assert_eq!(day.agent("job").command(&["/nowhere/agent"]).ends(), 127);
        day.becomes("job", "failed");
        day.story("job", &["stopped", "failed"]);
        day.monitor_is_killed_and_started();
        day.becomes("job", "failed");
        day.story("job", &["failed"]);
    });
}

#[test]
fn a_first_start_of_a_command_that_does_not_exist() {
    a_day(|day| {
        assert_eq!(day.agent("job").command(&["/nowhere/agent"]).ends(), 127);
        day.becomes("job", "failed");
        day.story("job", &["failed"]);
        let _repaired = day.start("job");
        day.story("job", &["failed", "healthy"]);
    });
}

#[test]
fn a_unit_that_systemd_starts_again_and_again_until_it_is_repaired() {
    a_day(|day| {
        for _ in 0..3 {
            assert_eq!(run(day, "sleep 0.4; exit 9"), 9);
            day.becomes("job", "failed");
        }
        let _repaired = day.start("job");
        day.shows("job", "restarts", 0);
        let story = ["healthy", "failed"].repeat(3);
        day.story("job", &[story, vec!["healthy"]].concat());
    });
}

#[test]
fn a_crash_loop_that_a_loop_around_it_starts_again() {
    a_day(|day| {
        for _ in 0..2 {
            let flags = [
                "--backoff",
                "50ms",
                "--backoff-max",
                "50ms",
                "--max-restarts",
                "1",
            ];
            let mut broken = day.agent("job").with(&flags).runs("sleep 0.2; exit 9");
            assert_eq!(broken.ends(), 9);
            day.shows("job", "reason", "crash_loop");
        }
        let _repaired = day.start("job");
        let life = [
            "registered",
            "exited",
            "restarted",
            "exited",
            "crash_loop",
            "registered",
            "exited",
            "restarted",
            "exited",
            "crash_loop",
            "registered",
        ];
        assert_eq!(day.events("job"), life);
        let story = ["healthy", "failed"].repeat(4);
        day.story("job", &[story, vec!["healthy"]].concat());
    });
}

#[test]
fn every_crash_and_every_restart_is_told() {
    a_day(|day| {
        let _agent = day
            .agent("job")
            .with(&["--backoff", "400ms", "--backoff-max", "400ms"])
            .runs("echo >> runs; [ $(wc -l < runs) = 4 ] && exec sleep 1000; sleep 0.6; exit 3");
        day.shows("job", "restarts", 3);
        day.becomes("job", "healthy");
        let story = ["healthy", "failed"].repeat(3);
        day.story("job", &[story, vec!["healthy"]].concat());
    });
}

#[test]
fn an_agent_that_an_operator_ends_is_started_again() {
    a_day(|day| {
        let sidecar = day.agent("job").with(&["--backoff", "300ms"]).starts();
        let agent = sidecar.agent();
        signal(agent, "TERM");
        day.shows("job", "restarts", 1);
        day.becomes("job", "healthy");
        day.story("job", &["healthy", "failed", "healthy"]);
    });
}

#[test]
fn an_agent_that_is_killed_for_good() {
    a_day(|day| {
        let mut sidecar = day.agent("job").with(&["--restart", "never"]).starts();
        signal(sidecar.agent(), "KILL");
        assert_eq!(sidecar.ends(), 137);
        day.becomes("job", "failed");
        day.shows("job", "reason", "killed");
        day.says("job", "sentence", "signal 9");
        day.story("job", &["healthy", "failed"]);
    });
}

#[test]
fn a_job_without_restarts_that_fails_once_is_no_crash_loop() {
    a_day(|day| {
        let job = day.agent("job").with(&["--max-restarts", "0"]);
        assert_eq!(job.runs("sleep 0.3; exit 1").ends(), 1);
        day.becomes("job", "failed");
        day.shows("job", "reason", "exited");
        day.story("job", &["healthy", "failed"]);
    });
}

#[test]
fn a_worker_that_says_goodbye_is_started_again_all_the_same_under_always() {
    a_day(|day| {
        let flags = [
            "--restart",
            "always",
            "--backoff",
            "100ms",
            "--backoff-max",
            "100ms",
        ];
        let worker = day.agent("a1").with(&flags);
        let _sidecar = worker.runs("hbsidecar notify stopping=1; sleep 0.3");
        day.shows("a1", "restarts", 3);
    });
}
