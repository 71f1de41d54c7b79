//! `make zoo`: every row of the table under a real sidecar, evaluated by the beats it sends.
//!
//! Arguments: parts of names choose rows; `--smoke` takes the rows of `make zoo-smoke`; `--slow` takes the slow ones, or
//! those that are named, at patience 1.0; `--soak` takes the soak's table, `--agents` that of real agents and `--matrix` every
//! real agent in every mode of its model. `ZOO_PATIENCE` and `ZOO_JOBS` override patience and rows at once.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the test of the programs uses the rest"
)]

mod leftovers;
mod matrix;
mod net;
mod run;
mod score;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod world;

use heartbeat::wire::beat::Verdict;
use score::{Miss, Outcome, Score};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use table::Row;

const PATIENCE: f64 = 0.05;
/// Real agents need time of their own: at less, their start would be a stall.
const MATRIX_PATIENCE: f64 = 0.2;
/// Most rows only wait. Those that burn processors take turns on what is there.
const AT_ONCE: usize = 16;
/// Real agents take seconds of two processors to start.
const AGENTS_AT_ONCE: usize = 5;

struct Queue {
    waiting: Vec<Row>,
    free_cores: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let of_agents = asked("--agents") || asked("--matrix");
    let all = if asked("--soak") {
        table::soak()
    } else if asked("--agents") {
        table::agents()
    } else if asked("--matrix") {
        table::matrix()
    } else {
        table::rows()
    };
    let chosen =
        |row: &Row| names.is_empty() || names.iter().any(|name| row.name.contains(name.as_str()));
    let rows: Vec<Row> = all
        .into_iter()
        .filter(|row| chosen(row) && (!asked("--slow") || row.slow || !names.is_empty()))
        .filter(|row| !asked("--smoke") || row.smoke)
        .collect();
    assert!(!rows.is_empty(), "no row is called {names:?}");
    let rows = possible(rows);
    let patience = std::env::var("ZOO_PATIENCE")
        .ok()
        .map(|text| text.parse().unwrap());
    let usual = match (asked("--slow"), asked("--matrix")) {
        (true, _) => 1.0,
        (false, true) => MATRIX_PATIENCE,
        (false, false) => PATIENCE,
    };
    let patience = patience.unwrap_or(usual);

    leftovers::sweep();
    support::program("hbsidecar");
    let started = Instant::now();
    let at_once = std::env::var("ZOO_JOBS")
        .ok()
        .map(|text| text.parse().unwrap());
    let at_once = at_once.unwrap_or(if of_agents { AGENTS_AT_ONCE } else { AT_ONCE });
    let known = table::known_misses();
    // By their order in the list: those that others must not meet come after them.
    let (apart, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.sends);
    let rows = [others.clone(), apart.clone()].concat();
    let run = |rows: &[Row]| run_all(rows, patience, at_once);
    let scores: Vec<Score> = rows
        .iter()
        .zip(run(&others).into_iter().chain(run(&apart)))
        .map(|(row, score)| score.against(miss(row, &known, of_agents)))
        .collect();
    report(&rows, &scores, patience);
    if asked("--matrix") {
        matrix::print(&rows, &scores);
        return matrix::verdict(&rows, &scores);
    }
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    if scores.iter().any(Score::fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn miss(row: &Row, known: &[&str], of_agents: bool) -> Miss {
    match (known.contains(&row.name.as_str()), of_agents) {
        (true, _) => Miss::Known,
        (false, true) if row.expect != [Verdict::Hung] => Miss::Listed,
        (false, _) => Miss::Fails,
    }
}

/// What this machine cannot play is named, not passed over.
fn possible(rows: Vec<Row>) -> Vec<Row> {
    let can = |row: &Row| match world::lacks(row) {
        None => true,
        Some(why) => {
            println!("{} is left out: {why}", row.name);
            false
        }
    };
    rows.into_iter().filter(can).collect()
}

fn run_all(rows: &[Row], patience: f64, at_once: usize) -> Vec<Score> {
    let redis = support::Redis::start();
    let listener = Arc::new(run::Listener::listen(&redis));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut waiting = rows.to_vec();
    // Taken from the end: first what needs processors, for it takes turns; of the rest the longest first.
    waiting.sort_by_key(|row| (row.cores, row.time(patience)));
    let queue = (
        Mutex::new(Queue {
            waiting,
            free_cores: cores,
        }),
        Condvar::new(),
    );
    let scores = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(row) = take(&queue, cores) {
                    let score = catch_unwind(AssertUnwindSafe(|| {
                        run::run(&row, patience, &redis, &listener)
                    }));
                    let score = score.unwrap_or_else(|_| Score::of(Outcome::Broken, "see above"));
                    eprintln!("{:<34} {:?}: {}", row.name, score.outcome, score.got);
                    scores.lock().unwrap().push((row.name.clone(), score));
                    queue.0.lock().unwrap().free_cores += row.cores.min(cores);
                    queue.1.notify_all();
                }
            });
        }
    });
    let mut scores = scores.into_inner().unwrap();
    let place = |name: &String| rows.iter().position(|row| row.name == *name);
    scores.sort_by_key(|(name, _)| place(name));
    scores.into_iter().map(|(_, score)| score).collect()
}

