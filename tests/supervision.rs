//! Supervision as the store and the monitor see it: restarts, orders, one holder an id. Real Redis, real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Monitor, Redis, Running, clean, eventually, program, saw, signal};

fn hbsidecar(redis: &Redis, arguments: &[&str]) -> Command {
    let mut command = clean(&program("hbsidecar"));
    command
        .args(["-q", "--redis-url", &redis.url()])
        .env("HB_INTERVAL", "500ms")
        .args(arguments);
    command
}

fn start(redis: &Redis, arguments: &[&str]) -> Running {
    Running::start(&mut hbsidecar(redis, arguments))
}

fn beat(redis: &Redis, id: &str) -> Option<Value> {
    let fields: HashMap<String, String> = redis.run(&["HGETALL", &format!("agent:{id}")]);
    serde_json::from_str(fields.get("beat")?).ok()
}

fn beating(redis: &Redis, id: &str, incarnation: u64) -> Value {
    eventually(&format!("incarnation {incarnation} of {id} beats"), || {
        beat(redis, id)
            .filter(|beat| beat["hb"]["restarts"] == incarnation && beat["hb"]["pid"] != 0)
    })
}

/// Events of an agent: their kind and detail.
fn events(redis: &Redis, id: &str) -> Vec<(String, Value)> {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", "hb:events", "-", "+"]);
    entries
        .into_iter()
        .filter(|(_, entry)| entry["agent"] == id)
        .map(|(_, entry)| {
            (
                entry["event"].clone(),
                serde_json::from_str(&entry["detail"]).unwrap(),
            )
        })
        .collect()
}

fn event(redis: &Redis, id: &str, kind: &str) -> Value {
    eventually(&format!("{kind} of {id} is told"), || {
        let found = events(redis, id)
            .into_iter()
            .rev()
            .find(|(found, _)| found == kind);
        found.map(|(_, detail)| detail)
    })
}

fn order(redis: &Redis, id: &str, order: &Value) {
    let key = format!("hb:control:{{agent:{id}}}");
    redis.run::<()>(&["SET", &key, &order.to_string(), "PX", "60000"]);
    redis.run::<i64>(&["PUBLISH", &key, &order.to_string()]);
}

fn outcome(redis: &Redis, id: &str, order: &str) -> Value {
    eventually(&format!("the order {order} is answered"), || {
        let answer = beat(redis, id)?["hb"]["order"].clone();
        (answer["id"] == order).then_some(answer)
    })
}

fn pid(beat: &Value) -> u32 {
    u32::try_from(beat["hb"]["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_killed_agent_is_failed_at_once_and_healthy_with_its_next_incarnation() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    // At this interval silence alone would take 95 s: an exit is known by its event.
    // The failure lasts for the back-off: long enough to be seen on a busy machine.
    let flags = ["--id", "a1", "--interval", "30s", "--backoff", "6s"];
    let agent = [&flags[..], &["--", "sleep", "1000"]].concat();
    let _agent = start(&redis, &agent);
    let first = beating(&redis, "a1", 0);
    monitor.wait_for("a1", "healthy");
    signal(pid(&first), "KILL");
    monitor.wait_for("a1", "failed");
    monitor.wait_for("a1", "healthy");
    let second = beating(&redis, "a1", 1);
    assert_eq!(second["hb"]["epoch"], first["hb"]["epoch"]);
    assert_ne!(second["hb"]["pid"], first["hb"]["pid"]);
    eventually("the restart is counted", || {
        (monitor.get("/health/agents/a1")?.1["restarts"] == 1).then_some(())
    });
}

#[test]
fn a_crash_loop_is_told_once_and_is_the_reason_in_the_monitor() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let mut agent = start(
        &redis,
        &[
            "--id",
            "a1",
            "--backoff",
            "10ms",
            "--",
            "sh",
            "-c",
            "exit 3",
        ],
    );
    assert_eq!(agent.exit_code(), Some(3));
    monitor.wait_for("a1", "failed");
    eventually("the reason is known", || {
        (monitor.get("/health/agents/a1")?.1["reason"] == "crash_loop").then_some(())
    });
    let kinds: Vec<String> = events(&redis, "a1")
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "crash_loop").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| *kind == "exited").count(), 4);
}

