//! The monitor's state of every agent: freshness, health, counts, and how they are described.

pub mod agent;
pub mod detector;
mod exchange;
mod explain;
pub mod ladder;
pub mod machine;
pub mod run;
mod stream_wait;
pub mod view;
