//! Failed agents that the monitor brings back: real store, real programs, a real command as the rung.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::fleet::path_with_programs;
use support::{Monitor, Redis, Running, SOON, clean, eventually, place, program, signal};

/// Hung for good, with work owed: a lock that its own thread holds.
const DEADLOCK: &str = "
import os, socket, threading, time
s = socket.socket(socket.AF_UNIX); s.connect(os.environ['HB_SOCKET']); s.sendall(b'task=dig\\n')
lock = threading.Lock(); lock.acquire(); lock.acquire()";

/// A store, a place, and a configuration whose last rung is a script of the test's own.
struct Stage {
    redis: Redis,
    place: tempfile::TempDir,
    config: PathBuf,
}

impl Stage {
    /// The command notes that it was called, then runs this script.
    fn new(script: &str) -> Self {
        let place = place();
        let path = place.path().join("bring-back");
        let noted = place.path().join("noted").display().to_string();
        let note = format!("echo \"$HB_AGENT_ID $HB_EPOCH $HB_REASON\" >>{noted}");
        std::fs::write(&path, format!("#!/bin/sh\n{note}\n{script}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        let config = place.path().join("hbmonitor.toml");
        let policy = format!(
            "[[policy]]\nladder = [\"exec\", \"alert\"]\nexec = [\"{}\"]\n[verify]\ncontainer = \"2s\"\n",
            path.display()
        );
        std::fs::write(&config, policy).unwrap();
        Self {
            redis: Redis::start(),
            place,
            config,
        }
    }

    fn monitor(&self) -> Monitor {
        Monitor::start_with(&self.redis.url(), |command| {
            command.arg("--config").arg(&self.config);
            command
                .env("PATH", path_with_programs())
                .env("PLACE", self.place.path());
            command.env("STORE", self.redis.url());
            command.stderr(Stdio::null());
        })
    }

    fn sidecar(&self, flags: &[&str], agent: &[&str]) -> Command {
        let mut command = clean(&program("hbsidecar"));
        command.args(["-q", "--redis-url", &self.redis.url(), "--id", "a1"]);
        command.args(["--interval", "300ms", "--restart", "never"]);
        command.args(flags).arg("--").args(agent);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What the rung was called for.
    fn noted(&self) -> Vec<String> {
        let noted = std::fs::read_to_string(self.place.path().join("noted"));
        noted
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn incidents(&self) -> Vec<Value> {
        let records: Vec<String> = self.redis.run(&["HVALS", "hb:incidents"]);
        let parsed = records
            .iter()
            .map(|record| serde_json::from_str(record).unwrap());
        parsed.collect()
    }

    fn rung(&self) -> Option<Value> {
        let incident = self.incidents().into_iter().next()?;
        Some(incident["rungs"].as_array()?.first()?.clone())
    }
}

/// The sidecars that a script started: their process ids, one a line.
struct Started(PathBuf);

impl Started {
    fn of(place: &Path) -> Self {
        Self(place.join("started"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let pids = std::fs::read_to_string(&self.0).unwrap_or_default();
        for pid in pids.lines().filter_map(|pid| pid.parse::<u32>().ok()) {
            signal(pid, "TERM");
            eventually("what the script started ends", || {
                (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
            });
        }
    }
}

/// Starts the agent again, outside of the command's own group.
const AGAIN: &str = "setsid hbsidecar -q --redis-url $STORE --id a1 --interval 300ms -- sleep 1000 </dev/null >/dev/null 2>&1 &
echo $! >>$PLACE/started";

#[test]
fn an_agent_that_its_sidecar_gave_up_is_brought_back_by_the_command_of_its_policy() {
    let stage = Stage::new(AGAIN);
    let _started = Started::of(stage.place.path());
    let monitor = stage.monitor();
    Running::start(&mut stage.sidecar(&[], &["sh", "-c", "exit 3"])).wait();
    eventually("its incident is over", || {
        let incident = stage.incidents().into_iter().next()?;
        incident["closedAt"].is_u64().then_some(())
    });
    let rung = stage.rung().unwrap();
    assert_eq!(
        (&rung["rung"], &rung["outcome"]),
        (&json!("exec"), &json!("recovered")),
        "{rung}"
    );
    assert!(
        rung["token"].as_u64() > Some(0) && rung["endedAt"].as_u64() >= rung["startedAt"].as_u64()
    );
    monitor.wait_for("a1", "healthy");
    let noted = stage.noted();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(
        noted[0].starts_with("a1 ") && noted[0].ends_with(" exited"),
        "{noted:?}"
    );
    let intents: Vec<String> = stage.redis.run(&["KEYS", "hb:intent:*"]);
    assert_eq!(intents, [""; 0], "the next incident may climb it again");
}

#[test]
fn a_rung_that_does_not_help_is_followed_by_people_and_the_incident_says_so() {
    let stage = Stage::new("exit 0");
    let monitor = stage.monitor();
    Running::start(&mut stage.sidecar(&[], &["sh", "-c", "exit 3"])).wait();
    let next = eventually("people are asked", || {
        let (_, health) = monitor.get("/health/agents/a1")?;
        let next = health["next"].as_str()?.to_owned();
        next.starts_with("People").then_some(next)
    });
    assert!(next.contains("nothing that hb may do has helped"), "{next}");
    eventually("its record says so", || {
        (stage.rung()?["outcome"] == "no_beat").then_some(())
    });
    assert_eq!(stage.noted().len(), 1);
}

#[test]
fn while_recovery_is_paused_nothing_is_done_and_after_it_the_rung_follows() {
    let stage = Stage::new("exit 0");
    let monitor = stage.monitor();
    let by_hand = |arguments: &[&str]| {
        let mut command = clean(&program("hbmonitor"));
        command
            .args(arguments)
            .args(["--url", &format!("http://{}", monitor.address)]);
        assert!(
            command
                .stdin(Stdio::null())
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    by_hand(&["pause"]);
    Running::start(&mut stage.sidecar(&[], &["sh", "-c", "exit 3"])).wait();
    eventually("the agent waits for the end of the pause", || {
        let (_, health) = monitor.get("/health/agents/a1")?;
        health["next"]
            .as_str()?
            .contains("recovery is paused")
            .then_some(())
    });
    assert_eq!(stage.noted().len(), 0);
    by_hand(&["resume"]);
    eventually("the rung is climbed", || {
        (stage.noted().len() == 1).then_some(())
    });
}

#[test]
fn a_person_has_a_hung_agent_restarted_by_its_sidecar_and_asks_before_what_would_be_done() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    let mut sidecar = clean(&program("hbsidecar"));
    sidecar.args([
        "-q",
        "--redis-url",
        &redis.url(),
        "--id",
        "a1",
        "--interval",
        "200ms",
    ]);
    sidecar.args([
        "--patience",
        "0.05",
        "--restart",
        "never",
        "--grace",
        "300ms",
        "--",
    ]);
    sidecar
        .args(["python3", "-c", DEADLOCK])
        .stdout(Stdio::null());
    let _agent = Running::start(&mut sidecar);
    let reason = |reason: &str| {
        let (_, health) = monitor.get("/health/agents/a1")?;
        (health["reason"] == reason).then_some(())
    };
    eventually("it is hung", || reason("hung"));
    let command = |arguments: &[&str]| {
        let mut command = clean(&program("hbmonitor"));
        command
            .args(arguments)
            .args(["--url", &format!("http://{}", monitor.address)]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = command(&["recover", "a1", "--dry-run"]);
    assert!(
        plan.starts_with("now    sidecar: ") && plan.ends_with("Nothing was done.\n"),
        "{plan}"
    );
    command(&["recover", "a1", "--rung", "sidecar"]);
    let rung = eventually("its record has the rung", || {
        let records: Vec<String> = redis.run(&["HVALS", "hb:incidents"]);
        let incident: Value = serde_json::from_str(records.first()?).unwrap();
        incident["rungs"].get(0).cloned()
    });
    assert_eq!(
        (&rung["rung"], &rung["incarnation"]),
        (&json!("sidecar"), &json!(0)),
        "{rung}"
    );
}

/// A kubelet as far as the rung `pod` knows one: an end with 88 starts the container again. Its agent hangs the first time.
const POD: &str = r#"
agent='import os; os.path.exists("again") and os.execvp("sleep", ["sleep", "1000"])'
until hbsidecar -q --redis-url $STORE --id a1 --interval 300ms --patience 0.05 --restart never --grace 300ms --pod-restart \
  -- python3 -c "$agent$DEADLOCK"
do
  [ $? = 88 ] || exit
  touch again
done"#;

#[test]
fn a_pod_with_a_hung_agent_is_restarted_as_a_whole_and_its_next_sidecar_proves_it() {
    let stage = Stage::new("exit 0");
    let monitor = stage.monitor();
    let mut pod = clean("sh".as_ref());
    pod.args(["-c", POD]).current_dir(stage.place.path());
    pod.env("PATH", path_with_programs())
        .env("STORE", stage.redis.url())
        .env("DEADLOCK", DEADLOCK)
        .stdout(Stdio::null());
    let _pod = Running::start(&mut pod);
    let health = |field: &str| Some(monitor.get("/health/agents/a1")?.1[field].clone());
    eventually("it is hung", || (health("reason")? == "hung").then_some(()));
    let epoch = health("epoch").unwrap();
    let mut recover = clean(&program("hbmonitor"));
    recover.args(["recover", "a1", "--rung", "pod", "--url"]);
    recover.arg(format!("http://{}", monitor.address));
    let output = recover.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    eventually("its incident is over", || {
        let incident = stage.incidents().into_iter().next()?;
        incident["closedAt"].is_u64().then_some(())
    });
    let rung = stage.rung().unwrap();
    let became = (&rung["rung"], &rung["outcome"]);
    assert_eq!(became, (&json!("pod"), &json!("recovered")), "{rung}");
    assert!(health("epoch").unwrap().as_u64() > epoch.as_u64());
    assert_eq!(health("state").unwrap(), "healthy");
}

/// How many random points are tried; `HB_KILL_POINTS` names another number.
const KILL_POINTS: u64 = 6;
/// Stores and monitors that run at a time.
const AT_ONCE: u64 = 6;

/// Wherever the monitor is killed, before the intent, between intent, rung and outcome, or behind it: the rung is climbed
/// once at most, and the next monitor brings the incident to people.
#[test]
fn a_monitor_that_is_killed_anywhere_climbs_no_rung_twice_and_forgets_no_incident() {
    let given = std::env::var("HB_KILL_POINTS").ok();
    let points = given.map_or(KILL_POINTS, |given| {
        given.parse().expect("a number of points")
    });
    let seed = u64::from(std::process::id());
    let next = Arc::new(AtomicU64::new(0));
    let rounds: Vec<_> = (0..AT_ONCE.min(points))
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let mut outcomes = Vec::new();
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point >= points {
                        return outcomes;
                    }
                    outcomes.push(killed_once(seed + point * 7919));
                }
            })
        })
        .collect();
    let outcomes = rounds.into_iter().flat_map(|round| round.join().unwrap());
    let mut counts = BTreeMap::<String, u64>::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_default() += 1;
    }
    println!("{points} points, seed {seed}: {counts:?}");
}

/// The outcome that the incident shows, and how often the command was run.
fn killed_once(seed: u64) -> String {
    // The rung begins about 2 s after the failure, and waits 2 s for its effect; some take a while themselves.
    let stage = Stage::new(["exit 0", "sleep 0.3"][usize::try_from(seed % 2).unwrap()]);
    let mut monitor = stage.monitor();
    Running::start(&mut stage.sidecar(&[], &["sh", "-c", "exit 3"])).wait();
    let after = match seed % 3 {
        0 => Duration::from_millis(1000 + seed / 3 % 4000),
        _ => Duration::from_millis(1900 + seed / 3 % 500),
    };
    std::thread::park_timeout(after);
    monitor.process.kill();
    monitor = stage.monitor();
    let what = format!("people are asked, killed after {after:?} (seed {seed})");
    eventually(&what, || {
        let (_, health) = monitor.get("/health/agents/a1")?;
        health["next"].as_str()?.starts_with("People").then_some(())
    });
    let noted = stage.noted().len();
    assert!(noted <= 1, "seed {seed}: {:?}", stage.noted());
    let incidents = eventually("its record has the outcome", || {
        let incidents = stage.incidents();
        let rung = incidents.first()?["rungs"].get(0)?;
        rung["endedAt"].is_u64().then_some(incidents)
    });
    assert!(
        incidents.len() == 1 && incidents[0]["closedAt"].is_null(),
        "seed {seed}: {incidents:?}"
    );
    let rungs = incidents[0]["rungs"].as_array().unwrap();
    assert_eq!(rungs.len(), 1, "seed {seed}: {rungs:?}");
    assert!(rungs[0]["endedAt"].is_u64(), "seed {seed}: {rungs:?}");
    format!("{} after {noted} runs", rungs[0]["outcome"])
}

/// Which of these monitors leads, once one does and the others know it.
fn leader(monitors: &[Monitor]) -> usize {
    eventually("one monitor leads", || {
        let leads = monitors.iter().map(|monitor| {
            let (_, status) = monitor.get("/v1/status")?;
            Some(status["leader"] == true)
        });
        let leads: Vec<bool> = leads.collect::<Option<_>>()?;
        let count = leads.iter().filter(|leads| **leads).count();
        (count == 1).then(|| leads.iter().position(|leads| *leads))?
    })
}

/// Twice the usual patience: a lead runs out 15 s after its last renewal.
fn after_the_lead<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + 2 * SOON;
    while std::time::Instant::now() < until {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{what}: not within {:?}", 2 * SOON)
}

#[test]
fn of_two_monitors_one_acts_and_the_other_goes_on_when_it_stands_still() {
    let stage = Stage::new("exit 0");
    let monitors = [stage.monitor(), stage.monitor()];
    let first = leader(&monitors);
    monitors[first].process.signal("STOP");
    Running::start(&mut stage.sidecar(&[], &["sh", "-c", "exit 3"])).wait();
    after_the_lead("the other one acts", || {
        (stage.noted().len() == 1).then_some(())
    });
    monitors[first].process.signal("CONT");
    assert_eq!(leader(&monitors), 1 - first);
    for monitor in &monitors {
        eventually("both show that people are asked", || {
            let (_, health) = monitor.get("/health/agents/a1")?;
            health["next"].as_str()?.starts_with("People").then_some(())
        });
    }
    let incidents = stage.incidents();
    assert_eq!(
        (stage.noted().len(), incidents.len()),
        (1, 1),
        "{incidents:?}"
    );
    let refused = clean(&program("hbmonitor"))
        .args(["recover", "a1", "--url"])
        .arg(format!("http://{}", monitors[first].address))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("leads the monitors"),
        "{said}"
    );
}

#[test]
fn a_monitor_that_is_stopped_gives_the_lead_up_at_once() {
    let stage = Stage::new("exit 0");
    let mut monitors = [stage.monitor(), stage.monitor()];
    let first = leader(&monitors);
    monitors[first].process.signal("TERM");
    monitors[first].process.wait();
    let held: Option<String> = stage.redis.run(&["GET", "hb:leader"]);
    let by_other = |value: &String| {
        monitors[1 - first]
            .get("/v1/status")
            .is_some_and(|(_, status)| {
                let leader: Value = serde_json::from_str(value).unwrap();
                status["ledBy"]["instance"] == leader["instance"]
            })
    };
    assert!(held.as_ref().is_none_or(by_other), "{held:?}");
    eventually("the other one leads", || {
        let (_, status) = monitors[1 - first].get("/v1/status")?;
        (status["leader"] == true).then_some(())
    });
}
