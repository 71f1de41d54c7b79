//! The life of an agent's process: start, end, restart, suspension, orders, remedies, and how it is reported.

pub mod exclusive;
pub mod life_report;
pub mod lifecycle;
pub mod orders;
pub mod remedy;
pub mod slots;
pub mod suspension;
