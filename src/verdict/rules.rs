//! The rules: each checks a tree for one way of being stuck or busy.

pub(in crate::verdict) mod blocked;
pub(in crate::verdict) mod deadlock;
pub(in crate::verdict) mod inputs;
pub(in crate::verdict) mod network;
pub(in crate::verdict) mod pipes;
pub(in crate::verdict) mod repetition;
pub(in crate::verdict) mod spin;
pub(in crate::verdict) mod timers;
pub(in crate::verdict) mod waiting;
pub(in crate::verdict) mod words;
