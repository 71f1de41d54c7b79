//! Redis Cluster: agents of every part of it, slots that move, masters that die. Agents work on, and none is called failed.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use support::cluster::{Cluster, node, slot_of};
use support::{Monitor, Redis, Running, eventually, place, sidecar, signal, text_of, unused_port};

const INTERVAL: &str = "500ms";

fn agent(url: &str, id: &str, interval: &str) -> Running {
    Running::start(sidecar(url, id, interval).args(["sleep", "1000"]))
}

/// An agent whose sidecar's words are in a file.
fn logged(url: &str, id: &str, log: &Path) -> Running {
    let mut command = sidecar(url, id, INTERVAL);
    let command = command.args(["sleep", "1000"]);
    Running::start(command.stderr(File::create(log).unwrap()))
}

/// The first line of a log with these words.
fn line(log: &Path, words: &str) -> String {
    eventually(&format!("{words:?} is logged"), || {
        let text = text_of(log);
        let mut lines = text.lines();
        lines.find(|line| line.contains(words)).map(str::to_owned)
    })
}

/// Nothing was ever called failed.
fn was_calm(monitor: &Monitor) {
    let (_, incidents) = monitor.get("/v1/incidents").unwrap();
    let none = Value::Array(Vec::new());
    assert_eq!(incidents["incidents"], none, "{incidents}");
}

/// The number of the last beat in the hash of an agent; none while its node refuses.
fn sequence(at: &Redis, id: &str) -> Option<u64> {
    let hash = format!("agent:{id}");
    let held: Option<String> = at.ask(&["HGET", &hash, "sequence"]).ok()?;
    held?.parse().ok()
}

fn beats_go_on(at: &Redis, id: &str) {
    let before = sequence(at, id).unwrap_or(0);
    eventually(
        &format!("beats of {id} come to the owner of its slot"),
        || sequence(at, id).filter(|now| *now > before + 1),
    );
}

/// All beats that one node publishes from now on.
fn beats(at: &Redis) -> mpsc::Receiver<(String, u64)> {
    let (send, beats) = mpsc::channel();
    let client = at.client();
    let (ready, subscribed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut connection = client.get_connection().unwrap();
        let mut channel = connection.as_pubsub();
        channel.subscribe("heartbeats").unwrap();
        ready.send(()).unwrap();
        while let Ok(message) = channel.get_message() {
            let beat: Value = serde_json::from_slice(message.get_payload_bytes()).unwrap();
            let id = beat["agentId"].as_str().unwrap().to_owned();
            if send.send((id, beat["sequence"].as_u64().unwrap())).is_err() {
                return;
            }
        }
    });
    subscribed.recv().unwrap();
    beats
}

/// Agents that beat before any monitor runs are found at every node; what one node loses is there again.
#[test]
fn a_fleet_is_seen_whole_wherever_its_keys_are() {
    let cluster = Cluster::start();
    let url = cluster.url("");
    let ids = [0, 1, 2].map(|place| cluster.id_at(place, "cl-"));
    let _agents = ids.each_ref().map(|id| agent(&url, id, "200ms"));
    for (id, at) in ids.iter().zip(&cluster.nodes) {
        beats_go_on(at, id);
    }
    let monitor = Monitor::start(&url);
    for id in &ids {
        monitor.wait_for(id, "healthy");
    }
    let mut second = agent(&url, &ids[0], INTERVAL);
    assert_eq!(second.exit_code(), Some(73), "the id is taken");

    let roster = cluster.of("hb:agents");
    let () = roster.run(&["FLUSHALL"]);
    eventually("the roster holds all agents again", || {
        let held: BTreeSet<String> = roster.run(&["HKEYS", "hb:agents"]);
        ids.iter().all(|id| held.contains(id)).then_some(())
    });
    for node in &cluster.nodes {
        let () = node.run(&["FLUSHALL"]);
    }
    for (id, at) in ids.iter().zip(&cluster.nodes) {
        beats_go_on(at, id);
        monitor.wait_for(id, "healthy");
    }
    was_calm(&monitor);
}

