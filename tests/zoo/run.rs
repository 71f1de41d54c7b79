//! One row under a real sidecar: started, marked, acted upon, listened to until its verdict or its time is there.

use crate::score::{Outcome, Received, Score, score};
use crate::support::{Redis, eventually, program, signal};
use crate::table::{Check, Peer, Row};
use crate::world::World;
use heartbeat::wire::beat::Beat;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the fixed things take, which no patience shortens: one beat, one sample, two busy processors.
const SLACK: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(50);

/// Hears every beat: a flag of one beat's length is a flag.
pub(crate) struct Listener(Arc<Mutex<Beats>>);

/// By agent: when it was received, and what. A beat is read once, as it comes: who listens for long must not delay the rest.
type Beats = HashMap<String, Vec<(Instant, Received)>>;

impl Listener {
    pub(crate) fn listen(redis: &Redis) -> Self {
        let received: Arc<Mutex<Beats>> = Arc::default();
        let (ours, client) = (received.clone(), redis.client());
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut connection = client.get_connection().unwrap();
            let mut channel = connection.as_pubsub();
            channel.subscribe("heartbeats").unwrap();
            ready.send(()).unwrap();
            // Ends with the server.
            while let Ok(message) = channel.get_message() {
                let text: String = message.get_payload().unwrap_or_default();
                let (at, beat) = (Instant::now(), Beat::decode(text.as_bytes()));
                let beat = beat.unwrap_or_else(|error| panic!("{error}: {text}"));
                let id = beat.agent.to_string();
                if let Some(received) = verdict_of(beat, &text) {
                    ours.lock()
                        .unwrap()
                        .entry(id)
                        .or_default()
                        .push((at, received));
                }
            }
        });
        is_ready.recv().unwrap();
        Self(received)
    }

    /// The activities of an agent, in seconds from `mark`.
    fn received(&self, id: &str, mark: Instant) -> Vec<Received> {
        let all = self.0.lock().unwrap();
        let seconds = |at: Instant| match at.checked_duration_since(mark) {
            Some(after) => after.as_secs_f64(),
            None => -(mark - at).as_secs_f64(),
        };
        let from_mark = |(at, received): &(Instant, Received)| Received {
            at: seconds(*at),
            ..received.clone()
        };
        all.get(id).into_iter().flatten().map(from_mark).collect()
    }
}

/// What a beat says of the agent's activity, without its time.
fn verdict_of(beat: Beat, text: &str) -> Option<Received> {
    let activity = beat.hb?.activity?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let reasons = activity
        .evidence
        .iter()
        .map(|e| format!("{}: {}", e.signal, e.value));
    Some(Received {
        at: 0.0,
        verdict: activity.verdict,
        cause: json["hb"]["activity"]["cause"].as_str().map(Into::into),
        text: json["hb"]["activity"].to_string().to_lowercase().into(),
        shown: reasons.collect::<Vec<_>>().join("; ").into(),
    })
}

pub(crate) fn run(row: &Row, patience: f64, redis: &Redis, listener: &Listener) -> Score {
    let mut world = World::open(row, patience);
    let argv = wrapped(row, patience, redis, &world);
    let watcher = world.start(&argv);
    let started = Instant::now();
    let Some(mark) = marked(row, &mut world, started) else {
        let end = world
            .ended()
            .map_or("runs on".to_owned(), |code| format!("ended with {code}"));
        eprintln!(
            "{}: never marked; the sidecar {end}\n{}",
            row.name,
            world.complained()
        );
        return Score::of(Outcome::Broken, "no mark");
    };
    // The hash is the store's truth; the agent's number comes from there.
    let agent = eventually("the agent beats", || pid(redis, &row.name));
    match row.check {
        Check::Verdict => {
            world.act(agent, Some(watcher));
            verdict(row, patience, &mut world, listener, mark)
        }
        Check::CrashLoop => crash_loop(row, patience, &world, redis, mark),
        Check::Budget => budget(row, patience, &world, redis, mark),
        Check::Term => term(row, patience, &world, watcher),
    }
}

fn wrapped(row: &Row, patience: f64, redis: &Redis, world: &World) -> Vec<String> {
    let sidecar =
        std::env::var("ZOO_SIDECAR").unwrap_or_else(|_| program("hbsidecar").display().to_string());
    let socket = world.dir.path().join("contract.sock").display().to_string();
    let patience = patience.to_string();
    let url = redis.socket_url();
    let defaults = [
        ("--redis-url", url.as_str()),
        ("--id", &row.name),
        ("--type", "zoo"),
        ("--interval", "200ms"),
        ("--patience", &patience),
        ("--socket", &socket),
        ("--on-hung", "alert"),
        ("--restart", "never"),
    ];
    let own = |flag: &&(&str, &str)| !row.flags.iter().any(|given| given == flag.0);
    let flags = defaults
        .iter()
        .filter(own)
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]);
    [sidecar]
        .into_iter()
        .chain(flags)
        .chain(row.flags.clone())
        .chain(["--".to_owned()])
        .chain(world.command())
        .collect()
}

