//! hb's pure core: the wire format and every decision. No clock, no store, no process: time is an argument.
//!
//! ```text
//! agent ─► hbsidecar ─[beat]─► REDIS ─► hbmonitor ─[fleet: agent, detector]─► snapshot ─► health ─► HTTP
//! ```
//!
//! In reading order: who (`id`), when (`moment`), what is said (`beat`, `event`, `roster`, `order`, `keys`), what the
//! agent says of itself (`lines`, `line`, `dialect`, `report`, `window`), what is believed (`detector`, `agent`, `fleet`),
//! what is shown (`health`).

pub mod agent;
pub mod backoff;
pub mod beat;
pub mod detector;
pub mod dialect;
pub mod event;
pub mod fleet;
pub mod hash;
pub mod health;
pub mod id;
pub mod keys;
pub mod lease;
pub mod lifecycle;
pub mod line;
pub mod lines;
pub mod moment;
pub mod number;
pub mod order;
pub mod place;
pub mod report;
pub mod roster;
pub mod window;