fn take(queue: &(Mutex<Queue>, Condvar), cores: usize) -> Option<Row> {
    let mut state = queue.0.lock().unwrap();
    loop {
        let fits = |row: &Row| row.cores.min(cores) <= state.free_cores;
        if let Some(at) = state.waiting.iter().rposition(fits) {
            let row = state.waiting.remove(at);
            state.free_cores -= row.cores.min(cores);
            return Some(row);
        }
        if state.waiting.is_empty() {
            return None;
        }
        state = queue.1.wait(state).unwrap();
    }
}

fn report(rows: &[Row], scores: &[Score], patience: f64) {
    println!(
        "\n{:<34} {:<26} {:<14} {:>8} {:>8}  {:<11} evidence",
        "name", "expected", "got", "time", "due", "outcome"
    );
    for (row, score) in rows.iter().zip(scores) {
        let expected: Vec<String> = row
            .expect
            .iter()
            .map(|verdict| score::word(*verdict))
            .collect();
        let expected = match row.check {
            table::Check::Verdict if expected.is_empty() => "(evidence)".to_owned(),
            table::Check::Verdict => expected.join(" "),
            table::Check::CrashLoop => "crash_loop".to_owned(),
            table::Check::Term => "killed".to_owned(),
            table::Check::Budget => "budget".to_owned(),
        };
        let time = score.at.map_or("-".to_owned(), |at| format!("{at:.1} s"));
        let due = format!("{:.1} s", row.time(patience).as_secs_f64());
        let mark = if score.fails() { "FAILS " } else { "" };
        let evidence: String = score
            .evidence
            .replace('\n', " ")
            .chars()
            .take(200)
            .collect();
        let outcome = format!("{mark}{:?}", score.outcome);
        println!(
            "{:<34} {expected:<26} {:<14} {time:>8} {due:>8}  {outcome:<11} {evidence}",
            row.name, score.got
        );
    }
    let count = |wanted: &[Outcome]| {
        scores
            .iter()
            .filter(|score| wanted.contains(&score.outcome))
            .count()
    };
    println!(
        "\n{} rows: {} found, {} quiet, {} missed as known, {} listed, {} missed, {} quiet with another verdict, {} false flags, {} otherwise wrong",
        rows.len(),
        count(&[Outcome::Found, Outcome::FoundAtLast]),
        count(&[Outcome::Quiet]),
        count(&[Outcome::KnownMiss]),
        count(&[Outcome::Listed]),
        count(&[Outcome::Missed]),
        count(&[Outcome::Other]),
        count(&[Outcome::FalseFlag, Outcome::Early]),
        count(&[Outcome::WrongReason, Outcome::NoVerdict, Outcome::Broken]),
    );
    for (outcome, what) in [
        (Outcome::KnownMiss, "missed, as known_misses.txt has it"),
        (
            Outcome::Listed,
            "missed or with another verdict, listed only",
        ),
        (Outcome::Missed, "MISSED, and not in known_misses.txt"),
        (
            Outcome::FoundAtLast,
            "FOUND: remove it from the list, tests/zoo/known_misses.txt",
        ),
    ] {
        let names = rows.iter().zip(scores);
        let names = names.filter(|(_, score)| score.outcome == outcome);
        let names: Vec<&str> = names.map(|(row, _)| row.name.as_str()).collect();
        if !names.is_empty() {
            println!("{what}: {}", names.join(" "));
        }
    }
}
