//! The verdict: what samples and reports show of an agent's process tree, and whether it works, waits or is stuck.

mod active_clock;
mod assessment;
mod cadence;
pub mod explain;
mod finding;
mod judgement;
pub mod machine;
mod notes;
pub mod patience;
mod rule;
mod rules;
pub mod sample;
mod self_report;
mod settings;
mod signal;
mod signals;
pub mod snapshot;
pub mod thresholds;
mod tree_view;

pub use crate::wire::activity::Confidence;
pub use finding::Fix;
pub use judgement::{EVIDENCE_MAX, Judgement};
pub use patience::Patience;
pub use rule::RuleId;
pub use self_report::SelfReport;
pub use settings::{Input, Settings};
