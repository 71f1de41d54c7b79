//! The dead have no figures.

use crate::harness::{Day, INTERVAL, a_day};
use serde_json::Value;

const BUSY: &str = "hbsidecar notify task=build progress=40 queue=9 active=2;";

/// Neither a task nor a figure of a run that is over, but what it was at last.
fn has_no_figures(day: &Day, id: &str) {
    let health = day.health(id);
    for field in ["currentTask", "taskProgress", "activity"] {
        assert_eq!(health[field], Value::Null, "{field} of {health}");
    }
    // There are none of a run that only the roster knows any more.
    for (name, figure) in health["metrics"].as_object().into_iter().flatten() {
        assert_eq!(figure.as_f64(), Some(0.0), "{name} of {health}");
    }
}

fn had_a_task(day: &Day, id: &str) {
    let health = day.health(id);
    assert_eq!(health["lastTask"], "build", "{health}");
    assert_eq!(health["lastTaskProgress"].as_f64(), Some(40.0), "{health}");
}

#[test]
fn a_stopped_agent_has_no_figures() {
    a_day(|day| {
        let mut sidecar = day.agent("a1").runs(&format!("{BUSY} exec sleep 1000"));
        day.shows("a1", "currentTask", "build");
        day.shows("a1", "metrics/queueDepth", 9);
        sidecar.stop();
        day.becomes("a1", "stopped");
        has_no_figures(day, "a1");
        had_a_task(day, "a1");
    });
}

#[test]
fn a_failed_agent_has_no_figures() {
    a_day(|day| {
        let script = format!("{BUSY} until [ -e crash ]; do sleep 0.05; done; exit 3");
        let mut sidecar = day.agent("a1").with(&["--restart", "never"]).runs(&script);
        day.shows("a1", "currentTask", "build");
        day.write("crash", "");
        sidecar.ends();
        day.becomes("a1", "failed");
        has_no_figures(day, "a1");
        had_a_task(day, "a1");
    });
}

#[test]
fn the_dead_have_no_figures_for_a_new_monitor_either() {
    a_day(|day| {
        let mut sidecar = day.agent("a1").runs(&format!("{BUSY} exec sleep 1000"));
        day.shows("a1", "currentTask", "build");
        sidecar.stop();
        day.monitor_is_killed_and_started();
        day.becomes("a1", "stopped");
        has_no_figures(day, "a1");
    });
}

#[test]
fn a_lost_agent_has_no_figures() {
    a_day(|day| {
        let mut sidecar = day.agent("a1").runs(&format!("{BUSY} exec sleep 1000"));
        day.shows("a1", "currentTask", "build");
        sidecar.dies_with_its_agent();
        day.becomes("a1", "failed");
        has_no_figures(day, "a1");
        had_a_task(day, "a1");
    });
}

#[test]
fn an_agent_that_waits_for_its_restart_has_no_figures() {
    a_day(|day| {
        // The first restart is at once, since there was progress; the second one waits.
        let script = format!(
            "[ -e crash ] && exit 3; {BUSY} until [ -e crash ]; do sleep 0.05; done; exit 3"
        );
        let flags = ["--backoff", "20s", "--backoff-max", "20s"];
        let _sidecar = day.agent("a1").with(&flags).runs(&script);
        day.shows("a1", "currentTask", "build");
        day.write("crash", "");
        day.says("a1", "next", "restarting in");
        day.stays("a1", "failed", 2 * INTERVAL);
        has_no_figures(day, "a1");
    });
}

#[test]
fn the_task_of_a_crash_does_not_come_back_with_the_restart() {
    a_day(|day| {
        let script = format!(
            "[ -e crash ] && exec sleep 1000; {BUSY} until [ -e crash ]; do sleep 0.05; done; exit 3"
        );
        let _sidecar = day.agent("a1").with(&["--backoff", "100ms"]).runs(&script);
        day.shows("a1", "currentTask", "build");
        day.write("crash", "");
        day.shows("a1", "restarts", 1);
        day.becomes("a1", "healthy");
        day.monitor().holds(3 * INTERVAL, || {
            let health = day.health("a1");
            assert_eq!(health["currentTask"], Value::Null, "{health}");
            assert_eq!(health["taskProgress"], Value::Null, "{health}");
        });
    });
}

#[test]
fn the_task_of_a_stopped_run_does_not_come_back_with_the_next() {
    a_day(|day| {
        let mut first = day.agent("a1").runs(&format!("{BUSY} exec sleep 1000"));
        day.shows("a1", "currentTask", "build");
        first.stop();
        let _second = day.start("a1");
        day.monitor().holds(3 * INTERVAL, || {
            let health = day.health("a1");
            assert_eq!(health["currentTask"], Value::Null, "{health}");
            assert_eq!(health["metrics"]["queueDepth"], 0, "{health}");
        });
    });
}

#[test]
fn a_status_file_of_the_last_run_is_not_the_next_ones_word() {
    a_day(|day| {
        let file = day.path("status");
        let flags = [
            "--status-file",
            file.to_str().unwrap(),
            "--restart",
            "never",
        ];
        let mut first = day
            .agent("a1")
            .with(&flags)
            .runs("echo 'task=build progress=40' > status; exec sleep 1000");
        day.shows("a1", "currentTask", "build");
        first.stop();
        day.write("status", "task=build progress=90\nstopping=1\n");
        let mut second = day.agent("a1").with(&flags).runs("sleep 1.5; exit 3");
        day.becomes("a1", "healthy");
        day.shows("a1", "currentTask", ());
        assert_eq!(second.ends(), 3);
        day.becomes("a1", "failed");
        day.story("a1", &["healthy", "stopped", "healthy", "failed"]);
    });
}
