//! Status lines parsed and applied per second per core, beside plain JSON parsing of the same bytes as the peer.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must stop")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heartbeat::base::moment::Moment;
use heartbeat::contract::line::Line;
use heartbeat::contract::report::Report;

const LINES: u64 = 10_000;

fn json(n: u64) -> String {
    format!(
        r#"{{"task":"index repo {}","progress":{},"step":"file-{n}","state":"working","queue":7,"tokens":{}}}"#,
        n / 100,
        n % 100,
        n % 5000
    )
}

fn logfmt(n: u64) -> String {
    format!(
        r#"task="index repo {}" progress={} step=file-{n} state=working queue=7 tokens={}"#,
        n / 100,
        n % 100,
        n % 5000
    )
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines");
    group.throughput(Throughput::Elements(LINES));
    let of_json: Vec<String> = (0..LINES).map(json).collect();
    let of_logfmt: Vec<String> = (0..LINES).map(logfmt).collect();
    group.bench_function("peer: serde_json::Value of the same JSON", |b| {
        b.iter(|| {
            for line in &of_json {
                std::hint::black_box(serde_json::from_str::<serde_json::Value>(line).unwrap());
            }
        });
    });
    for (name, lines) in [("JSON", &of_json), ("logfmt", &of_logfmt)] {
        group.bench_function(format!("{name}, parsed"), |b| {
            b.iter(|| {
                for line in lines {
                    std::hint::black_box(Line::parse(line.as_bytes()).unwrap());
                }
            });
        });
        group.bench_function(format!("{name}, parsed and applied"), |b| {
            let mut report = Report::default();
            let mut now = 0;
            b.iter(|| {
                for line in lines {
                    now += 20;
                    let said = Line::parse(line.as_bytes()).unwrap();
                    report.handle(said, line, Moment::from_millis(now));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
