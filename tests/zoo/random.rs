//! `make zoo-random`: small random programs on the real kernel, each under a real sidecar. The model of the same script says
//! whether the root's main thread can run again from where it stands: a proof of the contrary is a fault. How many of the truly
//! dead trees were proven is printed.
//!
//! Arguments: `COUNT=300` trees, `SEEDS=1` or `SEEDS=17,42` to begin with or to play alone, `AT_ONCE=16`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the model's other test uses the rest"
)]

#[path = "../support/scripts.rs"]
mod scripts;
#[path = "../model/state.rs"]
mod state;
#[path = "../support/mod.rs"]
mod support;

use heartbeat::wire::beat::{Beat, Verdict};
use scripts::{Op, Script};
use state::{ENDED, Life, State};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Redis, eventually, program};

/// A proof needs 30 s at patience 1.
const PATIENCE: &str = "0.05";
/// A tree that is not proven after this time counts as not proven: five times what a proof takes here.
const OBSERVED: Duration = Duration::from_secs(10);
/// Among so many dead trees one is proven even on a starved machine.
const DEAD_WITH_A_PROOF: usize = 50;
const GLANCE: Duration = Duration::from_millis(50);
/// States from which the model is not followed further: then the tree counts as one that can go on.
const STATES_MAX: usize = 100_000;
/// Where `script.c` keeps what, in bytes: see its `page`.
const AT: usize = 0;
const CLOSED: usize = 6;
const ALARM: usize = 15;
const PLAYING: usize = 18;
const COUNTS: usize = 20;
const PIDS: usize = 44;
const PAGE: usize = 4096;

/// By agent, the first proof.
type Proofs = Arc<Mutex<BTreeMap<String, String>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The root has ended.
    Over,
    /// The main thread can run again, and no proof said otherwise.
    Live,
    /// It never can, and that was proven.
    Proven,
    /// It never can; no proof came.
    NotProven,
    /// A proof although it can: the fault that this is about.
    FalseProof,
}

