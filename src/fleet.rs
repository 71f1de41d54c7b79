//! The monitor's state of every agent: freshness, health, counts, and how they are described.

pub mod agent;
pub mod agents;
pub mod by_hand;
pub mod card;
mod census;
mod deadlines;
pub mod detector;
mod exchange;
mod explain;
pub mod gates;
pub mod incidents;
pub mod ladder;
pub mod last_beat;
mod learnt;
pub mod machine;
pub mod notices;
mod observation;
pub mod observer;
pub mod overview;
mod producers;
pub mod recovery;
mod retention;
pub mod run;
mod stream_wait;
pub mod view;
pub mod watch;
pub mod word;
