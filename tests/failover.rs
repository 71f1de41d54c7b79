//! A store with replicas: Sentinel makes one of them the master, or an address moves. Agents work on, and none is called failed.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::process::{Command, Stdio};
use support::proxy::Proxy;
use support::{Monitor, Redis, Running, eventually, place, sidecar, signal, text_of, unused_port};

const NAME: &str = "hb";
const PASSWORD: &str = "the-same-everywhere";
const INTERVAL: &str = "500ms";

/// Two servers, the second follows the first, and three sentinels that watch them. All end with the test.
struct Watched {
    servers: [Redis; 2],
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    _process: Running,
    port: u16,
    password: Option<String>,
    _place: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(password: Option<&str>) -> Self {
        let login = password.map(|password| ["--masterauth", password]);
        let arguments: Vec<&str> = login.into_iter().flatten().collect();
        let servers = [(); 2].map(|()| {
            let mut redis = Redis::absent(&arguments);
            redis.password = password.map(str::to_owned);
            redis.up();
            redis
        });
        follow(&servers);
        let sentinels = (0..3).map(|_| Sentinel::start(servers[0].port, password));
        let watched = Self {
            sentinels: sentinels.collect(),
            servers,
        };
        for sentinel in &watched.sentinels {
            eventually("the sentinels know each other and the replica", || {
                let facts = sentinel.facts();
                let many = |what: &str| facts.get(what).map(String::as_str);
                let all = (many("num-slaves"), many("num-other-sentinels"));
                (all == (Some("1"), Some("2"))).then_some(())
            });
        }
        watched
    }

    /// With one that is not there in front.
    fn url(&self, user: &str) -> String {
        let ports = [unused_port()].into_iter();
        let ports = ports.chain(self.sentinels.iter().map(|sentinel| sentinel.port));
        let nodes: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{user}{}/{NAME}", nodes.join(","))
    }

    fn agent(&self, id: &str, user: &str) -> Running {
        let mut command = sidecar(&self.url(user), id, INTERVAL);
        Running::start(command.args(["sleep", "1000"]))
    }

    /// A monitor of it, and a healthy agent.
    fn fleet(&self, id: &str, user: &str) -> (Monitor, Running) {
        let monitor = Monitor::start(&self.url(user));
        let agent = self.agent(id, user);
        monitor.wait_for(id, "healthy");
        (monitor, agent)
    }

    /// The replica is the master, and the beats of the agent are there.
    fn beats_at_the_other(&self, id: &str) {
        let other = &self.servers[1];
        eventually("the replica has become the master", || {
            // It closes its connections when it is promoted.
            let info: String = other.ask(&["INFO", "replication"]).ok()?;
            info.contains("role:master").then_some(())
        });
        let sequence = || -> Option<u64> {
            other
                .ask::<Option<String>>(&["HGET", &format!("agent:{id}"), "sequence"])
                .ok()??
                .parse()
                .ok()
        };
        let before = sequence().unwrap_or(0);
        eventually("beats come to the new master", || {
            sequence().filter(|now| *now > before)
        });
    }
}

impl Sentinel {
    fn start(master: u16, password: Option<&str>) -> Self {
        let (place, port) = (place(), unused_port());
        let file = place.path().join("sentinel.conf");
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n",
            place.path().display()
        );
        if let Some(password) = password {
            text +=
                &format!("sentinel auth-pass {NAME} \"{password}\"\nrequirepass \"{password}\"\n");
        }
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null());
        command.stdout(Stdio::null());
        let process = Running::spawn(&mut command);
        let sentinel = Self {
            _process: process,
            port,
            password: password.map(str::to_owned),
            _place: place,
        };
        eventually("the sentinel answers", || sentinel.ask(&["PING"]).ok());
        sentinel
    }

    fn ask(&self, command: &[&str]) -> redis::RedisResult<redis::Value> {
        let who = self
            .password
            .as_ref()
            .map(|password| format!(":{password}@"));
        let url = format!("redis://{}127.0.0.1:{}", who.unwrap_or_default(), self.port);
        let mut connection = redis::Client::open(url)?.get_connection()?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
    }

    /// What it knows of the master.
    fn facts(&self) -> HashMap<String, String> {
        let answer = self.ask(&["SENTINEL", "MASTER", NAME]).unwrap();
        redis::from_redis_value(answer).unwrap()
    }
}

