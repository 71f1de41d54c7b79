//! The programs against a real Redis and real processes.
#![expect(clippy::expect_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};
use support::fleet::in_a_network_of_its_own;
use support::{Monitor, Redis, Running, SOON, eventually, get_text, sidecar, signal};

const SLEEP: [&str; 3] = ["python3", "-c", "import time; time.sleep(60)"];

fn hash(redis: &Redis, id: &str) -> HashMap<String, String> {
    redis.run(&["HGETALL", &format!("agent:{id}")])
}

fn events(redis: &Redis, id: &str) -> Vec<String> {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", "hb:events", "-", "+"]);
    entries
        .into_iter()
        .filter(|(_, e)| e["agent"] == id)
        .map(|(_, e)| e["event"].clone())
        .collect()
}

fn beating(redis: &Redis, id: &str) -> u32 {
    eventually("the agent beats", || {
        hash(redis, id).get("pid")?.parse().ok()
    })
}

#[test]
fn an_agent_under_a_sidecar_has_the_fields_of_the_seed_and_a_time_to_live_of_four_intervals() {
    let redis = Redis::start();
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    beating(&redis, "a1");
    let fields = hash(&redis, "a1");
    for field in [
        "registeredAt",
        "type",
        "host",
        "pid",
        "status",
        "lastHeartbeat",
        "sequence",
        "cpuPercent",
        "memoryMB",
        "epoch",
        "slot",
        "intervalMs",
        "beat",
    ] {
        assert!(
            fields.contains_key(field),
            "{field} is missing in {fields:?}"
        );
    }
    let left: i64 = redis.run(&["PTTL", "agent:a1"]);
    assert!((1..=4000).contains(&left), "{left} ms");
}

#[test]
fn a_node_program_written_from_the_seed_reads_the_beats() {
    let redis = Redis::start();
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    let heard = node("seed_consumer.mjs", &redis.url());
    assert!(heard.starts_with("a1 python3 healthy "), "{heard}");
}

#[test]
fn an_agent_whose_beats_a_node_program_sends_is_healthy_in_the_monitor() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    node("seed_producer.mjs", &redis.url());
    monitor.wait_for("node-1", "healthy");
}

#[test]
fn sidecars_and_agents_killed_together_are_failed_after_three_of_their_own_intervals() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    // At six times the interval the other one has not failed yet, also where the machine is busy for some seconds.
    let killed = [("fast", "1s"), ("slow", "6s")].map(|(id, interval)| {
        let mut running = Running::start(sidecar(&redis.url(), id, interval).args(SLEEP));
        monitor.wait_for(id, "healthy");
        let pid = beating(&redis, id);
        running.kill();
        pid
    });
    for agent in killed {
        signal(agent, "KILL");
    }
    let rows = eventually("the faster one is failed", || {
        let (_, listing) = monitor.get("/health/agents")?;
        let row = |id: &str| {
            let mut rows = listing["agents"].as_array()?.iter();
            rows.find(|row| row["agentId"] == id).cloned()
        };
        let (fast, slow) = (row("fast")?, row("slow")?);
        (fast["state"] == "failed").then_some([fast, slow])
    });
    assert_eq!(rows[0]["reason"], "heartbeat_lost");
    assert!(rows[0]["missedBeats"].as_u64() >= Some(3), "{}", rows[0]);
    assert_ne!(rows[1]["state"], "failed", "{}", rows[1]);
}

#[test]
fn a_crash_is_known_by_its_event_with_its_code() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let dir = tempfile::tempdir().unwrap();
    let until_told = "while [ ! -e end ]; do sleep 0.05; done; exit 7";
    let mut command = sidecar(&redis.url(), "a1", "30s");
    let mut agent = Running::start(
        command
            .args(["sh", "-c", until_told])
            .current_dir(dir.path()),
    );
    monitor.wait_for("a1", "healthy");
    std::fs::write(dir.path().join("end"), "").unwrap();
    assert_eq!(agent.exit_code(), Some(7));
    // Silence alone would take 95 s at this interval, and no test waits so long.
    monitor.wait_for("a1", "failed");
    let (_, agent) = monitor.get("/health/agents/a1").unwrap();
    assert_eq!(agent["sentence"], "It exited with code 7.");
}

