//! What is seen of an agent's process tree, and what that means: working, waiting or stuck.

mod active_clock;
mod assessment;
mod cadence;
pub mod explain;
mod finding;
pub mod headless_agents;
mod judgement;
pub mod machine;
mod notes;
mod rules;
pub mod sample;
mod self_report;
mod settings;
mod signals;
pub mod snapshot;
pub mod thresholds;
mod tree_view;

pub use finding::{Confidence, Fix};
pub use judgement::{EVIDENCE_MAX, Judgement, is_flag};
pub use self_report::SelfReport;
pub use settings::{Input, Settings};
