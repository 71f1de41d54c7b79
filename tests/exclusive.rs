//! One agent an id, with real processes and a real Redis: `--exclusive`, and what a killed sidecar leaves behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Redis, Running, clean, eventually, place, program, saw, signal, text_of};

/// A place for one test, and an agent that notes its starts there. Every process of it holds a lock that its children
/// inherit: a second copy, or a start beside any process that is left, notes a fault.
struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let dir = place();
        let agent = "exec 9>>lock\nflock -n 9 || echo two >> faults\necho $$ >> starts\n\
                     setsid sleep 1000 &\ntrap '' TERM HUP\n[ -n \"$POLITE\" ] && trap - TERM\nsleep 1000 & wait; wait\n";
        std::fs::write(dir.path().join("agent.sh"), agent).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sidecar(&self, url: &str, flags: &[&str]) -> Command {
        let mut command = clean(&program("hbsidecar"));
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("POLITE", "yes")
            .args(["--redis-url", url, "--id", "a1", "--interval", "200ms"])
            .args(["--grace", "300ms"])
            .args(flags)
            .args(["--", "sh", "agent.sh"]);
        command
    }

    fn start(&self, url: &str, flags: &[&str]) -> Running {
        Running::start(self.sidecar(url, flags).stderr(Stdio::null()))
    }

    /// Process numbers of all starts so far.
    fn starts(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn started(&self, times: usize) -> i32 {
        eventually(&format!("start {times}"), || {
            self.starts().get(times - 1).copied()
        })
    }

    fn faults(&self) -> String {
        std::fs::read_to_string(self.path("faults")).unwrap_or_default()
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn gone(pid: i32) {
    eventually(&format!("process {pid} is gone"), || {
        (!is_alive(pid)).then_some(())
    });
}

fn beat(redis: &Redis) -> Option<Value> {
    let fields: HashMap<String, String> = redis.run(&["HGETALL", "agent:a1"]);
    serde_json::from_str(fields.get("beat")?).ok()
}

/// Watches something for a while that must not change.
fn stays(what: &str, for_so_long: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + for_so_long;
    eventually(what, || {
        assert!(holds(), "{what}");
        (Instant::now() > until).then_some(())
    });
}

#[test]
fn no_exclusive_agent_starts_before_the_store_has_granted_its_lease() {
    let mut redis = Redis::absent(&[]);
    let room = Room::new();
    let log = room.path("log");
    let mut waiting = Running::start(
        room.sidecar(&redis.url(), &["--exclusive"])
            .stderr(std::fs::File::create(&log).unwrap()),
    );
    eventually("it logs what it waits for", || {
        text_of(&log)
            .contains("no start without the lease")
            .then_some(())
    });
    assert!(room.starts().is_empty());
    redis.up();
    room.started(1);
    waiting.signal("TERM");
    waiting.wait();
    assert_eq!(redis.run::<i64>(&["EXISTS", "hb:lease:{agent:a1}"]), 0);
}

#[test]
fn a_wait_for_the_lease_ends_with_a_signal() {
    let room = Room::new();
    let mut waiting = room.start("redis://127.0.0.1:1", &["--exclusive"]);
    eventually("it is there", || {
        room.path("hb/a1.sock").exists().then_some(())
    });
    waiting.signal("TERM");
    assert_eq!(waiting.exit_code(), Some(128 + 15));
    assert!(room.starts().is_empty());
}

#[test]
fn an_exclusive_agent_dies_with_its_sidecar_and_so_do_all_its_processes() {
    let redis = Redis::start();
    let room = Room::new();
    let mut first = room.start(&redis.url(), &["--exclusive"]);
    let agent = room.started(1);
    eventually("it beats", || beat(&redis));
    first.kill();
    gone(agent);
    let _next = room.start(&redis.url(), &["--exclusive"]);
    room.started(2);
    assert_eq!(room.faults(), "");
}

#[test]
fn die_with_sidecar_does_the_same_without_a_store() {
    let room = Room::new();
    let mut sidecar = room.start("redis://127.0.0.1:1", &["--die-with-sidecar"]);
    let agent = room.started(1);
    sidecar.kill();
    gone(agent);
    eventually("the lock is free: nothing of its tree is left", || {
        let mut free = Command::new("flock");
        let free = free
            .args(["-n", "lock", "true"])
            .current_dir(room.dir.path());
        free.status().unwrap().success().then_some(())
    });
}

#[test]
fn a_guard_that_was_killed_is_named_in_the_log() {
    let room = Room::new();
    let log = room.path("log");
    let mut sidecar = room.sidecar("redis://127.0.0.1:1", &["--die-with-sidecar"]);
    let sidecar = Running::start(sidecar.stderr(std::fs::File::create(&log).unwrap()));
    room.started(1);
    let pipe = pipes_of(sidecar.pid());
    let guard = eventually("its guard is there", || {
        numbers_of_processes().find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            let is_guard = name.is_ok_and(|name| name.trim() == "hb-guard");
            is_guard && pipes_of(*pid).iter().any(|held| pipe.contains(held))
        })
    });
    signal(guard.unsigned_abs(), "KILL");
    eventually("its loss is seen", || {
        text_of(&log)
            .contains("the guard process is gone")
            .then_some(())
    });
}

