//! What Prometheus gets: every name, checked by its own tool, and the rules and the dashboard that are made of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use support::{Monitor, Redis, Running, eventually, get_text, sidecar};

/// Every name that hbmonitor promises.
const NAMES: [&str; 54] = [
    "hb_build_info",
    "hb_agents",
    "hb_agent_info",
    "hb_agent_up",
    "hb_agent_state",
    "hb_agent_state_since_timestamp_seconds",
    "hb_agent_last_heartbeat_timestamp_seconds",
    "hb_agent_last_progress_timestamp_seconds",
    "hb_agent_start_time_seconds",
    "hb_agent_progress_ratio",
    "hb_agent_cpu_ratio",
    "hb_agent_resident_memory_bytes",
    "hb_agent_exits_total",
    "hb_agent_heartbeats_total",
    "hb_agents_without_series",
    "hb_beats_total",
    "hb_heartbeats_rejected_total",
    "hb_dropped_total",
    "hb_detections_total",
    "hb_detection_delay_seconds",
    "hb_recovery_attempts_total",
    "hb_recovery_failures_total",
    "hb_recovery_duration_seconds",
    "hb_alerts_firing",
    "hb_pages_held",
    "hb_notifications_total",
    "hb_notifications_failed_total",
    "hb_notifications_queued",
    "hb_notifications_suppressed_total",
    "hb_notification_latency_seconds",
    "hb_receiver_up",
    "hb_sidecars",
    "hb_silences_active",
    "hb_incidents_open",
    "hb_gate_closed",
    "hb_store_up",
    "hb_store_errors_total",
    "hb_store_operation_duration_seconds",
    "hb_store_round_trip_seconds",
    "hb_config_last_reload_successful",
    "hb_config_last_reload_success_timestamp_seconds",
    "hb_sse_clients",
    "hb_tick_duration_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
    "process_threads",
    "hb_fleet_agents_max",
    "hb_fleet_bytes",
    "hb_fleet_bytes_max",
    "hb_fleet_left_total",
    "hb_fleet_refused_total",
];

fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

