//! The commands that only read, as people and scripts type them: answers, exit codes, pipes, a monitor that comes and goes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use support::{Monitor, Redis, Running, SOON, clean, eventually, program};

/// A monitor and its store.
struct Place {
    redis: Redis,
    monitor: Monitor,
}

impl Place {
    fn start() -> Self {
        let redis = Redis::start();
        let monitor = Monitor::start(&redis.url());
        eventually("the monitor is ready", || {
            (monitor.get("/readyz")?.0 == 200).then_some(())
        });
        Self { redis, monitor }
    }

    fn beat(&self, id: &str, sequence: u64, verdict: &str, task: &str) {
        let task = serde_json::to_string(task).unwrap();
        let json = format!(
            r#"{{"agentId":"{id}","agentType":"writer","timestamp":1764000000000,"sequence":{sequence},"status":"busy","currentTask":{task},"taskProgress":42,"hb":{{"v":1,"intervalMs":600000,"epoch":7,"slot":1,"host":"node-1","pid":7,"activity":{{"verdict":"{verdict}","since":1763999000000,"sentence":"It owes work.","evidence":[]}}}}}}"#
        );
        self.redis.run::<i64>(&["PUBLISH", "heartbeats", &json]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&program("hbmonitor"));
        command.args(arguments).env("LANG", "C.UTF-8");
        command.env("HB_URL", format!("http://{}", self.monitor.address));
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        texts(&self.command(arguments).output().unwrap())
    }

