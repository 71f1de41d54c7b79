//! The fleet over HTTP: API, metrics and pages. Reads snapshots; cannot touch the fleet.

pub(crate) mod actions;
pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod connections;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod hosts;
mod listing;
pub(crate) mod metrics;
mod pages;
pub(crate) mod session;
mod status;
mod timeline;
