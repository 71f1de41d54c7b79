//! What an agent says of itself: one line, from any language.

pub mod agent_streams;
pub mod framing;
pub mod line;
pub mod report;
