//! A new run is a new run: nothing of the one before stands in its way.

use crate::harness::{INTERVAL, a_day};
use crate::support::pty::{CTRL_C, Terminal};
use crate::support::{eventually, signal};

#[test]
fn an_agent_that_is_stopped_and_started_again_is_healthy() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 4);
        assert_eq!(first.stop(), 143);
        day.becomes("a1", "stopped");
        let _second = day.start("a1");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn stopped_and_started_five_times() {
    a_day(|day| {
        for _ in 0..5 {
            let mut run = day.start("a1");
            run.stop();
            day.becomes("a1", "stopped");
        }
        day.story("a1", &["healthy", "stopped"].repeat(5));
    });
}

#[test]
fn stopped_and_started_twenty_times_as_fast_as_it_goes() {
    a_day(|day| {
        for _ in 0..20 {
            let mut run = day.agent("a1").sleeps();
            let agent = run.agent().to_string();
            eventually("the store has its beat", || {
                (day.hash("a1").get("pid") == Some(&agent)).then_some(())
            });
            run.stop();
        }
        let _last = day.start("a1");
        let mut story = ["healthy", "stopped"].repeat(20);
        story.push("healthy");
        day.story("a1", &story);
    });
}

#[test]
fn ctrl_c_and_the_same_line_again() {
    a_day(|day| {
        let mut terminal = Terminal::start();
        let line = day.typed("a1", "sleep 1000");
        terminal.type_line(&line);
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 3);
        terminal.press(CTRL_C);
        terminal.wait_for_prompt();
        day.becomes("a1", "stopped");
        terminal.type_line(&line);
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn the_monitor_is_restarted_between_a_stop_and_a_start() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 3);
        first.stop();
        day.becomes("a1", "stopped");
        day.monitor().stop();
        day.monitor().start();
        day.becomes("a1", "stopped");
        let _second = day.start("a1");
        day.story("a1", &["stopped", "healthy"]);
    });
}

#[test]
fn killed_failed_by_silence_and_started_again() {
    a_day(|day| {
        let mut first = day.start("a1");
        day.has_beaten("a1", 3);
        first.dies_with_its_agent();
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "heartbeat_lost");
        let _second = day.start("a1");
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
    });
}

