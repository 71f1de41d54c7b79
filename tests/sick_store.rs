//! A store that stands still, is slow, is poisoned, refuses writes or forgets: no living agent is called failed for it, and
//! no dead one is missed. Real Redis, real programs.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::{Monitor, Redis, Running, eventually, place, sidecar, signal, text_of};
use tempfile::TempDir;

const SLEEP: [&str; 2] = ["sleep", "1000"];

/// A monitor whose log is read.
struct Observer {
    monitor: Monitor,
    place: tempfile::TempDir,
}

impl Observer {
    fn start(url: &str) -> Self {
        Self::start_with(url, place(), |_| {})
    }

    fn start_with(url: &str, place: TempDir, more: impl FnOnce(&mut Command)) -> Self {
        let log = File::create(place.path().join("log")).unwrap();
        let monitor = Monitor::start_with(url, |command| {
            command.env("NO_COLOR", "1").stderr(log);
            more(command);
        });
        Self { monitor, place }
    }

    /// Lines of the log with this text.
    fn logged(&self, text: &str) -> Vec<String> {
        let log = text_of(&self.place.path().join("log"));
        log.lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    fn none_failed(&self) {
        assert_eq!(self.logged(" failed: "), Vec::<String>::new());
    }

    fn count(&self, state: &str) -> Option<u64> {
        self.monitor.get("/health/agents?limit=1")?.1[state].as_u64()
    }

    fn beats_again(&self, id: &str) {
        let last =
            || self.monitor.get(&format!("/health/agents/{id}"))?.1["lastHeartbeat"].as_u64();
        let before = last().unwrap_or_default();
        eventually(&format!("{id} beats again"), || {
            last().filter(|at| *at > before)
        });
    }

    fn all_healthy(&self, count: u64) {
        eventually(&format!("{count} are healthy"), || {
            (self.count("healthy")? == count).then_some(())
        });
    }

    fn is_ready(&self, code: u16) {
        eventually(&format!("readiness is {code}"), || {
            (self.monitor.get("/-/ready")?.0 == code).then_some(())
        });
    }

    /// The incident of an agent that has failed, once it is shown.
    fn incident(&self, id: &str) -> String {
        eventually(&format!("the incident of {id} is shown"), || {
            Some(self.agent(id)["incident"].as_str()?.to_owned())
        })
    }

    fn agent(&self, id: &str) -> Value {
        let found = self.monitor.get(&format!("/health/agents/{id}"));
        found.map(|(_, agent)| agent).unwrap_or_default()
    }

    fn dropped(&self, kind: &str) {
        eventually(&format!("{kind} is counted"), || {
            let (_, status) = self.monitor.get("/v1/status")?;
            status["dropped"][kind].as_u64().filter(|count| *count > 0)
        });
    }
}

/// Agents as sidecars write them, without sidecars: hash with a time to live, and the channel unless it is cut.
struct Producers {
    stop: Arc<AtomicBool>,
    channel_cut: Arc<AtomicBool>,
    /// Only agents from this number on beat.
    living_from: Arc<AtomicU64>,
    /// Nor does this one.
    dead: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Producers {
    fn start(redis: &Redis, count: u64, interval: Duration) -> Self {
        let mut producers = Self {
            stop: Arc::default(),
            channel_cut: Arc::default(),
            living_from: Arc::default(),
            dead: Arc::new(AtomicU64::new(u64::MAX)),
            thread: None,
        };
        let client = redis.client();
        let (stop, cut) = (
            Arc::clone(&producers.stop),
            Arc::clone(&producers.channel_cut),
        );
        let living_from = Arc::clone(&producers.living_from);
        let dead = Arc::clone(&producers.dead);
        producers.thread = Some(std::thread::spawn(move || {
            let mut connection = client.get_connection().unwrap();
            let ms = u64::try_from(interval.as_millis()).unwrap();
            let start = Instant::now();
            for slot in 1.. {
                let mut pipe = redis::pipe();
                let dead = dead.load(Ordering::Relaxed);
                for n in (living_from.load(Ordering::Relaxed)..count).filter(|n| *n != dead) {
                    let beat = beat(&format!("p{n}"), slot, ms);
                    let key = format!("agent:p{n}");
                    pipe.cmd("HSET")
                        .arg(&key)
                        .arg("beat")
                        .arg(&beat)
                        .arg("epoch")
                        .arg(7)
                        .ignore();
                    pipe.cmd("PEXPIRE").arg(&key).arg(4 * ms).ignore();
                    if !cut.load(Ordering::Relaxed) {
                        pipe.cmd("PUBLISH").arg("heartbeats").arg(&beat).ignore();
                    }
                }
                // A store that stands still or is gone costs beats, as with a sidecar.
                if pipe.query::<()>(&mut connection).is_err()
                    && let Ok(again) = client.get_connection()
                {
                    connection = again;
                }
                let next = start + interval * u32::try_from(slot).unwrap();
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }));
        producers
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn beat(id: &str, slot: u64, interval_ms: u64) -> String {
    json!({
        "agentId": id, "agentType": "t", "timestamp": 1_764_000_000_000_u64 + slot, "sequence": slot, "status": "healthy",
        "metrics": {}, "hb": {"v": 1, "intervalMs": interval_ms, "epoch": 7, "slot": slot, "instance": "i", "host": "h",
            "pid": 9, "startedAt": 1, "restarts": 0, "ready": true, "activity": null, "runtime": null, "exit": null,
            "order": null},
    })
    .to_string()
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn a_store_that_stands_still_is_blindness_and_no_agent_fails() {
    let redis = Redis::start();
    let observer = Observer::start(&redis.url());
    let _producers = Producers::start(&redis, 20, Duration::from_millis(500));
    observer.all_healthy(20);
    for pause in [Duration::from_secs(1), Duration::from_secs(3)] {
        signal(redis.pid(), "STOP");
        wait(pause);
        signal(redis.pid(), "CONT");
        observer.all_healthy(20);
        wait(Duration::from_secs(2)); // longer than a verification
    }
    signal(redis.pid(), "STOP");
    observer.is_ready(503);
    signal(redis.pid(), "CONT");
    observer.is_ready(200);
    observer.all_healthy(20);
    observer.none_failed();
    assert_eq!(observer.logged(" is missing: "), Vec::<String>::new());
}

#[test]
fn hundreds_of_agents_over_a_slow_link_whose_channel_is_cut_stay_healthy_by_their_hashes() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    proxy.delays(Duration::from_millis(50));
    let observer = Observer::start(&proxy.url());
    let producers = Producers::start(&redis, 600, Duration::from_secs(1));
    observer.all_healthy(600);
    producers.channel_cut.store(true, Ordering::Relaxed);
    wait(Duration::from_secs(6));
    producers.channel_cut.store(false, Ordering::Relaxed);
    observer.all_healthy(600);
    observer.none_failed();
}

/// Records and timelines are written all the time: each of them is answered 3 s later, and some only after two answers.
#[test]
fn a_store_that_answers_in_three_seconds_is_slow_and_not_dead_and_no_question_waits_behind_a_record()
 {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let observer = Observer::start(&proxy.url());
    let producers = Producers::start(&redis, 3, Duration::from_secs(1));
    observer.all_healthy(3);
    proxy.delays(Duration::from_millis(1500));
    // An agent that is new has a timeline that must be read first.
    let arrivals = AtomicU64::new(0);
    let arrives = || {
        let n = arrivals.fetch_add(1, Ordering::Relaxed);
        let beat = beat(&format!("new-{n}"), 1, 60_000);
        redis.run::<()>(&["PUBLISH", "heartbeats", &beat]);
        observer.monitor.get("/v1/status")?.1["store"]["roundTripMs"].as_u64()
    };
    eventually("the slowness is noticed", || {
        (arrives()? >= 2900).then_some(())
    });
    let is_the_stores = || {
        // It falls slowly: one late answer of a busy machine passes, a queue does not.
        eventually("the time of an answer is that of the store", || {
            (arrives()? <= 4000).then_some(())
        });
    };
    is_the_stores();
    observer.is_ready(200);
    observer.none_failed();
    producers.living_from.store(1, Ordering::Relaxed);
    eventually("the dead one is found", || {
        arrives();
        (observer.monitor.state("p0")? == "failed").then_some(())
    });
    is_the_stores();
    let logged = eventually("it is logged", || {
        Some(observer.logged(" failed: ")).filter(|lines| !lines.is_empty())
    });
    assert_eq!(logged.len(), 1, "the others live");
}

/// A sidecar that starts meanwhile, and one that was there before.
#[test]
fn a_sidecar_waits_longer_for_a_slow_store_and_its_beats_come() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let beating = |id: &str| Running::start(sidecar(&proxy.url(), id, "2s").args(SLEEP));
    let sequence = |id: &str| -> Option<u64> {
        let held: Option<String> = redis.run(&["HGET", &format!("agent:{id}"), "sequence"]);
        held?.parse().ok()
    };
    let beats_from = |id: &str, first: u64| {
        eventually(&format!("{id} beats"), || {
            sequence(id).filter(|held| *held >= first)
        })
    };
    let _before = beating("slow-1");
    let before = beats_from("slow-1", 1);
    proxy.delays(Duration::from_millis(1050));
    let _new = beating("slow-2");
    beats_from("slow-2", 1);
    beats_from("slow-1", before + 3);
}

#[test]
fn a_link_that_is_a_black_hole_is_noticed_and_made_again() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let observer = Observer::start(&proxy.url());
    let _producers = Producers::start(&redis, 5, Duration::from_millis(500));
    observer.all_healthy(5);
    proxy.holds(true);
    observer.is_ready(503);
    eventually("it reports that it is blind", || {
        let (_, status) = observer.monitor.get("/v1/status")?;
        (status["gates"][0]["gate"] == "blind").then_some(())
    });
    proxy.holds(false);
    observer.is_ready(200);
    observer.all_healthy(5);
    observer.none_failed();
}

/// An agent whose way to the store leads nowhere while that is away, as to a pod that is no more: the sidecar is in a try of 8 s
/// when the store returns.
fn lose_the_way(redis: &mut Redis, proxy: &Proxy) {
    redis.run::<()>(&["SAVE"]);
    proxy.leads_astray(true);
    redis.down();
    wait(Duration::from_secs(8));
}

fn find_the_way(redis: &mut Redis, proxy: &Proxy, observer: &Observer) {
    proxy.leads_astray(false);
    redis.up();
    observer.is_ready(200);
    observer.beats_again("astray");
    observer.all_healthy(1);
    observer.none_failed();
}

#[test]
fn a_sidecar_whose_try_leads_nowhere_when_the_store_returns_is_not_failed() {
    let mut redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let observer = Observer::start(&redis.url());
    let _agent = Running::start(sidecar(&proxy.url(), "astray", "500ms").args(SLEEP));
    observer.all_healthy(1);
    lose_the_way(&mut redis, &proxy);
    find_the_way(&mut redis, &proxy, &observer);
}

#[test]
fn nor_by_a_monitor_that_starts_while_the_store_is_away() {
    let mut redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    let _agent = Running::start(sidecar(&proxy.url(), "astray", "500ms").args(SLEEP));
    Observer::start(&redis.url()).all_healthy(1);
    lose_the_way(&mut redis, &proxy);
    let observer = Observer::start(&redis.url());
    observer.is_ready(503);
    wait(Duration::from_secs(1));
    find_the_way(&mut redis, &proxy, &observer);
}

#[test]
fn an_entry_that_is_wrong_costs_itself_and_the_reading_goes_on_behind_it() {
    let redis = Redis::start();
    let bad: &[u8] = b"\xff\xfe";
    let mut connection = redis.client().get_connection().unwrap();
    let mut write = |command: &mut redis::Cmd| command.exec(&mut connection).unwrap();
    write(redis::cmd("HSET").arg(b"agent:\xff").arg("beat").arg("x"));
    write(
        redis::cmd("SET")
            .arg("agent:text")
            .arg("of another program"),
    );
    write(
        redis::cmd("HSET")
            .arg("agent:w1")
            .arg(bad)
            .arg(bad)
            .arg("lastHeartbeat")
            .arg("1"),
    );
    write(redis::cmd("HSET").arg("hb:agents").arg(bad).arg("{}"));
    write(redis::cmd("HSET").arg("hb:agents").arg("w2").arg(bad));
    write(redis::cmd("HSET").arg("hb:incidents").arg("i-1").arg(bad));
    let good = r#"{"type":"t","host":"h","intervalMs":60000,"epoch":1}"#;
    write(redis::cmd("HSET").arg("hb:agents").arg("good").arg(good));
    let observer = Observer::start(&redis.url());
    observer.is_ready(200);
    for kind in ["hash", "roster", "incident"] {
        observer.dropped(kind);
    }
    observer.monitor.wait_for("good", "missing");
    let mut event =
        |fields: &[&[u8]]| write(redis::cmd("XADD").arg("hb:events").arg("*").arg(fields));
    event(&[bad, bad]);
    event(&[b"event", b"exited", b"agent", bad]);
    let exit = br#"{"exit":{"code":3}}"#;
    event(&[
        b"event", b"exited", b"agent", b"good", b"epoch", b"1", b"at", b"1", b"detail", exit,
    ]);
    observer.monitor.wait_for("good", "failed");
    observer.dropped("event");
}

#[test]
fn a_roster_that_is_larger_than_an_answer_may_be_is_read_in_pages() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 1mb 0 0",
    ]);
    let mut connection = redis.client().get_connection().unwrap();
    let entry =
        r#"{"type":"t","host":"h","intervalMs":600000,"epoch":1,"startedAt":1764000000000}"#;
    for page in 0..30 {
        let mut pipe = redis::pipe();
        for n in 0..1000 {
            let id = format!("r{page}-{n}");
            pipe.cmd("HSET")
                .arg("hb:agents")
                .arg(id)
                .arg(entry)
                .ignore();
        }
        pipe.query::<()>(&mut connection).unwrap();
    }
    let observer = Observer::start(&redis.url());
    eventually("30,000 agents are known", || {
        (observer.count("total")? == 30_000).then_some(())
    });
    observer.is_ready(200);
}