/// While the keys of a slot are moved one by one, scripts that touch several of them are refused: single commands follow them.
#[test]
fn each_beat_arrives_once_while_the_slot_of_its_agent_moves() {
    let cluster = Cluster::start();
    let url = cluster.url("");
    let id = cluster.id_at(0, "mv-");
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let monitor = Monitor::start(&url);
    let mut agent = agent(&url, &id, "200ms");
    monitor.wait_for(&id, "healthy");
    let beats = beats(&cluster.nodes[2]);
    let mut seen: Vec<u64> = Vec::new();
    let mut next = |many: usize| {
        let until = seen.len() + many;
        eventually("beats are published", || {
            seen.extend(beats.try_iter().filter(|(of, _)| *of == id).map(|(_, n)| n));
            (seen.len() >= until).then_some(())
        });
        seen.clone()
    };
    for key in [&format!("agent:{id}"), "hb:agents", "hb:events"] {
        let slot = slot_of(key, from).to_string();
        let source = cluster.of(key);
        let target = if std::ptr::eq(source, to) { from } else { to };
        let (id_from, id_to) = (source.id(), target.id());
        let () = target.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id_from]);
        let () = source.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id_to]);
        next(3);
        let keys: Vec<String> = source.run(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let port = target.port.to_string();
        for key in &keys {
            let () = source.run(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
        next(3);
        for node in [target, source, &cluster.nodes[2]] {
            let () = node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id_to]);
        }
        next(3);
    }
    beats_go_on(to, &id);
    let seen = next(3);
    let mut once = seen.clone();
    once.dedup();
    assert!(once.is_sorted() && once == seen, "{seen:?}");
    was_calm(&monitor);
    agent.signal("TERM");
    agent.wait();
    monitor.wait_for(&id, "stopped");
}

/// One master stands still, another one dies, each with the keys of an agent and with keys that all agents and monitors use.
#[test]
fn no_agent_fails_while_a_replica_takes_the_place_of_its_master() {
    let mut cluster = Cluster::start_with_replicas();
    let url = cluster.url("");
    let monitor = Monitor::start(&url);
    let ids = [0, 1, 2].map(|place| cluster.id_at(place, "fo-"));
    let _agents = ids.each_ref().map(|id| agent(&url, id, INTERVAL));
    for id in &ids {
        monitor.wait_for(id, "healthy");
    }
    let witness = 5; // the replica of the third master
    for (n, key) in [(0, "hb:events"), (1, "hb:agents")] {
        let away = cluster.owner(key, &cluster.nodes[witness]);
        if n == 0 {
            signal(cluster.nodes[away].pid(), "STOP");
        } else {
            cluster.nodes[away].down();
        }
        let asked = &cluster.nodes[if away == 2 { 4 } else { witness }];
        eventually("another node owns its keys", || {
            (cluster.owner(key, asked) != away).then_some(())
        });
        for id in &ids {
            let owner = cluster.owner(&format!("agent:{id}"), asked);
            beats_go_on(&cluster.nodes[owner], id);
            monitor.wait_for(id, "healthy");
        }
        if n == 0 {
            signal(cluster.nodes[away].pid(), "CONT");
        }
    }
    was_calm(&monitor);
}

#[test]
fn one_of_two_monitors_leads_and_the_other_one_follows_it() {
    let cluster = Cluster::start();
    let url = cluster.url("");
    let mut monitors = [(); 2].map(|()| Monitor::start(&url));
    let leads = |monitor: &Monitor| monitor.get("/v1/status").unwrap().1["leader"] == true;
    let first = eventually("one leads", || monitors.iter().position(leads));
    monitors[first].process.kill();
    eventually("the other one leads", || {
        leads(&monitors[1 - first]).then_some(())
    });
}

#[test]
fn a_node_of_a_cluster_says_no_to_the_url_of_a_single_server_and_the_agent_runs() {
    let cluster = Cluster::start();
    let directory = place();
    let log = directory.path().join("log");
    let id = cluster.id_at(0, "pl-");
    let mut agent = logged(&cluster.nodes[1].url(), &id, &log);
    let line = line(&log, "store unreachable");
    assert!(line.contains("redis-cluster://"), "{line}");
    assert!(agent.0.try_wait().unwrap().is_none());
}

#[test]
fn a_server_that_is_no_node_is_named_with_the_url_to_use() {
    let redis = Redis::start();
    let directory = place();
    let log = directory.path().join("log");
    let url = redis.url().replace("redis://", "redis-cluster://");
    let mut agent = logged(&url, "no-1", &log);
    let line = line(&log, "store unreachable");
    let expected = format!(
        "127.0.0.1:{} is no node of a cluster; write its URL as redis://",
        redis.port
    );
    assert!(line.contains(&expected), "{line}");
    assert!(agent.0.try_wait().unwrap().is_none());
}

#[test]
fn an_address_that_cannot_be_reached_is_named_with_the_setting_that_announces_it() {
    let announced = unused_port().to_string();
    let node = node(
        &unused_port().to_string(),
        &[
            "--cluster-announce-port",
            &announced,
            "--cluster-announce-ip",
            "127.0.0.1",
        ],
    );
    let () = node.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("the cluster serves", || {
        let info: String = node.run(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok").then_some(())
    });
    let directory = place();
    let log = directory.path().join("log");
    let url = node.url().replace("redis://", "redis-cluster://");
    let _agent = logged(&url, "an-1", &log);
    let line = line(&log, "store unreachable");
    assert!(
        line.contains(&format!("the cluster names 127.0.0.1:{announced}")),
        "{line}"
    );
    assert!(line.contains("cluster-announce-ip"), "{line}");
}
