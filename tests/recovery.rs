//! What the sidecar does about an agent that cannot go on: a restart on proof, everything else by order, evidence before any
//! end.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Monitor, Redis, Running, clean, eventually, program};

/// Hung for ever, with work owed: a lock that its own thread holds.
const DEADLOCK: &str = "
import os, socket, threading, time
s = socket.socket(socket.AF_UNIX); s.connect(os.environ['HB_SOCKET']); s.sendall(b'task=dig\\n')
lock = threading.Lock(); lock.acquire(); lock.acquire()";

fn agent(redis: &Redis, flags: &[&str], command: &[&str]) -> Running {
    let mut sidecar = clean(&program("hbsidecar"));
    sidecar
        .args([
            "-q",
            "--redis-url",
            &redis.url(),
            "--id",
            "a1",
            "--interval",
            "200ms",
        ])
        .args(["--patience", "0.05", "--backoff", "100ms"])
        .args(flags)
        .arg("--")
        .args(command)
        .stdout(Stdio::null());
    Running::start(&mut sidecar)
}

fn beat(redis: &Redis) -> Option<Value> {
    let fields: HashMap<String, String> = redis.run(&["HGETALL", "agent:a1"]);
    serde_json::from_str(fields.get("beat")?).ok()
}

/// What its next beat says; none is stored while the machine is too busy for its interval.
fn restarts(redis: &Redis) -> Value {
    eventually("it beats", || Some(beat(redis)?["hb"]["restarts"].clone()))
}

fn verdict(redis: &Redis) -> Option<String> {
    Some(
        beat(redis)?["hb"]["activity"]["verdict"]
            .as_str()?
            .to_owned(),
    )
}

/// Gives the agent an order, as the monitor does.
fn order(redis: &Redis, action: &str) {
    let epoch = eventually("it beats", || Some(beat(redis)?["hb"]["epoch"].clone()));
    let order =
        serde_json::json!({"id":"o1","action":action,"epoch":epoch,"incarnation":0,"ttlMs":9000});
    let (key, order) = ("hb:control:{agent:a1}", order.to_string());
    redis.run::<()>(&["SET", key, &order, "PX", "60000"]);
}

fn events(redis: &Redis, kind: &str) -> Vec<Value> {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", "hb:events", "-", "+"]);
    entries
        .into_iter()
        .filter(|(_, entry)| entry["event"] == kind)
        .map(|(_, entry)| serde_json::from_str(&entry["detail"]).unwrap())
        .collect()
}

fn event(redis: &Redis, kind: &str) -> Value {
    eventually(&format!("{kind} is told"), || {
        events(redis, kind).into_iter().next()
    })
}

#[test]
fn a_deadlocked_agent_is_failed_as_hung_restarted_and_its_evidence_kept() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let _agent = agent(&redis, &["--grace", "300ms"], &["python3", "-c", DEADLOCK]);
    let hung = event(&redis, "hung");
    assert!(hung["message"].as_str().unwrap().contains("lock"), "{hung}");
    eventually("a new incarnation runs", || {
        (beat(&redis)?["hb"]["restarts"].as_u64()? > 0).then_some(())
    });
    let card = &event(&redis, "evidence")["card"];
    assert_eq!(card["verdict"], "hung", "{card}");
    assert!(
        card["tree"][0]["waiting_on"][0]
            .as_str()
            .unwrap()
            .contains("lock"),
        "{card}"
    );
    assert_eq!(card["lastLines"][0], "task=dig");
    assert_eq!(event(&redis, "exited")["requested"], true);
    drop(monitor);
}

#[test]
fn a_hung_agent_is_not_healthy_although_it_beats() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let _agent = agent(
        &redis,
        &["--on-hung", "alert"],
        &["python3", "-c", DEADLOCK],
    );
    eventually("it is failed as hung, and its verdict is shown", || {
        let (_, health) = monitor.get("/health/agents/a1")?;
        let failed = health["state"] == "failed" && health["reason"] == "hung";
        (failed && health["activity"]["verdict"] == "hung").then_some(())
    });
}