fn marked(row: &Row, world: &mut World, started: Instant) -> Option<Instant> {
    // A real agent takes that long to start where others start beside it.
    let starts = if row.peer == Some(Peer::Model) { 6 } else { 1 };
    while !world.marked() {
        if started.elapsed() > crate::support::SOON * starts
            || world.ended().is_some_and(|_| !world.marked())
        {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Some(Instant::now())
}

fn pid(redis: &Redis, id: &str) -> Option<u32> {
    let text: Option<String> = redis.run(&["HGET", &format!("agent:{id}"), "beat"]);
    let beat = Beat::decode(text?.as_bytes()).unwrap();
    Some(beat.hb.unwrap().pid)
}

fn verdict(
    row: &Row,
    patience: f64,
    world: &mut World,
    listener: &Listener,
    mark: Instant,
) -> Score {
    let time = row.time(patience);
    let due = if row.sick() {
        time.mul_f64(crowding()) + SLACK
    } else {
        time
    };
    let evidence: Vec<String> = row
        .evidence
        .iter()
        .map(|words| world.with_facts(words))
        .collect();
    loop {
        let over = mark.elapsed() > due;
        let received = listener.received(&row.name, mark);
        if let Some(score) = score(row, &evidence, &received, due, over) {
            if !matches!(score.outcome, Outcome::Found | Outcome::Quiet) {
                print_story(row, &received);
            }
            return score;
        }
        if let Some(code) = world.ended() {
            // What was done about the hang may be its end: the verdict came before that.
            std::thread::park_timeout(GLANCE * 10);
            let received = listener.received(&row.name, mark);
            let is_over = row.may_end && !row.sick();
            if let Some(score) = score(row, &evidence, &received, due, is_over) {
                return score;
            }
            if row.may_end {
                return Score::of(Outcome::Quiet, "ended by itself");
            }
            eprintln!("{}: ended with {code}\n{}", row.name, world.complained());
            return Score::of(Outcome::Broken, format!("ended with {code}"));
        }
        std::thread::park_timeout(GLANCE);
    }
}

/// How many programs want each processor, 1-4: time counts only as far as the machine grants it.
fn crowding() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let processors = std::thread::available_parallelism().unwrap().get();
    (load / processors as f64).clamp(1.0, 4.0)
}

/// Prints what was received, for the question why: each verdict once, and each reason of work.
fn print_story(row: &Row, received: &[Received]) {
    let mut last = None;
    for beat in received {
        let works = beat.verdict == heartbeat::wire::beat::Verdict::Working;
        let what = (beat.verdict, works.then_some(&beat.shown));
        if last != Some(what) {
            let word = crate::score::word(beat.verdict);
            eprintln!("{} {:>7.1} s {word}: {}", row.name, beat.at, beat.shown);
        }
        last = Some(what);
    }
}

/// Starts again within its budget, then stops and says why.
fn crash_loop(row: &Row, patience: f64, world: &World, redis: &Redis, mark: Instant) -> Score {
    let reported = || events(redis, &row.name).contains("crash_loop");
    while !reported() && mark.elapsed() < row.time(patience) {
        std::thread::park_timeout(GLANCE);
    }
    let at = mark.elapsed().as_secs_f64();
    let starts = settled_starts(world);
    let ok = reported() && (2..=4).contains(&starts);
    counted(ok, starts, at, &events(redis, &row.name))
}

/// Restarted for being hung, as often as the budget has it, and then no more.
fn budget(row: &Row, patience: f64, world: &World, redis: &Redis, mark: Instant) -> Score {
    while starts(world) < 3 && mark.elapsed() < row.time(patience) {
        std::thread::park_timeout(GLANCE);
    }
    let at = mark.elapsed().as_secs_f64();
    let starts = settled_starts(world);
    let said = events(redis, &row.name);
    counted(starts == 3 && said.contains("hung"), starts, at, &said)
}

fn counted(ok: bool, starts: usize, at: f64, evidence: &str) -> Score {
    Score {
        outcome: if ok { Outcome::Found } else { Outcome::Missed },
        got: format!("{starts} starts"),
        evidence: evidence.to_owned(),
        at: Some(at),
    }
}

/// TERM to the sidecar: TERM to the agent, then KILL to all of it.
fn term(row: &Row, patience: f64, world: &World, watcher: u32) -> Score {
    let asked = Instant::now();
    signal(watcher, "TERM");
    while !world.alive().is_empty() && asked.elapsed() < row.time(patience) {
        std::thread::park_timeout(GLANCE);
    }
    let left = world.alive().len();
    Score {
        outcome: if left == 0 {
            Outcome::Found
        } else {
            Outcome::Missed
        },
        got: format!("{left} left"),
        evidence: String::new(),
        at: Some(asked.elapsed().as_secs_f64()),
    }
}

fn starts(world: &World) -> usize {
    world.received("starts").lines().count()
}

/// How often it was started, once that has not grown for three seconds.
fn settled_starts(world: &World) -> usize {
    let (mut count, mut since) = (starts(world), Instant::now());
    while since.elapsed() < SLACK {
        std::thread::park_timeout(GLANCE);
        if starts(world) != count {
            (count, since) = (starts(world), Instant::now());
        }
    }
    count
}

/// All that the stream and the hash say of an agent.
fn events(redis: &Redis, id: &str) -> String {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", "hb:events", "-", "+"]);
    let of_agent = entries
        .into_iter()
        .filter(|(_, fields)| fields.get("agent").is_some_and(|agent| agent == id));
    let said = of_agent.map(|(_, fields)| format!("{} {}", fields["event"], fields["detail"]));
    let hash: HashMap<String, String> = redis.run(&["HGETALL", &format!("agent:{id}")]);
    said.chain(hash.get("beat").cloned())
        .collect::<Vec<_>>()
        .join("\n")
        // What the row is called is no evidence.
        .replace(id, "")
        .to_lowercase()
}
