//! One Redis with several fleets in its databases; a Redis whose password changes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::process::{Command, Output};
use support::fleet::Agent;
use support::{Monitor, Redis, SOON, clean, eventually, program, text_of};

/// One fleet of several in one Redis: a database, a monitor, and sockets of its own.
struct Database {
    url: String,
    monitor: Monitor,
    place: tempfile::TempDir,
}

impl Database {
    fn start(redis: &Redis, number: u32) -> Self {
        let url = format!("{}/{number}", redis.url());
        let monitor = Monitor::start_with(&url, |command| {
            command.arg("-q");
        });
        eventually("the monitor is ready", || {
            (monitor.get("/-/ready")?.0 == 200).then_some(())
        });
        let place = tempfile::tempdir().unwrap();
        Self {
            url,
            monitor,
            place,
        }
    }

    fn agent(&self, id: &str, interval: &str) -> Agent {
        let mut command = clean(&program("hbsidecar"));
        command
            .args(["-q", "--redis-url", &self.url, "--id", id])
            .args(["--interval", interval, "--", "sleep", "1000"])
            .env("XDG_RUNTIME_DIR", self.place.path());
        Agent::start(&mut command)
    }

    fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let (name, args) = command.split_first().unwrap();
        let mut command = redis::cmd(name);
        command
            .arg(args)
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }

    /// The last beat of an agent, as the store has it.
    fn beat(&self, id: &str) -> Option<Value> {
        let fields: HashMap<String, String> = self.run(&["HGETALL", &format!("agent:{id}")]);
        serde_json::from_str(fields.get("beat")?).ok()
    }

    fn orders(&self) -> Vec<String> {
        let entries: Vec<(String, HashMap<String, String>)> =
            self.run(&["XRANGE", "hb:events", "-", "+"]);
        let orders = entries
            .into_iter()
            .filter(|(_, entry)| entry["event"] == "order");
        orders.map(|(_, entry)| entry["detail"].clone()).collect()
    }

    /// What the monitor shows of an agent, once it shows what the store has.
    fn shows_its_own(&self, id: &str) {
        eventually("the monitor shows the process of its own database", || {
            let pid = self.beat(id)?["hb"]["pid"].clone();
            let (_, shown) = self.monitor.get(&format!("/health/agents/{id}"))?;
            (shown["pid"] == pid && shown["state"] == "healthy").then_some(())
        });
    }

    fn total(&self) -> Value {
        self.monitor.get("/health/agents").unwrap().1["total"].clone()
    }

    /// A producer written from the seed: a hash in its database, a beat on the channel of all.
    fn produce(&self, ids: impl Iterator<Item = String>) {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let mut all = redis::pipe();
        for id in ids {
            let beat = json!({"agentId": id, "agentType": "seed", "timestamp": 1, "sequence": 1, "status": "healthy",
                "metrics": {"cpuPercent": 1, "memoryMB": 1, "activeTasks": 0, "queueDepth": 0,
                    "tokensUsedThisHour": 0, "errorsLast5Min": 0}});
            let key = format!("agent:{id}");
            all.cmd("HSET").arg(&key).arg(&["type", "seed"]).ignore();
            all.cmd("EXPIRE").arg(&key).arg(120).ignore();
            all.cmd("PUBLISH")
                .arg("heartbeats")
                .arg(beat.to_string())
                .ignore();
        }
        all.exec(&mut client.get_connection().unwrap()).unwrap();
    }
}

#[test]
fn fleets_in_the_databases_of_one_redis_do_not_see_each_other_even_with_the_same_id() {
    let redis = Redis::start();
    let fleets = [0, 1, 2].map(|number| Database::start(&redis, number));
    let agents = [&fleets[0], &fleets[1], &fleets[2]].map(|fleet| fleet.agent("w", "300ms"));
    for fleet in &fleets {
        fleet.shows_its_own("w");
    }
    agents[2].0.signal("TERM");
    fleets[2].monitor.wait_for("w", "stopped");
    let sequence = || fleets[1].beat("w")?["sequence"].as_u64();
    let before = eventually("another beats", sequence);
    eventually("it has beaten twice since", || {
        (sequence()? > before + 1).then_some(())
    });
    for fleet in &fleets[..2] {
        fleet.shows_its_own("w");
    }
    assert_eq!(fleets[2].monitor.state("w").as_deref(), Some("stopped"));
}

