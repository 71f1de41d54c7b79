//! Processes: started, attached to, signalled, reaped, measured.

pub(crate) mod attach;
pub(crate) mod child;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod helper;
pub(crate) mod inherited;
pub(crate) mod instance;
pub(crate) mod oom;
pub(crate) mod orphans;
pub(crate) mod signals;
pub(crate) mod terminal;
pub(crate) mod transparent;
pub(crate) mod tree;
pub(crate) mod usage;
