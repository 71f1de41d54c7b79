//! The hash `agent:{id}`: the seed's fields and hb's, written from a beat and read back as one.

use crate::base::id::AgentId;
use crate::base::number::COUNT_MAX;
use crate::wire::beat::{Beat, BeatError, INTERVAL_DEFAULT, Metrics, Status, cut};
use crate::wire::lease::Holder;
use crate::wire::roster::RosterEntry;
use crate::wire::word;
use std::collections::HashMap;

/// What the hash holds after this beat, field by field. `registered_ms` is when the agent id was registered. `last`: the
/// sidecar ends with this beat, so it gives its lease up.
pub fn fields(
    beat: &Beat,
    json: &str,
    registered_ms: u64,
    last: bool,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("registeredAt", registered_ms.to_string()),
        ("type", beat.agent_type.clone()),
        ("status", word(&beat.status)),
        ("lastHeartbeat", beat.timestamp_ms.to_string()),
        ("sequence", beat.sequence.to_string()),
        ("cpuPercent", beat.metrics.cpu_percent.to_string()),
        ("memoryMB", beat.metrics.memory_mb.to_string()),
        ("beat", json.to_owned()),
    ];
    if let Some(hb) = &beat.hb {
        fields.push(("host", hb.host.clone()));
        fields.push(("pid", hb.pid.to_string()));
        fields.push(("epoch", hb.epoch.to_string()));
        fields.push(("slot", hb.slot.to_string()));
        fields.push((
            "intervalMs",
            crate::base::moment::millis(hb.interval).to_string(),
        ));
        fields.push((
            "instance",
            if last {
                String::new()
            } else {
                hb.instance.clone()
            },
        ));
    }
    if beat.status == Status::Stopped {
        fields.push(("stoppedAt", beat.timestamp_ms.to_string()));
    }
    fields
}

/// Fields of the last beat, which a new registration removes.
pub const OF_A_BEAT: [&str; 8] = [
    "stoppedAt",
    "beat",
    "pid",
    "slot",
    "sequence",
    "lastHeartbeat",
    "cpuPercent",
    "memoryMB",
];

/// What the hash holds between a registration and its first beat, beside `epoch` and `instance`.
pub fn registration(
    entry: &RosterEntry,
    registered_ms: u64,
    holder: &Holder,
) -> Vec<(&'static str, String)> {
    vec![
        ("registeredAt", registered_ms.to_string()),
        ("type", entry.agent_type.clone()),
        ("host", entry.host.clone()),
        ("status", word(&Status::Starting)),
        ("intervalMs", entry.interval_ms.to_string()),
        ("holder", holder.encode()),
    ]
}

/// What a hash holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The last beat.
    Beat(Box<Beat>),
    /// A registration that no beat has followed yet.
    Registration(Box<RosterEntry>),
}

/// What the hash of this agent holds. A beat of an earlier registration is ignored: a higher epoch replaced it.
pub fn read(id: &AgentId, fields: &HashMap<String, String>) -> Result<Content, BeatError> {
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
    let epoch = number("epoch").filter(|epoch| *epoch <= COUNT_MAX);
    let last = fields.contains_key("beat").then(|| beat(id, fields));
    match (epoch, last) {
        (Some(epoch), Some(Ok(last))) if last.epoch() < epoch => {}
        (_, Some(last)) => return last.map(|beat| Content::Beat(Box::new(beat))),
        (None, None) => return beat(id, fields).map(|beat| Content::Beat(Box::new(beat))),
        (Some(_), None) => {}
    }
    let text = |name: &str| cut(fields.get(name).cloned().unwrap_or_default(), 255);
    Ok(Content::Registration(Box::new(RosterEntry {
        agent_type: text("type"),
        host: text("host"),
        interval_ms: number("intervalMs")
            .unwrap_or_else(|| crate::base::moment::millis(INTERVAL_DEFAULT)),
        epoch: epoch.unwrap_or(0),
        started_at: number("registeredAt").unwrap_or(0).min(COUNT_MAX),
        runtime: None,
        hb_version: None,
        stopped_at: None,
        life: None,
    })))
}

