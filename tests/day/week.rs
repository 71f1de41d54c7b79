//! Whole fleets, and what else happens to them in a week.

use crate::harness::{INTERVAL, a_day, a_day_with};
use crate::support::{Redis, eventually, signal};
use std::collections::HashMap;

#[test]
fn thirty_agents_are_started_stopped_and_started_at_once() {
    a_day(|day| {
        let ids: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
        let start = || -> Vec<_> {
            ids.iter()
                .map(|id| day.agent(id).every("1s").sleeps())
                .collect()
        };
        let mut agents = start();
        day.all_are(30, "healthy");
        day.has_beaten("n29", 2);
        for agent in &agents {
            agent.signal("TERM");
        }
        for agent in &mut agents {
            agent.ends();
        }
        day.all_are(30, "stopped");
        let _agents = start();
        day.all_are(30, "healthy");
        for id in &ids {
            day.story(id, &["healthy", "stopped", "healthy"]);
        }
    });
}

#[test]
fn ten_agents_are_deployed_one_after_the_other() {
    a_day(|day| {
        let ids: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
        let mut agents: HashMap<_, _> = ids.iter().map(|id| (id, day.agent(id).sleeps())).collect();
        day.all_are(10, "healthy");
        for id in &ids {
            agents.get_mut(id).unwrap().stop();
            agents.insert(id, day.start(id));
            day.all_are(10, "healthy");
        }
        for id in &ids {
            day.story(id, &["healthy", "stopped", "healthy"]);
        }
    });
}

#[test]
fn an_agent_gets_another_name() {
    a_day(|day| {
        day.start("old").stop();
        let _new = day.start("new");
        day.becomes("old", "stopped");
        day.stays("old", "stopped", 5 * INTERVAL);
        day.all_are(1, "healthy");
        day.all_are(1, "stopped");
        day.story("old", &["healthy", "stopped"]);
        day.story("new", &["healthy"]);
    });
}

#[test]
fn an_agent_is_removed_for_good() {
    a_day(|day| {
        let _stays = day.start("stays");
        day.start("goes").stop();
        day.ask::<()>(&["DEL", "agent:goes"]);
        day.ask::<()>(&["HDEL", "hb:agents", "goes"]);
        day.monitor().stop();
        day.monitor().start();
        day.becomes("stays", "healthy");
        assert_eq!(day.monitor().state("goes"), None);
        assert_eq!(day.monitor().fleet("")["total"], 1);
    });
}

#[test]
fn a_removed_agent_is_used_again() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 3);
        first.stop();
        day.ask::<()>(&["DEL", "agent:a1"]);
        day.ask::<()>(&["HDEL", "hb:agents", "a1"]);
        let _again = day.start("a1");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn an_agent_without_a_name_is_the_same_one_each_time() {
    a_day(|day| {
        for _ in 0..2 {
            let mut run = day.unnamed_agent().sleeps();
            day.all_are(1, "healthy");
            run.agent();
            run.stop();
            day.all_are(1, "stopped");
        }
        assert_eq!(day.monitor().fleet("")["total"], 1);
    });
}

#[test]
fn an_agent_goes_into_the_background_and_is_ended_with_its_parent() {
    a_day(|day| {
        let script = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & sleep 1; exit 0";
        assert_eq!(day.agent("a1").runs(script).ends(), 0);
        day.becomes("a1", "stopped");
        let daemon = std::fs::read_to_string(day.path("daemon")).unwrap();
        let process = format!("/proc/{}", daemon.trim());
        eventually("the daemon is gone", || {
            (!std::fs::exists(&process).unwrap()).then_some(())
        });
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_goes_into_the_background_and_is_kept() {
    a_day(|day| {
        let script = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & sleep 1; exit 0";
        assert_eq!(
            day.agent("a1")
                .with(&["--keep-orphans"])
                .runs(script)
                .ends(),
            0
        );
        day.becomes("a1", "stopped");
        let daemon = std::fs::read_to_string(day.path("daemon")).unwrap();
        assert!(std::fs::exists(format!("/proc/{}", daemon.trim())).unwrap());
        let _again = day.start("a1");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn everything_is_taken_down_for_the_night_and_up_in_the_morning() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        let ids = ["a1", "a2", "a3"];
        for mut agent in ids.map(|id| day.start(id)) {
            agent.stop();
        }
        day.monitor().stop();
        day.redis_is_killed();
        day.redis_starts();
        day.monitor().start();
        for id in ids {
            day.becomes(id, "stopped");
        }
        let _agents = ids.map(|id| day.start(id));
        day.all_are(3, "healthy");
        for id in ids {
            day.story(id, &["stopped", "healthy"]);
        }
    });
}

#[test]
fn the_order_of_the_morning_is_another_one() {
    a_day_with(Redis::start_durable(), |day| {
        day.new_monitor();
        day.start("a1").stop();
        day.monitor().stop();
        day.redis_is_killed();
        let agent = day.agent("a1").sleeps();
        agent.agent();
        day.monitor().start();
        day.redis_starts();
        day.becomes("a1", "healthy");
        day.shows("a1", "pid", agent.agent());
        day.stays("a1", "healthy", 3 * INTERVAL);
    });
}

#[test]
fn figures_never_fall_and_agree_through_a_busy_hour() {
    a_day(|day| {
        let monitor = day.monitor();
        let beats = || monitor.fleet_and_beats();
        let mut before = beats();
        let mut look = || {
            let now = beats();
            assert!(now >= before, "{now} beats after {before}");
            before = now;
        };
        let mut first = day.start("a1");
        look();
        let mut second = day.start("a2");
        look();
        first.stop();
        day.becomes("a1", "stopped");
        look();
        let _again = day.start("a1");
        look();
        second.dies_with_its_agent();
        day.becomes("a2", "failed");
        look();
    });
}

#[test]
fn one_agent_of_three_crashes_and_the_others_are_not_touched() {
    a_day(|day| {
        let agents =
            ["a1", "a2", "a3"].map(|id| day.agent(id).with(&["--backoff", "300ms"]).starts());
        signal(agents[1].agent(), "KILL");
        day.shows("a2", "restarts", 1);
        day.becomes("a2", "healthy");
        day.story("a1", &["healthy"]);
        day.story("a2", &["healthy", "failed", "healthy"]);
        day.story("a3", &["healthy"]);
    });
}

#[test]
fn a_sidecar_starts_a_sidecar() {
    a_day(|day| {
        let mut outer = day
            .agent("outer")
            .runs("exec hbsidecar --id inner -- sleep 1000");
        day.becomes("outer", "healthy");
        outer.stop();
        day.becomes("outer", "stopped");
        day.story("outer", &["healthy", "stopped"]);
    });
}

#[test]
fn a_stop_right_after_the_start() {
    a_day(|day| {
        for _ in 0..3 {
            let mut run = day.agent("a1").sleeps();
            run.agent();
            run.stop();
            day.becomes("a1", "stopped");
        }
        day.story("a1", &["healthy", "stopped"].repeat(3));
        let _last = day.start("a1");
        day.story(
            "a1",
            &[&["healthy", "stopped"].repeat(3)[..], &["healthy"]].concat(),
        );
    });
}

#[test]
fn monday_to_friday_an_agent_works_by_day_and_is_stopped_by_night() {
    a_day(|day| {
        for _ in 0..5 {
            let mut run = day.agent("a1").every("300ms").starts();
            day.has_beaten("a1", 3);
            run.stop();
            day.becomes("a1", "stopped");
            day.its_hash_expires("a1");
        }
        day.story("a1", &["healthy", "stopped"].repeat(5));
    });
}
