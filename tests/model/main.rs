//! The model behind the proof: random scripts of processes and threads, every schedule explored. In each reachable state the
//! sample that hbsidecar would take is evaluated. A main thread that is called doomed must never run again on any path from
//! there; how many of the truly dead states are found is printed.
//!
//! `HB_MODEL_STATES` asks for more states, `HB_MODEL_SEED` for other ones.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "settings of this test")]

mod explore;
mod observe;
#[path = "../support/scripts.rs"]
mod scripts;
mod state;

use explore::{Outcome, explore};
use scripts::{Op, Script};

/// States that are explored unless the environment asks for more.
const STATES: u64 = 1_000_000;
/// The first seed.
const SEED: u64 = 1;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_doomed_main_thread_never_runs_again_on_any_schedule() {
    let (states, first) = (
        setting("HB_MODEL_STATES", STATES),
        setting("HB_MODEL_SEED", SEED),
    );
    let workers = 2;
    let share = states / workers;
    let totals: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|n| scope.spawn(move || run(first + n, workers, share)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let mut all = Outcome::default();
    for outcome in &totals {
        all.add(outcome);
    }
    println!(
        "{} states of scripts from seed {first} on; {} threads in proofs",
        all.states, all.threads
    );
    let share =
        |found: u64, of: u64| format!("{found} of {of}, {:.1} %", 100.0 * found as f64 / of as f64);
    println!("main thread dead: found {}", share(all.found, all.dead));
    println!(
        "nothing can happen: found {}",
        share(all.found_still, all.still)
    );
    assert!(
        all.found > 0 && all.dead > 0,
        "a check that cannot fail proves nothing"
    );
}

/// Explores scripts of every second seed until this many states were seen.
fn run(first: u64, step: u64, states: u64) -> Outcome {
    let mut total = Outcome::default();
    let mut seed = first;
    while total.states < states {
        let script = Script::random(seed);
        match explore(&script, seed) {
            Ok(outcome) => total.add(&outcome),
            Err(fault) => {
                let small = shrink(script, seed);
                let fault = explore(&small, seed).err().unwrap_or(fault);
                let text = format!("seed {seed}: {fault}\n{small}");
                assert!(text.is_empty(), "{text}");
            }
        }
        seed += step;
    }
    total
}

/// Removes operations as long as the script still contradicts the proof.
fn shrink(script: Script, seed: u64) -> Script {
    let mut small = script;
    loop {
        let smaller = candidates(&small).find(|script| explore(script, seed).is_err());
        let Some(smaller) = smaller else {
            return small;
        };
        small = smaller;
    }
}

/// The script without one operation, or with one replaced by a step.
fn candidates(script: &Script) -> impl Iterator<Item = Script> {
    let mut found = Vec::new();
    for (p, process) in script.processes.iter().enumerate() {
        for (t, ops) in process.threads.iter().enumerate() {
            for (n, op) in ops.iter().enumerate() {
                let mut without = script.clone();
                without.processes[p].threads[t].remove(n);
                found.push(without);
                if *op != Op::Step {
                    let mut stepped = script.clone();
                    stepped.processes[p].threads[t][n] = Op::Step;
                    found.push(stepped);
                }
            }
        }
    }
    found.into_iter()
}
