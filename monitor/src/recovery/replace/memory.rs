//! The settings of containers that hold agents, as they were last seen: a container that was removed tells nothing.
//!
//! In memory alone: settings hold secrets of agents, which have no place in the store.

use heartbeat::base::id::AgentId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Agents whose settings are kept: beyond it the ones seen longest ago are dropped.
const AGENTS_MAX: usize = 10_000;
/// The longest settings that are kept, as JSON.
const BYTES_MAX: usize = 64 * 1024;

/// The last settings of each agent's container.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// When it was seen, by count; the engine's name; JSON.
    settings: BTreeMap<AgentId, (u64, &'static str, String)>,
    seen: u64,
}

impl Memory {
    /// Keeps what a replacement needs of an inspected container.
    pub(crate) fn keep(&self, agent: &AgentId, engine: &'static str, inspected: &Value) {
        let settings = json!({
            "Id": inspected["Id"],
            "Name": inspected["Name"],
            "Image": inspected["Image"],
            "Config": inspected["Config"],
            "HostConfig": inspected["HostConfig"],
            "Mounts": inspected["Mounts"],
            "NetworkSettings": {"Networks": inspected["NetworkSettings"]["Networks"]},
        })
        .to_string();
        if settings.len() > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.seen += 1;
        let seen = kept.seen;
        kept.settings
            .insert(agent.clone(), (seen, engine, settings));
        if kept.settings.len() > AGENTS_MAX {
            let oldest = kept.settings.iter().min_by_key(|(_, (seen, _, _))| *seen);
            if let Some(oldest) = oldest.map(|(agent, _)| agent.clone()) {
                kept.settings.remove(&oldest);
            }
        }
    }

    /// The engine's name and the settings.
    pub(crate) fn recall(&self, agent: &AgentId) -> Option<(&'static str, Value)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, engine, settings) = kept.settings.get(agent)?;
        Some((engine, serde_json::from_str(settings).ok()?))
    }
}