#[test]
fn an_order_reaches_the_sidecar_of_its_database_and_no_other() {
    let redis = Redis::start();
    let fleets = [1, 2].map(|number| Database::start(&redis, number));
    // The next beat, which would bring an order too, is longer away than this test waits.
    let _agents = fleets.each_ref().map(|fleet| fleet.agent("w", "1h"));
    let pings = |number: usize, id: &str| {
        let fleet = &fleets[number - 1];
        fleet.shows_its_own("w");
        let epoch = fleet.beat("w").unwrap()["hb"]["epoch"].clone();
        let order =
            json!({"id": id, "action": "ping", "epoch": epoch, "incarnation": 0, "ttlMs": 60_000});
        let channel = format!("hb:control:{{agent:w}}:{number}");
        eventually("its sidecar alone listens", || {
            let listeners: i64 = fleet.run(&["PUBLISH", &channel, &order.to_string()]);
            assert!(listeners <= 1, "{listeners}");
            (listeners == 1).then_some(())
        });
        eventually("the order is answered", || {
            (fleet.beat("w")?["hb"]["order"]["id"] == *id).then_some(())
        });
    };
    // What the first sidecar had got of the second one's would have come before its own last order.
    let sent = [(1, "o1"), (2, "o2"), (1, "o3")];
    for (number, id) in sent {
        pings(number, id);
    }
    for (fleet, own) in fleets.iter().zip([&["o1", "o3"][..], &["o2"]]) {
        let orders = eventually("its orders are in the stream", || {
            let orders = fleet.orders();
            (orders.len() >= own.len()).then_some(orders)
        });
        let named = orders.iter().zip(own).all(|(order, id)| order.contains(id));
        assert!(orders.len() == own.len() && named, "{orders:?}");
    }
}

#[test]
fn a_holder_that_died_on_another_machine_is_not_taken_for_its_namesake_in_another_database() {
    let redis = Redis::start();
    let fleets = [1, 2].map(|number| Database::start(&redis, number));
    let _namesake = fleets[0].agent("w", "1s");
    fleets[0].shows_its_own("w");
    let dead = [
        "HSET",
        "agent:w",
        "epoch",
        "7",
        "instance",
        "x",
        "intervalMs",
        "30000",
    ];
    fleets[1].run::<i64>(&dead);
    fleets[1].run::<i64>(&["PEXPIRE", "agent:w", "120000"]);
    let _next = fleets[1].agent("w", "1s");
    fleets[1].shows_its_own("w");
}

#[test]
fn a_producer_that_knows_no_databases_is_in_the_fleet_of_its_hash() {
    let redis = Redis::start();
    let fleets = [0, 1, 2].map(|number| Database::start(&redis, number));
    let client = format!("{}/tests/clients", env!("CARGO_MANIFEST_DIR"));
    let produced = Command::new("timeout")
        .args([&SOON.as_secs().to_string(), "node", "seed_producer.mjs"])
        .arg(&fleets[2].url)
        .current_dir(client)
        .output()
        .unwrap();
    assert!(produced.status.success(), "is `make test-deps` done?");
    fleets[2].monitor.wait_for("node-1", "healthy");
    // Beats are judged in the order in which they came: what follows shows that the one before was passed over.
    fleets[1].produce(["other".to_owned()].into_iter());
    fleets[1].monitor.wait_for("other", "healthy");
    assert_eq!(fleets[1].monitor.state("node-1"), None);
    // Database 0 is that of the seed: all that is published there is its fleet.
    fleets[0].monitor.wait_for("node-1", "healthy");
}

#[test]
fn a_burst_of_thousands_on_the_channel_of_all_databases_is_taken_whole() {
    let redis = Redis::start();
    let fleets = [1, 2].map(|number| Database::start(&redis, number));
    fleets[1].produce((0..5000).map(|n| format!("s-{n}")));
    eventually("all of them are there", || {
        (fleets[1].total() == 5000).then_some(())
    });
    // Beats are judged in the order in which they came: the last one shows that all before were passed over.
    fleets[0].produce(std::iter::once("last".to_owned()));
    fleets[0].monitor.wait_for("last", "healthy");
    assert_eq!(fleets[0].total(), 1);
}

const PASSWORDS: [&str; 2] = ["first-secret", "second-secret"];