    fn wait_for(&self, id: &str, verdict: &str) {
        eventually("the beat is applied", || {
            let (_, agent) = self.monitor.get(&format!("/health/agents/{id}"))?;
            (agent["activity"]["verdict"] == verdict).then_some(())
        });
    }
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_follower_of_events_ends_when_what_reads_it_has_gone() {
    let place = Place::start();
    for n in 0..5 {
        place.beat(&format!("w{n}"), 1, "working", "t");
    }
    place.wait_for("w4", "working");
    let mut follower = place.command(&["events", "-f"]);
    let mut follower = Running::start(follower.stdout(Stdio::piped()));
    let stdout = follower.0.stdout.take().unwrap();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    assert_eq!(follower.exit_code(), Some(0), "although nothing happens");
}

#[test]
fn an_id_that_no_agent_has_is_answered_with_the_one_that_is_meant_by_every_command() {
    let place = Place::start();
    place.beat("writer-1", 1, "working", "t");
    place.wait_for("writer-1", "working");
    for command in [
        &["show", "writer"][..],
        &["restart", "writer"],
        &["capture", "writer"],
        &["stop", "writer"],
        &["forget", "writer"],
        &["ack", "writer"],
        &["recover", "writer"],
    ] {
        let (code, _, errors) = place.run(command);
        assert!(code == Some(1) || code == Some(4), "{command:?}: {code:?}");
        assert!(
            errors.contains("did you mean: writer-1"),
            "{command:?}: {errors}"
        );
    }
    let (code, said, warned) = place.run(&["silence", "writer", "--for", "1h"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("writer is silenced"), "it may come: {said}");
    assert!(warned.contains("did you mean: writer-1"), "{warned}");
}

#[test]
fn json_is_one_agent_a_line_those_that_need_a_person_first_and_no_line_for_none() {
    let place = Place::start();
    assert_eq!(
        place.run(&["ls", "--json"]),
        (Some(0), String::new(), String::new())
    );
    place.beat("calm", 1, "idle", "t");
    place.beat("stuck", 1, "stalled", "t");
    place.wait_for("stuck", "stalled");
    let (code, listed, _) = place.run(&["ls", "--json"]);
    let agents: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<&str> = agents
        .iter()
        .map(|agent| agent["agentId"].as_str().unwrap())
        .collect();
    assert_eq!((code, ids), (Some(0), vec!["stuck", "calm"]));
    assert_eq!(agents[0]["attention"], "you");
    let (_, found, _) = place.run(&["ls", "--json", "--state", "stalled"]);
    assert_eq!(found.lines().count(), 1);
}

#[test]
fn a_filter_takes_several_words_and_names_those_of_its_own_field() {
    let place = Place::start();
    for (id, verdict) in [
        ("calm", "idle"),
        ("stuck", "stalled"),
        ("asks", "waiting_input"),
    ] {
        place.beat(id, 1, verdict, "t");
        place.wait_for(id, verdict);
    }
    let listed = |filter: &[&str]| {
        let (code, listed, why) = place.run(&[&["ls", "--json"], filter].concat());
        assert_eq!(code, Some(0), "{filter:?}: {why}");
        listed.lines().count()
    };
    for (filter, expected) in [
        (&["--state", "missing,failed"][..], 0),
        (&["--state", "failed,stalled,waiting-for-you"], 2),
        (&["--state", "healthy,stalled"], 3),
        (&["--activity", "idle,stalled"], 2),
        (&["--state", "stalled,idle", "--activity", "idle"], 1),
        (&["--type", "reader,writer"], 3),
        (&["--type", "reader,editor"], 0),
    ] {
        assert_eq!(listed(filter), expected, "{filter:?}");
    }
    for (flag, known) in [
        (
            "--state",
            "healthy, missing, failed, stopped; or a verdict: starting",
        ),
        ("--activity", "starting, working"),
    ] {
        let (code, _, why) = place.run(&["ls", flag, "failed,bogus"]);
        assert_eq!(code, Some(2), "{why}");
        assert!(why.contains(known), "{why}");
    }
    let (code, line, _) = place.run(&["check", "--state", "bogus"]);
    assert!(
        code == Some(3) && line.starts_with("UNKNOWN: state: expected one of healthy"),
        "{line}"
    );
}

#[test]
fn a_pipe_gets_rows_with_tabs_and_no_control_character_of_a_task() {
    let place = Place::start();
    place.beat("w1", 1, "working", "clear\u{1b}[2J\u{202e}\tit");
    place.wait_for("w1", "working");
    let (_, listed, errors) = place.run(&["ls"]);
    let fields: Vec<&str> = listed.trim_end().split('\t').collect();
    assert_eq!((fields.len(), errors.as_str()), (7, ""));
    assert_eq!(fields[..4], ["working", "w1", "writer", "node-1"]);
    assert_eq!(
        fields[5..],
        ["42", "clear\\u{1b}[2J\\u{202e}\\u{9}it: owes work"]
    );
}

#[test]
fn the_exit_code_of_show_says_whether_a_person_should_see_the_agent() {
    let place = Place::start();
    place.beat("writer-1", 1, "working", "t");
    place.wait_for("writer-1", "working");
    let (code, shown, _) = place.run(&["show", "writer-1"]);
    assert_eq!(code, Some(0));
    assert!(shown.starts_with("● writer-1: working, "), "{shown}");
    assert!(shown.contains("\n      Task  t: 42 %\n"), "{shown}");
    place.beat("writer-1", 2, "stalled", "t");
    place.wait_for("writer-1", "stalled");
    assert_eq!(place.run(&["show", "writer-1"]).0, Some(3));
    let (code, shown, error) = place.run(&["show", "writer"]);
    assert_eq!((code, shown.as_str()), (Some(4), ""));
    assert!(
        error.contains("no agent is called \"writer\"\n  did you mean: writer-1\n"),
        "{error}"
    );
    assert_eq!(place.run(&["show", "../v1/status"]).0, Some(4));
}

#[test]
fn check_is_0_all_well_1_notices_and_3_when_the_monitor_cannot_say() {
    let place = Place::start();
    place.beat("writer-1", 1, "working", "t");
    place.wait_for("writer-1", "working");
    let (code, line, _) = place.run(&["check"]);
    let well = "OK: 1 agent, all well | healthy=1 missing=0 failed=0 stopped=0 notices=0\n";
    assert_eq!((code, line.as_str()), (Some(0), well));
    place.beat("writer-1", 2, "waiting_input", "t");
    place.wait_for("writer-1", "waiting_input");
    let (code, line, _) = place.run(&["check"]);
    assert_eq!(code, Some(1));
    assert!(
        line.starts_with("WARNING: 1 notice: writer-1 waiting for you "),
        "{line}"
    );
    let away = place
        .command(&["check", "--url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    let (code, line, _) = texts(&away);
    assert_eq!(code, Some(3));
    assert!(
        line.starts_with("UNKNOWN: cannot reach the monitor at http://127.0.0.1:1: "),
        "{line}"
    );
}

/// Answers each request with this code and body, as a server that is no hbmonitor may.
fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let (code, body) = answer.split_once(' ').unwrap();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {code} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}")
}

#[test]
fn the_json_of_another_server_is_no_fleet_in_which_all_is_well() {
    let url = stranger(r#"200 {"status":null,"data":[]}"#);
    for (arguments, code) in [
        (&["check"][..], 3),
        (&["ls"], 1),
        (&["ls", "--json"], 1),
        (&["show", "w1"], 1),
        (&["incidents"], 1),
        (&["healthcheck"], 1),
    ] {
        let mut command = clean(&program("hbmonitor"));
        command.args(arguments).env("HB_URL", &url);
        let (exit, out, err) = texts(&command.output().unwrap());
        assert_eq!(exit, Some(code), "{arguments:?}: {out}{err}");
        assert!(
            (out + &err).contains("is no hbmonitor"),
            "{arguments:?} names the cause"
        );
    }
}

#[test]
fn an_error_of_a_server_has_no_control_character_on_the_terminal() {
    let url = stranger(r#"400 {"error":"red \u001b[31m"}"#);
    for command in ["ls", "check"] {
        let asked = clean(&program("hbmonitor"))
            .arg(command)
            .env("HB_URL", &url)
            .output();
        let (_, out, err) = texts(&asked.unwrap());
        let shown = out + &err;
        assert!(
            shown.contains("red ") && !shown.contains('\x1b'),
            "{shown:?}"
        );
    }
}

#[test]
fn a_follower_prints_what_changes_and_goes_on_with_the_next_monitor() {
    let mut place = Place::start();
    let mut command = place.command(&["events", "-f", "--json"]);
    let mut follower = Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let (send, events) = mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    let event = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    let next = || event(events.recv_timeout(SOON).unwrap());
    place.beat("w1", 1, "working", "t");
    let first = next();
    assert_eq!(
        (&first["event"], &first["agentId"]),
        (&"state".into(), &"w1".into())
    );
    place.beat("w1", 2, "stalled", "t");
    let second = next();
    assert_eq!(
        (&second["event"], &second["to"]),
        (&"notice".into(), &"stalled".into())
    );
    let address = place.monitor.address.clone();
    place.monitor.process.kill();
    let mut again = clean(&program("hbmonitor"));
    again.args(["--redis-url", &place.redis.url(), "--listen", &address]);
    // Its port is the kernel's choice: another program may have it for a moment.
    let _again = eventually("the next monitor has the port", || {
        let mut again = Running::start(again.stdout(Stdio::null()).stderr(Stdio::null()));
        let serves = eventually("it serves or ends", || {
            let ended = again.0.try_wait().unwrap().map(|_| false);
            ended.or_else(|| support::get(&address, "/-/healthy").map(|_| true))
        });
        serves.then_some(again)
    });
    let mut number = 0;
    eventually("events of the next monitor come", || {
        number += 1;
        place.beat(&format!("new-{number}"), 1, "working", "t");
        let found = event(events.try_recv().ok()?);
        let is_new = found["agentId"].as_str()?.starts_with("new-");
        (is_new && found["event"] == "state" && found["to"] == "healthy").then_some(())
    });
}

#[test]
fn completions_are_printed_and_healthcheck_follows_the_store() {
    let place = Place::start();
    let (code, script, _) = place.run(&["completions", "bash"]);
    assert!(code == Some(0) && script.contains("incidents"), "{script}");
    assert_eq!(place.run(&["healthcheck"]).0, Some(0));
    let away = place
        .command(&["healthcheck", "--url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(away.status.code(), Some(1));
    let none = place.run(&["incidents"]);
    assert_eq!((none.0, none.1.as_str()), (Some(0), ""));
}
