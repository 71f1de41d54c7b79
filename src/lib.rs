//! hb's pure core: the wire format and every decision. No clock, no store, no process: time is an argument.
//!
//! ```text
//! agent ─► hbsidecar ─[beat]─► REDIS ─► hbmonitor ─[fleet]─► snapshot ─► view ─► HTTP
//! ```
//!
//! Seven rooms; each imports only those above it, `fleet` and `alerts` none of `contract`, `verdict` and `supervise` (`tests/tidy.rs`):
//!
//! | room | |
//! |---|---|
//! | [`base`] | names, moments, numbers, durations as text |
//! | [`wire`] | what stands in the store: beat, hash, event, roster, order, lease, keys, scripts |
//! | [`contract`] | what an agent reports of itself, in one line |
//! | [`verdict`] | what is seen of an agent's process tree, and what that means |
//! | [`supervise`] | start, end, restart, remedy |
//! | [`fleet`] | what the monitor believes of every agent |
//! | [`alerts`] | who is notified of what, and when |

pub mod alerts;
pub mod base;
pub mod contract;
pub mod fleet;
pub mod supervise;
pub mod verdict;
pub mod wire;
