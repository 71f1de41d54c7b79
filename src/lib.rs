//! hb's pure core: the wire format and every decision. No clock, no store, no process: time is an argument.
//!
//! ```text
//! agent ─► hbsidecar ─[beat]─► REDIS ─► hbmonitor ─[fleet: agent, detector]─► snapshot ─► health ─► HTTP
//! ```
//!
//! In reading order: who (`id`), when (`moment`), what is said (`beat`, `event`, `roster`, `order`, `keys`), what the
//! agent says of itself (`lines`, `line`, `dialect`, `report`, `window`), what is seen of it (`evidence`) and what that
//! means (`activity`), what is done (`lifecycle`, `remedy`), what is believed (`detector`, `agent`, `fleet`), what is
//! shown (`health`).

pub mod activity;
pub mod agent;
pub mod backoff;
pub mod batch;
pub mod beat;
pub mod card;
pub mod detector;
pub mod dialect;
pub mod event;
pub mod evidence;
pub mod fleet;
pub mod hash;
pub mod health;
pub mod id;
pub mod keys;
pub mod lease;
pub mod life;
pub mod lifecycle;
pub mod line;
pub mod lines;
pub mod moment;
pub mod number;
pub mod order;
pub mod place;
pub mod remedy;
pub mod report;
pub mod roster;
pub mod run;
pub mod window;
