//! Answers of the store as bytes: what another program wrote under our names costs itself and nothing else.

use heartbeat::base::id::AgentId;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::wire::beat::Beat;
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use std::collections::HashMap;
use std::time::Duration;

/// Bytes and bytes: a field and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Whether the store answered, and refused this one command: another kind of key, or not allowed.
pub(super) fn is_own_fault(error: &RedisError) -> bool {
    let forbidden = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    forbidden || error.code() == Some("WRONGTYPE")
}

/// The bytes of a text.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    if let Value::SimpleString(text) = value {
        return Some(text.into_bytes());
    }
    if let Value::BulkString(bytes) = value {
        return Some(bytes);
    }
    None
}

/// The elements of a list.
pub(super) fn list(value: Value) -> Vec<Value> {
    if let Value::Array(values) | Value::Set(values) = value {
        return values;
    }
    Vec::new()
}

/// Fields and values, as a map or one after the other.
pub(super) fn pairs(value: Value) -> Vec<Pair> {
    if let Value::Map(pairs) = value {
        let pair = |(field, value)| Some((bytes(field)?, bytes(value)?));
        return pairs.into_iter().filter_map(pair).collect();
    }
    let mut texts = list(value).into_iter().map(bytes);
    let mut pairs = Vec::new();
    while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
        pairs.extend(field.zip(value));
    }
    pairs
}

/// One page of SCAN or HSCAN: where the next one begins, and the elements. `None` when it is no page.
pub(super) fn page(value: Value) -> Option<(Vec<u8>, Value)> {
    let mut parts = list(value).into_iter();
    Some((bytes(parts.next()?)?, parts.next()?))
}

/// What the hash of an agent holds, as an input; `None` for no hash. The error is the hash's own.
pub(super) fn agent_hash(
    id: &AgentId,
    fields: Value,
    left: &RedisResult<Value>,
) -> Result<Option<FleetInput>, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let pairs = pairs(fields).into_iter();
    // A name that is no text is none of ours; in a value a byte costs itself.
    let fields: HashMap<String, String> = pairs
        .filter_map(|(field, value)| Some((String::from_utf8(field).ok()?, text(value))))
        .collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let left = match left {
        Ok(Value::Int(left)) => u64::try_from(*left).ok().map(Duration::from_millis),
        Ok(_) | Err(_) => None,
    };
    match hash::read(id, &fields).map_err(|error| error.to_string())? {
        hash::Content::Beat(beat) => {
            let age = age(&beat, left);
            Ok(Some(FleetInput::AgedBeat(beat, age)))
        }
        hash::Content::Registration(entry) => Ok(Some(FleetInput::Registered(id.clone(), entry))),
    }
}

/// How long ago a hash was written: what has passed of its time to live, on the store's own clock.
fn age(beat: &Beat, left: Option<Duration>) -> Duration {
    let whole = beat.hb.as_ref().map(|hb| keys::time_to_live(hb.interval));
    whole
        .zip(left)
        .map_or(Duration::ZERO, |(whole, left)| whole.saturating_sub(left))
}
