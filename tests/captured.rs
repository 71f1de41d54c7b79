//! What an agent's processes wait for, from a real agent that gets stuck to page, terminal and API; a slow store; versions.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod support;

use serde_json::Value;
use std::time::Duration;
use support::fleet::{Agent, Fleet};
use support::proxy::Proxy;
use support::{Monitor, Redis, clean, eventually, get_text, program, sidecar};

/// Two threads that each wait for a lock which the other one holds, with work that is owed.
const DEADLOCK: &str = "
import os, socket, threading
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
s.send(b'X_HB_TASK=dig')
a, b = threading.Lock(), threading.Lock()
met = threading.Barrier(2)
def one():
    with a:
        met.wait(); b.acquire()
threading.Thread(target=one).start()
with b:
    met.wait(); a.acquire()";

fn ready(redis_url: &str) -> Monitor {
    let monitor = Monitor::start(redis_url);
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    monitor
}

/// The tree of the newest entry that has one.
fn tree(monitor: &Monitor, id: &str) -> Option<Value> {
    let (_, answer) = monitor.get(&format!("/v1/agents/{id}/timeline"))?;
    let entries = answer["timeline"].as_array()?;
    let captured = entries.iter().find(|entry| entry["tree"].is_array())?;
    Some(captured["tree"].clone())
}

fn show(monitor: &Monitor, id: &str) -> String {
    let mut command = clean(&program("hbmonitor"));
    command.args(["show", id]).env("LANG", "C.UTF-8");
    command.env("HB_URL", format!("http://{}", monitor.address));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn what_each_process_of_a_stuck_agent_waits_for_is_on_its_page_and_in_the_terminal() {
    let redis = Redis::start();
    let monitor = ready(&redis.url());
    let mut agent = sidecar(&redis.url(), "ring", "500ms");
    agent.env("HB_PATIENCE", "0.05").env("HB_ON_HUNG", "alert");
    let script = "python3 -c \"$0\"; exit $?";
    let _agent = Agent::start(agent.args(["sh", "-c", script, DEADLOCK]));
    let tree = eventually("its tree is kept", || tree(&monitor, "ring"));
    let processes = tree.as_array().unwrap();
    let pids: Vec<&Value> = processes.iter().map(|process| &process["pid"]).collect();
    assert_eq!(processes[1]["parent"], *pids[0], "{tree}");
    let command = |nth: usize| processes[nth]["command"].as_str().unwrap();
    assert_eq!(command(0), "sh", "without arguments");
    assert!(command(1).ends_with("python3"), "{tree}");
    let waits = |nth: usize| processes[nth]["waiting_on"][0].as_str().unwrap();
    assert!(waits(0).contains("child"), "{tree}");
    assert!(waits(1).contains("lock"), "{tree}");
    let page = eventually("the page has it", || {
        let (_, page) = get_text(&monitor.address, "/agents/ring")?;
        page.contains("Process tree").then_some(page)
    });
    assert!(page.contains(waits(1)), "{page}");
    let shown = show(&monitor, "ring");
    let lines: Vec<&str> = shown.lines().collect();
    let title = lines
        .iter()
        .position(|line| line.starts_with("Waits, captured "));
    let drawn = &lines[title.unwrap() + 1..][..2];
    assert!(
        drawn[0].starts_with("  sh         ") && drawn[1].starts_with("  └ python3  "),
        "{drawn:?}"
    );
}

#[test]
fn a_person_has_a_healthy_agent_captured_and_nothing_happens_to_it() {
    let fleet = Fleet::start();
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    fleet.monitor.wait_for("a1", "healthy");
    let mut command = clean(&program("hbmonitor"));
    command.args(["capture", "a1"]).env("LANG", "C.UTF-8");
    command.env("HB_URL", format!("http://{}", fleet.monitor.address));
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let drawn = printed.lines().last().unwrap();
    assert!(
        drawn.starts_with("  sleep  ") && drawn.contains("the end of its sleep"),
        "{printed}"
    );
    fleet.tells(
        "a1",
        &serde_json::json!({"state": "healthy", "restarts": 0}),
    );
    let (_, answer) = fleet.monitor.get("/v1/agents/a1/timeline").unwrap();
    let whats = answer["timeline"].as_array().unwrap().iter();
    let whats: Vec<&str> = whats.map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(
        whats.iter().any(|what| what.starts_with("captured: ")),
        "it was not ended: {whats:?}"
    );
}

#[test]
fn the_page_of_an_agent_does_not_wait_for_a_slow_store_and_its_timeline_comes_later() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let monitor = ready(&proxy.url());
    let beat = r#"{"agentId":"w1","agentType":"t","timestamp":1,"sequence":1,"status":"busy","hb":{"v":1,"intervalMs":600000,"epoch":7,"slot":1,"host":"h","pid":7}}"#;
    redis.run::<i64>(&["PUBLISH", "heartbeats", beat]);
    monitor.wait_for("w1", "healthy");
    let entry = ["at", "5", "kind", "process", "what", "started long ago"];
    let add = ["XADD", "hb:timeline:{agent:w1}", "*"];
    redis.run::<String>(&[&add[..], &entry].concat());
    proxy.delays(Duration::from_millis(1500));
    let page = |query: &str| {
        let (code, page) = get_text(&monitor.address, &format!("/agents/w1{query}")).unwrap();
        assert_eq!(code, 200);
        page
    };
    // A monitor that takes the slow store for a dead one says so until it is connected again.
    let slow = |query: &str| {
        eventually("the page says that the store is slow", || {
            Some(page(query)).filter(|page| page.contains("has not answered within 1"))
        })
    };
    let first = slow("");
    assert!(first.contains("href=\"?wait#t\""), "{first}");
    assert!(first.contains("Interval"), "the rest is there: {first}");
    eventually("it comes to a reader that waits", || {
        page("?wait").contains("started long ago").then_some(())
    });
    let before = slow("?before=99999999999999-1");
    assert!(
        before.contains("?before=99999999999999-1&amp;wait#t"),
        "{before}"
    );
}

