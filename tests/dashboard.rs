//! The dashboard and the stream of changes, as a browser and a script meet them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Monitor, Redis, Running, SOON, clean, eventually, get_text, program, sidecar};

const PAGE_BYTES_MAX: usize = 150_000;
const SCRIPT_BYTES_MAX: usize = 12_000;
const STYLE_BYTES_MAX: usize = 15_000;

fn beat(redis: &Redis, id: &str, verdict: &str, task: &str) {
    let task = serde_json::to_string(task).unwrap();
    let sequence = next_number();
    let json = format!(
        r#"{{"agentId":"{id}","agentType":"writer","timestamp":{now},"sequence":{sequence},"status":"busy","metrics":{{"cpuPercent":3.1,"memoryMB":182,"activeTasks":1,"queueDepth":0,"tokensUsedThisHour":0,"errorsLast5Min":0}},"currentTask":{task},"taskProgress":42,"hb":{{"v":1,"intervalMs":600000,"epoch":7,"slot":1,"host":"node-1","pid":7,"activity":{{"verdict":"{verdict}","since":1,"sentence":"Progress reported: 42 %, was 41 % 12 s ago.","evidence":[]}}}}}}"#,
        now = sequence,
    );
    redis.run::<i64>(&["PUBLISH", "heartbeats", &json]);
}

/// The event of a stalled agent with two processes.
fn captured(redis: &Redis, id: &str) {
    let process = |pid: u32, parent: u32, wait: &str| json!({"pid": pid, "parent": parent, "command": "python3", "state": "sleeping", "waiting_on": [wait]});
    let tree = [
        process(7, 1, "the end of process 8"),
        process(8, 7, "10.0.4.17:5432 over TCP"),
    ];
    let card = json!({"pid": 7, "verdict": "stalled", "sentence": "Nothing has moved for 6 min.", "tree": tree});
    let detail = json!({"incarnation": 0, "card": card}).to_string();
    redis.run::<String>(&[
        "XADD",
        "hb:events",
        "*",
        "event",
        "stalled",
        "agent",
        id,
        "epoch",
        "7",
        "at",
        "1",
        "detail",
        &detail,
    ]);
}

/// Grows with each call.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn wait_until_ready(monitor: &Monitor) {
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
}

/// An open answer of `/v1/events`, line by line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(address: &str, query: &str, last: Option<u64>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET /v1/events{query} HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            last.unwrap_or_default()
        );
        (&stream).write_all(request.as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Everything up to the line that begins like this.
    fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let found = line.starts_with(start);
            lines.push(line);
            if found {
                return lines;
            }
            assert!(lines.len() < 10_000, "no line {start:?}: {lines:?}");
        }
    }
}

fn last_id(lines: &[String]) -> u64 {
    let id = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("id: "));
    id.unwrap().parse().unwrap()
}

#[test]
fn a_page_of_a_hundred_agents_its_script_and_its_style_sheet_keep_their_sizes() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    wait_until_ready(&monitor);
    for n in 0..150 {
        beat(
            &redis,
            &format!("agent-{n:03}"),
            "working",
            "Draft the weekly report",
        );
    }
    let page = eventually("all agents are listed", || {
        let (_, page) = get_text(&monitor.address, "/")?;
        page.contains("of 150").then_some(page)
    });
    assert!(page.len() <= PAGE_BYTES_MAX, "{} bytes", page.len());
    assert_eq!(page.matches("<tr id=").count(), 100);
    for (asset, max) in [("app.js", SCRIPT_BYTES_MAX), ("style.css", STYLE_BYTES_MAX)] {
        let (code, text) = get_text(&monitor.address, &format!("/{asset}")).unwrap();
        assert_eq!(code, 200);
        assert!(text.len() <= max, "{asset}: {} bytes", text.len());
        assert!(!text.contains("://"), "{asset} names another place");
    }
}

