//! No process, no health: who waits for a process says what for, and what comes next.

use crate::harness::{Day, INTERVAL, Sidecar, a_day};
use crate::support::{Running, eventually};

/// A word that only the command line of this story's agent has.
fn name(day: &Day) -> String {
    format!("work-{}.sh", day.redis.borrow().port)
}

/// Others start the agent; TERM is a clean end for it.
fn created(day: &Day) -> Running {
    day.write(
        &name(day),
        "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
    );
    day.foreign(&["sh", &name(day)])
}

fn watched(day: &Day) -> Sidecar {
    day.agent("a1").every("300ms").matches(&name(day))
}

fn is_watched(day: &Day, agent: &Running) {
    day.shows("a1", "pid", agent.0.id());
    day.becomes("a1", "healthy");
}

#[test]
fn a_watch_for_a_process_that_is_not_there_yet() {
    a_day(|day| {
        let _sidecar = watched(day);
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "waiting for a process that matches");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.shows("a1", "pid", ());
        day.story("a1", &["stopped"]);
    });
}

#[test]
fn the_process_that_was_waited_for_comes() {
    a_day(|day| {
        let _sidecar = watched(day);
        day.becomes("a1", "stopped");
        let agent = created(day);
        is_watched(day, &agent);
        day.story("a1", &["stopped", "healthy"]);
    });
}

#[test]
fn the_wait_for_a_first_process_is_given_up() {
    a_day(|day| {
        let mut sidecar = watched(day);
        day.becomes("a1", "stopped");
        sidecar.stop();
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["stopped"]);
    });
}

#[test]
fn a_matched_process_is_killed_and_not_created_again() {
    a_day(|day| {
        let mut agent = created(day);
        let _sidecar = watched(day);
        is_watched(day, &agent);
        agent.kill();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "killed");
        day.shows("a1", "pid", ());
        day.stays("a1", "failed", 4 * INTERVAL);
        day.story("a1", &["healthy", "failed"]);
    });
}