#[test]
fn the_agent_knows_its_epoch() {
    let redis = Redis::start();
    let output = hbsidecar(&redis, &["--id", "a1", "--", "sh", "-c", "echo $HB_EPOCH"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let counter: String = redis.run(&["GET", "hb:epoch:{agent:a1}"]);
    assert_eq!(said.trim(), counter);
}

#[test]
fn an_ordered_restart_brings_a_new_incarnation_and_is_answered() {
    let redis = Redis::start();
    let _agent = start(
        &redis,
        &["--id", "a1", "--restart", "never", "--", "sleep", "1000"],
    );
    let first = beating(&redis, "a1", 0);
    let epoch = first["hb"]["epoch"].clone();
    order(
        &redis,
        "a1",
        &json!({"id":"o1","action":"restart","epoch":epoch,"incarnation":0,"ttlMs":9000,"reason":"hung"}),
    );
    let second = beating(&redis, "a1", 1);
    assert_eq!(outcome(&redis, "a1", "o1")["outcome"], "done");
    assert_ne!(second["hb"]["pid"], first["hb"]["pid"]);
    assert_eq!(event(&redis, "a1", "exited")["requested"], true);
}

#[test]
fn an_order_that_stands_in_the_store_is_carried_out_once_however_often_it_is_returned() {
    let redis = Redis::start();
    let _agent = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    let epoch = beating(&redis, "a1", 0)["hb"]["epoch"].clone();
    // Not published: it comes with the answer to a beat.
    let text = json!({"id":"o1","action":"restart","epoch":epoch,"incarnation":0,"ttlMs":9000})
        .to_string();
    redis.run::<()>(&["SET", "hb:control:{agent:a1}", &text, "PX", "60000"]);
    let second = beating(&redis, "a1", 1);
    let sequence = second["sequence"].as_u64().unwrap();
    let later = eventually("some beats later", || {
        beat(&redis, "a1").filter(|beat| beat["sequence"].as_u64() > Some(sequence + 3))
    });
    assert_eq!(later["hb"]["restarts"], 1);
}

#[test]
fn orders_for_another_epoch_or_incarnation_or_too_late_are_refused_and_said() {
    let redis = Redis::start();
    let _agent = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    let epoch = beating(&redis, "a1", 0)["hb"]["epoch"].as_u64().unwrap();
    for (id, stale, says) in [
        (
            "o1",
            json!({"epoch": epoch - 1, "incarnation": 0, "ttlMs": 9000}),
            "epoch",
        ),
        (
            "o2",
            json!({"epoch": epoch, "incarnation": 7, "ttlMs": 9000}),
            "incarnation",
        ),
        (
            "o3",
            json!({"epoch": epoch, "incarnation": 0, "ttlMs": 0}),
            "expired",
        ),
    ] {
        let mut stale = stale;
        stale["id"] = json!(id);
        stale["action"] = json!("stop");
        order(&redis, "a1", &stale);
        let answer = outcome(&redis, "a1", id);
        assert_eq!(answer["outcome"], "refused");
        assert!(
            answer["detail"].as_str().unwrap().contains(says),
            "{answer}"
        );
        eventually("its event names the order", || {
            let orders = events(&redis, "a1").into_iter();
            let mut orders = orders.filter(|(kind, _)| kind == "order");
            let named = |(_, detail): (String, Value)| detail["message"].as_str()?.find(id);
            orders.find_map(named).map(drop)
        });
    }
    order(&redis, "a1", &json!("nonsense"));
    order(
        &redis,
        "a1",
        &json!({"id":"o4","action":"ping","epoch":epoch,"incarnation":0,"ttlMs":9000}),
    );
    assert_eq!(
        outcome(&redis, "a1", "o4")["outcome"],
        "done",
        "the agent lives on"
    );
}

#[test]
fn an_ordered_stop_ends_the_agent_for_good() {
    let redis = Redis::start();
    let flags = ["--id", "a1", "--interval", "5s", "--restart", "always"];
    let mut agent = start(&redis, &[&flags[..], &["--", "sleep", "1000"]].concat());
    let epoch = beating(&redis, "a1", 0)["hb"]["epoch"].clone();
    order(
        &redis,
        "a1",
        &json!({"id":"o1","action":"stop","epoch":epoch,"incarnation":0,"ttlMs":9000}),
    );
    assert_eq!(agent.exit_code(), Some(128 + 15));
    assert_eq!(outcome(&redis, "a1", "o1")["outcome"], "done");
    assert_eq!(beat(&redis, "a1").unwrap()["status"], "stopped");
}

#[test]
fn a_restart_of_an_attached_agent_is_refused_for_it_belongs_to_others() {
    let redis = Redis::start();
    let agent = Running::start(Command::new("sleep").arg("1000"));
    let number = agent.0.id().to_string();
    let _watcher = start(&redis, &["--id", "a1", "--pid", &number]);
    let epoch = beating(&redis, "a1", 0)["hb"]["epoch"].clone();
    order(
        &redis,
        "a1",
        &json!({"id":"o1","action":"restart","epoch":epoch,"incarnation":0,"ttlMs":9000}),
    );
    assert_eq!(outcome(&redis, "a1", "o1")["outcome"], "refused");
}

#[test]
fn a_restart_of_a_matched_agent_ends_it_and_whoever_comes_next_is_followed() {
    let redis = Redis::start();
    let mark = format!("hb-order-{}", std::process::id());
    // One process: what a shell has started would outlive it, and the test.
    let asleep = "import time; time.sleep(1000)";
    let create = || Running::start(Command::new("python3").args(["-c", asleep, &mark]));
    let mut agent = create();
    let _watcher = start(&redis, &["--id", "a1", "--match", &mark]);
    let epoch = beating(&redis, "a1", 0)["hb"]["epoch"].clone();
    order(
        &redis,
        "a1",
        &json!({"id":"o1","action":"restart","epoch":epoch,"incarnation":0,"ttlMs":9000}),
    );
    agent.exit_code();
    let _next = create();
    beating(&redis, "a1", 1);
    assert_eq!(outcome(&redis, "a1", "o1")["outcome"], "done");
}

#[test]
fn a_matched_agent_that_comes_later_is_reported_where_it_runs() {
    let redis = Redis::start();
    let mark = format!("hb-later-{}", std::process::id());
    let _watcher = start(&redis, &["--id", "a1", "--match", &mark]);
    let entry = || -> Option<Value> {
        let entry: Option<String> = redis.run(&["HGET", "hb:agents", "a1"]);
        serde_json::from_str(&entry?).ok()
    };
    eventually("it is registered", entry);
    let mut agent = Command::new("python3");
    agent.args(["-c", "import time; time.sleep(1000)", &mark]);
    agent.envs([("HB_POD_NAME", "writer-0"), ("HB_POD_NAMESPACE", "prod")]);
    let _agent = Running::start(&mut agent);
    let runtime = json!({"kind":"kubernetes","id":"prod/writer-0"});
    assert_eq!(beating(&redis, "a1", 0)["hb"]["runtime"], runtime);
    eventually("the roster has it", || {
        (entry()?["runtime"] == runtime).then_some(())
    });
}

fn order_restart_of_pod(redis: &Redis) {
    let epoch = beating(redis, "a1", 0)["hb"]["epoch"].clone();
    let pod = json!({"id":"o1","action":"pod","epoch":epoch,"incarnation":0,"ttlMs":9000});
    order(redis, "a1", &pod);
}

#[test]
fn for_a_restart_of_its_pod_a_sidecar_ends_its_agent_and_exits_with_88() {
    let redis = Redis::start();
    let flags = ["--id", "a1", "--interval", "5s", "--pod-restart"];
    let mut sidecar = start(&redis, &[&flags[..], &["--", "sleep", "1000"]].concat());
    let agent = pid(&beating(&redis, "a1", 0));
    order_restart_of_pod(&redis);
    assert_eq!(sidecar.exit_code(), Some(88));
    assert!(!Path::new(&format!("/proc/{agent}")).exists());
    assert_eq!(outcome(&redis, "a1", "o1")["outcome"], "done");
    let last = beat(&redis, "a1").unwrap(); // it lasts for four intervals
    let life = (
        &last["hb"]["life"]["phase"],
        &last["hb"]["life"]["podRestart"],
    );
    assert_eq!(life, (&json!("restarting"), &json!(true)));
}

#[test]
fn for_a_restart_of_its_pod_a_sidecar_leaves_an_agent_of_others_to_the_kubelet() {
    let redis = Redis::start();
    let mark = format!("hb-pod-{}", std::process::id());
    let asleep = "import time; time.sleep(1000)";
    let mut agent = Running::start(Command::new("python3").args(["-c", asleep, &mark]));
    let flags = ["--id", "a1", "--interval", "5s", "--pod-restart"];
    let mut sidecar = start(&redis, &[&flags[..], &["--match", &mark]].concat());
    order_restart_of_pod(&redis);
    assert_eq!(sidecar.exit_code(), Some(88));
    assert!(agent.0.try_wait().unwrap().is_none(), "the agent runs");
    let last = beat(&redis, "a1").unwrap(); // it lasts for four intervals
    assert_eq!(last["hb"]["life"]["phase"], "restarting");
}

#[test]
fn a_restart_of_a_pod_that_does_not_declare_it_is_refused_with_the_remedy() {
    let redis = Redis::start();
    let _sidecar = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    order_restart_of_pod(&redis);
    let answer = outcome(&redis, "a1", "o1");
    assert_eq!(answer["outcome"], "refused");
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("HB_POD_RESTART=1")
    );
}

#[test]
fn the_exit_of_a_transparent_agent_is_told_with_its_code_where_the_kernel_knows_it() {
    let redis = Redis::start();
    let mut agent = start(
        &redis,
        &[
            "--id",
            "a1",
            "--transparent",
            "--",
            "sh",
            "-c",
            "sleep 0.3; exit 6",
        ],
    );
    assert_eq!(agent.exit_code(), Some(6));
    let exit = event(&redis, "a1", "exited")["exit"].clone();
    assert!(exit == json!({"code": 6}) || exit == json!({}), "{exit}");
}

#[test]
fn a_living_holder_refuses_a_newcomer_whose_agent_never_starts() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let _holder = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    let first = beating(&redis, "a1", 0);
    monitor.wait_for("a1", "healthy");
    // The start of an agent waits 250 ms for the store's answer, which on a busy machine may come later.
    eventually("a newcomer gives up before its agent starts", || {
        let newcomer = hbsidecar(&redis, &["--id", "a1", "--", "echo", "started"]);
        let output = { newcomer }.output().unwrap();
        saw("the newcomer", &output);
        (output.status.code() == Some(73) && output.stdout.is_empty()).then_some(())
    });
    assert!(
        event(&redis, "a1", "duplicate")["message"]
            .as_str()
            .unwrap()
            .contains("epoch")
    );
    monitor.wait_for("a1", "healthy");
    assert_eq!(
        beating(&redis, "a1", 0)["hb"]["epoch"],
        first["hb"]["epoch"]
    );
}