#[test]
fn keys_of_another_type_under_names_of_hb_cost_themselves_and_no_beat() {
    let redis = Redis::start();
    for key in ["hb:agents", "hb:events", "hb:incidents"] {
        redis.run::<()>(&["SET", key, "of another program"]);
    }
    let observer = Observer::start(&redis.url());
    let _producers = Producers::start(&redis, 3, Duration::from_millis(500));
    observer.all_healthy(3);
    observer.is_ready(200);
    for kind in ["event", "roster", "incident"] {
        observer.dropped(kind);
    }
}

#[test]
fn a_store_that_refuses_writes_leaves_agents_healthy_with_a_badge() {
    let redis = Redis::start();
    let observer = Observer::start(&redis.url());
    let ids = ["a1", "a2", "a3"];
    let _agents = ids.map(|id| Running::start(sidecar(&redis.url(), id, "300ms").args(SLEEP)));
    observer.all_healthy(3);
    let badges = |wanted: Value| {
        for id in ids {
            eventually(&format!("{id} has the badge {wanted}"), || {
                (observer.agent(id)["badges"] == wanted).then_some(())
            });
        }
    };
    redis.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    badges(json!(["store_refuses_writes"]));
    wait(Duration::from_millis(1500)); // an agent fails after 1 s without a beat
    observer.all_healthy(3);
    redis.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    badges(Value::Null);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    wait(Duration::from_millis(1500));
    observer.all_healthy(3);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    badges(Value::Null);
    observer.none_failed();
}

