//! What the monitor believes of every agent.

pub mod agent;
pub mod detector;
mod exchange;
mod explain;
pub mod machine;
pub mod run;
mod stream_wait;
pub mod view;
