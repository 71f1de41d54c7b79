//! The verdict: what samples and reports show of an agent's process tree, and whether it works, waits or is stuck.

mod active_clock;
mod assessment;
mod awaits;
mod cadence;
mod counters;
pub mod explain;
mod finding;
mod judgement;
mod known_programs;
pub mod machine;
mod notes;
mod peers;
mod restarts;
mod retries;
mod rule;
mod rules;
pub mod sample;
mod self_report;
mod settings;
mod signal;
mod signals;
pub mod snapshot;
pub mod thresholds;
mod traffic;
mod tree_view;
mod turn;
pub mod wakeup;

pub use crate::base::patience::Patience;
pub use crate::wire::activity::Confidence;
pub use finding::Fix;
pub use judgement::{EVIDENCE_MAX, Judgement};
pub use known_programs::is_shell;
pub use rule::{Gate, RULES, Rule, RuleId};
pub use self_report::SelfReport;
pub use settings::{Input, Settings, ToolCall};
