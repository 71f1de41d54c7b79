//! What stands in the store and on its channels. Encode and decode; pinned by golden files.
//!
//! Versions and languages differ: fields that are not known are ignored, and a word or a value that is not known (a status, a
//! reason, a figure that is `null`) costs only what it would have added, never the message that carries it.

pub mod activity;
pub mod audit;
pub mod beat;
pub mod declared_state;
pub mod event;
pub mod evidence_snapshot;
pub mod hash;
pub mod incident;
pub mod keys;
pub mod leader;
pub mod lease;
pub(crate) mod lenient;
pub mod life;
pub mod notice;
pub mod notification;
pub mod order;
pub mod pause;
pub mod record;
pub mod roster;
pub mod silence;
pub mod timeline;
pub mod trouble;

/// The word that stands for a value in the store: the one that serde writes, so that there is one list of them.
pub fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}
