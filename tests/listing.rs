//! A listing of a large fleet over HTTP: complete for who reads it, small for who does not.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Monitor, Redis, SOON, eventually};

const AGENTS: usize = 10_000;
const UNREAD: usize = 60;
/// What an unread listing may cost: the pieces on their way, and what the HTTP server buffers.
const UNREAD_BYTES_MAX: usize = 1 << 20;

/// A fleet of [`AGENTS`] plain producers.
fn fleet() -> (Redis, Monitor) {
    let redis = Redis::start();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        command.args(["-q", "--interval-default", "1h"]);
    });
    eventually("the monitor is ready", || {
        let (code, _) = monitor.get("/-/ready")?;
        (code == 200).then_some(())
    });
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut all = redis::pipe();
    for n in 0..AGENTS {
        let task = "x".repeat(150);
        let beat = format!(
            r#"{{"agentId":"a{n:05}","agentType":"writer","timestamp":1,"sequence":1,"status":"healthy","currentTask":"{task}"}}"#
        );
        all.cmd("PUBLISH").arg("heartbeats").arg(beat).ignore();
    }
    let () = all.query(&mut connection).unwrap();
    eventually("all of them are there", || {
        let (_, page) = monitor.get("/health/agents?limit=1")?;
        (page["total"] == AGENTS).then_some(())
    });
    (redis, monitor)
}

/// Asks for all agents, and reads nothing.
fn ask(monitor: &Monitor) -> TcpStream {
    let mut stream = TcpStream::connect(&monitor.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!(
        "GET /health/agents HTTP/1.0\r\nHost: {}\r\n\r\n",
        monitor.address
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn resident(monitor: &Monitor) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.process.pid()));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kb = line.unwrap().split_whitespace().nth(1).unwrap();
    kb.parse::<usize>().unwrap() * 1024
}

#[test]
fn unread_listings_cost_some_pieces_each_and_are_complete_when_they_are_read() {
    let (_redis, monitor) = fleet();
    let before = resident(&monitor);
    let mut unread: Vec<TcpStream> = (0..UNREAD).map(|_| ask(&monitor)).collect();
    for stream in &unread {
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1, "it has begun to answer");
    }
    let grown = resident(&monitor).saturating_sub(before);
    assert!(
        grown < UNREAD * UNREAD_BYTES_MAX,
        "{grown} bytes for {UNREAD} unread listings"
    );
    let mut answer = String::new();
    unread[0].read_to_string(&mut answer).unwrap();
    let page: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let rows = page["agents"].as_array().unwrap();
    let ids: HashSet<&str> = rows
        .iter()
        .map(|row| row["agentId"].as_str().unwrap())
        .collect();
    assert_eq!((rows.len(), ids.len()), (AGENTS, AGENTS));
    assert!(
        answer.len() > 2 * UNREAD_BYTES_MAX,
        "a listing is larger than what it may cost: {}",
        answer.len()
    );
}
