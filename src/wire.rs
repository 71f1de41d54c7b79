//! What stands in the store and on its channels. Encode and decode; pinned by golden files.

pub mod activity;
pub mod beat;
pub mod declared_state;
pub mod event;
pub mod evidence_snapshot;
pub mod hash;
pub mod keys;
pub mod lease;
pub mod life;
pub mod order;
pub mod roster;