#[test]
fn a_clean_end_is_said_in_the_hash_in_the_stream_and_in_a_last_beat() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let mut agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    monitor.wait_for("a1", "healthy");
    agent.signal("TERM");
    assert_eq!(agent.exit_code(), Some(128 + 15));
    monitor.wait_for("a1", "stopped");
    let fields = hash(&redis, "a1");
    assert_eq!(fields["status"], "stopped");
    assert!(fields.contains_key("stoppedAt") && fields["beat"].contains("\"stopped\""));
    assert_eq!(events(&redis, "a1"), ["registered", "exited", "stopped"]);
}

#[test]
fn an_agent_that_ends_at_once_is_not_lost() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let mut agent = Running::start(sidecar(&redis.url(), "quick", "30s").args(["true"]));
    assert_eq!(agent.exit_code(), Some(0));
    monitor.wait_for("quick", "stopped");
}

#[test]
fn a_store_killed_and_started_again_makes_no_agent_fail_and_beats_resume() {
    let mut redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    monitor.wait_for("a1", "healthy");
    redis.down();
    eventually("the monitor knows that it is blind", || {
        (monitor.get("/-/ready")?.0 == 503).then_some(())
    });
    redis.up();
    beating(&redis, "a1");
    eventually("the monitor is ready", || {
        (monitor.get("/-/ready")?.0 == 200).then_some(())
    });
    let watched_until = Instant::now() + Duration::from_secs(4);
    eventually("four seconds passed without a failure", || {
        assert_ne!(monitor.state("a1").as_deref(), Some("failed"));
        (Instant::now() > watched_until).then_some(())
    });
    monitor.wait_for("a1", "healthy");
}

#[test]
fn an_agent_starts_and_runs_with_no_store_and_is_registered_when_one_comes() {
    let mut redis = Redis::start();
    redis.down();
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    redis.up();
    beating(&redis, "a1");
    let roster: HashMap<String, String> = redis.run(&["HGETALL", "hb:agents"]);
    assert!(roster.contains_key("a1"));
}

#[test]
fn an_agent_killed_while_no_monitor_ran_is_found_on_start() {
    let redis = Redis::start();
    let mut agent = Running::start(sidecar(&redis.url(), "a1", "300ms").args(SLEEP));
    let pid = beating(&redis, "a1");
    agent.kill();
    signal(pid, "KILL");
    eventually("its hash expires", || {
        hash(&redis, "a1").is_empty().then_some(())
    });
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.args(["--interval-default", "10m"]);
    });
    // From the roster, with the agent's own interval: with the default one it would take half an hour.
    monitor.wait_for("a1", "failed");
}

#[test]
fn an_epoch_is_higher_at_every_registration_even_after_the_store_lost_all() {
    let redis = Redis::start();
    let mut epochs = Vec::new();
    for round in 0..3 {
        let mut agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(["sleep", "60"]));
        epochs.push(eventually("this incarnation beats", || {
            let fields = hash(&redis, "a1");
            (fields.get("status")? == "healthy").then(|| fields["epoch"].parse::<u64>().unwrap())
        }));
        agent.signal("TERM");
        agent.exit_code();
        let empty: &[&str] = if round == 1 {
            &["DEL", "hb:epoch:{agent:a1}"]
        } else {
            &["DEL", "agent:a1"]
        };
        redis.run::<i64>(empty);
    }
    assert!(epochs[0] < epochs[1] && epochs[1] < epochs[2], "{epochs:?}");
}

#[test]
fn garbage_on_the_channel_is_counted_and_the_loop_lives() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/-/ready")?.0 == 200).then_some(())
    });
    for garbage in [
        "{oops",
        "[]",
        "\u{0}",
        r#"{"agentId":"a}b"}"#,
        &"x".repeat(10_000),
    ] {
        redis.run::<i64>(&["PUBLISH", "heartbeats", garbage]);
    }
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    monitor.wait_for("a1", "healthy");
    for line in [
        "hb_dropped_total{kind=\"not_json\"} 2",
        "hb_dropped_total{kind=\"not_a_beat\"} 2",
        "hb_dropped_total{kind=\"too_large\"} 1",
        "hb_agents{state=\"healthy\"} 1",
    ] {
        eventually(line, || {
            let (_, metrics) = get_text(&monitor.address, "/metrics")?;
            metrics.contains(line).then_some(())
        });
    }
}