#[test]
fn beats_do_not_wait_behind_events_that_the_store_forbids() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "ACL", "SETUSER", "small", "on", ">x", "~*", "&*", "+@all", "-xadd",
    ]);
    let url = format!("redis://small:x@127.0.0.1:{}", redis.port);
    let observer = Observer::start(&redis.url());
    let mut command = sidecar(&url, "a1", "300ms");
    command.args(["sh", "-c", "sleep 1; exit 3"]);
    // The helper says `--restart never`: the end itself is what must come through.
    let mut agent = Running::start(&mut command);
    observer.monitor.wait_for("a1", "healthy");
    observer.monitor.wait_for("a1", "failed");
    assert_eq!(observer.agent("a1")["reason"], "exited");
    agent.wait();
}

#[test]
fn a_store_that_was_emptied_has_roster_and_hash_again() {
    let redis = Redis::start();
    let observer = Observer::start(&redis.url());
    let _agent = Running::start(sidecar(&redis.url(), "a1", "1s").args(SLEEP));
    observer.all_healthy(1);
    redis.run::<()>(&["FLUSHALL"]);
    eventually("the roster and its hash hold it", || {
        redis.run::<Option<String>>(&["HGET", "hb:agents", "a1"])?;
        redis.run::<Option<String>>(&["HGET", "agent:a1", "beat"])
    });
    observer.none_failed();
}

