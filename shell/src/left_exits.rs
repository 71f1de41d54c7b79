//! Exits that no store took: a sidecar that ends while its store is away leaves them in the state directory of its user. The next
//! program of that user that reaches the same store writes them: another sidecar, or hbmonitor.

use crate::clock;
use crate::private_dir::{PrivateDir, PrivateDirError};
use crate::store::{Address, Link, add_event, state_directory};
use heartbeat::base::id::AgentId;
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::keys;
use heartbeat::wire::roster::RosterEntry;
use redis::{RedisResult, Script};
use std::fs::{DirBuilder, DirEntry};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIRECTORY: &str = "exits";
/// Exits that are read at once.
const EXITS_MAX: usize = 10_000;
const READ_WITHIN: Duration = Duration::from_millis(500);
/// One that no store has taken for so long is of a fleet that is no more.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A store that came back empty gets one that is no older than this.
const KEPT_FOR_EMPTY: Duration = Duration::from_secs(600);

/// Which store an exit is for, as far as two programs agree on its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreName(String);

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

/// The exits that were left for a store.
#[derive(Debug)]
struct LeftExits {
    directory: PrivateDir,
    exits: Vec<(AgentId, RosterEntry)>,
}

impl StoreName {
    /// The one that programs without a URL find.
    pub fn nearby() -> Self {
        Self("nearby".to_owned())
    }

    /// The one at this address.
    pub fn of(address: &Address) -> Self {
        Self(format!("{address}/{}", address.database()))
    }
}

/// Leaves the last roster entry of an agent; a later one of its id takes its place.
///
/// # Errors
/// There is no place for it.
pub fn leave(id: &AgentId, store: &StoreName, entry: &RosterEntry) -> Result<(), LeaveError> {
    let state = state_directory().ok_or(LeaveError::NoPlace)?;
    leave_in(&state, id, store, entry)
}

/// Writes what was left for this store, which may have several names: to the roster, unless that has a later registration of the
/// agent, and to the events.
///
/// # Errors
/// The connection is lost. What the store refuses is left for the next time.
pub async fn deliver(link: &mut Link, names: Vec<StoreName>) -> RedisResult<()> {
    let read = tokio::task::spawn_blocking(move || LeftExits::read_in(&state_directory()?, &names));
    // A disk that does not answer holds up no beat.
    let read = tokio::time::timeout(READ_WITHIN, read).await;
    let Some(left) = read.ok().and_then(|read| read.ok().flatten()) else {
        return Ok(());
    };
    let LeftExits { directory, exits } = left;
    let roster = Script::new(keys::ROSTER_SCRIPT);
    let mut written = Vec::new();
    let mut lost = Ok(());
    for (id, entry) in exits {
        match write(link, &roster, &id, &entry).await {
            Ok(true) => written.push(id),
            Ok(false) => {}
            Err(error) if error.is_io_error() || error.is_timeout() => {
                lost = Err(error);
                break;
            }
            Err(error) => {
                tracing::warn!("the store does not take the exit of {id}, which is kept: {error}");
            }
        }
    }
    if !written.is_empty() {
        // The disk is not waited for: what stays is written once more, which changes nothing.
        tokio::task::spawn_blocking(move || {
            for id in written {
                directory.remove(id.as_str());
            }
        });
    }
    lost
}

/// False where the store does not know the agent and its end is old: it is another store at this address.
async fn write(
    link: &mut Link,
    roster: &Script,
    id: &AgentId,
    entry: &RosterEntry,
) -> RedisResult<bool> {
    let mut known = redis::cmd("HGET");
    known.arg(keys::ROSTER).arg(id.as_str());
    let known = known.query_async::<Option<Vec<u8>>>(link).await?;
    if known.as_deref() == Some(entry.encode().as_bytes()) {
        return Ok(true); // another program was here
    }
    let now_ms = clock::wall_ms();
    let age = Duration::from_millis(now_ms.saturating_sub(entry.life().since));
    if known.is_none() {
        let mut granted = redis::cmd("GET");
        granted.arg(keys::epoch(id));
        let granted = granted.query_async::<Option<u64>>(link).await?;
        if granted.is_some_and(|epoch| epoch >= entry.epoch) {
            return Ok(true); // it was registered here, and a person has had it forgotten since
        }
        if age > KEPT_FOR_EMPTY {
            return Ok(false);
        }
    }
    let mut call = roster.prepare_invoke();
    call.key(keys::ROSTER)
        .arg(id.as_str())
        .arg(entry.epoch)
        .arg(entry.encode());
    if call.invoke_async::<u64>(link).await? == 0 {
        return Ok(true); // it has been registered again
    }
    let event = event(id, entry, now_ms);
    add_event(&event).exec_async(link).await?;
    tracing::info!("{id} ended while its sidecar could not reach the store");
    Ok(true)
}

