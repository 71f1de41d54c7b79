//! Every program of the zoo, watched through /proc alone: it is in the state its row says, before any sidecar is asked.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the harness uses the rest"
)]

mod claims;
mod leftovers;
mod net;
mod score;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use table::{Act, Row};
use world::World;

const AT_ONCE: usize = 8;
const WITHIN: Duration = Duration::from_secs(25);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1200);
const SCALE: f64 = 0.05;

#[test]
fn every_program_of_the_zoo_does_what_it_says() {
    leftovers::sweep();
    let only = std::env::var("ZOO_ONLY").unwrap_or_default();
    let rows: Vec<Row> = table::rows()
        .into_iter()
        .filter(|row| row.name.contains(&only))
        .collect();
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(fault) = fault(row) {
                        faults
                            .lock()
                            .unwrap()
                            .push(format!("{}: {fault}", row.name));
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(
        !rows.is_empty() && faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        rows.len(),
        faults.join("\n")
    );
}

#[test]
fn the_table_is_the_whole_catalogue() {
    let rows = table::rows();
    let numbers = (1..=40)
        .map(|n| format!("h{n:02}"))
        .chain((1..=26).map(|n| format!("g{n:02}")));
    for number in numbers {
        assert!(
            rows.iter().any(|row| row.name.starts_with(&number)),
            "{number} is not in the table"
        );
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    assert!(
        names.windows(2).all(|pair| pair[0] != pair[1]),
        "a name stands twice"
    );
    let blank =
        |row: &&Row| row.sick() && row.check == table::Check::Verdict && row.evidence.is_empty();
    assert!(
        !rows.iter().any(|row| blank(&row)),
        "a row asks for no evidence"
    );
    table::soak();
}

#[test]
fn the_claims_can_fail() {
    let rows = table::rows();
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    // A deadlock and a token stream, each asked for what the other shows.
    let mut deadlock = row("h10b_abba_deadlock_mute").clone();
    let mut stream = row("g02_slow_tokens_py").clone();
    std::mem::swap(&mut deadlock.shows, &mut stream.shows);
    for row in [deadlock, stream] {
        let mut world = World::open(&row, SCALE);
        let argv = world.command();
        let pid = world.start(&argv);
        support::eventually("the program is marked", || world.marked().then_some(()));
        let before = look(&world, pid);
        std::thread::park_timeout(BETWEEN_LOOKS);
        let after = look(&world, pid);
        let wrong = &row.shows[0];
        assert!(
            claims::fault(wrong, &world, &before, &after).is_some(),
            "{} shows {wrong:?}",
            row.name
        );
        let each = [
            table::Claim {
                state: Some('T'),
                ..table::Claim::default()
            },
            table::Claim {
                threads: Some(77),
                ..table::Claim::default()
            },
            table::Claim {
                r#in: vec!["flock".into()],
                ..table::Claim::default()
            },
            table::Claim {
                tcp: Some("CLOSE_WAIT".into()),
                ..table::Claim::default()
            },
            table::Claim {
                unread: true,
                ..table::Claim::default()
            },
            table::Claim {
                traced: Some(true),
                ..table::Claim::default()
            },
            table::Claim {
                frozen: true,
                ..table::Claim::default()
            },
            table::Claim {
                waits_for_lock: true,
                ..table::Claim::default()
            },
            table::Claim {
                ignores_term: true,
                ..table::Claim::default()
            },
            table::Claim {
                outside: true,
                ..table::Claim::default()
            },
            table::Claim {
                read_by: Some("child".into()),
                ..table::Claim::default()
            },
            table::Claim {
                at_least: 2,
                ..table::Claim::default()
            },
            table::Claim {
                printed: Some("x".into()),
                ..table::Claim::default()
            },
            table::Claim {
                said: Some("x".into()),
                ..table::Claim::default()
            },
            table::Claim {
                moving: vec!["written".into()],
                ..table::Claim::default()
            },
        ];
        for claim in each {
            let claim = table::Claim {
                who: "root".into(),
                ..claim
            };
            assert!(
                claims::fault(&claim, &world, &before, &after).is_some(),
                "{} shows {claim:?}",
                row.name
            );
        }
    }
}

fn fault(row: &Row) -> Option<String> {
    assert!(!row.shows.is_empty(), "{} claims nothing", row.name);
    if let Some(why) = world::lacks(row) {
        eprintln!("{} is left out: {why}", row.name);
        return None;
    }
    let mut world = World::open(row, SCALE);
    world.listen_for_status();
    let argv = world.command();
    let pid = world.start(&argv);
    let deadline = Instant::now() + WITHIN;
    while !world.marked() {
        if Instant::now() > deadline {
            return Some(format!("never marked; stderr: {}", world.complained()));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    if row.act != Some(Act::Pause) {
        world.act(pid, None);
    }
    // What it shows has a time of its own: a busy machine may have been slow with the start.
    let deadline = Instant::now() + WITHIN;
    if let Some(code) = row.shows[0].ends {
        let ended = support::eventually("the program ends", || world.ended());
        return (ended != code).then(|| format!("ended with {ended}"));
    }
    let mut before = look(&world, pid);
    loop {
        std::thread::park_timeout(BETWEEN_LOOKS);
        let after = look(&world, pid);
        let fault = row
            .shows
            .iter()
            .find_map(|claim| claims::fault(claim, &world, &before, &after))?;
        if Instant::now() > deadline {
            return Some(format!("{fault}; stderr: {}", world.complained()));
        }
        before = after;
    }
}

fn look(world: &World, pid: u32) -> seen::Look {
    let others = ["sibling", "holder"]
        .into_iter()
        .filter_map(|name| world.fact(name)?.parse().ok());
    seen::look(i32::try_from(pid).unwrap(), &others.collect::<Vec<i32>>())
}
