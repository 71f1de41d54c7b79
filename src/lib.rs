//! hb's pure core.
pub mod id;
pub mod keys;
