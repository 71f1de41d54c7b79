//! Producers that are no sidecars: a beat without `hb`, a hash, a time to live.

use crate::harness::{Day, INTERVAL, a_day, now_ms};
use std::time::Duration;

/// One beat of a producer with this interval, as its client library sends it.
fn beats(day: &Day, id: &str, sequence: u64, interval: Duration) {
    let (key, now) = (format!("agent:{id}"), now_ms().to_string());
    let sequence = sequence.to_string();
    let hash = [
        "HSET",
        &key,
        "type",
        "seed",
        "status",
        "healthy",
        "lastHeartbeat",
        &now,
        "sequence",
        &sequence,
    ];
    day.ask::<i64>(&hash);
    day.ask::<i64>(&["PEXPIRE", &key, &(4 * interval).as_millis().to_string()]);
    let beat = format!(
        r#"{{"agentId":"{id}","agentType":"seed","timestamp":{now},"sequence":{sequence},"status":"healthy","metrics":{{}}}}"#
    );
    day.ask::<i64>(&["PUBLISH", "heartbeats", &beat]);
}

#[test]
fn a_stray_beat_of_a_slow_producer_does_not_slow_the_sidecar_of_that_id_down() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let _sidecar = day.start("a1");
        day.has_beaten("a1", 3);
        beats(day, "a1", 1, Duration::from_secs(30));
        day.stays("a1", "healthy", 6 * INTERVAL);
        day.story("a1", &["healthy"]);
    });
}

#[test]
fn a_sidecar_that_starts_under_the_id_of_a_living_producer_has_it() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        beats(day, "a1", 1, 4 * INTERVAL);
        beats(day, "a1", 2, 4 * INTERVAL);
        day.becomes("a1", "healthy");
        let sidecar = day.start("a1");
        beats(day, "a1", 3, 4 * INTERVAL);
        day.shows("a1", "pid", sidecar.agent());
        day.stays("a1", "healthy", 4 * INTERVAL);
    });
}

#[test]
fn a_producer_of_the_id_comes_and_goes_while_its_sidecar_waits() {
    a_day(|day| {
        day.monitor().expects_outdated_beats();
        let flags = [
            "--restart",
            "always",
            "--backoff",
            "3s",
            "--backoff-max",
            "3s",
        ];
        let worker = day.agent("a1").with(&flags);
        let sidecar = worker.runs("[ -e twice ] && exec sleep 1000; touch twice; sleep 0.5");
        day.becomes("a1", "healthy");
        day.becomes("a1", "stopped");
        beats(day, "a1", 1, INTERVAL);
        day.shows("a1", "restarts", 1);
        day.shows("a1", "pid", sidecar.agent());
        day.becomes("a1", "healthy");
        day.stays("a1", "healthy", 4 * INTERVAL);
    });
}