fn promtool(arguments: &[&str], input: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let answer = tool.wait_with_output().unwrap();
    let text = [answer.stdout, answer.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(answer.status.success(), "promtool {arguments:?}: {text}");
    text
}

fn metrics(monitor: &Monitor) -> String {
    get_text(&monitor.address, "/metrics").unwrap().1
}

/// The value of the line that begins like this.
fn value(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find(|found| found.starts_with(line))?;
    found.rsplit(' ').next()?.parse().ok()
}

#[test]
fn every_name_is_there_and_promtool_finds_no_fault_whatever_an_agent_calls_its_host() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _agent = Running::start(agent.args(["sh", "-c", "sleep 1; exit 7"]));
    let beat = r#"{"agentId":"w2","agentType":"a\"b\\c\nd","timestamp":1,"sequence":7,"status":"busy","metrics":{"cpuPercent":150.0,"memoryMB":20,"activeTasks":0,"queueDepth":0,"tokensUsedThisHour":0,"errorsLast5Min":0},"taskProgress":50,"hb":{"v":1,"intervalMs":600000,"epoch":7,"slot":1,"host":"h\"\\\n{}","pid":7,"startedAt":1764000000000,"activity":{"verdict":"working","since":1,"evidence":[]}}}"#;
    redis.run::<i64>(&["PUBLISH", "heartbeats", beat]);
    redis.run::<i64>(&["PUBLISH", "heartbeats", "no beat"]);
    // The counters change at once, the states with the next picture of the
    // fleet: each is waited for.
    let text = eventually("both agents are counted and shown", || {
        let text = metrics(&monitor);
        let counted = [
            r#"hb_agent_exits_total{agent="w1",reason="error"}"#,
            r#"hb_agent_state{agent="w1",state="failed"}"#,
            r#"hb_agent_up{agent="w2"}"#,
        ];
        let there = counted.iter().all(|line| value(&text, line) == Some(1.0));
        there.then_some(text)
    });
    let said = promtool(&["check", "metrics"], &text);
    assert_eq!(said.trim(), "");
    for name in NAMES {
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "{name} is not there"
        );
    }
    for (line, wanted) in [
        (r#"hb_agent_state{agent="w1",state="failed"}"#, 1.0),
        (r#"hb_agent_state{agent="w1",state="healthy"}"#, 0.0),
        (r#"hb_agent_up{agent="w2"}"#, 1.0),
        (r#"hb_agent_cpu_ratio{agent="w2"}"#, 1.5),
        (r#"hb_agent_progress_ratio{agent="w2"}"#, 0.5),
        (r#"hb_agent_resident_memory_bytes{agent="w2"}"#, 2e7),
        (r#"hb_detections_total{kind="crash"}"#, 1.0),
        (r#"hb_heartbeats_rejected_total{reason="malformed"}"#, 1.0),
        (r#"hb_recovery_duration_seconds_count{rung="docker"}"#, 0.0),
        (
            r#"hb_notifications_suppressed_total{reason="silenced"}"#,
            0.0,
        ),
        (r#"hb_alerts_firing{severity="critical"}"#, 0.0),
    ] {
        assert_eq!(value(&text, line), Some(wanted), "{line}");
    }
}

#[test]
fn the_series_of_an_agent_leave_with_it() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _agent = Running::start(agent.args(["sh", "-c", "exit 7"]));
    monitor.wait_for("w1", "failed");
    let named = |text: &str| text.matches(r#"agent="w1""#).count();
    assert!(named(&metrics(&monitor)) >= 8);
    let forgotten = support::clean(&support::program("hbmonitor"))
        .args([
            "forget",
            "w1",
            "--url",
            &format!("http://{}", monitor.address),
        ])
        .output()
        .unwrap();
    assert!(forgotten.status.success(), "{forgotten:?}");
    eventually("no series names it", || {
        (named(&metrics(&monitor)) == 0).then_some(())
    });
}

#[test]
fn the_rules_are_right_and_use_only_names_that_are_there() {
    let rules = place("prometheus/rules.yaml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    let tests = place("prometheus/rules_test.yaml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "");
    let text = std::fs::read_to_string(rules).unwrap();
    assert_eq!(strange(&text), BTreeSet::new());
}

#[test]
fn the_dashboard_uses_only_names_that_are_there_and_the_source_that_is_chosen() {
    let text = std::fs::read_to_string(place("grafana/hb-fleet.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    for panel in board["panels"].as_array().unwrap() {
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{}",
            panel["title"]
        );
        let queries = panel["targets"].as_array().unwrap().iter();
        let queries: Vec<&str> = queries.map(|q| q["expr"].as_str().unwrap()).collect();
        assert_eq!(
            strange(&queries.join("\n")),
            BTreeSet::new(),
            "{}",
            panel["title"]
        );
    }
}

#[test]
fn the_page_about_metrics_has_every_name_and_no_other() {
    let page = include_str!("../docs/metrics.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let first = |row: &&str| row.split('|').nth(1).unwrap().to_owned();
    let cells: Vec<String> = rows.iter().map(first).collect();
    let named = cells.iter().flat_map(|cell| cell.split('`'));
    let named: BTreeSet<&str> = named.filter(|word| word.contains('_')).collect();
    assert_eq!(named, BTreeSet::from(NAMES));
}

/// Names of ours that nothing exports.
fn strange(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("hb_"));
    let plain = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let end = ends.iter().find_map(|end| name.strip_suffix(end));
        end.unwrap_or(name).to_owned()
    };
    let names: BTreeSet<String> = names.map(plain).collect();
    names
        .into_iter()
        .filter(|name| !NAMES.contains(&name.as_str()))
        .collect()
}