/// What its sidecar would have reported.
fn event(id: &AgentId, entry: &RosterEntry, now_ms: u64) -> Event {
    let life = entry.life();
    Event {
        kind: match entry.stopped_at {
            Some(_) => EventKind::Stopped,
            None => EventKind::Exited,
        },
        agent: id.clone(),
        epoch: entry.epoch,
        at_ms: life.since,
        detail: Detail {
            host: Some(entry.host.clone()),
            exit: life.end.as_ref().map(|end| end.exit),
            incarnation: Some(life.incarnation),
            delayed_ms: now_ms.saturating_sub(life.since),
            life: Some(Box::new(life)),
            ..Detail::default()
        },
    }
}

fn leave_in(
    state: &Path,
    id: &AgentId,
    store: &StoreName,
    entry: &RosterEntry,
) -> Result<(), LeaveError> {
    let path = state.join(DIRECTORY);
    let failed = |error| LeaveError::Io(path.clone(), error);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(failed)?;
    let directory = PrivateDir::open(&path)?;
    let text = format!("{}\n{}\n", store.0, entry.encode());
    directory.write(id.as_str(), &text).map_err(failed)
}

impl LeftExits {
    /// What cannot be read, and what is for another store, stays where it is for a while.
    fn read_in(state: &Path, names: &[StoreName]) -> Option<Self> {
        let directory = PrivateDir::open(&state.join(DIRECTORY)).ok()?;
        let files = std::fs::read_dir(directory.held_path()).ok()?.flatten();
        let mut exits = Vec::new();
        for file in files.take(EXITS_MAX) {
            let name = file.file_name();
            let Some(id) = name.to_str().and_then(|name| AgentId::parse(name).ok()) else {
                continue;
            };
            let text = directory.read(id.as_str()).unwrap_or_default();
            match text.split_once('\n') {
                Some((store, entry)) if names.iter().any(|name| name.0 == store) => {
                    exits.extend(RosterEntry::decode(entry).ok().map(|entry| (id, entry)));
                }
                Some(_) | None if is_old(&file) => directory.remove(id.as_str()),
                Some(_) | None => {}
            }
        }
        Some(Self { directory, exits })
    }
}

fn is_old(file: &DirEntry) -> bool {
    let changed = file.metadata().and_then(|found| found.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_read_for_its_store_whatever_else_stands_beside_it() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("a/b");
        let id = |text| AgentId::parse(text).unwrap();
        let entry = RosterEntry::decode(r#"{"type":"t","host":"h","intervalMs":1000,"epoch":7}"#);
        let entry = entry.unwrap();
        let (here, there) = (StoreName::nearby(), StoreName("h:6379/0".to_owned()));
        let read = |names: &[StoreName]| Some(LeftExits::read_in(&state, names)?.exits);
        assert_eq!(read(std::slice::from_ref(&here)), None);
        leave_in(&state, &id("a1"), &here, &entry).unwrap();
        leave_in(&state, &id("a2"), &there, &entry).unwrap();
        std::fs::write(state.join("exits/a3"), "no entry").unwrap();
        std::fs::write(state.join("exits/a4"), "nearby\nno entry").unwrap();
        std::fs::write(state.join("exits/no id"), "nearby\n{}").unwrap();
        assert_eq!(read(&[here]), Some(vec![(id("a1"), entry.clone())]));
        assert_eq!(read(&[there]), Some(vec![(id("a2"), entry)]));
    }

    #[test]
    fn the_event_of_an_exit_is_that_of_its_sidecar() {
        let life = r#""life":{"step":3,"phase":"ended","since":5000,"incarnation":1,"end":{"incarnation":1,"exit":{"code":7}}}"#;
        let text = format!(r#"{{"type":"t","host":"h","intervalMs":1000,"epoch":7,{life}}}"#);
        let entry = RosterEntry::decode(&text).unwrap();
        let id = AgentId::parse("a1").unwrap();
        let event = event(&id, &entry, 9000);
        assert_eq!(
            (event.kind, event.at_ms, event.detail.delayed_ms),
            (EventKind::Exited, 5000, 4000)
        );
        assert_eq!(event.detail.exit.and_then(|exit| exit.code), Some(7));
        assert_eq!(event.life().map(|life| life.step), Some(3));
    }
}
