//! What reading an agent's output beside the copy adds to an agent that prints 100 MB, as ratios in one run: least / median.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must stop")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 21;
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

/// Not at all, and again, which is the noise; as events; by a pattern.
const READS: [&[&str]; 4] = [
    &[],
    &[],
    &["--read", "stream-json"],
    &["--progress-regex", "Epoch (?P<progress>[0-9]+)"],
];

fn main() {
    for (name, printer) in PRINTERS {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (times, flags) in times.iter_mut().zip(READS) {
                times.push(run(printer, flags));
            }
        }
        let [alone, again, events, pattern] = times.map(Times::of);
        println!(
            "{name}: alone {:.0?} / {:.0?}, again {}, --read stream-json {}, --progress-regex {}",
            alone.least,
            alone.median,
            again.beside(&alone),
            events.beside(&alone),
            pattern.beside(&alone)
        );
    }
}

/// Noise only adds to the least; the median is what is usual where all processes share few processors.
struct Times {
    least: Duration,
    median: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self {
            least: times[0],
            median: times[times.len() / 2],
        }
    }

    fn beside(&self, alone: &Self) -> String {
        let percent = |with: Duration, without: Duration| {
            (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0
        };
        format!(
            "{:+.1} / {:+.1} %",
            percent(self.least, alone.least),
            percent(self.median, alone.median)
        )
    }
}

/// From start to end of the sidecar and the printing process under it.
fn run(printer: &str, flags: &[&str]) -> Duration {
    let mut sink = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let ended = Command::new(env!("CARGO_BIN_EXE_hbsidecar"))
        .args(["-q", "--redis-url", "redis://127.0.0.1:1"])
        .args(flags)
        .args(["--", "sh", "-c", &format!("exec {printer}")])
        .env_remove("PYTHONUNBUFFERED")
        .stdout(sink.stdin.take().unwrap())
        .status();
    assert!(ended.unwrap().success());
    let took = start.elapsed();
    sink.wait().unwrap();
    took
}