/// A fleet whose Redis asks for a password; both programs write what they log to a file.
struct Guarded {
    redis: Redis,
    place: tempfile::TempDir,
}

impl Guarded {
    fn start() -> Self {
        let mut redis = Redis::start();
        let place = tempfile::tempdir().unwrap();
        redis.down();
        redis.password = Some(PASSWORDS[0].to_owned());
        redis.up();
        Self { redis, place }
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).to_str().unwrap().to_owned()
    }

    fn write_password(&self, password: &str) {
        std::fs::write(self.path("password"), format!("{password}\n")).unwrap();
    }

    fn monitor(&self) -> Monitor {
        Monitor::start_with(&self.redis.url(), |command| {
            command
                .args(["-vv", "--redis-password-file", &self.path("password")])
                .stderr(File::create(self.path("log-of-monitor")).unwrap());
        })
    }

    fn sidecar(&self) -> Command {
        let mut command = clean(&program("hbsidecar"));
        command
            .args(["-vv", "--redis-url", &self.redis.url(), "--id", "a1"])
            .args(["--redis-password-file", &self.path("password")])
            .env("XDG_RUNTIME_DIR", self.place.path());
        command
    }

    fn agent(&self) -> Agent {
        let log = File::create(self.path("log-of-sidecar")).unwrap();
        let mut command = self.sidecar();
        command.args(["--interval", "300ms", "--", "sleep", "1000"]);
        Agent::start(command.stderr(log))
    }

    fn log(&self, of: &str) -> String {
        text_of(self.path(&format!("log-of-{of}")).as_ref())
    }

    /// Restarted with another password, Redis has lost everything: what is there has come since.
    fn change_password(&mut self) {
        self.redis.down();
        self.redis.password = Some(PASSWORDS[1].to_owned());
        self.redis.up();
    }

    fn are_back(&self, monitor: &Monitor) {
        eventually("the monitor is ready again", || {
            (monitor.get("/-/ready")?.0 == 200).then_some(())
        });
        eventually("the sidecar beats again", || {
            let there: bool = self.redis.run(&["HEXISTS", "agent:a1", "beat"]);
            there.then_some(())
        });
        for of in ["monitor", "sidecar"] {
            let log = self.log(of);
            assert!(
                !PASSWORDS.iter().any(|secret| log.contains(secret)),
                "{log}"
            );
        }
    }
}

#[test]
fn a_password_that_is_changed_needs_no_restart_of_either_program() {
    let mut fleet = Guarded::start();
    fleet.write_password(PASSWORDS[0]);
    let monitor = fleet.monitor();
    let _agent = fleet.agent();
    monitor.wait_for("a1", "healthy");
    fleet.write_password(PASSWORDS[1]);
    fleet.change_password();
    fleet.are_back(&monitor);
}

#[test]
fn a_password_file_that_cannot_be_read_for_a_while_is_one_more_reason_to_retry() {
    let mut fleet = Guarded::start();
    fleet.write_password(PASSWORDS[0]);
    let monitor = fleet.monitor();
    let _agent = fleet.agent();
    monitor.wait_for("a1", "healthy");
    std::fs::remove_file(fleet.path("password")).unwrap();
    fleet.change_password();
    eventually("the sidecar reports it", || {
        let why = "cannot read the password file";
        fleet.log("sidecar").contains(why).then_some(())
    });
    // Redis is there before the file is: the old one is tried, and refused.
    fleet.write_password(PASSWORDS[0]);
    eventually("the sidecar is refused", || {
        fleet.log("sidecar").contains("WRONGPASS").then_some(())
    });
    fleet.write_password(PASSWORDS[1]);
    fleet.are_back(&monitor);
}

#[test]
fn a_password_file_that_cannot_be_read_at_the_start_is_refused() {
    let fleet = Guarded::start();
    let mut monitor = clean(&program("hbmonitor"));
    monitor.args(["--redis-url", &fleet.redis.url()]);
    monitor.args(["--redis-password-file", &fleet.path("password")]);
    for refused in [
        monitor.output().unwrap(),
        fleet.sidecar().args(["--", "true"]).output().unwrap(),
    ] {
        let Output { status, stderr, .. } = refused;
        let says = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{says}");
        assert!(says.contains("cannot read the password file"), "{says}");
    }
}
