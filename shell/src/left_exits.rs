//! Exits that the store nearby did not take: a sidecar leaves them in the state directory, and the next hbmonitor of its user
//! writes them to the store.
//!
//! Where a URL names the store, nothing is left: which one another program would write them to is not known.

use crate::private_dir::{PrivateDir, PrivateDirError};
use crate::store::state_directory;
use heartbeat::base::id::AgentId;
use heartbeat::wire::roster::RosterEntry;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "exits";
/// Exits that are read at once.
const EXITS_MAX: usize = 10_000;

/// Why an exit could not be left.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// The user has no home.
    #[error("there is no HOME to keep it in")]
    NoPlace,
    /// The directory is another user's.
    #[error(transparent)]
    Directory(#[from] PrivateDirError),
    /// It cannot be made or written to.
    #[error("{0:?}: {1}")]
    Io(PathBuf, io::Error),
}

/// The exits that were left.
#[derive(Debug)]
pub struct LeftExits {
    directory: PrivateDir,
    exits: Vec<(AgentId, RosterEntry)>,
}

/// Leaves the last roster entry of an agent; a later one of its id takes its place.
///
/// # Errors
/// There is no place for it.
pub fn leave(id: &AgentId, entry: &RosterEntry) -> Result<(), LeaveError> {
    let state = state_directory().ok_or(LeaveError::NoPlace)?;
    leave_in(&state, id, entry)
}

fn leave_in(state: &Path, id: &AgentId, entry: &RosterEntry) -> Result<(), LeaveError> {
    let path = state.join(DIRECTORY);
    let failed = |error| LeaveError::Io(path.clone(), error);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(failed)?;
    let directory = PrivateDir::open(&path)?;
    directory
        .write(id.as_str(), &entry.encode())
        .map_err(failed)
}

impl LeftExits {
    /// Reads what sidecars of this user left. What cannot be read stays where it is.
    pub fn read() -> Option<Self> {
        Self::read_in(&state_directory()?)
    }

    fn read_in(state: &Path) -> Option<Self> {
        let directory = PrivateDir::open(&state.join(DIRECTORY)).ok()?;
        let names = std::fs::read_dir(directory.held_path()).ok()?;
        let names = names.flatten().filter_map(|entry| {
            let name = entry.file_name();
            AgentId::parse(name.to_str()?).ok()
        });
        let exits = names.take(EXITS_MAX).filter_map(|id| {
            let text = directory.read(id.as_str())?;
            Some((id, RosterEntry::decode(&text).ok()?))
        });
        Some(Self {
            exits: exits.collect(),
            directory,
        })
    }

    /// Which agents, and what the roster is to hold of each.
    pub fn exits(&self) -> &[(AgentId, RosterEntry)] {
        &self.exits
    }

    /// The store has it.
    pub fn remove(&self, id: &AgentId) {
        self.directory.remove(id.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_there_until_it_is_removed_whatever_else_stands_beside_it() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("a/b");
        let id = AgentId::parse("a1").unwrap();
        let entry = RosterEntry::decode(r#"{"type":"t","host":"h","intervalMs":1000,"epoch":7}"#);
        let entry = entry.unwrap();
        assert!(LeftExits::read_in(&state).is_none());
        leave_in(&state, &id, &entry).unwrap();
        std::fs::write(state.join("exits/a2"), "no entry").unwrap();
        std::fs::write(state.join("exits/no id"), entry.encode()).unwrap();
        let left = LeftExits::read_in(&state).unwrap();
        assert_eq!(left.exits(), [(id.clone(), entry)]);
        left.remove(&id);
        assert_eq!(LeftExits::read_in(&state).unwrap().exits(), []);
        assert!(state.join("exits/a2").exists());
    }
}