#[test]
fn of_two_that_start_at_once_one_has_the_id_and_the_other_exits_73() {
    let redis = Redis::start();
    for round in 0..5 {
        let id = format!("a{round}");
        let mut two = [(); 2].map(|()| start(&redis, &["--id", &id, "--", "sleep", "1000"]));
        beating(&redis, &id, 0);
        let over = eventually("one gives up", || {
            let codes: Vec<_> = two
                .iter_mut()
                .filter_map(|one| one.0.try_wait().unwrap())
                .collect();
            (!codes.is_empty()).then_some(codes)
        });
        assert_eq!(
            over.iter()
                .map(std::process::ExitStatus::code)
                .collect::<Vec<_>>(),
            [Some(73)]
        );
    }
}

#[test]
fn a_sidecar_that_was_killed_is_replaced_at_once_on_its_own_machine() {
    let redis = Redis::start();
    let mut holder = start(
        &redis,
        &["--id", "a1", "--interval", "30s", "--", "sleep", "1000"],
    );
    let first = beating(&redis, "a1", 0);
    holder.kill();
    signal(pid(&first), "KILL");
    // The holder's lease has 95 s to go: longer than any test waits.
    let _next = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    let epoch = first["hb"]["epoch"].clone();
    eventually("the next one beats", || {
        beat(&redis, "a1").filter(|beat| beat["hb"]["epoch"].as_u64() > epoch.as_u64())
    });
}

