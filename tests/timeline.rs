//! The story of an agent: written by the monitor, kept by the store, shown by API, page and terminal.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod support;

use serde_json::Value;
use support::fleet::in_a_network_of_its_own;
use support::{Monitor, Redis, Running, eventually, get, sidecar};

/// The lines of a timeline, oldest first.
fn lines(address: &str, id: &str) -> Vec<String> {
    let path = format!("/v1/agents/{id}/timeline?limit=500");
    let Some((200, answer)) = get(address, &path) else {
        return Vec::new();
    };
    let mut lines: Vec<String> = whats(&answer);
    lines.reverse();
    lines
}

fn whats(answer: &Value) -> Vec<String> {
    let entries = answer["timeline"].as_array().unwrap().iter();
    let what = |entry: &Value| entry["what"].as_str().unwrap().to_owned();
    entries.map(what).collect()
}

/// An agent that fails at once and is not started again.
fn failing(redis_url: &str, id: &str) -> Running {
    let mut command = sidecar(redis_url, id, "1s");
    command.args(["sh", "-c", "sleep 1; exit 7"]);
    Running::start(&mut command)
}

fn count(lines: &[String], wanted: &str) -> usize {
    lines.iter().filter(|line| line.contains(wanted)).count()
}

#[test]
fn an_agent_that_fails_has_a_story_and_a_monitor_that_starts_writes_nothing_of_it_twice() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    let _agent = failing(&redis.url(), "w1");
    monitor.wait_for("w1", "failed");
    let parts = [
        "registered on ",
        "process ended with code 7",
        "healthy → failed (exited)",
        "incident opened",
    ];
    eventually("its story is written, each part once", || {
        let lines = lines(&monitor.address, "w1");
        parts
            .iter()
            .all(|part| count(&lines, part) == 1)
            .then_some(())
    });
    let left: i64 = redis.run(&["PTTL", "hb:timeline:{agent:w1}"]);
    assert!(left > 29 * 24 * 3600 * 1000, "{left} ms");

    drop(monitor);
    let monitor = Monitor::start(&redis.url());
    monitor.wait_for("w1", "failed");
    // What the second monitor writes about another agent comes behind everything that it had to write about this one.
    let _agent = failing(&redis.url(), "w2");
    eventually("the second monitor writes", || {
        let lines = lines(&monitor.address, "w2");
        let written = ["incident opened", "failed (exited)"];
        let all = written.iter().all(|part| count(&lines, part) == 1);
        all.then_some(())
    });
    let again = lines(&monitor.address, "w1");
    assert_eq!(count(&again, "failed (exited)"), 1, "{again:?}");
    assert_eq!(count(&again, "incident opened"), 1, "{again:?}");
}

#[test]
fn a_timeline_is_read_in_pages_and_whatever_is_asked_for_gets_an_answer() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let key = "hb:timeline:{agent:w1}";
    for n in 0..7 {
        let what = format!("number {n}");
        redis.run::<String>(&[
            "XADD",
            key,
            &format!("{}-0", 10 + n),
            "at",
            "5",
            "kind",
            "state",
            "what",
            &what,
        ]);
    }
    redis.run::<String>(&["XADD", key, "20-0", "kind", "state", "what", "has no time"]);
    let get = |query: &str| {
        let path = format!("/v1/agents/w1/timeline{query}");
        eventually("an answer", || {
            monitor.get(&path).filter(|(code, _)| *code != 503)
        })
    };
    let (_, first) = get("?limit=4");
    assert_eq!(whats(&first), ["number 6", "number 5", "number 4"]);
    let before = first["nextBefore"].as_str().unwrap();
    let (_, second) = get(&format!("?limit=10&before={before}"));
    assert_eq!(
        whats(&second),
        ["number 3", "number 2", "number 1", "number 0"]
    );
    assert_eq!(second["nextBefore"], Value::Null);
    let (_, by_time) = get("?before=12");
    assert_eq!(whats(&by_time), ["number 1", "number 0"]);
    for (query, code) in [
        ("?limit=1000000000", 200),
        ("?before=0", 404),
        ("?before=18446744073709551615", 200),
        ("?limit=0", 400),
        ("?limit=-1", 400),
        ("?before=x", 400),
        ("?before=-", 400),
        ("?before=99999999999999999999-0", 400),
    ] {
        assert_eq!(get(query).0, code, "{query}");
    }
    for id in ["no-such", "..%2F..%2Fetc", "%00"] {
        let (code, _) = monitor.get(&format!("/v1/agents/{id}/timeline")).unwrap();
        assert_eq!(code, 404, "{id}");
    }
}

/// In a network of its own, where no Redis is and the embedded store takes the port.
#[test]
fn page_and_terminal_show_the_story_also_from_the_embedded_store() {
    let script = r#"
set -u
ip link set lo up
until_() { for n in $(seq 1000); do eval "$1" && return; sleep 0.05; done; echo "FAILED: $1"; tail log; kill $(jobs -p); wait; exit 1; }
get() { curl -s --max-time 5 "http://127.0.0.1:7410$1"; }
hbmonitor --listen 127.0.0.1:7410 --state-dir state >>log 2>&1 &
until_ 'get /-/ready | grep -q ok'
hbsidecar -q --id w1 --interval 1s --restart never -- sh -c 'sleep 1; exit 7'
for part in "incident opened" "healthy → failed (exited)" "process ended with code 7"; do
  until_ 'get /v1/agents/w1/timeline | grep -q "$part"'
done
get /agents/w1 | grep -o "healthy → failed (exited)"
hbmonitor show w1 | sed -n '/^Timeline/,$p'
kill $(jobs -p); wait
"#;
    let (code, printed) = in_a_network_of_its_own(script);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("healthy → failed (exited)"), "{printed}");
    assert!(printed.contains("Timeline\n"), "{printed}");
    assert!(printed.contains("process ended with code 7"), "{printed}");
}
