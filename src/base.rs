//! The vocabulary: who, when, how much, how long. Imports nothing.

pub mod backoff;
pub mod duration;
pub mod id;
pub mod moment;
pub mod number;
pub mod runtime_dir;
pub mod sliding;