#[test]
fn killed_and_started_again_before_it_was_missed() {
    a_day(|day| {
        let mut first = day.agent("a1").every("1s").starts();
        day.has_beaten("a1", 2);
        first.dies_with_its_agent();
        let _second = day.agent("a1").every("1s").starts();
        day.stays("a1", "healthy", 4 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn what_failed_is_started_again_and_its_reason_is_gone() {
    a_day(|day| {
        let mut first = day
            .agent("a1")
            .with(&["--restart", "never"])
            .runs("sleep 1.2; exit 3");
        assert_eq!(first.ends(), 3);
        day.becomes("a1", "failed");
        let _second = day.start("a1");
        day.shows("a1", "reason", ());
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "failed", "healthy"]);
    });
}

#[test]
fn a_crash_loop_is_repaired_and_started() {
    a_day(|day| {
        let mut broken = day
            .agent("a1")
            .with(&["--backoff", "50ms", "--backoff-max", "50ms"])
            .runs("sleep 0.3; exit 9");
        assert_eq!(broken.ends(), 9);
        day.shows("a1", "reason", "crash_loop");
        day.shows("a1", "restarts", 3);
        let _repaired = day.start("a1");
        day.shows("a1", "reason", ());
        day.shows("a1", "restarts", 0);
        let story = ["healthy", "failed"].repeat(4);
        day.story("a1", &[story, vec!["healthy"]].concat());
    });
}

#[test]
fn done_with_exit_0_and_started_hours_later() {
    a_day(|day| {
        let mut first = day.agent("a1").every("300ms").runs("sleep 1; exit 0");
        assert_eq!(first.ends(), 0);
        day.becomes("a1", "stopped");
        day.its_hash_expires("a1");
        let _second = day.agent("a1").every("300ms").starts();
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn done_with_exit_0_then_the_monitor_is_restarted_then_it_is_started() {
    a_day(|day| {
        let mut first = day.agent("a1").every("300ms").runs("sleep 1; exit 0");
        first.ends();
        day.its_hash_expires("a1");
        day.monitor_is_killed_and_started();
        day.becomes("a1", "stopped");
        let _second = day.agent("a1").every("300ms").starts();
        day.story("a1", &["stopped", "healthy"]);
    });
}

#[test]
fn the_sidecar_is_upgraded_by_kill_and_pid() {
    a_day(|day| {
        let mut old = day.start("a1");
        let agent = old.agent();
        day.has_beaten("a1", 4);
        old.is_killed();
        let _new = day.agent("a1").attaches(agent);
        let epoch = eventually("the new one has registered", || {
            let epoch: u64 = day.hash("a1").get("epoch")?.parse().ok()?;
            (epoch > 1 && day.events("a1").len() == 2).then_some(epoch)
        });
        day.shows("a1", "epoch", epoch);
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.shows("a1", "pid", agent);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn detached_and_attached_again() {
    a_day(|day| {
        let agent = day.foreign(&["sleep", "1000"]);
        let mut first = day.agent("a1").attaches(agent.0.id());
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 3);
        assert_eq!(first.stop(), 0);
        day.becomes("a1", "stopped");
        let _second = day.agent("a1").attaches(agent.0.id());
        day.becomes("a1", "healthy");
        day.shows("a1", "pid", agent.0.id());
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn attached_at_first_and_later_wrapped() {
    a_day(|day| {
        let mut agent = day.foreign(&["sleep", "1000"]);
        let mut attached = day.agent("a1").attaches(agent.0.id());
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 3);
        attached.stop();
        day.becomes("a1", "stopped");
        agent.kill();
        let _wrapped = day.start("a1");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn another_type_and_another_command() {
    a_day(|day| {
        let mut reader = day.agent("a1").with(&["--type", "reader"]).starts();
        day.has_beaten("a1", 3);
        reader.stop();
        day.becomes("a1", "stopped");
        let _writer =
            day.agent("a1")
                .with(&["--type", "writer"])
                .command(&["tail", "-f", "/dev/null"]);
        day.becomes("a1", "healthy");
        day.shows("a1", "agentType", "writer");
        assert_eq!(day.agents_in("?type=reader"), 0);
        assert_eq!(day.agents_in("?type=writer"), 1);
        assert_eq!(day.hash("a1")["type"], "writer");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn a_shorter_interval_from_now_on() {
    a_day(|day| {
        let mut slow = day.agent("a1").every("20s").starts();
        slow.stop();
        let mut quick = day.agent("a1").every("300ms").starts();
        day.stays("a1", "healthy", 6 * INTERVAL);
        quick.dies_with_its_agent();
        // By the old interval it would take a minute, and no story waits so long.
        day.becomes("a1", "failed");
    });
}

#[test]
fn a_longer_interval_from_now_on() {
    a_day(|day| {
        let mut quick = day.agent("a1").every("300ms").starts();
        day.has_beaten("a1", 4);
        quick.stop();
        let _slow = day.agent("a1").every("2s").starts();
        day.stays("a1", "healthy", 10 * INTERVAL);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn moved_to_another_machine() {
    a_day(|day| {
        let mut there = day.agent("a1").on_host("node-a").starts();
        day.shows("a1", "host", "node-a");
        day.has_beaten("a1", 3);
        there.stop();
        day.becomes("a1", "stopped");
        let _here = day.agent("a1").on_host("node-b").starts();
        day.shows("a1", "host", "node-b");
        assert_eq!(day.agents_in("?host=node-a"), 0);
        assert_eq!(day.agents_in("?host=node-b"), 1);
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn the_old_machine_died_without_a_word() {
    a_day(|day| {
        let mut lost = day.agent("a1").on_host("node-a").starts();
        day.has_beaten("a1", 3);
        lost.dies_with_its_agent();
        day.becomes("a1", "failed");
        let _elsewhere = day.agent("a1").on_host("node-b").starts();
        day.shows("a1", "host", "node-b");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
    });
}

#[test]
fn started_again_while_the_old_one_is_still_stopping() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let mut old = day
            .agent("a1")
            .runs("trap 'sleep 1.5; exit 0' TERM; while :; do sleep 0.05; done");
        day.becomes("a1", "healthy");
        day.has_beaten("a1", 2);
        old.signal("TERM");
        let mut early = day.agent("a1").apart("early").sleeps();
        assert_eq!(early.ends(), 73);
        old.ends();
        day.becomes("a1", "stopped");
        let _in_time = day.start("a1");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn a_transparent_agent_ends_and_is_started_again() {
    a_day(|day| {
        let run = || day.agent("a1").with(&["--transparent"]);
        assert_eq!(run().runs("sleep 2; exit 0").ends(), 0);
        day.becomes("a1", "stopped");
        let again = run().sleeps();
        day.shows("a1", "pid", again.pid());
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy", "stopped", "healthy"]);
    });
}

#[test]
fn the_second_run_knows_its_own_epoch() {
    a_day(|day| {
        day.start("a1").stop();
        day.becomes("a1", "stopped");
        let second = day
            .agent("a1")
            .runs("echo epoch=$HB_EPOCH.; exec sleep 1000");
        day.becomes("a1", "healthy");
        let epoch = day.hash("a1")["epoch"].clone();
        second.logs(&format!("epoch={epoch}."));
        day.shows("a1", "epoch", epoch.parse::<u64>().unwrap());
    });
}

#[test]
fn five_start_one_id_in_one_moment() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let mut rivals: Vec<_> = (0..5)
            .map(|n| day.agent("a1").apart(&format!("place-{n}")).sleeps())
            .collect();
        eventually("four have given up", || {
            let running = rivals.iter_mut().map(|rival| usize::from(rival.runs()));
            (running.sum::<usize>() == 1).then_some(())
        });
        let winner = rivals.iter_mut().position(|rival| rival.runs()).unwrap();
        let winner = rivals.remove(winner);
        day.shows("a1", "pid", winner.agent());
        for rival in &mut rivals {
            assert_eq!(rival.ends(), 73);
        }
        day.becomes("a1", "healthy");
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn an_agent_left_behind_is_ended_and_its_name_used_again() {
    a_day(|day| {
        let mut first = day.start("a1");
        let left = first.agent();
        day.has_beaten("a1", 3);
        first.is_killed();
        day.becomes("a1", "failed");
        signal(left, "KILL");
        let _second = day.start("a1");
        day.stays("a1", "healthy", 3 * INTERVAL);
        day.story("a1", &["healthy", "missing", "failed", "healthy"]);
    });
}

#[test]
fn the_sidecar_is_killed_and_the_same_line_watches_the_agent_again() {
    a_day(|day| {
        let mut first = day.agent("a1").every("1s").starts();
        day.has_beaten("a1", 2);
        let agent = first.agent();
        first.is_killed();
        let second = day.agent("a1").every("1s").sleeps();
        second.logs(&format!("process {agent} is the agent a1"));
        day.stays("a1", "healthy", 4 * INTERVAL);
        assert_eq!(day.health("a1")["pid"], agent);
        day.story("a1", &["healthy"]);
    });
}