#[test]
fn a_holder_that_cannot_be_looked_at_and_does_not_listen_is_replaced_after_a_while() {
    let redis = Redis::start();
    // As a sidecar on another machine leaves it that was cut off a moment ago.
    redis.run::<i64>(&[
        "HSET",
        "agent:a1",
        "instance",
        "gone",
        "holder",
        "otherboot 1 7 99 node-3",
        "intervalMs",
        "30000",
        "epoch",
        "5",
        "lastHeartbeat",
        "1",
    ]);
    redis.run::<i64>(&["PEXPIRE", "agent:a1", "120000"]);
    let _next = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    assert_eq!(
        beating(&redis, "a1", 0)["hb"]["epoch"]
            .as_u64()
            .map(|epoch| epoch > 5),
        Some(true)
    );
}

#[test]
fn a_takeover_fences_the_holder_whose_agent_runs_on_unless_it_is_exclusive() {
    let redis = Redis::start();
    let mut humble = start(
        &redis,
        &["--id", "a1", "--exclusive", "--", "sleep", "1000"],
    );
    beating(&redis, "a1", 0);
    let mut second = start(&redis, &["--id", "a1", "--takeover", "--", "sleep", "1000"]);
    assert_eq!(humble.exit_code(), Some(128 + 15));
    let old = beating(&redis, "a1", 0);
    let _third = start(&redis, &["--id", "a1", "--takeover", "--", "sleep", "1000"]);
    eventually("the third one beats", || {
        beat(&redis, "a1").filter(|beat| beat["hb"]["epoch"].as_u64() > old["hb"]["epoch"].as_u64())
    });
    let until = Instant::now() + Duration::from_secs(2);
    eventually("two seconds passed with both agents alive", || {
        assert_eq!(second.0.try_wait().unwrap(), None);
        (Instant::now() > until).then_some(())
    });
}