fn numbers_of_processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn pipes_of(pid: i32) -> Vec<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    let links = open.flatten().flatten().map(|fd| fd.path().read_link());
    links
        .filter_map(Result::ok)
        .filter(|to| to.to_str().is_some_and(|to| to.starts_with("pipe:")))
        .collect()
}

#[test]
fn a_sidecar_that_stands_still_beyond_its_lease_has_its_agent_ended_by_its_guard() {
    let redis = Redis::start();
    let room = Room::new();
    let frozen = room.start(&redis.url(), &["--exclusive"]);
    let agent = room.started(1);
    frozen.signal("STOP");
    // Four intervals, a second, the grace.
    gone(agent);
    let _other = Running::start(
        room.sidecar(&redis.url(), &["--exclusive"])
            .env("XDG_RUNTIME_DIR", place().path()),
    );
    frozen.signal("CONT");
    stays("at most one", Duration::from_secs(2), || {
        room.faults().is_empty()
    });
}

#[test]
fn the_lease_of_a_holder_that_cannot_be_proved_dead_is_waited_out() {
    let redis = Redis::start();
    let room = Room::new();
    // As a machine leaves it that was cut off: no process to be seen, no subscriber. Another of the same boot, names and
    // numbers, made from one snapshot, leaves the same.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace = namespace
        .to_str()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit());
    let holder = format!("{} {namespace} 4194303 99 clone", boot.trim());
    let fields = [
        "instance",
        "gone",
        "holder",
        &holder,
        "intervalMs",
        "200",
        "epoch",
        "5",
    ];
    redis.run::<i64>(&[&["HSET", "agent:a1"], &fields[..]].concat());
    redis.run::<i64>(&["PEXPIRE", "agent:a1", "60000"]);
    let leased = Instant::now();
    redis.run::<()>(&["SET", "hb:lease:{agent:a1}", "gone", "PX", "4000"]);
    let _next = room.start(&redis.url(), &["--exclusive"]);
    room.started(1);
    // Of two clocks, one in whole milliseconds.
    assert!(
        leased.elapsed() >= Duration::from_millis(3900),
        "{:?}",
        leased.elapsed()
    );
}

#[test]
fn an_exclusive_takeover_starts_only_when_the_holder_has_ended_its_agent() {
    let redis = Redis::start();
    let room = Room::new();
    let mut first = room.start(&redis.url(), &["--exclusive"]);
    room.started(1);
    eventually("it beats", || beat(&redis));
    let _second = room.start(&redis.url(), &["--exclusive", "--takeover"]);
    first.wait();
    room.started(2);
    assert_eq!(room.faults(), "");
}

#[test]
fn an_exclusive_agent_is_stopped_before_another_may_start_when_its_connection_breaks() {
    let mut redis = Redis::start_durable();
    let room = Room::new();
    let mut first = room.start(&redis.url(), &["--exclusive"]);
    let agent = room.started(1);
    eventually("it beats", || beat(&redis));
    redis.down();
    first.wait();
    assert!(!is_alive(agent));
    redis.up();
    let _next = room.start(&redis.url(), &["--exclusive"]);
    room.started(2);
    assert_eq!(room.faults(), "");
}