/// The last beat of a hash: its field `beat` when there is one, else one made of the seed's fields.
fn beat(id: &AgentId, fields: &HashMap<String, String>) -> Result<Beat, BeatError> {
    if let Some(json) = fields.get("beat") {
        let beat = Beat::decode(json.as_bytes())?;
        return if beat.agent == *id {
            Ok(beat)
        } else {
            Err(BeatError::NotABeat(format!(
                "the hash of {id} holds a beat of {}",
                beat.agent
            )))
        };
    }
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<f64>().ok());
    let sane = |n: Option<f64>| n.filter(|n| (0.0..=COUNT_MAX as f64).contains(n));
    let count = |name| sane(number(name)).map(|n| n as u64);
    let timestamp_ms = count("lastHeartbeat")
        .or_else(|| count("registeredAt"))
        .ok_or_else(|| BeatError::NotABeat("its hash has no lastHeartbeat".to_owned()))?;
    let stopped = fields.get("stoppedAt").is_some_and(|text| !text.is_empty());
    let status = fields
        .get("status")
        .map(|text| serde_json::Value::from(text.as_str()));
    let status = status.and_then(|word| serde_json::from_value(word).ok());
    Ok(Beat {
        agent: id.clone(),
        agent_type: cut(fields.get("type").cloned().unwrap_or_default(), 255),
        timestamp_ms,
        sequence: count("sequence").unwrap_or(0),
        status: if stopped {
            Status::Stopped
        } else {
            status.unwrap_or(Status::Healthy)
        },
        metrics: Metrics {
            cpu_percent: sane(number("cpuPercent")).unwrap_or(0.0),
            memory_mb: sane(number("memoryMB")).unwrap_or(0.0),
            ..Metrics::default()
        },
        current_task: None,
        task_progress: None,
        hb: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn id() -> AgentId {
        AgentId::parse("w1").unwrap()
    }

    #[test]
    fn a_hash_written_by_a_seed_producer_is_a_beat() {
        let fields = hash(&[
            ("type", "writer"),
            ("lastHeartbeat", "1764000000000"),
            ("cpuPercent", "2.5"),
        ]);
        let beat = beat(&id(), &fields).unwrap();
        assert_eq!(
            (beat.timestamp_ms, beat.metrics.cpu_percent),
            (1_764_000_000_000, 2.5)
        );
    }

    #[test]
    fn a_stopped_hash_is_a_stopped_beat() {
        let fields = hash(&[
            ("lastHeartbeat", "1"),
            ("status", "healthy"),
            ("stoppedAt", "2"),
        ]);
        assert_eq!(beat(&id(), &fields).unwrap().status, Status::Stopped);
    }

    #[test]
    fn a_registration_without_a_beat_is_no_beat_and_hides_the_beat_of_the_run_before() {
        let mut fields = hash(&[("epoch", "9"), ("type", "writer"), ("intervalMs", "500")]);
        let expected = |content: Content| match content {
            Content::Registration(entry) => (entry.epoch, entry.interval_ms),
            Content::Beat(beat) => panic!("{beat:?}"),
        };
        assert_eq!(expected(read(&id(), &fields).unwrap()), (9, 500));
        let before = r#"{"agentId":"w1","timestamp":1,"sequence":90,"status":"healthy","hb":{"v":1,"intervalMs":500,"epoch":8,"slot":5}}"#;
        fields.insert("beat".to_owned(), before.to_owned());
        assert_eq!(expected(read(&id(), &fields).unwrap()), (9, 500));
    }

    #[test]
    fn a_hash_of_something_else_is_refused() {
        assert!(read(&id(), &hash(&[("color", "red")])).is_err());
    }

    #[test]
    fn numbers_that_cannot_be_count_as_absent() {
        let fields = hash(&[
            ("lastHeartbeat", "5"),
            ("cpuPercent", "NaN"),
            ("memoryMB", "-4"),
        ]);
        let metrics = beat(&id(), &fields).unwrap().metrics;
        assert_eq!((metrics.cpu_percent, metrics.memory_mb), (0.0, 0.0));
    }
}