#[test]
fn an_exclusive_agent_ends_when_no_beat_was_stored_for_four_intervals_and_another_lives_on() {
    let mut redis = Redis::start();
    let mut exclusive = start(
        &redis,
        &[
            "--id",
            "a1",
            "--exclusive",
            "--interval",
            "1500ms",
            "--",
            "sleep",
            "1000",
        ],
    );
    let mut other = start(&redis, &["--id", "a2", "--", "sleep", "1000"]);
    beating(&redis, "a1", 0);
    beating(&redis, "a2", 0);
    redis.down();
    let down = Instant::now();
    assert_eq!(exclusive.exit_code(), Some(128 + 15));
    // Four intervals are 6 s, of which some have passed since the last beat.
    assert!(
        down.elapsed() >= Duration::from_millis(2000),
        "{:?}",
        down.elapsed()
    );
    assert_eq!(other.0.try_wait().unwrap(), None);
}

#[test]
fn beats_go_on_while_an_agent_takes_its_time_to_end() {
    let redis = Redis::start();
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let mut agent = start(
        &redis,
        &["--id", "a1", "--grace", "10m", "--", "sh", "-c", script],
    );
    beating(&redis, "a1", 0);
    agent.signal("TERM");
    let sequence = || beat(&redis, "a1")?["sequence"].as_u64();
    let before = eventually("it reports that it is stopping", || {
        (beat(&redis, "a1")?["hb"]["life"]["phase"] == "stopping").then(sequence)?
    });
    eventually("three more beats", || {
        (sequence()? >= before + 3).then_some(())
    });
    assert_eq!(
        agent.0.try_wait().unwrap(),
        None,
        "they came before the end"
    );
    let pid = pid(&beating(&redis, "a1", 0));
    signal(pid, "KILL");
    assert_eq!(agent.exit_code(), Some(128 + 9));
}

#[test]
fn a_sidecar_that_stood_still_beats_again_and_its_agent_never_noticed() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let agent = start(&redis, &["--id", "a1", "--", "sleep", "1000"]);
    let first = beating(&redis, "a1", 0);
    monitor.wait_for("a1", "healthy");
    agent.signal("STOP");
    monitor.wait_for("a1", "failed");
    agent.signal("CONT");
    monitor.wait_for("a1", "healthy");
    assert_eq!(beating(&redis, "a1", 0)["hb"]["pid"], first["hb"]["pid"]);
}
