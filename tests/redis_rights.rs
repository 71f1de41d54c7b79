//! The users of docs/redis.md have every right that hb needs: a day of both programs leaves nothing in `ACL LOG`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod support;

use std::process::Stdio;
use support::{Monitor, Redis, Running, clean, eventually, program, signal};

const PAGE: &str = include_str!("../docs/redis.md");

/// Makes the users of the page; their password is `x`.
fn users(redis: &Redis) {
    let lines = PAGE.lines().filter(|line| line.starts_with("ACL SETUSER "));
    let made = lines.map(|line| {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.replace("SECRET", "x"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redis.run::<()>(&words);
    });
    assert_eq!(made.count(), 2, "one user for each program");
}

fn url(redis: &Redis, user: &str) -> String {
    format!("redis://{user}:x@127.0.0.1:{}", redis.port)
}

fn sidecar(redis: &Redis, id: &str, flags: &[&str], agent: &[&str]) -> Running {
    let mut command = clean(&program("hbsidecar"));
    command.args(["-q", "--redis-url", &url(redis, "hb-sidecar"), "--id", id]);
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

fn refused(redis: &Redis) -> Vec<String> {
    let log: Vec<redis::Value> = redis.run(&["ACL", "LOG"]);
    log.iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn the_users_of_the_page_are_refused_nothing_in_a_day_of_the_fleet() {
    let redis = Redis::start();
    users(&redis);
    let monitor = Monitor::start(&url(&redis, "hb-monitor"));
    let crashing = "[ -e /proc/self ] && sleep 0.3; exit 3";
    let _crashes = sidecar(
        &redis,
        "crashes",
        &["--max-restarts", "1"],
        &["sh", "-c", crashing],
    );
    let only = ["--exclusive"];
    let mut only = sidecar(&redis, "only", &only, &["sleep", "1000"]);
    let _asked = sidecar(&redis, "asked", &[], &["sleep", "1000"]);
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
        (health["restarts"] == 1).then_some(())
    });
    only.signal("TERM");
    only.wait();
    monitor.wait_for("only", "stopped");
    person(&monitor, &["forget", "only"]);
    eventually("it is forgotten", || {
        (!redis.run::<bool>(&["HEXISTS", "hb:agents", "only"])).then_some(())
    });
    assert_eq!(monitor.get("/v1/agents/asked/timeline").unwrap().0, 200);
    for connections in ["pubsub", "normal"] {
        redis.run::<u64>(&["CLIENT", "KILL", "TYPE", connections]);
    }
    let pid = monitor.get("/health/agents/asked").unwrap().1["pid"].clone();
    signal(pid, "KILL");
    eventually("both have connected again", || {
        let (_, health) = monitor.get("/health/agents/asked")?;
        (health["restarts"] == 2).then_some(())
    });
    assert_eq!(refused(&redis), [""; 0]);
    let as_sidecar = redis::Client::open(url(&redis, "hb-sidecar")).unwrap();
    let mut connection = as_sidecar.get_connection().unwrap();
    let keys = redis::cmd("KEYS").arg("*").exec(&mut connection);
    assert!(keys.is_err() && refused(&redis).len() == 1, "{keys:?}");
}
