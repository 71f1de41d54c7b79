//! What HTTP clients, signals and a log without a reader may do to a monitor: nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use support::fleet::{Agent, in_a_network_of_its_own};
use support::{Monitor, Redis, SOON, eventually, sidecar};

/// What a monitor answers to these bytes, up to the end of the connection.
fn answer(monitor: &Monitor, request: &[u8], half_close: bool) -> String {
    let mut stream = TcpStream::connect(&monitor.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request).unwrap();
    if half_close {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a reset is an end too
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(line: &str, host: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

#[test]
fn a_request_whose_sender_has_closed_its_side_is_answered_each_time() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    for n in 0..200 {
        let answer = answer(&monitor, b"GET /readyz HTTP/1.0\r\n\r\n", true);
        assert!(
            answer.starts_with("HTTP/1.0 200"),
            "request {n}: {answer:?}"
        );
    }
}

#[test]
fn half_sent_requests_are_dropped_and_others_are_served_meanwhile() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let half = b"GET /health/agents HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut streams: Vec<TcpStream> = (0..1500)
        .map(|_| {
            let mut stream = TcpStream::connect(&monitor.address).unwrap();
            let _ = stream.write_all(half); // one that came too many is closed already
            stream
        })
        .collect();
    assert_eq!(monitor.get("/health/agents").unwrap().0, 200);
    for stream in &mut streams {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "a half-sent request is kept");
    }
}

#[test]
fn only_requests_for_a_name_of_this_server_are_answered() {
    let redis = Redis::start();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.args(["--public-url", "https://fleet.example.com/"]);
    });
    for host in [
        "evil.example",
        "evil.example:7410",
        "127.0.0.1.evil.example",
    ] {
        let answer = answer(&monitor, &request("GET /health/agents", host), false);
        assert!(answer.starts_with("HTTP/1.1 400"), "{host}: {answer}");
        assert!(answer.contains("--public-url"), "{host}: {answer}");
    }
    let absolute = request("GET http://evil.example/health/agents", "localhost");
    assert!(answer(&monitor, &absolute, false).starts_with("HTTP/1.1 400"));
    // The target counts, not the header; and whether the monitor lives is no secret.
    let absolute = request("GET http://127.0.0.1/health/agents", "proxy.example");
    let probe = request("GET /livez", "balancer.example");
    for allowed in [absolute, probe] {
        assert!(answer(&monitor, &allowed, false).starts_with("HTTP/1.1 200"));
    }
    for host in [
        "localhost",
        "127.0.0.1:1",
        "[::1]:7410",
        "fleet.example.com",
    ] {
        let answer = answer(&monitor, &request("GET /health/agents", host), false);
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
}

#[test]
fn a_path_that_is_no_utf_8_gets_the_error_as_json() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let (code, body) = monitor.get("/health/agents/%ff%fe").unwrap();
    assert!(
        (400..500).contains(&code) && body["error"].is_string(),
        "{code} {body}"
    );
}

#[test]
fn a_hangup_ends_no_monitor() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    monitor.process.signal("HUP");
    for _ in 0..3 {
        assert_eq!(monitor.get("/-/healthy").unwrap().0, 200);
    }
}

#[test]
fn a_monitor_ends_at_once_beside_half_sent_requests() {
    let redis = Redis::start();
    let mut monitor = Monitor::start(&redis.url());
    let mut half = TcpStream::connect(&monitor.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    monitor.process.signal("TERM");
    assert_eq!(monitor.process.exit_code(), Some(0));
}

/// A monitor whose log cannot be written sees an agent fail all the same.
fn monitors_with(log: impl Into<Stdio>) {
    let redis = Redis::start();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.arg("-vv").stderr(log);
    });
    let mut command = sidecar(&redis.url(), "a", "200ms");
    let mut agent = Agent::start(command.args(["sleep", "1000"]));
    monitor.wait_for("a", "healthy");
    // The pipe is full when lines are lost: with -vv each beat is a line.
    agent.0.kill_all();
    monitor.wait_for("a", "failed");
}

#[test]
fn a_log_on_a_full_disk_does_not_end_the_monitor() {
    monitors_with(File::options().write(true).open("/dev/full").unwrap());
}

#[test]
fn a_log_that_is_not_read_does_not_stop_the_monitor() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    monitors_with(writer);
}

/// A name server that takes questions and does not answer.
const NO_NAMES: &str = r#"
ip link set lo up
python3 -c 'import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53)); open("bound", "w"); time.sleep(600)' &
until [ -e bound ]; do sleep 0.05; done
printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' >resolv; mount --bind resolv /etc/resolv.conf
"#;

#[test]
fn a_name_server_that_does_not_answer_delays_no_end() {
    // What remains after the agent is the wait for the last report, 2 s; a lookup takes 150 s.
    let script = format!(
        r#"{NO_NAMES}
hbmonitor --listen 127.0.0.1:7410 --redis-url redis://store.example:6379 & M=$!
until curl -s http://127.0.0.1:7410/-/healthy | grep -q ok; do sleep 0.05; done
kill $M; timeout 40 tail --pid=$M -f /dev/null || echo the monitor stays
timeout 40 hbsidecar -q --redis-url redis://store.example:6379 --id a -- true || echo the sidecar stays
kill %1"#
    );
    let printed = in_a_network_of_its_own(&script).1;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0],
        "hbmonitor listens on http://127.0.0.1:7410; store store.example:6379, as configured"
    );
    assert!(lines[1].starts_with("dashboard: http://127.0.0.1:7410/?t="));
    assert_eq!(lines.len(), 2, "{printed}");
}

#[test]
fn a_log_of_json_begins_with_a_start_line_of_json() {
    let redis = Redis::start();
    let script = format!(
        "ip link set lo up\n\
         hbmonitor --log-format json --listen 127.0.0.1:7410 --redis-url {} & M=$!\n\
         until curl -s http://127.0.0.1:7410/-/healthy | grep -q ok; do sleep 0.05; done\n\
         kill $M; wait $M",
        redis.socket_url()
    );
    let printed = in_a_network_of_its_own(&script).1;
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fields = &lines[0]["fields"];
    assert_eq!(fields["listen"], "http://127.0.0.1:7410", "{printed}");
    assert!(fields["dashboard"].as_str().unwrap().contains("/?t="));
}
