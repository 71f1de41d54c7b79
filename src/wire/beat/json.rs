//! The JSON of a beat, field by field. What another program writes its own way costs its field.

use super::{
    Activity, Beat, BeatError, Exit, Extension, INTERVAL_MAX, INTERVAL_MIN, Metrics,
    NAME_CHARS_MAX, OrderOutcome, Runtime, Status, TASK_CHARS_MAX, cut, percentage,
};
use crate::base::id::AgentId;
use crate::base::number;
use crate::wire::lenient;
use crate::wire::life::Life;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    agent_id: AgentId,
    #[serde(default, deserialize_with = "lenient::or_default")]
    agent_type: String,
    #[serde(deserialize_with = "number::count_if_any")]
    timestamp: Option<u64>,
    #[serde(deserialize_with = "number::count_if_any")]
    sequence: Option<u64>,
    #[serde(deserialize_with = "lenient::or_default")]
    status: Status,
    #[serde(default, deserialize_with = "lenient::or_default")]
    metrics: Metrics,
    #[serde(default, deserialize_with = "lenient::or_default")]
    current_task: Option<String>,
    #[serde(default, deserialize_with = "number::finite")]
    task_progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hb: Option<WireExtension>,
}

impl Wire {
    pub(super) fn parse(text: &str) -> Result<Self, BeatError> {
        serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => BeatError::NotABeat(e.to_string()),
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => BeatError::NotJson(e.to_string()),
        })
    }

    /// The numbers by which beats differ. A producer without `hb` may have one of them alone: 0 stands for the other.
    fn numbers(&self) -> Result<(u64, u64), BeatError> {
        match (self.timestamp, self.sequence) {
            (timestamp, Some(sequence)) => Ok((timestamp.unwrap_or(0), sequence)),
            (Some(timestamp), None) if self.hb.is_none() => Ok((timestamp, 0)),
            (_, None) => Err(BeatError::NotABeat(
                "sequence is no whole number from 0 to 2^53 - 1".to_owned(),
            )),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireExtension {
    #[serde(default, deserialize_with = "number::count_or_zero")]
    v: u64,
    #[serde(deserialize_with = "number::count")]
    interval_ms: u64,
    #[serde(deserialize_with = "number::count")]
    epoch: u64,
    #[serde(deserialize_with = "number::count")]
    slot: u64,
    #[serde(
        default,
        deserialize_with = "number::count_or_zero",
        skip_serializing_if = "is_zero"
    )]
    slot_age_ms: u64,
    #[serde(default, deserialize_with = "lenient::or_default")]
    instance: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    host: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    pid: u32,
    #[serde(default, deserialize_with = "number::count_or_zero")]
    started_at: u64,
    #[serde(default, deserialize_with = "number::count_or_zero")]
    restarts: u64,
    #[serde(default, deserialize_with = "lenient::or_default")]
    ready: bool,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    status_text: Option<String>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    activity: Option<Activity>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    runtime: Option<Runtime>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    exit: Option<Exit>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    life: Option<Life>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    order: Option<OrderOutcome>,
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    store_refuses: bool,
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    fenced: bool,
}

impl TryFrom<Wire> for Beat {
    type Error = BeatError;

    fn try_from(wire: Wire) -> Result<Self, BeatError> {
        let (timestamp_ms, sequence) = wire.numbers()?;
        Ok(Self {
            agent: wire.agent_id,
            agent_type: cut(wire.agent_type, NAME_CHARS_MAX),
            timestamp_ms,
            sequence,
            status: wire.status,
            metrics: wire.metrics,
            current_task: wire
                .current_task
                .filter(|t| !t.is_empty())
                .map(|t| cut(t, TASK_CHARS_MAX)),
            task_progress: wire.task_progress.and_then(percentage),
            hb: wire.hb.map(Extension::try_from).transpose()?,
        })
    }
}

impl TryFrom<WireExtension> for Extension {
    type Error = BeatError;

    fn try_from(wire: WireExtension) -> Result<Self, BeatError> {
        let interval = Duration::from_millis(wire.interval_ms);
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            return Err(BeatError::Interval(wire.interval_ms));
        }
        Ok(Self {
            interval,
            epoch: wire.epoch,
            slot: wire.slot,
            slot_age: Duration::from_millis(wire.slot_age_ms),
            instance: cut(wire.instance, NAME_CHARS_MAX),
            host: cut(wire.host, NAME_CHARS_MAX),
            pid: wire.pid,
            started_at_ms: wire.started_at,
            restarts: wire.restarts,
            ready: wire.ready,
            status_text: wire
                .status_text
                .filter(|text| !text.is_empty())
                .map(|text| cut(text, TASK_CHARS_MAX)),
            activity: wire.activity,
            runtime: wire.runtime,
            exit: wire.exit,
            life: wire.life,
            order: wire.order,
            store_refuses: wire.store_refuses,
            fenced: wire.fenced,
        })
    }
}

impl From<&Beat> for Wire {
    fn from(beat: &Beat) -> Self {
        Self {
            agent_id: beat.agent.clone(),
            agent_type: beat.agent_type.clone(),
            timestamp: Some(beat.timestamp_ms),
            sequence: Some(beat.sequence),
            status: beat.status,
            metrics: beat.metrics,
            current_task: beat.current_task.clone(),
            task_progress: beat.task_progress,
            hb: beat.hb.as_ref().map(WireExtension::from),
        }
    }
}

impl From<&Extension> for WireExtension {
    fn from(hb: &Extension) -> Self {
        Self {
            v: 1,
            interval_ms: crate::base::moment::millis(hb.interval),
            epoch: hb.epoch,
            slot: hb.slot,
            slot_age_ms: crate::base::moment::millis(hb.slot_age),
            instance: hb.instance.clone(),
            host: hb.host.clone(),
            pid: hb.pid,
            started_at: hb.started_at_ms,
            restarts: hb.restarts,
            ready: hb.ready,
            status_text: hb.status_text.clone(),
            activity: hb.activity.clone(),
            runtime: hb.runtime.clone(),
            exit: hb.exit,
            life: hb.life.clone(),
            order: hb.order.clone(),
            store_refuses: hb.store_refuses,
            fenced: hb.fenced,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