/// It worked, and nobody asked for its end: people must learn of it.
#[test]
fn an_agent_that_ended_for_its_lease_has_failed_and_was_not_stopped() {
    let redis = Redis::start();
    let room = Room::new();
    let _sidecar = room.start(&redis.url(), &["--exclusive"]);
    let agent = room.started(1);
    eventually("it beats", || beat(&redis));
    signal(redis.pid(), "STOP");
    gone(agent);
    signal(redis.pid(), "CONT");
    let end = eventually("its end is stored", || {
        let entry: Option<String> = redis.run(&["HGET", "hb:agents", "a1"]);
        let entry: Value = serde_json::from_str(&entry?).ok()?;
        let end = entry["life"]["end"].clone();
        (entry["life"]["phase"] == "ended").then_some(end)
    });
    assert_eq!(end["reason"], "killed", "{end}");
    assert!(!end["requested"].as_bool().unwrap_or_default(), "{end}");
}

#[test]
fn an_agent_whose_sidecar_was_killed_is_adopted_and_restarted_as_its_own() {
    let redis = Redis::start();
    let room = Room::new();
    let mut first = room.start(&redis.url(), &[]);
    let agent = room.started(1);
    let epoch = eventually("it beats", || beat(&redis))["hb"]["epoch"].as_u64();
    first.kill();
    let log = room.path("log");
    let second = Running::start(
        room.sidecar(&redis.url(), &["--backoff", "10ms"])
            .stderr(std::fs::File::create(&log).unwrap()),
    );
    eventually("the same process beats under a new registration", || {
        let beat = beat(&redis)?;
        (beat["hb"]["epoch"].as_u64() > epoch && beat["hb"]["pid"] == agent).then_some(())
    });
    eventually("the log names it", || {
        text_of(&log).contains(&agent.to_string()).then_some(())
    });
    assert_eq!(room.starts(), [agent]);
    signal(agent, "KILL");
    let next = room.started(2);
    let parent = std::fs::read_to_string(format!("/proc/{next}/stat")).unwrap();
    let parent = parent
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap();
    assert_eq!(parent, second.pid().to_string(), "its own child");
    assert_eq!(room.faults(), "", "what the first left was ended before");
}

#[test]
fn an_adopted_agent_speaks_through_the_same_socket_and_is_stopped_with_its_sidecar() {
    let redis = Redis::start();
    let room = Room::new();
    let speak = format!(
        "trap 'exit 0' TERM; while :; do {:?} notify task=alive; sleep 0.1; done",
        program("hbsidecar")
    );
    std::fs::write(
        room.path("agent.sh"),
        format!("echo $$ >> starts\n{speak}\n"),
    )
    .unwrap();
    let mut first = room.start(&redis.url(), &[]);
    let agent = room.started(1);
    eventually("it is recorded", || {
        room.path("hb/a1.run").exists().then_some(())
    });
    first.kill();
    let mut second = room.start(&redis.url(), &[]);
    eventually("its task is published", || {
        let beat = beat(&redis)?;
        (beat["currentTask"] == "alive" && beat["hb"]["pid"] == agent).then_some(())
    });
    second.signal("TERM");
    second.wait();
    assert!(!is_alive(agent));
    assert!(
        !room.path("hb/a1.run").exists(),
        "the record goes with the end"
    );
}

#[test]
fn an_adoption_needs_no_store() {
    let room = Room::new();
    let nowhere = "redis://127.0.0.1:1";
    let mut first = room.start(nowhere, &[]);
    let agent = room.started(1);
    eventually("it is recorded", || {
        room.path("hb/a1.run").exists().then_some(())
    });
    first.kill();
    let mut second = room.start(nowhere, &[]);
    stays("no second copy", Duration::from_secs(1), || {
        room.starts() == [agent]
    });
    second.signal("TERM");
    second.wait();
    assert!(!is_alive(agent));
}

