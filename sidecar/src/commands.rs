//! The commands beside supervision: each runs once and ends.

pub(crate) mod diagnose;
pub(crate) mod hooks;
pub(crate) mod install;
pub(crate) mod notify;
