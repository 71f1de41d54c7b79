//! The fleet over HTTP: API and metrics. Reads snapshots; cannot touch the fleet.

pub(crate) mod api;
mod listing;
pub(crate) mod metrics;
mod status;
