//! Everything said with the store.

pub(crate) mod find_store;
pub(crate) mod inbox;
