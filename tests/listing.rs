//! Long answers about a large fleet over HTTP: complete for who reads them, small for who does not.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Monitor, Redis, SOON, eventually, get_text};

const AGENTS: usize = 10_000;
const UNREAD: usize = 60;
/// How often every agent stops and starts again: more events than the kernel keeps for a reader.
const ROUNDS: usize = 6;
/// What an unread listing may cost: the pieces on their way, and what the HTTP server buffers.
const UNREAD_BYTES_MAX: usize = 1 << 20;

/// Every agent beats, the `sequence`th time.
fn beats(redis: &Redis, sequence: usize, status: &str) {
    let mut connection = redis.client().get_connection().unwrap();
    let mut all = redis::pipe();
    let task = "x".repeat(150);
    for n in 0..AGENTS {
        let beat = format!(
            r#"{{"agentId":"a{n:05}","agentType":"writer","timestamp":{sequence},"sequence":{sequence},"status":"{status}","currentTask":"{task}"}}"#
        );
        all.cmd("PUBLISH").arg("heartbeats").arg(beat).ignore();
    }
    let () = all.query(&mut connection).unwrap();
}

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
    beats(&redis, 1, "healthy");
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

/// Follows the events, and reads none of them: little of it is kept by the kernel.
fn follow(monitor: &Monitor) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, connect, ipproto, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP)).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    let address: std::net::SocketAddr = monitor.address.parse().unwrap();
    connect(&socket, &address).unwrap();
    let mut stream = TcpStream::from(socket);
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
        monitor.address
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn followers(monitor: &Monitor) -> Option<usize> {
    let (_, metrics) = get_text(&monitor.address, "/metrics")?;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("hb_sse_clients "))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn followers_that_never_read_cost_little_and_lose_their_places() {
    let (redis, monitor) = fleet();
    let unread: Vec<TcpStream> = (0..UNREAD).map(|_| follow(&monitor)).collect();
    eventually("all of them follow", || {
        (followers(&monitor)? == UNREAD).then_some(())
    });
    let before = resident(&monitor);
    let mut grown = 0;
    let deadline = Instant::now() + Duration::from_secs(300);
    // The kernel's buffers take some rounds before a follower is behind, and how many is the kernel's choice.
    for round in 0.. {
        let (status, key) = match round % 2 {
            0 => ("stopped", "stopped"),
            _ => ("healthy", "healthy"),
        };
        beats(&redis, 2 + round, status);
        eventually("every agent is another", || {
            let (_, page) = monitor.get("/health/agents?limit=1")?;
            (page[key] == AGENTS).then_some(())
        });
        if round < ROUNDS {
            grown = resident(&monitor).saturating_sub(before).max(grown);
        } else if followers(&monitor) == Some(0) {
            break;
        }
        println!(
            "round {round}: {grown} bytes, {:?} followers",
            followers(&monitor)
        );
        assert!(Instant::now() < deadline, "places stay taken");
    }
    // With what the fleet itself keeps of ten thousand agents that change.
    assert!(
        grown < 2 * UNREAD * UNREAD_BYTES_MAX,
        "{grown} bytes for {UNREAD} unread followers"
    );
    drop(unread);
}
