//! The status contract: what an agent reports of itself, in one line, from any language.

pub mod agent_streams;
pub mod framing;
pub mod line;
pub mod report;
pub mod terminal_text;
