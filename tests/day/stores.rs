//! Redis goes, comes back, with and without what it knew; the monitor is shut out of it.

use crate::harness::{Day, INTERVAL, a_day, a_day_with, now_ms};
use crate::support::{Redis, eventually};
use std::time::{Duration, Instant};

const UNTIL_FILE: &str = "until [ -e crash ]; do sleep 0.05; done; exit 3";

/// The store knows the agent and the monitor hears the store.
fn is_back(day: &Day, id: &str) {
    eventually(&format!("{id} is back in the store"), || {
        (!day.hash(id).is_empty()).then_some(())
    });
    day.monitor().is_ready();
}

/// So long is the monitor kept out, or Redis away.
fn pass(seconds: u64) {
    let start = Instant::now();
    eventually("that time has passed", || {
        (start.elapsed() > Duration::from_secs(seconds)).then_some(())
    });
}

/// A monitor whose user can be switched off.
fn a_day_with_a_lock(story: impl FnOnce(&Day)) {
    a_day_with(Redis::start(), |day| {
        let user = ["ACL", "SETUSER", "mon", "on", ">pw", "~*", "&*", "+@all"];
        day.ask::<()>(&user);
        let url = day.url().replace("redis://", "redis://mon:pw@");
        day.new_monitor_of(&url, &[]);
        story(day);
    });
}

fn shut_out(day: &Day) {
    day.ask::<()>(&["ACL", "SETUSER", "mon", "off"]);
    day.ask::<()>(&["CLIENT", "KILL", "USER", "mon"]);
    day.monitor().is_not_ready();
}

fn let_in(day: &Day) {
    day.ask::<()>(&["ACL", "SETUSER", "mon", "on"]);
    day.monitor().is_ready();
}

#[test]
fn agents_first_redis_later_and_the_monitor_last() {
    a_day_with(Redis::absent(&[]), |day| {
        let mut agents = ["a1", "a2", "a3"].map(|id| day.agent(id).sleeps());
        for agent in &agents {
            agent.agent();
        }
        day.redis_starts();
        day.new_monitor();
        for (agent, id) in agents.iter_mut().zip(["a1", "a2", "a3"]) {
            day.becomes(id, "healthy");
            day.shows(id, "pid", agent.agent());
            day.story(id, &["healthy"]);
        }
    });
}

#[test]
fn redis_is_restarted_empty_while_agents_run() {
    a_day(|day| {
        let ids = ["a1", "a2", "a3"];
        let _agents = ids.map(|id| day.agent(id).every("1s").starts());
        day.has_beaten("a1", 2);
        day.redis_is_killed();
        pass(1);
        day.redis_starts();
        for id in ids {
            is_back(day, id);
            day.stays(id, "healthy", 2 * INTERVAL);
            day.story(id, &["healthy"]);
        }
        let mut roster: Vec<String> = day.ask(&["HKEYS", "hb:agents"]);
        roster.sort();
        assert_eq!(roster, ids);
    });
}

#[test]
fn redis_is_restarted_with_what_it_knew() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let _agent = day.start("a1");
        day.has_beaten("a1", 3);
        for _ in 0..2 {
            day.redis_is_killed();
            day.redis_starts();
            day.monitor().is_ready();
        }
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn redis_is_restarted_empty_and_an_agent_is_stopped_and_started() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 3);
        day.redis_is_killed();
        day.redis_starts();
        is_back(day, "a1");
        first.stop();
        day.becomes("a1", "stopped");
        let _second = day.start("a1");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn flushall_and_then_a_stop_and_a_start() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 3);
        day.ask::<()>(&["FLUSHALL"]);
        is_back(day, "a1");
        first.stop();
        day.becomes("a1", "stopped");
        let _second = day.start("a1");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn flushall_and_then_a_crash() {
    a_day(|day| {
        let mut agent = day
            .agent("a1")
            .with(&["--restart", "never"])
            .runs(UNTIL_FILE);
        day.becomes("a1", "healthy");
        day.ask::<()>(&["FLUSHALL"]);
        is_back(day, "a1");
        day.write("crash", "");
        assert_eq!(agent.ends(), 3);
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "exited");
        day.story("a1", &["healthy", "failed"]);
    });
}

#[test]
fn a_backup_from_two_starts_ago_is_restored() {
    a_day(|day| {
        let mut agent = day.start("a1");
        day.ask::<()>(&["SAVE"]);
        for _ in 0..2 {
            agent.stop();
            day.becomes("a1", "stopped");
            agent = day.start("a1");
        }
        let epoch = |day: &Day| {
            day.hash("a1")
                .get("epoch")
                .and_then(|e| e.parse::<u64>().ok())
        };
        let before = epoch(day).unwrap();
        day.redis_is_killed();
        day.redis_starts();
        eventually("the epoch is what it was", || {
            (epoch(day)? >= before).then_some(())
        });
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 2 * INTERVAL);
        agent.stop();
        day.becomes("a1", "stopped");
        let _next = day.start("a1");
        assert!(epoch(day).unwrap() > before);
        day.story(
            "a1",
            &[&["healthy", "stopped"].repeat(3)[..], &["healthy"]].concat(),
        );
    });
}

#[test]
fn a_backup_from_a_time_when_the_agent_was_stopped_is_restored() {
    a_day(|day| {
        day.start("a1").stop();
        day.becomes("a1", "stopped");
        day.ask::<()>(&["SAVE"]);
        let second = day.start("a1");
        day.has_beaten("a1", 3);
        day.redis_is_killed();
        day.redis_starts();
        is_back(day, "a1");
        day.shows("a1", "pid", second.agent());
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
        day.monitor_is_killed_and_started();
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn an_agent_dies_while_redis_is_away() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let mut dies = day.start("dies");
        let _lives = day.start("lives");
        day.redis_is_killed();
        dies.dies_with_its_agent();
        pass(2);
        day.redis_starts();
        day.becomes("dies", "failed");
        day.becomes("lives", "healthy");
        day.story("lives", &["healthy"]);
    });
}

