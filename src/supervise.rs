//! The life of an agent's process: start, end, restart, remedy.

pub mod lifecycle;
pub mod remedy;
