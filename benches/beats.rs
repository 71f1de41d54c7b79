//! Beats decoded and applied per second per core, beside plain JSON parsing of the same bytes as the peer.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must stop")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use heartbeat::base::moment::Moment;
use heartbeat::fleet::machine::{Fleet, FleetInput, FleetSettings};
use heartbeat::fleet::view::{Filter, Listing, ViewTime};
use heartbeat::wire::beat::view;

const AGENTS: u64 = 10_000;
const LARGE: u64 = 100_000;

fn payload(agent: u64, slot: u64) -> String {
    format!(
        r#"{{"agentId":"agent-{agent}","agentType":"writer","timestamp":{},"sequence":{},"status":"healthy","metrics":{{"cpuPercent":3.1,"memoryMB":182.0,"activeTasks":1,"queueDepth":0,"tokensUsedThisHour":5120,"errorsLast5Min":0}},"currentTask":"index repo","taskProgress":42.0,"hb":{{"v":1,"intervalMs":30000,"epoch":7,"slot":{slot},"instance":"5b1c","host":"node-3","pid":4711,"startedAt":1763990000000,"restarts":0,"ready":true,"activity":{{"verdict":"working","since":1763999990000,"evidence":[{{"signal":"tcp.bytes_received","value":"18 kB in 30 s","source":"observed"}}]}},"runtime":{{"kind":"docker","id":"3fa"}},"exit":null,"order":null}}}}"#,
        1_764_000_000_000 + slot * 30_000,
        slot + 1,
    )
}

fn fleet_of(agents: u64) -> Fleet {
    let mut fleet = Fleet::new(FleetSettings::default(), Moment::from_millis(0));
    fleet.handle(FleetInput::LinkUp, Moment::from_millis(0));
    for agent in 0..agents {
        apply(&mut fleet, &payload(agent, 0), 0);
    }
    fleet
}

fn apply(fleet: &mut Fleet, payload: &str, now: u64) {
    let mut owned = None;
    let beat = view::read(payload.as_bytes(), &mut owned).unwrap();
    fleet.beat(&beat, Moment::from_millis(now), &mut Vec::new());
}

fn beats(c: &mut Criterion) {
    let mut group = c.benchmark_group("beats");
    group.throughput(Throughput::Elements(AGENTS));
    let payloads: Vec<String> = (0..AGENTS).map(|agent| payload(agent, 1)).collect();
    group.bench_function("peer: serde_json::Value of the same bytes", |b| {
        b.iter(|| {
            for payload in &payloads {
                std::hint::black_box(serde_json::from_str::<serde_json::Value>(payload).unwrap());
            }
        });
    });
    group.bench_function("decode and apply, 10 k agents", |b| {
        b.iter_batched_ref(
            || fleet_of(AGENTS),
            |fleet| {
                for payload in &payloads {
                    apply(fleet, payload, 30_000);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn page(c: &mut Criterion) {
    let snapshot = fleet_of(LARGE).view();
    let filter = Filter {
        limit: Some(100),
        ..Filter::default()
    };
    let at = ViewTime {
        now: Moment::from_millis(1000),
        wall_ms: 1_764_000_000_000,
    };
    c.bench_function("page of 100 among 100 k agents, to JSON", |b| {
        b.iter(|| {
            let mut page = Vec::new();
            Listing::new(filter.clone()).write(&snapshot, at, usize::MAX, &mut page);
            page
        });
    });
}

fn idle_tick(c: &mut Criterion) {
    let mut fleet = fleet_of(LARGE);
    c.bench_function("tick with no agent due among 100 k agents", |b| {
        b.iter(|| fleet.handle(FleetInput::Tick, Moment::from_millis(1000)));
    });
}

criterion_group!(all, beats, page, idle_tick);
criterion_main!(all);