#[test]
fn an_agent_whose_user_wants_to_be_told_is_told_about_and_not_touched() {
    let redis = Redis::start();
    let mut sidecar = agent(
        &redis,
        &["--on-hung", "alert"],
        &["python3", "-c", DEADLOCK],
    );
    event(&redis, "hung");
    let until = Instant::now() + Duration::from_secs(3);
    eventually("three seconds passed and nothing was done", || {
        assert_eq!(sidecar.0.try_wait().unwrap(), None);
        assert_eq!(restarts(&redis), 0);
        (Instant::now() > until).then_some(())
    });
    assert_eq!(events(&redis, "hung").len(), 1, "told once");
}

#[test]
fn a_stopped_agent_is_left_stopped_until_an_order_continues_it() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let woken = dir.path().join("woken");
    let script = format!(
        "kill -STOP $$; echo up > {}; while :; do date > /dev/null; done",
        woken.display()
    );
    let _agent = agent(&redis, &[], &["bash", "-c", &script]);
    event(&redis, "stalled");
    eventually("the remedy is offered", || {
        let evidence = beat(&redis)?["hb"]["activity"]["evidence"].to_string();
        evidence.contains("continue process").then_some(())
    });
    assert!(!woken.exists());
    order(&redis, "unblock");
    eventually("it goes on", || woken.exists().then_some(()));
    event(&redis, "recovered");
    assert_eq!(restarts(&redis), 0);
}

#[test]
fn an_order_ends_a_stuck_child_and_the_agent_sees_an_error_that_it_handles() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let handled = dir.path().join("handled");
    let script = format!(
        "import subprocess, time
p = subprocess.Popen(['head', '-c', '1000000', '/dev/zero'], stdout=subprocess.PIPE)
code = p.wait()
open({handled:?}, 'w').write(str(code))
while True: sum(range(100000)); open('/dev/null','w'); subprocess.run(['true'])"
    );
    let alert = &["--on-hung", "alert"];
    let _agent = agent(&redis, alert, &["python3", "-c", &script]);
    event(&redis, "hung");
    assert!(!handled.exists());
    order(&redis, "unblock");
    eventually("the agent goes on", || handled.exists().then_some(()));
    assert_eq!(restarts(&redis), 0);
}

#[test]
fn an_agent_that_hangs_again_and_again_is_handed_over_and_left_as_it_is() {
    let redis = Redis::start();
    let mut sidecar = agent(
        &redis,
        &["--grace", "300ms", "--max-restarts", "1"],
        &["python3", "-c", DEADLOCK],
    );
    event(&redis, "crash_loop");
    eventually("it hangs on, told", || {
        (verdict(&redis)? == "hung").then_some(())
    });
    assert_eq!(restarts(&redis), 1);
    assert_eq!(sidecar.0.try_wait().unwrap(), None);
}

#[test]
fn an_agent_that_waits_for_a_person_is_noticed_once_and_never_touched() {
    let redis = Redis::start();
    let mut sidecar = clean(&program("hbsidecar"));
    sidecar
        .args([
            "-q",
            "--redis-url",
            &redis.url(),
            "--id",
            "a1",
            "--interval",
            "200ms",
        ])
        .args(["--patience", "0.05", "--on-stalled", "restart"])
        .args([
            "--",
            "sh",
            "-c",
            "printf 'Continue? [y/N] '; read answer; exit 0",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut sidecar = Running(sidecar.spawn().unwrap());
    eventually("it waits for input", || {
        (verdict(&redis)? == "waiting_input").then_some(())
    });
    let until = Instant::now() + Duration::from_secs(4);
    eventually("four seconds passed and nothing was done", || {
        assert_eq!(sidecar.0.try_wait().unwrap(), None);
        (Instant::now() > until).then_some(())
    });
    assert_eq!(events(&redis, "waiting_input").len(), 1);
    assert_eq!(
        events(&redis, "hung").len() + events(&redis, "exited").len(),
        0
    );
}

#[test]
fn orders_take_evidence_before_they_end_an_agent() {
    let redis = Redis::start();
    let _agent = agent(&redis, &[], &["sleep", "1000"]);
    order(&redis, "restart");
    let card = &event(&redis, "evidence")["card"];
    assert_eq!(
        card["tree"][0]["command"], "sleep",
        "without arguments: {card}"
    );
}
