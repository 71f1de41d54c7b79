//! The vocabulary: ids, moments, numbers, durations. Imports nothing.

pub mod backoff;
pub mod calendar;
pub mod duration;
pub mod figure;
pub mod foreign;
pub mod histogram;
pub mod id;
pub mod known_agents;
pub mod moment;
pub mod number;
pub mod patience;
pub mod runtime_dir;
pub mod sliding;
pub mod version;