/// The second server follows the first one.
fn follow([master, replica]: &[Redis; 2]) {
    let port = master.port.to_string();
    let _: String = replica.run(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the replica has its master's data", || {
        let info: String = replica.run(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    });
}

/// Nothing was ever called failed.
fn was_calm(monitor: &Monitor) {
    let (_, incidents) = monitor.get("/v1/incidents").unwrap();
    assert_eq!(
        incidents["incidents"],
        Value::Array(Vec::new()),
        "{incidents}"
    );
}

/// Servers and sentinels ask for the same password.
#[test]
fn a_fleet_goes_on_at_the_new_master_when_the_old_one_is_killed() {
    let mut store = Watched::start_with(Some(PASSWORD));
    let user = format!(":{PASSWORD}@");
    let (monitor, _agent) = store.fleet("fo-1", &user);
    store.servers[0].down();
    store.beats_at_the_other("fo-1");
    monitor.wait_for("fo-1", "healthy");
    was_calm(&monitor);
}

#[test]
fn a_fleet_goes_on_at_the_new_master_when_the_old_one_stands_still() {
    let store = Watched::start();
    let (monitor, _agent) = store.fleet("fo-2", "");
    signal(store.servers[0].pid(), "STOP");
    store.beats_at_the_other("fo-2");
    monitor.wait_for("fo-2", "healthy");
    signal(store.servers[0].pid(), "CONT");
    was_calm(&monitor);
}

/// The old master takes writes for some seconds more, which are lost.
#[test]
fn a_failover_that_was_asked_for_fails_no_agent() {
    let store = Watched::start();
    let (monitor, _agent) = store.fleet("fo-3", "");
    store.sentinels[0]
        .ask(&["SENTINEL", "FAILOVER", NAME])
        .unwrap();
    store.beats_at_the_other("fo-3");
    monitor.wait_for("fo-3", "healthy");
    was_calm(&monitor);
}

#[test]
fn a_master_that_the_sentinels_do_not_know_is_named_and_the_agent_runs() {
    let store = Watched::start();
    let url = store.url("").replace(&format!("/{NAME}"), "/another");
    let directory = place();
    let log = directory.path().join("log");
    let mut command = sidecar(&url, "fo-5", INTERVAL);
    command
        .args(["sleep", "1000"])
        .stderr(File::create(&log).unwrap());
    let mut agent = Running::start(&mut command);
    let line = eventually("the sidecar reports it", || {
        let text = text_of(&log);
        let mut lines = text.lines();
        lines
            .find(|line| line.contains("store unreachable"))
            .map(str::to_owned)
    });
    assert!(
        line.contains("no master named \"another\"; check the name at the end of --redis-url"),
        "{line}"
    );
    assert!(agent.0.try_wait().unwrap().is_none());
}

/// An address that names another server from now on: connections to the old one stay open, and the old one is a replica now.
#[test]
fn an_address_that_moves_is_followed_when_the_old_server_becomes_a_replica() {
    let servers = [(); 2].map(|()| Redis::start());
    follow(&servers);
    let [old, new] = &servers;
    let address = Proxy::to(old.port);
    let monitor = Monitor::start(&address.url());
    let mut command = sidecar(&address.url(), "fo-6", INTERVAL);
    let _agent = Running::start(command.args(["sleep", "1000"]));
    monitor.wait_for("fo-6", "healthy");
    let sequence = |of: &Redis| -> Option<u64> {
        let held: Option<String> = of.run(&["HGET", "agent:fo-6", "sequence"]);
        held?.parse().ok()
    };
    let before = eventually("a beat is in the store", || sequence(old));
    let _: String = new.run(&["REPLICAOF", "NO", "ONE"]);
    address.moves_to(new.port);
    let _: String = old.run(&["REPLICAOF", "127.0.0.1", "1"]); // and it gets nothing of the new one
    eventually("beats come to the new master", || {
        sequence(new).filter(|now| *now > before + 1)
    });
    eventually("the monitor listens at the new master", || {
        let clients: String = new.run(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        (clients.lines().count() >= 2).then_some(())
    });
    monitor.wait_for("fo-6", "healthy");
    was_calm(&monitor);
}
