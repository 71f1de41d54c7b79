//! The fleet over HTTP: API and metrics. Reads snapshots; cannot touch the fleet.

pub(crate) mod actions;
pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod connections;
pub(crate) mod hosts;
mod listing;
pub(crate) mod metrics;
mod status;