#[test]
fn every_page_answers_whatever_its_address_asks_for() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    wait_until_ready(&monitor);
    beat(&redis, "w1", "working", "</title><script>alert(1)</script>");
    eventually("the agent is listed", || {
        get_text(&monitor.address, "/")?
            .1
            .contains("a-w1")
            .then_some(())
    });
    for (path, expected) in [
        ("/?limit=1000000000&page=99999999999999999999&sort=x", 200),
        ("/?q=%ff%00&state=%3Cscript%3E", 200),
        ("/agents/w1", 200),
        ("/agents/w2", 404),
        ("/agents/..%2f..%2fetc", 404),
        ("/incidents?open=true", 200),
        ("/incidents/no-such", 404),
        ("/status", 200),
    ] {
        let (code, page) = get_text(&monitor.address, path).unwrap();
        assert_eq!(code, expected, "{path}");
        assert!(page.starts_with("<!DOCTYPE html>"), "{path}: {page}");
        assert_eq!(page.matches("<script").count(), 1, "{path}: {page}");
    }
}

#[test]
fn a_reader_that_comes_back_gets_what_it_missed_and_a_stranger_starts_over() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    wait_until_ready(&monitor);
    let mut stream = Stream::open(&monitor.address, "", None);
    stream.until(": live");
    beat(&redis, "w1", "working", "t");
    let lines = stream.until("data: ");
    assert_eq!(lines[lines.len() - 3], "event: state");
    assert!(
        lines
            .last()
            .unwrap()
            .contains(r#""agentId":"w1","from":null,"to":"healthy""#)
    );
    let seen = last_id(&lines);
    drop(stream);
    beat(&redis, "w1", "stalled", "t");
    let mut back = Stream::open(&monitor.address, "", Some(seen));
    let missed = back.until("data: ");
    assert!(missed.contains(&"event: notice".to_owned()), "{missed:?}");
    assert_eq!(last_id(&missed), seen + 1);
    let mut recent = Stream::open(&monitor.address, "?recent=1", None);
    assert_eq!(last_id(&recent.until(": live")), seen + 1);
    for unknown in [1, seen + 1_000_000] {
        let mut stranger = Stream::open(&monitor.address, "", Some(unknown));
        let lines = stranger.until(": live");
        assert!(lines.contains(&"event: reset".to_owned()), "{lines:?}");
        assert_eq!(last_id(&lines), seen + 1);
    }
}

#[test]
fn readers_beyond_their_places_are_refused_and_others_are_served() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let mut streams: Vec<Stream> = (0..1000)
        .map(|_| Stream::open(&monitor.address, "", None))
        .collect();
    let codes: Vec<String> = streams.iter_mut().map(Stream::line).collect();
    let refused = codes.iter().filter(|code| code.contains("503")).count();
    assert_eq!((codes.len(), refused), (1000, 488));
    assert_eq!(monitor.get("/health/agents").unwrap().0, 200);
    drop(streams);
    // A reader that has gone is noticed by the second comment that it does not take.
    let started = Instant::now();
    while !Stream::open(&monitor.address, "", None)
        .line()
        .contains("200")
    {
        assert!(
            started.elapsed() < Duration::from_secs(90),
            "places stay taken"
        );
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// Real Chromium: flips, focus, filters, dark, phone, no script, below a path, hostile texts, a monitor that is gone.
#[test]
fn the_dashboard_works_in_a_browser() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    wait_until_ready(&monitor);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/browser/dashboard.mjs");
    let mut node = Command::new("node");
    node.arg(script)
        .arg(format!("http://{}/", monitor.address))
        .arg(redis.port.to_string())
        .arg(monitor.process.0.id().to_string())
        .args(std::env::var_os("HB_TEST_SHOTS"))
        .stdin(Stdio::null());
    let output = node.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
}

#[test]
fn a_form_with_a_time_that_is_none_does_nothing_and_says_what_is_wrong() {
    let redis = Redis::start();
    let files = support::place();
    let token = files.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--token-file").arg(&token);
    });
    wait_until_ready(&monitor);
    for (path, form) in [
        ("/pause", "for=soon"),
        ("/pause", "for="),
        ("/silences", "id=w1&for=31d"),
        ("/silences", "id=w1&for="),
        ("/silences", "for=1h"),
    ] {
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer s3cret\r\nContent-Length: {length}\r\n\r\n{form}",
            address = monitor.address,
            length = form.len(),
        );
        let answer = head(&monitor.address, &request);
        assert!(
            answer.starts_with("HTTP/1.0 400"),
            "{path} {form}: {answer}"
        );
    }
    let (_, status) = monitor.get("/v1/status").unwrap();
    assert_eq!(status["recovery"]["paused"], serde_json::Value::Null);
    let (_, silences) = monitor.get("/v1/silences").unwrap();
    assert_eq!(silences["silences"], serde_json::json!([]));
}

