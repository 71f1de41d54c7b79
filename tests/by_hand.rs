//! What people ask the monitor for: by command and by HTTP, with a token, each time in the audit.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use support::fleet::{Agent, Fleet};
use support::{Monitor, Redis, Running, SOON, clean, eventually, program};

/// A command of this user, about the monitor at this address.
fn command(address: &str, arguments: &[&str]) -> Output {
    let mut command = clean(&program("hbmonitor"));
    command
        .args(arguments)
        .args(["--url", &format!("http://{address}")]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn done(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

/// Status code and error of a bare POST with these headers.
fn post(address: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: Value = serde_json::from_str(body).unwrap();
    (code, body["error"].as_str().unwrap_or_default().to_owned())
}

fn ready(monitor: &Monitor) {
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
}

fn audit(redis: &Redis) -> Vec<HashMap<String, String>> {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", "hb:audit", "-", "+"]);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// The audit once it has an entry: it is written apart from what a person is answered.
fn audited(redis: &Redis) -> Vec<HashMap<String, String>> {
    eventually("the audit has it", || {
        Some(audit(redis)).filter(|all| !all.is_empty())
    })
}

#[test]
fn a_person_restarts_a_healthy_agent_and_the_audit_names_both() {
    let fleet = Fleet::start();
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    fleet.monitor.wait_for("a1", "healthy");
    let said = done(&command(&fleet.monitor.address, &["restart", "a1"]));
    assert!(said.contains("a1 is healthy"), "{said}");
    fleet.tells("a1", &json!({"restarts": 1}));
    let audit = audited(&fleet.redis);
    assert_eq!(audit.len(), 1);
    assert_eq!((&*audit[0]["what"], &*audit[0]["agent"]), ("restart", "a1"));
    assert_eq!(audit[0]["outcome"], "accepted");
    assert!(audit[0]["who"].contains('@') && audit[0]["from"].starts_with("127.0.0.1:"));
}

#[test]
fn a_person_has_an_agent_unblocked_and_its_sidecar_says_that_there_is_nothing_to_do() {
    let fleet = Fleet::start();
    ready(&fleet.monitor);
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    fleet.monitor.wait_for("a1", "healthy");
    let address = &fleet.monitor.address;
    let why = refused(
        &command(address, &["recover", "a1", "--rung", "unblock"]),
        1,
    );
    assert!(why.contains("order to unblock refused"), "{why}");
    let asked = audited(&fleet.redis);
    assert_eq!(
        (asked[0]["what"].as_str(), asked[0]["outcome"].as_str()),
        ("unblock", "accepted")
    );
    let dry = command(
        address,
        &["recover", "a1", "--rung", "unblock", "--dry-run"],
    );
    assert!(String::from_utf8_lossy(&dry.stderr).contains("no dry run"));
}

/// An agent that was started elsewhere, under a sidecar that is only attached.
#[test]
fn a_restart_that_the_sidecar_refuses_ends_the_command_at_once_and_is_in_the_timeline() {
    let fleet = Fleet::start();
    ready(&fleet.monitor);
    let agent = Running::start(Command::new("sleep").arg("1000"));
    let pid = agent.pid().to_string();
    let mut attached = fleet.hbsidecar(&["-q", "--id", "a1", "--pid", &pid]);
    let _sidecar = Agent::start(attached.stdout(Stdio::null()));
    fleet.monitor.wait_for("a1", "healthy");
    let why = refused(&command(&fleet.monitor.address, &["restart", "a1"]), 1);
    let reason = "restart the agent where it was started";
    assert!(why.contains("refused") && why.contains(reason), "{why}");
    let [asked, order] = eventually("both are in its timeline", || {
        let (_, answer) = fleet.monitor.get("/v1/agents/a1/timeline")?;
        let entries = answer["timeline"].as_array()?.iter();
        let of_kind = |kind: &str| entries.clone().find(|entry| entry["kind"] == kind).cloned();
        Some([of_kind("asked")?, of_kind("order")?])
    });
    assert_eq!(order["facts"]["outcome"], "refused");
    let id = order["facts"]["order"].as_str().unwrap();
    assert_eq!(asked["detail"], format!("order {id}"));
}

/// The agent fails again at once, and nothing else can be done for it.
#[test]
fn a_recovery_that_does_not_help_ends_the_command_with_what_became_of_its_rung() {
    let (redis, place) = (Redis::start(), support::place());
    let config = place.path().join("hbmonitor.toml");
    let policy = "[[policy]]\nladder = [\"exec\", \"alert\"]\nexec = [\"sh\", \"-c\", \"echo no such agent; exit 4\"]\nauto = false\n";
    std::fs::write(&config, policy).unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--config").arg(&config);
    });
    let fleet = Fleet {
        redis,
        monitor,
        place,
    };
    ready(&fleet.monitor);
    let mut agent = fleet.agent("a1", &["--restart", "never"], &["sh", "-c", "exit 3"]);
    agent.0.wait();
    fleet.monitor.wait_for("a1", "failed");
    let outcome = command(&fleet.monitor.address, &["restart", "a1"]);
    let why = refused(&outcome, 1);
    assert!(
        why.contains("exec: did not help") && why.contains("no such agent"),
        "{why}"
    );
    let said = String::from_utf8(outcome.stdout).unwrap();
    assert!(said.contains("begun: a rung of incident"), "{said}");
}

#[test]
fn an_agent_that_a_person_stops_is_stopped_by_the_operator_and_can_then_be_forgotten() {
    let fleet = Fleet::start();
    let _agent = fleet.agent("a1", &["--restart", "always"], &["sleep", "1000"]);
    fleet.monitor.wait_for("a1", "healthy");
    let address = &fleet.monitor.address;
    let why = refused(&command(address, &["forget", "a1"]), 1);
    assert!(why.contains("stop it first"), "{why}");
    done(&command(address, &["stop", "a1"]));
    let stopped = json!({"state": "stopped", "reason": "operator",
                         "sentence": "It was stopped by a person."});
    fleet.tells("a1", &stopped);
    let why = refused(&command(address, &["restart", "a1"]), 1);
    assert!(why.contains("its sidecar has ended"), "{why}");
    done(&command(address, &["forget", "a1"]));
    let known = fleet.monitor.get("/health/agents/a1").unwrap();
    assert_eq!(known.0, 404, "the answer came when it was forgotten");
    eventually("the store holds nothing of it", || {
        let held: (bool, usize) = (
            fleet.redis.run(&["HEXISTS", "hb:agents", "a1"]),
            fleet.redis.run(&["EXISTS", "agent:a1"]),
        );
        (held == (false, 0)).then_some(())
    });
}

#[test]
fn a_pause_outlives_the_monitor_and_ends_when_it_is_resumed() {
    let mut fleet = Fleet::start();
    ready(&fleet.monitor);
    done(&command(&fleet.monitor.address, &["pause", "--for", "1h"]));
    let gates = |fleet: &Fleet| fleet.monitor.get("/v1/status").unwrap().1["gates"].clone();
    let paused = |gates: &Value| {
        let all = gates.as_array().unwrap();
        all.iter()
            .any(|gate| gate["gate"] == "paused" && gate["until"].is_u64())
    };
    eventually("the fleet is paused", || {
        paused(&gates(&fleet)).then_some(())
    });
    fleet.monitor.process.kill();
    fleet.monitor = Monitor::start(&fleet.redis.url());
    eventually("the next monitor is paused", || {
        paused(&gates(&fleet)).then_some(())
    });
    ready(&fleet.monitor);
    done(&command(&fleet.monitor.address, &["resume"]));
    eventually("the pause is over", || {
        (!paused(&gates(&fleet))).then_some(())
    });
    eventually("the store holds no pause", || {
        (fleet.redis.run::<usize>(&["EXISTS", "hb:pause"]) == 0).then_some(())
    });
}

#[test]
fn without_the_token_from_another_site_or_read_only_nothing_is_done() {
    let redis = Redis::start();
    let place = support::place();
    let file = place.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = file.to_str().unwrap();
    let open = Monitor::start_with(&redis.url(), |command| {
        command.args(["--token-file", file]);
    });
    let closed = Monitor::start_with(&redis.url(), |command| {
        command.arg("--read-only");
    });
    let token = "Authorization: Bearer s3cret";
    for (monitor, headers, code, says) in [
        (&open, &[][..], 401, "needs a token"),
        (
            &open,
            &["Authorization: Bearer wrong"],
            401,
            "not the token",
        ),
        (
            &open,
            &[token, "Origin: http://evil.example"],
            403,
            "another site",
        ),
        (&closed, &[token], 403, "--read-only"),
    ] {
        let (found, why) = post(&monitor.address, "/v1/pause", headers);
        assert!(found == code && why.contains(says), "{found}: {why}");
    }
    let why = refused(&command(&open.address, &["pause"]), 1);
    assert!(why.contains("HB_TOKEN_FILE"), "{why}");
    ready(&open);
    done(&command(&open.address, &["pause", "--token-file", file]));
    // What was refused before would stand there before it.
    let asked = audited(&redis);
    assert_eq!((asked.len(), &*asked[0]["what"]), (1, "pause"));
    for (path, code) in [
        ("/v1/agents/unknown/restart", 404),
        ("/v1/agents/a1/explode", 404),
        ("/v1/agents/%20/stop", 404),
    ] {
        assert_eq!(post(&open.address, path, &[token]).0, code, "{path}");
    }
    assert_eq!(open.get("/v1/pause").unwrap().0, 405, "GET never acts");
}

#[test]
fn an_open_task_is_given_up_only_when_that_is_confirmed() {
    let fleet = Fleet::start();
    let script = "hbsidecar notify task=index progress=71; exec sleep 1000";
    let _agent = fleet.agent("a1", &[], &["sh", "-c", script]);
    fleet.tells("a1", &json!({"currentTask": "index"}));
    let address = &fleet.monitor.address;
    let why = refused(&command(address, &["restart", "a1"]), 2);
    assert!(why.contains("--yes") && why.contains("index"), "{why}");
    done(&command(address, &["restart", "a1", "--yes"]));
}

#[test]
fn a_monitor_that_cannot_be_reached_is_said_with_the_way_out() {
    let why = refused(&command("127.0.0.1:9", &["resume"]), 1);
    assert!(
        why.contains("cannot reach the monitor at http://127.0.0.1:9"),
        "{why}"
    );
    assert!(why.contains("HB_URL"), "{why}");
}

#[test]
fn an_order_of_a_monitor_that_was_replaced_is_refused_by_the_sidecar() {
    let fleet = Fleet::start();
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    fleet.monitor.wait_for("a1", "healthy");
    let epoch = fleet.health("a1")["epoch"].clone();
    let outcome = |id: &str, token: u64| {
        let order = json!({"id": id, "action": "ping", "epoch": epoch, "incarnation": 0,
                           "ttlMs": 60_000, "token": token});
        let key = "hb:control:{agent:a1}";
        fleet
            .redis
            .run::<()>(&["SET", key, &order.to_string(), "PX", "60000"]);
        fleet
            .redis
            .run::<i64>(&["PUBLISH", key, &order.to_string()]);
        eventually("the order is answered", || {
            let beat: Option<String> = fleet.redis.run(&["HGET", "agent:a1", "beat"]);
            let beat: Value = serde_json::from_str(&beat?).unwrap();
            let answer = &beat["hb"]["order"];
            (answer["id"] == id).then(|| answer["outcome"].as_str().unwrap().to_owned())
        })
    };
    assert_eq!(outcome("of-the-second", 2), "done");
    assert_eq!(outcome("of-the-first", 1), "refused");
    assert_eq!(outcome("of-the-second-again", 2), "done");
}

/// Status code and place that a form leads to.
fn form(address: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer s3cret\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let place = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    (code, place.unwrap_or_default().to_owned())
}

#[test]
fn a_silence_is_made_and_ended_on_its_page() {
    let (redis, place) = (Redis::start(), support::place());
    let file = place.path().join("token");
    std::fs::write(&file, "s3cret").unwrap();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("--token-file").arg(&file);
    });
    ready(&monitor);
    let asked = "id=writer-*&type=&host=&for=1h&comment=model+%3Cb%3E+upgrade";
    let (code, back) = form(&monitor.address, "/silences", asked);
    assert_eq!((code, back.as_str()), (303, "silences"));
    let shows = |headline: &str| {
        eventually(headline, || {
            let (_, page) = support::get_text(&monitor.address, "/silences")?;
            page.contains(headline).then_some(page)
        })
    };
    let page = shows("1 silence in force");
    assert!(page.contains("agent=~writer") && page.contains("model &lt;b&gt; upgrade"));
    let (_, all) = monitor.get("/v1/silences").unwrap();
    let id = all["silences"][0]["id"].as_str().unwrap().to_owned();
    let (code, _) = form(&monitor.address, &format!("/silences/{id}/delete"), "");
    assert_eq!(code, 303);
    shows("No silence in force");
    for wrong in ["", "for=1h", "id=a&for=soon", "id=%00%ff&for="] {
        assert_eq!(
            form(&monitor.address, "/silences", wrong).0,
            400,
            "{wrong:?}"
        );
    }
    assert_eq!(form(&monitor.address, "/silences/none/delete", "").0, 409);
}