/// The seed's client, in its own words: `(id, seconds between beats, beats)`.
fn seed_client(redis: &Redis, id: &str, seconds: &str, beats: &str) -> Running {
    let mut node = Command::new("node");
    node.args(["seed_client.mjs", &redis.url(), id, seconds, beats])
        .current_dir(format!("{}/tests/clients", env!("CARGO_MANIFEST_DIR")))
        .stdout(Stdio::null());
    Running::start(&mut node)
}

#[test]
fn clients_of_the_seed_beat_without_a_flap_and_stop_without_a_failure() {
    let redis = Redis::start();
    let observer = Observer::start(&redis.url());
    let clients = ["s1", "s2", "s3"].map(|id| seed_client(&redis, id, "1", "30"));
    let mut asked = seed_client(&redis, "s4", "1", "1000");
    observer.all_healthy(4);
    for mut client in clients {
        let ended = Instant::now() + Duration::from_secs(90);
        while client.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < ended, "30 beats take 30 s");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    asked.signal("TERM");
    assert_eq!(asked.exit_code(), Some(0));
    for id in ["s1", "s2", "s3", "s4"] {
        observer.monitor.wait_for(id, "stopped");
        for line in observer.logged(&format!("{id} is missing: ")) {
            // On a busy machine a client may really be late, by more than interval and slack: 1.17 s.
            let late = line
                .split("the last came ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let late: f64 = late.unwrap().parse().unwrap();
            assert!(late >= 1.1, "{line}");
        }
    }
    observer.none_failed();
}

#[test]
fn an_incident_survives_the_monitor_and_the_store_that_forgot_it() {
    let redis = Redis::start();
    let first = Observer::start(&redis.url());
    let producers = Producers::start(&redis, 2, Duration::from_millis(500));
    first.all_healthy(2);
    producers.living_from.store(1, Ordering::Relaxed);
    first.monitor.wait_for("p0", "failed");
    let incident = first.incident("p0");
    let stored = || redis.run::<Option<String>>(&["HGET", "hb:incidents", &incident]);
    eventually("the record is stored", stored);
    redis.run::<()>(&["FLUSHALL"]);
    eventually("the record is stored again", stored);
    drop(first);
    let second = Observer::start(&redis.url());
    second.is_ready(200);
    let (code, found) = eventually("it is shown", || {
        let answer = second.monitor.get(&format!("/v1/incidents/{incident}"))?;
        (answer.0 != 404).then_some(answer)
    });
    assert_eq!((code, &found["closedAt"]), (200, &Value::Null));
    producers.living_from.store(0, Ordering::Relaxed);
    eventually("it is closed", || {
        let (_, found) = second.monitor.get(&format!("/v1/incidents/{incident}"))?;
        found["closedAt"].as_u64()
    });
    let (_, all) = second.monitor.get("/v1/incidents").unwrap();
    assert_eq!(all["incidents"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(
        second.monitor.get("/v1/incidents?open=true").unwrap().1["incidents"],
        json!([])
    );
    assert_eq!(second.monitor.get("/v1/incidents/none").unwrap().0, 404);
}

/// The store of some time ago is put in the place of the present one: what happened since is known by those who live.
#[test]
fn a_store_that_is_replaced_by_an_older_backup_of_itself_forgets_nothing_and_does_nothing_twice() {
    let mut redis = Redis::start();
    let files = place();
    let (config, acted) = (files.path().join("config"), files.path().join("acted"));
    let policy = format!(
        "[[policy]]\nladder = [\"exec\", \"alert\"]\nexec = [\"sh\", \"-c\", \"echo $HB_AGENT_ID >> {}\"]\n",
        acted.display()
    );
    std::fs::write(&config, policy).unwrap();
    let observer = Observer::start_with(&redis.url(), place(), |command| {
        command.arg("--config").arg(&config);
    });
    let producers = Producers::start(&redis, 3, Duration::from_millis(500));
    observer.all_healthy(3);
    let incidents = |observer: &Observer| {
        let (_, page) = observer.monitor.get("/v1/incidents")?;
        Some(page["incidents"].as_array()?.clone())
    };
    let deeds = || std::fs::read_to_string(&acted).unwrap_or_default();
    producers.living_from.store(1, Ordering::Relaxed);
    eventually("p0 is acted upon", || (deeds() == "p0\n").then_some(()));
    redis.run::<()>(&["SAVE"]);
    producers.living_from.store(0, Ordering::Relaxed);
    let closed = eventually("p0 is over", || {
        let all = incidents(&observer)?;
        let first = all.first()?;
        first["closedAt"].as_u64()?;
        Some(first["id"].as_str()?.to_owned())
    });
    producers.dead.store(2, Ordering::Relaxed);
    eventually("p2 is acted upon", || (deeds() == "p0\np2\n").then_some(()));
    let open = observer.incident("p2");
    redis.down();
    redis.up();
    let kept = |id: &str| {
        let record = redis.run::<Option<String>>(&["HGET", "hb:incidents", id])?;
        serde_json::from_str::<Value>(&record).ok()
    };
    eventually("the open incident is stored again", || kept(&open));
    eventually("the closed one is closed again", || {
        kept(&closed)?["closedAt"].as_u64()
    });
    observer.is_ready(200);
    eventually("the others are healthy", || {
        (observer.count("healthy")? == 2).then_some(())
    });
    let logged = eventually("both are logged", || {
        Some(observer.logged(" failed: ")).filter(|lines| lines.len() >= 2)
    });
    assert_eq!(logged.len(), 2, "p0 and p2, once each: {logged:?}");
    let of_first = eventually("both incidents are shown", || {
        incidents(&observer).filter(|all| all.len() == 2)
    });
    drop(observer);
    let second = Observer::start_with(&redis.url(), place(), |command| {
        command.arg("--config").arg(&config);
    });
    second.is_ready(200);
    let of_second = eventually("both incidents are known", || {
        incidents(&second).filter(|all| all.len() == 2)
    });
    for all in [of_first, of_second] {
        assert_eq!(
            (&all[0]["id"], &all[1]["id"]),
            (&json!(open), &json!(closed))
        );
        assert_eq!(
            (&all[0]["closedAt"], all[1]["closedAt"].is_u64()),
            (&Value::Null, true)
        );
    }
    assert_eq!(deeds(), "p0\np2\n");
}

/// Their sidecars are gone when the store returns: one that lives on beside them writes what they left.
#[test]
fn agents_that_ended_while_the_store_was_away_are_shown_as_they_ended() {
    let mut redis = Redis::start();
    let elsewhere = place();
    let observer = Observer::start_with(&redis.url(), place(), |command| {
        command.env("XDG_STATE_HOME", elsewhere.path());
    });
    let end = elsewhere.path().join("end");
    let fails = format!("until [ -e {} ]; do sleep 0.1; done; exit 7", end.display());
    let start = |id: &str, command: &[&str]| {
        Running::start(sidecar(&redis.url(), id, "500ms").args(command))
    };
    let _stays = start("stays", &SLEEP);
    let mut asked = start("asked", &SLEEP);
    let mut failing = start("failing", &["sh", "-c", &fails]);
    observer.all_healthy(3);
    redis.down();
    signal(asked.pid(), "TERM");
    std::fs::write(&end, "").unwrap();
    assert_eq!(
        (asked.exit_code(), failing.exit_code()),
        (Some(143), Some(7))
    );
    redis.up();
    let shown = |id: &str| {
        let agent = observer.agent(id);
        let text = |field: &str| agent[field].as_str().unwrap_or_default().to_owned();
        (text("state"), text("sentence"))
    };
    let is = |state: &str, sentence: &str| (state.to_owned(), sentence.to_owned());
    eventually("each is shown as it ended", || {
        let as_it_ended = shown("asked") == is("stopped", "It ended cleanly.")
            && shown("failing") == is("failed", "It exited with code 7.")
            && shown("stays").0 == "healthy";
        as_it_ended.then_some(())
    });
    assert_eq!(observer.logged("asked failed"), Vec::<String>::new());
}

#[test]
fn an_exit_that_was_left_does_not_bring_back_an_agent_that_was_forgotten() {
    let redis = Redis::start();
    let registered = |id: &str| redis.run::<Option<String>>(&["HGET", "hb:agents", id]);
    let mut gone = Running::start(sidecar(&redis.url(), "gone", "500ms").args(SLEEP));
    eventually("it is registered", || registered("gone"));
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    signal(gone.pid(), "TERM");
    gone.wait();
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.run::<u64>(&["HDEL", "hb:agents", "gone"]);
    redis.run::<u64>(&["DEL", "agent:gone"]);
    let _next = Running::start(sidecar(&redis.url(), "next", "500ms").args(SLEEP));
    eventually("the next one has sent beats", || {
        let sequence = redis.run::<Option<u64>>(&["HGET", "agent:next", "sequence"])?;
        (sequence >= 3).then_some(())
    });
    assert_eq!(registered("gone"), None);
}

/// The end of an agent, which its sidecar does not write again.
#[test]
fn an_agent_that_ended_well_is_stopped_also_after_the_store_forgot_that_and_the_monitor_began_again()
 {
    let mut redis = Redis::start();
    let first = Observer::start(&redis.url());
    let mut agent = Running::start(sidecar(&redis.url(), "a1", "500ms").args(SLEEP));
    first.all_healthy(1);
    redis.run::<()>(&["SAVE"]);
    signal(agent.pid(), "TERM");
    agent.wait();
    let stopped = |observer: &Observer| (observer.count("stopped")? == 1).then_some(());
    eventually("it is stopped", || stopped(&first));
    redis.down();
    redis.up();
    eventually("the store has the end again", || {
        let entry = redis.run::<Option<String>>(&["HGET", "hb:agents", "a1"])?;
        let entry = serde_json::from_str::<Value>(&entry).ok()?;
        entry["stoppedAt"].as_u64()
    });
    drop(first);
    let second = Observer::start(&redis.url());
    eventually("it is stopped there too", || stopped(&second));
    second.none_failed();
}

#[test]
fn a_record_that_the_store_refused_is_written_when_it_takes_writes_again() {
    let redis = Redis::start();
    let observer = Observer::start(&redis.url());
    let producers = Producers::start(&redis, 2, Duration::from_millis(500));
    observer.all_healthy(2);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    producers.living_from.store(1, Ordering::Relaxed);
    observer.monitor.wait_for("p0", "failed");
    observer.dropped("refused_write");
    let id = observer.incident("p0");
    assert_eq!(redis.run::<u64>(&["HLEN", "hb:incidents"]), 0);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually("the record is stored", || {
        redis.run::<Option<String>>(&["HGET", "hb:incidents", &id])
    });
}

#[test]
fn a_sidecar_that_starts_while_the_store_refuses_publishes_and_says_why() {
    let redis = Redis::start();
    let port = redis.port;
    redis.run::<()>(&[
        "ACL",
        "SETUSER",
        "plain",
        "on",
        ">x",
        "~*",
        "&*",
        "+@all",
        "-@scripting",
    ]);
    let observer = Observer::start(&redis.url());
    let place = place();
    let starts = |id: &str, url: &str, cause: &str, remedy: &str| {
        let log = place.path().join(id);
        let mut command = sidecar(url, id, "300ms");
        let command = command
            .args(SLEEP)
            .env("NO_COLOR", "1")
            .stderr(File::create(&log).unwrap());
        let agent = Running::start(command);
        observer.monitor.wait_for(id, "healthy");
        let refused = || {
            let text = text_of(&log);
            let lines = text.lines().filter(|line| line.contains("refuses"));
            Some(lines.map(str::to_owned).collect::<Vec<_>>()).filter(|lines| !lines.is_empty())
        };
        let lines = eventually("it logs that the store refuses", refused);
        let all = [&format!("127.0.0.1:{port}"), cause, remedy, "published"];
        assert!(
            lines.len() == 1 && all.iter().all(|text| lines[0].contains(*text)),
            "{id}: {lines:?}"
        );
        agent
    };
    let of_user = format!("redis://plain:x@127.0.0.1:{port}");
    let _plain = starts("plain", &of_user, "no permissions", "ACL SETUSER");
    redis.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let _replica = starts("replica", &redis.url(), "read only replica", "--redis-url");
    redis.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let _full = starts("full", &redis.url(), "maxmemory", "make room");
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    for id in ["replica", "full"] {
        eventually(&format!("{id} is stored"), || {
            redis.run::<Option<String>>(&["HGET", &format!("agent:{id}"), "beat"])
        });
    }
    observer.none_failed();
}

#[test]
fn a_store_that_is_away_is_named_once_with_its_cause_and_what_to_do() {
    let place = place();
    let log = place.path().join("log");
    let mut command = sidecar("redis://127.0.0.1:1", "a1", "300ms");
    command.args(["sh", "-c", "sleep 2"]).env("NO_COLOR", "1");
    Running::start(command.stderr(File::create(&log).unwrap())).wait();
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("unreachable"))
        .collect();
    let all = ["127.0.0.1:1", "refused", "--redis-url"];
    assert!(
        lines.len() == 1 && all.iter().all(|text| lines[0].contains(text)),
        "{log}"
    );
}
