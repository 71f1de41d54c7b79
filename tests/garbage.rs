//! An agent gone mad, against both real programs and a real Redis: what it writes hurts nobody but itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::fleet::{Agent, Fleet, INTERVAL};
use support::{Redis, SOON, saw, within};

/// What a beat may be late before hbmonitor would call the agent missing.
const SLACK: Duration = Duration::from_millis(100);
/// By so much memory may differ: a full queue, a full buffer.
const GROWS_KIB: u64 = 512;

/// `HB_GARBAGE_SECONDS` says for how long; six without.
#[test]
fn an_agent_that_writes_garbage_at_full_speed_delays_no_beat_and_takes_no_memory() {
    let given = std::env::var("HB_GARBAGE_SECONDS").ok();
    let seconds: u64 = given.map_or(6, |seconds| seconds.parse().unwrap());
    let fleet = Fleet::start();
    let (status, log) = (fleet.path("status"), fleet.path("log"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/garbage/mad.py");
    let mut command = fleet.hbsidecar(&["--id", "mad", "--read", "stream-json", "--status-file"]);
    command
        .arg(&status)
        .args(["--", "python3"])
        .arg(program)
        .arg(fleet.path("over"));
    command
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let mad = Agent::start(&mut command);
    // Beside it one whose agent says nothing: what it suffers is the machine's doing.
    let _calm = fleet.agent("calm", &[], &["sleep", "1000"]);
    let sane = json!({"currentTask": "sane", "taskProgress": 42.0, "state": "healthy"});
    fleet.tells("mad", &sane);
    fleet.tells("calm", &json!({"state": "healthy"}));
    let agent = fleet.health("mad")["pid"].clone();

    let mut memory = Vec::new();
    // What the machine does to one of both for a while proves nothing: garbage would delay beats all the time.
    within(
        4 * SOON,
        "beats are as late as those beside them",
        String::new,
        || {
            let (start, mut beats) = (Instant::now(), Beats::new());
            while start.elapsed() < Duration::from_secs(seconds) {
                beats.extend(hear(&fleet.redis, Duration::from_secs(2)));
                memory.push(private(mad.0.0.id()));
                fleet.tells("mad", &sane);
            }
            let [of_mad, of_calm] = ["mad", "calm"].map(|id| lateness(&beats, id));
            println!(
                "{seconds} s of garbage: {} beats, most at most {of_mad:.1?} late, {of_calm:.1?} beside it; {:.1} s of CPU",
                beats.len(),
                cpu_seconds(mad.0.0.id())
            );
            saw("lateness of both", &(of_mad, of_calm));
            (of_mad < of_calm + SLACK).then_some(())
        },
    );
    let (first, most) = (memory[0], *memory.iter().max().unwrap());
    println!("private memory {first} kB at first, {most} kB at most");
    assert!(
        most < first + GROWS_KIB,
        "memory grew from {first} to {most} kB"
    );

    std::fs::write(fleet.path("over"), "").unwrap();
    fleet.tells(
        "mad",
        &json!({"currentTask": "sane", "taskProgress": 43.0, "state": "healthy"}),
    );
    let health = fleet.health("mad");
    assert_eq!((&health["pid"], &health["restarts"]), (&agent, &json!(0)));
    let metrics = &health["metrics"];
    assert_eq!(
        (&metrics["queueDepth"], &metrics["tokensUsedThisHour"]),
        (&json!(7), &json!(512)),
        "the last good value is kept"
    );
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("status lines a second") && log.lines().count() < 40,
        "{log}"
    );
}

/// Beats as they arrive: whose, when, of which slot.
type Beats = Vec<(String, Instant, u64)>;

fn hear(redis: &Redis, within: Duration) -> Beats {
    let mut connection = redis.client().get_connection().unwrap();
    let mut heard = connection.as_pubsub();
    heard.subscribe("heartbeats").unwrap();
    let until = Instant::now() + within;
    let mut beats = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let left = left.max(Duration::from_millis(1));
        heard.set_read_timeout(Some(left)).unwrap();
        let Ok(message) = heard.get_message() else {
            break;
        };
        let at = Instant::now();
        let beat: Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
        let id = beat["agentId"].as_str().unwrap().to_owned();
        beats.push((id, at, beat["hb"]["slot"].as_u64().unwrap()));
    }
    beats
}

/// How late an agent's beats were, against the timetable that its most punctual one places: three in four were earlier. What
/// the machine does to a single one proves nothing.
fn lateness(beats: &Beats, id: &str) -> Duration {
    let of_agent = beats.iter().filter(|(whose, _, _)| whose == id);
    let dues = of_agent.map(|(_, at, slot)| *at - INTERVAL * u32::try_from(*slot).unwrap());
    let mut dues: Vec<Instant> = dues.collect();
    dues.sort();
    dues[dues.len() * 3 / 4] - dues[0]
}

/// Memory that is this process's alone, in KiB.
fn private(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .map(|line| {
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}

/// That the process itself has used.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
