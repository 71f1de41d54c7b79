//! Simulation of the whole: the real `Lifecycle` of each agent, the real `Watch` of the monitor, in virtual time, over links,
//! a store and clocks that fail in every way of the catalogue in `faults`. A seed is one run; the same seed is the same run.
//!
//! `SEEDS=100000 make simulate` runs more; `SEED=17 make simulate` tells the story of one, with `AGENT=a3` each beat of an agent.
#![expect(clippy::expect_used, reason = "a test that cannot set up must stop")]
#![expect(
    clippy::disallowed_methods,
    reason = "settings come from the environment"
)]

mod actions;
mod faults;
mod judge;
mod monitor;
mod random;
mod rivals;
mod sidecar;
mod store;
mod world;

use faults::{ALL, Fault};
use rivals::{NAMES, Score};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use world::{Plan, World};

/// Seeds of one run without `SEEDS`.
const SEEDS: u64 = 10_000;
/// Failing seeds that are printed.
const SHOWN: usize = 50;

/// What became of a seed.
struct Outcome {
    seed: u64,
    faults: Vec<Fault>,
    wrong: Vec<String>,
    agent_ms: u64,
    failures: u64,
    actions: u64,
    scores: [Score; NAMES.len()],
}

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let only = std::env::var("FAULT").ok().map(|name| {
        let found = ALL.iter().find(|(fault, ..)| format!("{fault:?}") == name);
        found
            .map(|(fault, ..)| *fault)
            .expect("FAULT names no fault")
    });
    let plan = move |seed| Plan::of(seed, only, number("INTERVAL"));
    if let Some(seed) = number("SEED") {
        return tell(&plan(seed));
    }
    simulate(
        number("SEEDS").unwrap_or(SEEDS),
        number("FROM").unwrap_or(0),
        &plan,
    )
}

fn play(plan: &Plan, told: bool) -> World {
    let mut world = World::new(plan);
    if told {
        world.judge.tell(std::env::var("AGENT").ok());
    }
    world.run(plan.calm_from);
    world.run(plan.until);
    world.run_until_quiet();
    world.judge_end();
    world.score_end();
    world
}

fn outcome(seed: u64, plan: Plan) -> Outcome {
    let world = play(&plan, false);
    Outcome {
        seed,
        faults: plan.faults,
        wrong: world.judge.faults.clone(),
        agent_ms: (plan.until - 1_000_000) * plan.agents.len() as u64,
        failures: world.judge.failures,
        actions: world.judge.actions,
        scores: world.rivals.scores.clone(),
    }
}

/// The story of one seed.
fn tell(plan: &Plan) -> ExitCode {
    println!("{plan:#?}");
    let world = play(plan, true);
    for line in world.judge.story() {
        println!("{line}");
    }
    for sidecar in &world.sidecars {
        println!("{sidecar:?}");
    }
    for incident in world.store.data.incidents.values() {
        println!("{incident:?}");
    }
    println!("calm from {:.3} s", (plan.calm_from as f64 - 1e6) / 1e3);
    if world.judge.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn simulate(seeds: u64, from: u64, plan: &(impl Fn(u64) -> Plan + Sync)) -> ExitCode {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let (send, outcomes) = mpsc::channel();
    let all: Vec<Outcome> = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || send.send(outcome(seed, plan(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        outcomes.into_iter().collect()
    });
    report(all, started)
}

/// Ours and other ways, over the same traces.
fn compare(all: &[Outcome]) {
    println!(
        "called failed while it ran | death found after intervals, median and longest | not found"
    );
    for (which, name) in NAMES.iter().enumerate() {
        let scores = all.iter().map(|outcome| &outcome.scores[which]);
        let (wrong, missed) = scores.clone().fold((0, 0), |(wrong, missed), score| {
            (wrong + score.wrong, missed + score.missed)
        });
        let mut found: Vec<u64> = scores.flat_map(|score| &score.found).copied().collect();
        found.sort_unstable();
        let shown = |at: Option<&u64>| at.map_or(0.0, |hundredths| *hundredths as f64 / 100.0);
        let (median, longest) = (shown(found.get(found.len() / 2)), shown(found.last()));
        println!("{wrong:>7} | {median:>6.2} {longest:>8.2} | {missed:>5}  {name}");
    }
}

fn report(mut all: Vec<Outcome>, started: Instant) -> ExitCode {
    all.sort_by_key(|outcome| outcome.seed);
    let mut played: BTreeMap<Fault, (u64, u64)> = BTreeMap::new();
    for outcome in &all {
        for fault in &outcome.faults {
            let (runs, bad) = played.entry(*fault).or_default();
            *runs += 1;
            *bad += u64::from(!outcome.wrong.is_empty());
        }
    }
    for (fault, name, rows) in ALL {
        let (runs, bad) = played.get(&fault).copied().unwrap_or_default();
        println!("{runs:>7} runs {bad:>5} wrong  {name} (rows {rows})");
    }
    let wrong: Vec<&Outcome> = all
        .iter()
        .filter(|outcome| !outcome.wrong.is_empty())
        .collect();
    for outcome in wrong.iter().take(SHOWN) {
        println!("seed {}: {:?}", outcome.seed, outcome.faults);
        for what in outcome.wrong.iter().take(3) {
            println!("    {what}");
        }
        println!("    replay: SEED={} make simulate", outcome.seed);
    }
    compare(&all);
    let hours: u64 = all.iter().map(|outcome| outcome.agent_ms).sum::<u64>() / 3_600_000;
    let failures: u64 = all.iter().map(|outcome| outcome.failures).sum();
    let actions: u64 = all.iter().map(|outcome| outcome.actions).sum();
    println!(
        "{} seeds, {hours} agent-hours, {failures} agents failed by silence, {actions} rungs climbed, {} seeds wrong, {:.1} s",
        all.len(),
        wrong.len(),
        started.elapsed().as_secs_f64()
    );
    if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