#[test]
fn a_matched_process_ends_cleanly_and_is_not_created_again() {
    a_day(|day| {
        let mut agent = created(day);
        let _sidecar = watched(day);
        is_watched(day, &agent);
        agent.signal("TERM");
        assert_eq!(agent.exit_code(), Some(0));
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "waiting for a process that matches");
        day.shows("a1", "pid", ());
        day.stays("a1", "stopped", 4 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn others_create_the_agent_again_ten_times() {
    a_day(|day| {
        let _sidecar = watched(day);
        day.becomes("a1", "stopped");
        for _ in 0..9 {
            let mut agent = created(day);
            is_watched(day, &agent);
            agent.kill();
        }
        let agent = created(day);
        is_watched(day, &agent);
        day.shows("a1", "restarts", 9);
        let story = ["healthy", "failed"].repeat(9);
        day.story("a1", &[vec!["stopped"], story, vec!["healthy"]].concat());
    });
}

#[test]
fn others_create_the_agent_again_a_while_later() {
    a_day(|day| {
        let _sidecar = watched(day);
        day.becomes("a1", "stopped");
        for _ in 0..3 {
            let mut agent = created(day);
            is_watched(day, &agent);
            agent.kill();
            day.becomes("a1", "failed");
            day.stays("a1", "failed", 3 * INTERVAL);
        }
        let agent = created(day);
        is_watched(day, &agent);
        day.shows("a1", "restarts", 3);
        let story = ["healthy", "failed"].repeat(3);
        day.story("a1", &[vec!["stopped"], story, vec!["healthy"]].concat());
    });
}

/// Others start an agent that crashes when it is asked to.
fn created_to_crash(day: &Day) -> Running {
    let script = "trap 'exit 3' USR1\necho $$ >> traps\nwhile :; do sleep 0.05; done\n";
    day.write(&name(day), script);
    let agent = day.foreign(&["sh", &name(day)]);
    let line = format!("{}\n", agent.0.id());
    eventually("the agent handles the signal", || {
        let traps = std::fs::read_to_string(day.path("traps")).ok()?;
        traps.contains(&line).then_some(())
    });
    agent
}

fn crashes(agent: &mut Running) {
    agent.signal("USR1");
    assert_eq!(agent.exit_code(), Some(3));
}

#[test]
fn others_create_an_agent_again_that_crashes_each_time() {
    a_day(|day| {
        let budget = ["--max-restarts", "1", "--restart-window", "12s"];
        let launch = day.agent("a1").every("300ms").with(&budget);
        let _sidecar = launch.matches(&name(day));
        day.becomes("a1", "stopped");
        for reason in ["exited", "crash_loop"] {
            let mut agent = created_to_crash(day);
            is_watched(day, &agent);
            crashes(&mut agent);
            day.shows("a1", "reason", reason);
        }
        day.says("a1", "sentence", "exited with code 3, again and again");
        let third = created_to_crash(day);
        day.shows("a1", "pid", third.0.id());
        day.stays("a1", "failed", 2 * INTERVAL);
        eventually("it has lasted", || {
            (day.health("a1")["state"] == "healthy").then_some(())
        });
        let lives = ["healthy", "failed"].repeat(2);
        day.story("a1", &[vec!["stopped"], lives, vec!["healthy"]].concat());
        let loops = day.events("a1");
        let loops = loops.iter().filter(|event| *event == "crash_loop");
        assert_eq!(loops.count(), 1);
    });
}

#[test]
fn its_own_supervisor_upgrades_the_agent() {
    a_day(|day| {
        let mut old = created(day);
        let _sidecar = watched(day);
        is_watched(day, &old);
        old.signal("TERM");
        old.exit_code();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 2 * INTERVAL);
        let new = created(day);
        is_watched(day, &new);
        day.shows("a1", "restarts", 1);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn the_monitor_is_restarted_while_a_matched_process_is_away() {
    a_day(|day| {
        let mut agent = created(day);
        let _sidecar = watched(day);
        is_watched(day, &agent);
        agent.kill();
        day.becomes("a1", "failed");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "killed");
        day.stays("a1", "failed", 3 * INTERVAL);
        let agent = created(day);
        is_watched(day, &agent);
        day.story("a1", &["failed", "healthy"]);
    });
}

#[test]
fn the_watch_of_a_matched_process_is_upgraded() {
    a_day(|day| {
        let agent = created(day);
        let mut old = watched(day);
        is_watched(day, &agent);
        day.has_beaten("a1", 4);
        old.is_killed();
        let _new = watched(day);
        eventually("the new one has registered", || {
            (day.events("a1").len() == 2).then_some(())
        });
        is_watched(day, &agent);
        day.stays("a1", "healthy", 3 * INTERVAL);
    });
}

#[test]
fn a_worker_that_is_started_again_after_a_long_pause() {
    a_day(|day| {
        let _sidecar = day
            .agent("a1")
            .with(&[
                "--restart",
                "always",
                "--backoff",
                "3s",
                "--backoff-max",
                "3s",
            ])
            .runs("[ -e once ] && exec sleep 1000; touch once; sleep 1; exit 0");
        day.becomes("a1", "healthy");
        day.becomes("a1", "stopped");
        day.says("a1", "next", "restarting in");
        day.shows("a1", "pid", ());
        day.becomes("a1", "healthy");
        day.shows("a1", "restarts", 1);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn a_worker_that_is_started_again_at_once() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .with(&[
                "--restart",
                "always",
                "--backoff",
                "100ms",
                "--backoff-max",
                "100ms",
            ])
            .runs("echo >> runs; [ $(wc -l < runs) = 4 ] && exec sleep 1000; sleep 0.6");
        day.shows("a1", "restarts", 3);
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy"]);
        sidecar.stop();
        day.becomes("a1", "stopped");
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn a_crash_says_when_the_next_start_is_due() {
    a_day(|day| {
        let _sidecar = day
            .agent("a1")
            .with(&["--backoff", "3s", "--backoff-max", "3s"])
            .runs("[ -e once ] && exec sleep 1000; touch once; sleep 1; exit 3");
        day.becomes("a1", "failed");
        day.says("a1", "sentence", "exited with code 3");
        day.says("a1", "next", "restarting in");
        day.shows("a1", "pid", ());
        day.becomes("a1", "healthy");
        day.shows("a1", "reason", ());
        day.story("a1", &["healthy", "failed", "healthy"]);
    });
}

#[test]
fn stopped_by_a_person_while_it_waits_for_its_restart() {
    a_day(|day| {
        let mut sidecar = day
            .agent("a1")
            .with(&["--backoff", "30s", "--backoff-max", "30s"])
            .runs("sleep 0.6; exit 3");
        day.becomes("a1", "failed");
        day.says("a1", "next", "restarting in");
        sidecar.stop(); // and it ends before the 30 s are over
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 4 * INTERVAL);
        day.story("a1", &["healthy", "failed", "stopped"]);
    });
}

#[test]
fn attached_processes_end_each_in_its_own_way() {
    a_day(|day| {
        for (id, code, state) in [("good", 0, "stopped"), ("bad", 3, "failed")] {
            let script = format!("sleep 1.2; exit {code}");
            let mut agent = day.foreign(&["sh", "-c", &script]);
            let mut sidecar = day.agent(id).attaches(agent.0.id());
            day.becomes(id, "healthy");
            agent.exit_code();
            assert_eq!(sidecar.ends(), code);
            day.becomes(id, state);
            day.story(id, &["healthy", state]);
        }
    });
}
