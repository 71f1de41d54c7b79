//! The monitor's state of every agent: freshness, health, counts, and how they are described.

pub mod agent;
pub mod agents;
mod deadlines;
pub mod detector;
mod exchange;
mod explain;
pub mod last_beat;
mod learnt;
pub mod machine;
mod observation;
mod producers;
pub mod run;
mod stream_wait;
pub mod view;