#[test]
fn an_unknown_agent_is_404_in_the_words_of_the_seed() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let (code, body) = monitor.get("/health/agents/nobody").unwrap();
    assert_eq!(
        (code, body.to_string().as_str()),
        (404, r#"{"error":"Agent not found"}"#)
    );
}

#[test]
fn the_monitor_ends_cleanly_on_sigterm() {
    let redis = Redis::start();
    let mut monitor = Monitor::start(&redis.url());
    monitor.process.signal("TERM");
    assert_eq!(monitor.process.exit_code(), Some(0));
}

#[test]
fn a_configured_store_that_cannot_be_reached_is_said_and_no_store_is_embedded() {
    let absent = Redis::absent(&[]);
    let monitor = Monitor::start(&absent.url());
    let (code, body) = monitor.get("/-/ready").unwrap();
    assert_eq!(
        (code, body["error"].as_str()),
        (503, Some("not connected to the store"))
    );
    assert!(std::net::TcpStream::connect(("127.0.0.1", absent.port)).is_err());
}

/// hbmonitor, an agent under hbsidecar, and questions until the agent is healthy; nobody names a store.
const NEARBY: &str = r#"
ip link set lo up
hbmonitor --listen 127.0.0.1:7410 >/dev/null &
until curl -sf http://127.0.0.1:7410/-/ready >/dev/null; do sleep 0.05; done
hbsidecar --id near -- sleep 60 &
until curl -s http://127.0.0.1:7410/health/agents/near | grep -q '"state":"healthy"'; do sleep 0.05; done
kill $(jobs -p); wait"#;

#[test]
fn with_nothing_configured_a_sidecar_finds_the_store_that_the_monitor_embeds() {
    assert_eq!(in_a_network_of_its_own(NEARBY).0, Some(0));
}

#[test]
fn where_a_cleaner_removed_the_runtime_directory_the_embedded_store_is_found_all_the_same() {
    let cleaned = "rm -r $XDG_RUNTIME_DIR/hb
        until [ -e $XDG_RUNTIME_DIR/hb/store-url ]; do sleep 0.05; done
        hbsidecar --id near";
    let script = NEARBY.replace("hbsidecar --id near", cleaned);
    assert_eq!(in_a_network_of_its_own(&script).0, Some(0));
}

#[test]
fn an_agent_that_ended_well_while_hbmonitor_was_away_with_its_store_is_stopped() {
    let script = r#"
ip link set lo up
cd $XDG_RUNTIME_DIR
shows() { until curl -s http://127.0.0.1:7410/health/agents/near | grep -q "\"state\":\"$1\""; do sleep 0.05; done; }
hbmonitor --listen 127.0.0.1:7410 >/dev/null & monitor=$!
until curl -sf http://127.0.0.1:7410/-/ready >/dev/null; do sleep 0.05; done
hbsidecar --id near --interval 300ms -- sh -c 'until [ -e done ]; do sleep 0.05; done' & sidecar=$!
shows healthy
kill $monitor; wait $monitor
touch done; wait $sidecar
hbmonitor --listen 127.0.0.1:7410 >/dev/null & monitor=$!
shows stopped
curl -s http://127.0.0.1:7410/health/agents/near | grep -q "It ended cleanly."; said=$?
kill $monitor; wait $monitor; exit $said"#;
    assert_eq!(in_a_network_of_its_own(script).0, Some(0));
}

#[test]
fn with_nothing_configured_both_use_the_redis_of_the_machine_whatever_a_killed_monitor_left_behind()
{
    let left_behind = "mkdir -m 700 $XDG_RUNTIME_DIR/hb; echo redis://127.0.0.1:1 > $XDG_RUNTIME_DIR/hb/store-url";
    let redis = "ip link set lo up; cd $XDG_RUNTIME_DIR; redis-server --save '' >/dev/null & \
        until redis-cli ping >/dev/null 2>&1; do sleep 0.05; done";
    let script = format!("{left_behind}\n{redis}\n{NEARBY}");
    assert_eq!(in_a_network_of_its_own(&script).0, Some(0));
}

fn node(script: &str, url: &str) -> String {
    let dir = format!("{}/tests/clients", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args([&SOON.as_secs().to_string(), "node", script, url])
        .current_dir(dir)
        .output()
        .expect("node is needed: run `make test-deps`");
    assert!(
        output.status.success(),
        "is `make test-deps` done? {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