fn main() -> ExitCode {
    let setting = |name: &str, default: &str| {
        let given = std::env::args()
            .find_map(|a| a.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        given.unwrap_or_else(|| default.to_owned())
    };
    let count: u64 = setting("COUNT", "300").parse().unwrap();
    let at_once: usize = setting("AT_ONCE", "16").parse().unwrap();
    let named: Vec<u64> = setting("SEEDS", "1")
        .split(',')
        .map(|n| n.parse().unwrap())
        .collect();
    let seeds: Vec<u64> = match named[..] {
        [first] => (first..first + count).collect(),
        _ => named,
    };
    let started = Instant::now();
    let outcomes = play_all(&seeds, at_once);
    let of = |wanted| {
        outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .count()
    };
    let (proven, dead) = (
        of(Outcome::Proven),
        of(Outcome::Proven) + of(Outcome::NotProven),
    );
    println!(
        "{} trees, seeds {}..={}: {} ended, {} can go on, {dead} dead of which {proven} proven ({:.0} %), {} false proofs; {:.0} s, {:.0} trees an hour",
        outcomes.len(),
        seeds[0],
        seeds[seeds.len() - 1],
        of(Outcome::Over),
        of(Outcome::Live),
        100.0 * proven as f64 / dead.max(1) as f64,
        of(Outcome::FalseProof),
        started.elapsed().as_secs_f64(),
        outcomes.len() as f64 / started.elapsed().as_secs_f64() * 3600.0
    );
    let missed = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::NotProven);
    println!(
        "not proven: {:?}",
        missed.map(|(seed, _)| seed).collect::<Vec<_>>()
    );
    if dead >= DEAD_WITH_A_PROOF && proven == 0 {
        println!("not one proof: the sidecar does not see what the check is about");
        return ExitCode::FAILURE;
    }
    if of(Outcome::FalseProof) > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn play_all(seeds: &[u64], at_once: usize) -> Vec<(u64, Outcome)> {
    let redis = Redis::start();
    let proofs = listen(&redis);
    let dir = tempfile::tempdir().unwrap();
    let player = compiled(dir.path());
    program("hbsidecar");
    // While an interval timer runs anywhere on the machine no child's end is excluded, so those that set one come last.
    let mut seeds = seeds.to_vec();
    let sets_alarm = |seed: &u64| {
        let script = Script::random(*seed);
        let mut ops = script
            .processes
            .iter()
            .flat_map(|p| p.threads.iter().flatten());
        ops.any(|op| *op == Op::Alarm)
    };
    seeds.sort_by_key(sets_alarm);
    seeds.reverse();
    let open = Mutex::new(seeds);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(seed) = open.lock().unwrap().pop() else {
                        return;
                    };
                    let tree = Tree::start(seed, &player, dir.path(), &redis);
                    let outcome = tree.outcome(&proofs);
                    outcomes.lock().unwrap().push((seed, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_unstable();
    outcomes
}

fn compiled(dir: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zoo/script.c");
    let player = dir.join("script");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-pthread", "-o"]).arg(&player).arg(source);
    assert!(cc.status().unwrap().success(), "script.c does not compile");
    player
}

/// Collects every proof that a beat carries.
fn listen(redis: &Redis) -> Proofs {
    let proofs = Proofs::default();
    let (ours, client) = (proofs.clone(), redis.client());
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut connection = client.get_connection().unwrap();
        let mut channel = connection.as_pubsub();
        channel.subscribe("heartbeats").unwrap();
        ready.send(()).unwrap();
        // Ends with the server.
        while let Ok(message) = channel.get_message() {
            let text: String = message.get_payload().unwrap_or_default();
            let beat =
                Beat::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
            let activity = beat.hb.and_then(|hb| hb.activity);
            if activity.is_some_and(|a| a.verdict == Verdict::Hung) {
                let mut proofs = ours.lock().unwrap();
                proofs.entry(beat.agent.to_string()).or_insert(text);
            }
        }
    });
    is_ready.recv().unwrap();
    proofs
}

/// One script under one sidecar.
struct Tree {
    seed: u64,
    id: String,
    script: Script,
    page: PathBuf,
    outside: Child,
}

impl Tree {
    fn start(seed: u64, player: &Path, dir: &Path, redis: &Redis) -> Self {
        let script = Script::random(seed);
        let id = format!("random-{seed}");
        let path = |end: &str| dir.join(format!("{id}.{end}"));
        std::fs::write(path("script"), script.to_string()).unwrap();
        std::fs::write(path("page"), [0; PAGE]).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = support::clean(player);
        command.arg("outside").arg(path("script")).arg(path("page"));
        command
            .arg(program("hbsidecar"))
            .args(["--redis-url", &redis.socket_url()]);
        command.args([
            "--id",
            &id,
            "--type",
            "zoo",
            "--interval",
            "200ms",
            "--patience",
            PATIENCE,
        ]);
        command.args(["--on-hung", "alert", "--restart", "never", "--"]);
        command
            .arg(player)
            .arg("play")
            .arg(path("script"))
            .arg(path("page"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let outside = command.process_group(0).spawn().unwrap();
        let page = path("page");
        Self {
            seed,
            id,
            page,
            script,
            outside,
        }
    }

    fn outcome(mut self, proofs: &Proofs) -> Outcome {
        let started = Instant::now();
        let playing = || std::fs::read(&self.page).unwrap()[PLAYING] != 0;
        eventually("the script plays", || playing().then_some(()));
        let mut proof = None;
        let mut ended = false;
        while proof.is_none() && !ended && started.elapsed() < OBSERVED {
            std::thread::sleep(GLANCE);
            proof = proofs.lock().unwrap().get(&self.id).cloned();
            ended = self.outside.try_wait().unwrap().is_some();
        }
        let pids = self.pids();
        // At rest all counts agree.
        for pid in &pids {
            send(*pid, nix::sys::signal::Signal::SIGSTOP);
        }
        std::thread::sleep(GLANCE);
        let state = self.state();
        let outcome = match (&state, &proof) {
            (state, _) if ended || state.life[0] != Life::Alive => Outcome::Over,
            (state, proof) => match (can_go_on(&self.script, state), proof) {
                (true, Some(_)) => Outcome::FalseProof,
                (true, None) => Outcome::Live,
                (false, Some(_)) => Outcome::Proven,
                (false, None) => Outcome::NotProven,
            },
        };
        if outcome == Outcome::FalseProof {
            let proof = proof.unwrap_or_default();
            println!(
                "FALSE PROOF, seed {}: {proof}\n{}{state:?}",
                self.seed, self.script
            );
        }
        self.end(&pids);
        outcome
    }

    fn pids(&self) -> Vec<i32> {
        let page = std::fs::read(&self.page).unwrap();
        let pids = (0..self.script.processes.len()).map(|p| number(&page, PIDS + 4 * p));
        // The number of one that was reaped may be another program's by now.
        let ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&*self.page.to_string_lossy())
        };
        pids.filter(ours).collect()
    }

    /// Where the script stands, as its processes noted.
    fn state(&self) -> State {
        let page = std::fs::read(&self.page).unwrap();
        let mut state = State::start(&self.script);
        for (p, process) in self.script.processes.iter().enumerate() {
            for t in 0..process.threads.len() {
                state.at[p][t] = match process.threads[t].len() {
                    0 => ENDED,
                    _ => page[AT + 2 * p + t],
                };
            }
            for n in 0..self.script.objects.len() {
                state.ends[p][n] &= !page[CLOSED + 3 * p + n];
            }
            state.alarm[p] = page[ALARM + p] != 0;
            state.life[p] = life(number(&page, PIDS + 4 * p));
            if state.life[p] != Life::Alive {
                (state.at[p], state.ends[p], state.alarm[p]) = ([ENDED; 2], [0; 3], false);
            }
        }
        for n in 0..self.script.objects.len() {
            for side in 0..2 {
                let count = number(&page, COUNTS + 8 * n + 4 * side);
                state.count[n][side] = u8::try_from(count.clamp(0, 3)).unwrap();
            }
        }
        state
    }

    fn end(&mut self, pids: &[i32]) {
        // The sidecar first: it would wait for the others.
        let group = i32::try_from(self.outside.id()).unwrap();
        send(-group, nix::sys::signal::Signal::SIGKILL);
        for pid in pids {
            send(*pid, nix::sys::signal::Signal::SIGKILL);
        }
        self.outside.wait().unwrap();
    }
}

fn send(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

fn number(page: &[u8], at: usize) -> i32 {
    i32::from_ne_bytes(page[at..at + 4].try_into().unwrap())
}

fn life(pid: i32) -> Life {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Life::Reaped;
    };
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..]
        .split_whitespace()
        .collect();
    // The first thread stays as a zombie until the last one ends.
    match (fields[0], fields[17]) {
        ("Z" | "X", "0" | "1") => Life::Zombie,
        _ => Life::Alive,
    }
}

/// Whether some schedule lets the root's main thread run again; when it has ended, any thread of the root.
fn can_go_on(script: &Script, state: &State) -> bool {
    let mut known = HashSet::from([*state]);
    let mut open = vec![*state];
    let mut steps = Vec::new();
    while let Some(state) = open.pop() {
        if state.life[0] != Life::Alive {
            continue;
        }
        state.steps(script, &mut steps);
        for step in &steps {
            let runs = |(p, t): (usize, usize)| p == 0 && (t == 0 || state.at[0][0] == ENDED);
            if step.ran.is_some_and(runs) || known.len() > STATES_MAX {
                return true;
            }
            if known.insert(step.to) {
                open.push(step.to);
            }
        }
    }
    false
}
