//! Two fleets in one Redis, passwords, another Redis.

use crate::harness::{Day, INTERVAL, Watcher, a_day, a_day_with};
use crate::support::{Redis, eventually};
use std::rc::Rc;

fn two_fleets(story: impl FnOnce(&Day, &Rc<Watcher>, &Rc<Watcher>)) {
    a_day_with(Redis::start(), |day| {
        let staging = day.new_monitor_of(&day.database(1), &[]);
        let production = day.new_monitor_of(&day.database(2), &[]);
        story(day, &staging, &production);
    });
}

#[test]
fn one_id_in_two_databases_is_two_agents() {
    two_fleets(|day, staging, production| {
        let one = day
            .agent("a1")
            .store(&day.database(1))
            .apart("one")
            .sleeps();
        let mut two = day
            .agent("a1")
            .store(&day.database(2))
            .apart("two")
            .sleeps();
        staging.shows("a1", "pid", one.agent());
        production.shows("a1", "pid", two.agent());
        staging.becomes("a1", "healthy");
        production.becomes("a1", "healthy");
        staging.holds(3 * INTERVAL, || {
            assert_eq!(staging.health("a1").unwrap()["pid"], one.agent());
            assert_eq!(production.health("a1").unwrap()["pid"], two.agent());
        });
        two.stop();
        production.becomes("a1", "stopped");
        staging.stays("a1", "healthy", 3 * INTERVAL);
        staging.story_is("a1", &["healthy"]);
        production.story_is("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_of_one_database_is_unknown_in_the_other() {
    two_fleets(|day, staging, production| {
        let _one = day.agent("one").store(&day.database(1)).sleeps();
        let _two = day.agent("two").store(&day.database(2)).sleeps();
        staging.becomes("one", "healthy");
        production.becomes("two", "healthy");
        staging.stays("one", "healthy", 3 * INTERVAL);
        assert_eq!(staging.fleet("")["total"], 1);
        assert_eq!(production.fleet("")["total"], 1);
    });
}

#[test]
fn the_channel_carries_the_number_of_the_database() {
    two_fleets(|day, _, production| {
        let _two = day.agent("a1").store(&day.database(2)).sleeps();
        production.becomes("a1", "healthy");
        let channels: Vec<String> = day.ask(&["PUBSUB", "CHANNELS", "heartbeats*"]);
        for channel in ["heartbeats:1", "heartbeats:2"] {
            assert!(channels.contains(&channel.to_owned()), "{channels:?}");
        }
    });
}

#[test]
fn a_crash_in_production_is_none_in_staging() {
    two_fleets(|day, staging, production| {
        let _staging = day
            .agent("a1")
            .store(&day.database(1))
            .apart("one")
            .sleeps();
        staging.becomes("a1", "healthy");
        let flags = ["--restart", "never"];
        let launch = day
            .agent("a1")
            .store(&day.database(2))
            .apart("two")
            .with(&flags);
        assert_eq!(launch.runs("sleep 0.8; exit 3").ends(), 3);
        production.becomes("a1", "failed");
        staging.stays("a1", "healthy", 3 * INTERVAL);
        staging.story_is("a1", &["healthy"]);
        production.story_is("a1", &["healthy", "failed"]);
    });
}

#[test]
fn the_password_is_changed_and_redis_restarted() {
    let mut redis = Redis::absent(&[]);
    redis.password = Some("first-secret".to_owned());
    redis.up();
    a_day_with(redis, |day| {
        day.write("password", "first-secret\n");
        let file = day.path("password");
        let flags = ["--redis-password-file", file.to_str().unwrap()];
        let monitor = day.new_monitor_of(&day.url(), &flags);
        let sidecar = day.agent("a1").with(&flags).starts();
        day.write("password", "second-secret\n");
        day.redis_is_killed();
        day.redis.borrow_mut().password = Some("second-secret".to_owned());
        day.redis_starts();
        monitor.is_ready();
        eventually("the sidecar is back", || {
            (!day.hash("a1").is_empty()).then_some(())
        });
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy"]);
        for log in [sidecar.log(), monitor.log()] {
            assert!(!log.contains("-secret"), "{log}");
        }
    });
}

#[test]
fn the_fleet_moves_to_another_redis() {
    a_day(|day| {
        let new = Redis::start();
        let (first, second) = (day.start("a1"), day.start("a2"));
        for mut old in [first, second] {
            old.stop();
        }
        let _first = day.agent("a1").store(&new.url()).sleeps();
        let _second = day.agent("a2").store(&new.url()).sleeps();
        day.monitor().stop();
        day.monitor().moves_to(&new.url());
        day.monitor().start();
        for id in ["a1", "a2"] {
            day.becomes(id, "healthy");
            day.stays(id, "healthy", 2 * INTERVAL);
            day.story(id, &["healthy"]);
        }
        assert_eq!(day.monitor().fleet("")["total"], 2);
        drop(new);
    });
}