/// The head of an answer.
fn head(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_to_string(&mut answer).unwrap();
    answer.split("\r\n\r\n").next().unwrap().to_owned()
}

#[test]
fn the_printed_address_lets_one_browser_in_and_a_page_of_another_site_does_nothing() {
    let redis = Redis::start();
    let mut command = clean(&program("hbmonitor"));
    command.args(["--redis-url", &redis.url(), "--listen", "127.0.0.1:0"]);
    let mut monitor = Running::start(command.stdout(Stdio::piped()));
    let mut printed = BufReader::new(monitor.0.stdout.take().unwrap()).lines();
    let line = printed.by_ref().nth(1).unwrap().unwrap();
    let (address, key) = line
        .split_once("http://")
        .unwrap()
        .1
        .split_once("/?t=")
        .unwrap();
    let get = |path: &str| {
        head(
            address,
            &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
        )
    };
    let entered = get(&format!("/?t={key}"));
    assert!(entered.starts_with("HTTP/1.0 303"), "{entered}");
    let cookie = entered
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let again = get(&format!("/?t={key}"));
    assert!(
        again.starts_with("HTTP/1.0 303") && !again.contains("set-cookie"),
        "{again}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let post = |headers: &str| {
        let request = format!(
            "POST /pause HTTP/1.0\r\nHost: {address}\r\nContent-Length: 6\r\n{headers}\r\nfor=1h"
        );
        head(address, &request)
    };
    eventually("the pause is taken", || {
        let answer = post(&format!("Cookie: {cookie}\r\nOrigin: http://{address}\r\n"));
        answer.starts_with("HTTP/1.0 303").then_some(())
    });
    let elsewhere = post(&format!(
        "Cookie: {cookie}\r\nOrigin: http://evil.example\r\n"
    ));
    assert!(elsewhere.starts_with("HTTP/1.0 403"), "{elsewhere}");
    assert!(post("").starts_with("HTTP/1.0 401"));
    assert!(post("Cookie: hb_session=0\r\n").starts_with("HTTP/1.0 401"));
}

/// Signed in with the token, asked first, ended and started again.
#[test]
fn a_person_restarts_a_real_agent_on_its_page() {
    let redis = Redis::start();
    let state = tempfile::tempdir().unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--state-dir").arg(state.path());
    });
    let mut agent = sidecar(&redis.url(), "team:worker@1..2", "3s");
    let _agent = support::fleet::Agent::start(agent.args(["sleep", "600"]));
    monitor.wait_for("team:worker@1..2", "healthy");
    let pid = || monitor.get("/health/agents/team:worker@1..2")?.1["pid"].as_u64();
    let before = eventually("its first beat comes", pid);
    let token = std::fs::read_to_string(state.path().join("token")).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/browser/restart.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(format!("http://{}/", monitor.address));
    let output = node
        .args(["team:worker@1..2", token.trim()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    let after = eventually("it runs again", || pid().filter(|pid| *pid != before));
    assert_ne!(after, before);
}

#[test]
fn no_page_has_a_serious_fault_for_those_who_see_or_move_badly() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    wait_until_ready(&monitor);
    let mut agent = sidecar(&redis.url(), "failing", "1s");
    let _agent = Running::start(agent.args(["sh", "-c", "sleep 1; exit 7"]));
    beat(&redis, "w1", "working", "Draft the weekly report");
    beat(&redis, "w2", "stalled", "Index the archive");
    captured(&redis, "w2");
    eventually("its processes are on its page", || {
        let (_, page) = get_text(&monitor.address, "/agents/w2")?;
        page.contains("Process tree").then_some(())
    });
    monitor.wait_for("failing", "failed");
    let incident = eventually("an incident is open", || {
        let (_, answer) = monitor.get("/v1/incidents?open=true")?;
        Some(answer["incidents"][0]["id"].as_str()?.to_owned())
    });
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/browser/axe.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(format!("http://{}/", monitor.address));
    node.args([
        "",
        "?sort=id",
        "agents/failing",
        "agents/w2",
        "incidents",
        "silences",
        "status",
    ]);
    let output = node.arg(format!("incidents/{incident}")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