#[test]
fn sidecars_of_two_versions_show_in_api_metrics_and_page() {
    let redis = Redis::start();
    let old = r#"{"type":"t","host":"h","intervalMs":600000,"epoch":7,"startedAt":1,"hbVersion":"0.0.9"}"#;
    redis.run::<i64>(&["HSET", "hb:agents", "old", old]);
    let stopped = old
        .replace("0.0.9", "0.0.8")
        .replace('}', ",\"stoppedAt\":5}");
    redis.run::<i64>(&["HSET", "hb:agents", "stopped", &stopped]);
    let monitor = ready(&redis.url());
    let mut agent = sidecar(&redis.url(), "new", "500ms");
    let _agent = Agent::start(agent.args(["sleep", "600"]));
    let version = env!("CARGO_PKG_VERSION");
    eventually("both are counted, and not the one that has stopped", || {
        let (_, status) = monitor.get("/v1/status")?;
        let wanted = serde_json::json!([{"version": version, "agents": 1}, {"version": "0.0.9", "agents": 1}]);
        (status["sidecars"] == wanted).then_some(())
    });
    let (_, health) = monitor.get("/health/agents/new").unwrap();
    assert_eq!(health["hbVersion"], version);
    let (_, metrics) = get_text(&monitor.address, "/metrics").unwrap();
    assert!(
        metrics.contains("hb_sidecars{version=\"0.0.9\"} 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains(",hb_version=\"0.0.9\"} 1\n"), "{metrics}");
    let (_, page) = get_text(&monitor.address, "/status").unwrap();
    assert!(page.contains("Sidecars, mixed"), "{page}");
    let (_, page) = get_text(&monitor.address, "/agents/new").unwrap();
    assert!(page.contains(&format!("hbsidecar {version}")), "{page}");
    assert!(show(&monitor, "old").contains("   Sidecar  0.0.9\n"));
}
