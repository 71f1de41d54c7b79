//! hb's pure core: the wire format and every decision. No clock, no store, no process: time is an argument.
//!
//! ```text
//! agent ─► hbsidecar ─[beat]─► REDIS ─► hbmonitor ─[fleet: agent, detector]─► snapshot ─► health ─► HTTP
//! ```
//!
//! In reading order: who (`id`), when (`moment`), what is said (`beat`, `event`, `roster`, `order`, `keys`), what is
//! believed (`detector`, `agent`, `fleet`), what is shown (`health`). What an agent is doing: what is seen of it
//! (`evidence`) and what that means (`activity`).

pub mod activity;
pub mod agent;
pub mod backoff;
pub mod beat;
pub mod card;
pub mod detector;
pub mod event;
pub mod evidence;
pub mod fleet;
pub mod hash;
pub mod health;
pub mod id;
pub mod keys;
pub mod lifecycle;
pub mod moment;
pub mod number;
pub mod order;
pub mod place;
pub mod roster;