#[test]
fn an_agent_crashes_twice_and_goes_on_while_redis_is_away() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let script = "echo >> runs; [ $(wc -l < runs) = 3 ] && exec sleep 1000;";
        let _agent = day
            .agent("a1")
            .with(&["--backoff", "100ms", "--backoff-max", "100ms"])
            .runs(&format!("{script} {UNTIL_FILE}"));
        day.becomes("a1", "healthy");
        day.redis_is_killed();
        day.write("crash", "");
        eventually("it runs for the third time", || {
            (std::fs::read(day.path("runs")).ok()?.len() == 3).then_some(())
        });
        pass(2);
        day.redis_starts();
        day.shows("a1", "restarts", 2);
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        // What was over before the store could hear of it is history.
        day.story("a1", &["healthy"]);
        let exits = day
            .events("a1")
            .iter()
            .filter(|event| *event == "exited")
            .count();
        assert_eq!(exits, 2);
    });
}

#[test]
fn a_new_redis_has_a_clock_that_is_an_hour_behind() {
    a_day(|day| {
        let mut agent = day
            .agent("a1")
            .with(&["--restart", "never"])
            .runs(UNTIL_FILE);
        day.becomes("a1", "healthy");
        let in_an_hour = format!("{}-0", now_ms() + 3_600_000);
        let epoch = day.hash("a1")["epoch"].clone();
        let event = [
            "XADD",
            "hb:events",
            &in_an_hour,
            "event",
            "ready",
            "agent",
            "a1",
        ];
        let rest = ["epoch", &epoch, "at", "1", "detail", "{}"];
        day.ask::<String>(&[&event[..], &rest].concat());
        day.redis_is_killed();
        day.redis_starts();
        is_back(day, "a1");
        day.write("crash", "");
        agent.ends();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "exited");
        day.story("a1", &["healthy", "failed"]);
    });
}

#[test]
fn a_quicker_agent_is_started_while_redis_is_away() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let mut slow = day.agent("a1").every("2s").starts();
        day.redis_is_killed();
        slow.stop();
        let quick = day.agent("a1").every("500ms").sleeps();
        quick.agent();
        pass(1);
        day.redis_starts();
        day.shows("a1", "pid", quick.agent());
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 6 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn a_slower_agent_is_started_while_redis_is_away() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let mut quick = day.agent("a1").every("500ms").starts();
        day.redis_is_killed();
        quick.stop();
        let slow = day.agent("a1").every("2s").sleeps();
        slow.agent();
        day.redis_starts();
        day.shows("a1", "pid", slow.agent());
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 9 * INTERVAL);
    });
}

#[test]
fn a_monitor_is_started_while_redis_is_away() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let _agent = day.agent("a1").every("1s").starts();
        day.redis_is_killed();
        day.monitor().is_not_ready();
        day.monitor().stop();
        day.monitor().start();
        day.monitor().is_not_ready();
        day.redis_starts();
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 5 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn an_agent_is_stopped_while_the_monitor_is_shut_out() {
    a_day_with_a_lock(|day| {
        let mut agent = day.start("a1");
        shut_out(day);
        agent.stop();
        pass(3);
        let_in(day);
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_crashes_for_good_while_the_monitor_is_shut_out() {
    a_day_with_a_lock(|day| {
        let mut agent = day
            .agent("a1")
            .with(&["--restart", "never"])
            .runs(UNTIL_FILE);
        let _stays = day.start("a2");
        day.becomes("a1", "healthy");
        shut_out(day);
        day.write("crash", "");
        agent.ends();
        pass(3);
        let_in(day);
        day.becomes("a1", "failed");
        day.says("a1", "sentence", "exited with code 3");
        day.stays("a1", "failed", 3 * INTERVAL);
        day.story("a1", &["healthy", "failed"]);
        day.story("a2", &["healthy"]);
    });
}

#[test]
fn an_agent_is_stopped_and_started_while_the_monitor_is_shut_out() {
    a_day_with_a_lock(|day| {
        let mut first = day.start("a1");
        shut_out(day);
        first.stop();
        let second = day.agent("a1").sleeps();
        let _comes = day.agent("comes").sleeps();
        pass(3);
        let_in(day);
        day.shows("a1", "pid", second.agent());
        day.becomes("a1", "healthy");
        day.becomes("comes", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
        day.story("comes", &["healthy"]);
    });
}

#[test]
fn connections_are_cut_again_and_again_while_an_agent_is_stopped() {
    a_day_with_a_lock(|day| {
        let mut agent = day.start("a1");
        let cut = || day.ask::<()>(&["CLIENT", "KILL", "USER", "mon"]);
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            cut();
        }
        agent.signal("TERM");
        while agent.runs() {
            cut();
        }
        day.monitor().is_ready();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 2 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn flushall_and_the_agent_is_still_known_to_the_next_monitor() {
    a_day(|day| {
        let mut sidecar = day.start("a1");
        day.ask::<()>(&["FLUSHALL"]);
        eventually("the roster has the agent again", || {
            let known: bool = day.ask(&["HEXISTS", "hb:agents", "a1"]);
            known.then_some(())
        });
        sidecar.dies_with_its_agent();
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
    });
}
