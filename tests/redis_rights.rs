//! The users of docs/redis.md have every right that hb needs: a day of both programs leaves nothing in `ACL LOG`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod support;

use std::process::Stdio;
use support::cluster::Cluster;
use support::{Monitor, Redis, Running, clean, eventually, program, signal};

/// One server, or several.
struct Store<'a> {
    url: &'a dyn Fn(&str) -> String,
    nodes: &'a [Redis],
    owner: &'a dyn Fn(&str) -> &'a Redis,
}

fn sidecar(store: &Store<'_>, id: &str, flags: &[&str], agent: &[&str]) -> Running {
    let mut command = clean(&program("hbsidecar"));
    command.args([
        "-q",
        "--redis-url",
        &(store.url)("hb-sidecar:x@"),
        "--id",
        id,
    ]);
    command.args(["--interval", "300ms", "--backoff", "100ms"]);
    command.args(flags).arg("--").args(agent);
    Running::start(command.stdout(Stdio::null()))
}

/// One run of `hbmonitor` as a client of that monitor.
fn person(monitor: &Monitor, words: &[&str]) {
    eventually(&format!("hbmonitor takes {words:?}"), || {
        let mut command = clean(&program("hbmonitor"));
        command.args(words);
        command.args(["--url", &format!("http://{}", monitor.address)]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        output.status.success().then_some(())
    });
}

/// A day of both programs over servers that share the keys, each of which has the users.
fn day(store: &Store<'_>) {
    let monitor = Monitor::start(&(store.url)("hb-monitor:x@"));
    let crashing = "[ -e /proc/self ] && sleep 0.3; exit 3";
    let _crashes = sidecar(
        store,
        "crashes",
        &["--max-restarts", "1"],
        &["sh", "-c", crashing],
    );
    let only = ["--exclusive"];
    let mut only = sidecar(store, "only", &only, &["sleep", "1000"]);
    let _asked = sidecar(store, "asked", &[], &["sleep", "1000"]);
    for id in ["only", "asked"] {
        monitor.wait_for(id, "healthy");
    }
    monitor.wait_for("crashes", "failed");
    for words in [
        &["restart", "asked"][..],
        &["silence", "asked", "--for", "1h"],
        &["silence", "asked", "--for", "0"],
        &["pause", "--for", "1h"],
        &["resume"],
    ] {
        person(&monitor, words);
    }
    eventually("the order is carried out", || {
        let (_, health) = monitor.get("/health/agents/asked")?;
        (health["restarts"].as_u64() > Some(0)).then_some(())
    });
    only.signal("TERM");
    only.wait();
    monitor.wait_for("only", "stopped");
    person(&monitor, &["forget", "only"]);
    eventually("it is forgotten", || {
        let roster = (store.owner)("hb:agents");
        (!roster.run::<bool>(&["HEXISTS", "hb:agents", "only"])).then_some(())
    });
    eventually("its timeline is read", || {
        (monitor.get("/v1/agents/asked/timeline")?.0 == 200).then_some(())
    });
    for connections in ["pubsub", "normal"] {
        for node in store.nodes {
            node.run::<u64>(&["CLIENT", "KILL", "TYPE", connections]);
        }
    }
    let (pid, restarts) = eventually("its process is known", || {
        let (_, health) = monitor.get("/health/agents/asked")?;
        let pid = health["pid"].as_u64().filter(|pid| *pid > 0)?;
        Some((pid, health["restarts"].as_u64()?))
    });
    signal(pid, "KILL");
    eventually("both have connected again", || {
        let (_, health) = monitor.get("/health/agents/asked")?;
        (health["restarts"].as_u64() > Some(restarts)).then_some(())
    });
    let refused = store.nodes.iter().flat_map(Redis::refused);
    assert_eq!(Vec::from_iter(refused), [""; 0]);
}

#[test]
fn the_users_of_the_page_are_refused_nothing_in_a_day_of_the_fleet() {
    let redis = Redis::start();
    redis.make_users();
    day(&Store {
        url: &|user| format!("redis://{user}127.0.0.1:{}", redis.port),
        nodes: std::slice::from_ref(&redis),
        owner: &|_| &redis,
    });
    let url = format!("redis://hb-sidecar:x@127.0.0.1:{}", redis.port);
    let as_sidecar = redis::Client::open(url).unwrap();
    let mut connection = as_sidecar.get_connection().unwrap();
    let keys = redis::cmd("KEYS").arg("*").exec(&mut connection);
    assert!(keys.is_err() && redis.refused().len() == 1, "{keys:?}");
}

#[test]
fn on_a_cluster_they_are_refused_nothing_with_the_rights_that_the_page_adds() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        node.make_users();
        for user in ["hb-sidecar", "hb-monitor"] {
            let () = node.run(&["ACL", "SETUSER", user, "+cluster|slots", "+asking"]);
        }
    }
    day(&Store {
        url: &|user| cluster.url(user),
        nodes: &cluster.nodes,
        owner: &|key| cluster.of(key),
    });
}
