//! What reading an agent's output beside the copy adds to an agent that prints 100 MB, as a ratio in one run.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must stop")]
#![expect(
    dead_code,
    unused_imports,
    reason = "a room by itself, without its hub"
)]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/stream.rs"]
mod stream;

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stream::{Reads, Tee};

const ROUNDS: usize = 11;
const PRINTERS: [(&str, &str); 3] = [
    (
        "python, a million lines of 100 bytes",
        "python3 -c 'for i in range(1000000): print(\"x\" * 99)'",
    ),
    (
        "awk, a million lines of 100 bytes",
        "awk 'BEGIN { s = sprintf(\"%99s\", \"x\"); for (i = 0; i < 1000000; i++) print s }'",
    ),
    (
        "head, blocks as large as they come",
        "head -c 100000000 /dev/zero",
    ),
];

fn main() {
    for (name, printer) in PRINTERS {
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            times[0].push(run(printer, None));
            times[1].push(run(printer, Some(Reads::Events)));
            times[2].push(run(
                printer,
                Some(Reads::pattern("Epoch (?P<progress>[0-9]+)").unwrap()),
            ));
        }
        let [alone, events, pattern] = times.map(least);
        let percent = |with: Duration| (with.as_secs_f64() / alone.as_secs_f64() - 1.0) * 100.0;
        println!(
            "{name}: alone {alone:.0?}, --read stream-json {:+.1} %, --progress-regex {:+.1} %",
            percent(events),
            percent(pattern)
        );
    }
}

/// From start to end of the printing process.
fn run(printer: &str, reads: Option<Reads>) -> Duration {
    let mut sink = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let to = OwnedFd::from(sink.stdin.take().unwrap());
    let (tee, out) = match reads {
        Some(reads) => {
            let (tee, out) = Tee::start(to, reads).unwrap();
            (Some(tee), out)
        }
        None => (None, to),
    };
    let start = Instant::now();
    let mut agent = Command::new("sh")
        .args(["-c", &format!("exec {printer}")])
        .stdout(out)
        .spawn()
        .unwrap();
    assert!(agent.wait().unwrap().success());
    let took = start.elapsed();
    drop(tee);
    sink.wait().unwrap();
    took
}

/// Noise only adds.
fn least(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap()
}
