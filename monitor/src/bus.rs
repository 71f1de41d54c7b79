//! The connection to the store: which one, and what it holds.

pub(crate) mod find_store;
pub(crate) mod inbox;
pub(crate) mod push;
pub(crate) mod timelines;