#[test]
fn a_default_id_is_not_taken_for_the_agent_of_another_command() {
    let room = Room::new();
    let sidecar = |script: &str| {
        let mut command = clean(&program("hbsidecar"));
        command
            .current_dir(room.dir.path())
            .env("XDG_RUNTIME_DIR", room.dir.path());
        command.args([
            "--redis-url",
            "redis://127.0.0.1:1",
            "--",
            "sh",
            "-c",
            script,
        ]);
        command.stderr(Stdio::null());
        command
    };
    let mut first = Running::start(&mut sidecar("echo $$ >> starts; exec sleep 1000"));
    let agent = room.started(1);
    eventually("it is recorded", || {
        let entries = std::fs::read_dir(room.path("hb")).unwrap().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names
            .any(|name| name.to_string_lossy().ends_with("sh.run"))
            .then_some(())
    });
    first.kill();
    let output = sidecar("echo $HB_AGENT_ID").output().unwrap();
    signal(agent, "KILL");
    let id = String::from_utf8(output.stdout).unwrap();
    assert!(id.trim().ends_with("-sh-2"), "{id}");
}

#[test]
fn a_second_agent_of_one_program_gets_an_id_of_its_own_unless_it_was_chosen() {
    let redis = Redis::start();
    let room = Room::new();
    let sidecar = |flags: &[&str], script: &str| {
        let mut command = clean(&program("hbsidecar"));
        command.args(["--redis-url", &redis.url()]).args(flags);
        command
            .args(["--", "sh", "-c", script])
            .current_dir(room.dir.path());
        command
    };
    let _first = Running::start(&mut sidecar(&[], "echo $$ >> starts; exec sleep 1000"));
    eventually("it is registered", || {
        (redis.run::<usize>(&["HLEN", "hb:agents"]) == 1).then_some(())
    });
    // The start of an agent waits 250 ms for the store's answer, which on a busy machine may come later.
    let answer = |mut command: Command| {
        let output = command.output().unwrap();
        saw("the second sidecar", &output);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let id = eventually("the second one has an id of its own", || {
        let (_, id, _) = answer(sidecar(&[], "echo $HB_AGENT_ID"));
        let id = id.trim().to_owned();
        id.ends_with("-sh-2").then_some(id)
    });
    let chosen = id.strip_suffix("-2").unwrap();
    let error = eventually("a chosen id is refused before the agent starts", || {
        let (code, ran, error) = answer(sidecar(&["--id", chosen], "echo ran"));
        (code == Some(73) && ran.is_empty()).then_some(error)
    });
    assert!(error.contains("--id"), "{error}");
}

/// Two sidecars that contend for one id on one machine, killed, frozen and cut off at random moments.
#[test]
fn at_fifty_random_kill_points_there_are_never_two_agents() {
    let redis = Redis::start();
    let room = Room::new();
    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let mut chance = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let other = place();
    let start = |of: usize| {
        let mut command = room.sidecar(&redis.url(), &["--exclusive", "--restart", "always"]);
        if of == 1 {
            command.env("XDG_RUNTIME_DIR", other.path()); // as another machine: it has no record of the first
        }
        Running::start(command.stderr(Stdio::null()))
    };
    let mut sidecars = [start(0), start(1)];
    room.started(1);
    let mut before = 1;
    for point in 0..50 {
        pause(Duration::from_millis(chance(400)));
        let of = usize::try_from(chance(2)).unwrap();
        match chance(4) {
            0 | 1 => sidecars[of].0.kill().unwrap(),
            2 => {
                if let Some(agent) = room.starts().last().filter(|agent| is_alive(**agent)) {
                    let _ = Command::new("kill")
                        .args(["-9", &agent.to_string()])
                        .status();
                }
            }
            _ => {
                let frozen = sidecars[of].0.id();
                let still_there = sidecars[of].0.try_wait().unwrap().is_none();
                if still_there {
                    signal(frozen, "STOP");
                    pause(Duration::from_millis(chance(3000)));
                    signal(frozen, "CONT");
                }
            }
        }
        assert_eq!(room.faults(), "", "point {point}");
        for (of, sidecar) in sidecars.iter_mut().enumerate() {
            if sidecar.0.try_wait().unwrap().is_some() {
                *sidecar = start(of);
            }
        }
        before = before.max(room.starts().len());
    }
    assert_eq!(room.faults(), "");
    assert!(before > 5, "{before} starts prove little");
    assert!(Path::new(&room.path("lock")).exists());
}

/// A moment of chance between two faults, not a condition.
fn pause(length: Duration) {
    std::thread::park_timeout(length);
}
