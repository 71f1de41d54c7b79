//! What the store holds, passed on before the link counts as up. It is read in pages, each of them one question, so that the
//! number of agents times the round trip delays nothing.
//!
//! Incidents come first: before the first verdict it is known which failures are known. At the start the stream is skipped:
//! roster and hashes hold the present, events the past. Later the events come before them, so that what happened while the
//! store was unreachable is passed on in order. Hashes come before the roster: an agent that only the roster knows has no
//! fresh beat.

use super::answers::{Pair, agent_hash, bytes, is_own_fault, list, page, pairs};
use super::events::Events;
use super::{Input, Output, PAGE, recovery};
use crate::clock;
use hbshell::store::Link;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::recovery::RecoveryInput;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::incident::Incident;
use heartbeat::wire::keys;
use heartbeat::wire::notice::Notice;
use heartbeat::wire::notification::Notification;
use heartbeat::wire::roster::RosterEntry;
use heartbeat::wire::silence::Silence;
use heartbeat::wire::trouble::Trouble;
use redis::{Pipeline, RedisResult, Value};
use std::collections::HashSet;

/// Hashes that are loaded at the start.
const HASHES_MAX: usize = 200_000;
/// Roster entries that are loaded at the start, and incidents.
const ENTRIES_MAX: usize = 1_000_000;

/// Passes on what the store holds.
pub(super) async fn load(
    link: &mut Link,
    events: &mut Events,
    output: &Output,
) -> anyhow::Result<()> {
    let mut question = redis::pipe();
    question.cmd("TIME");
    let time = ask(link, &mut question, output).await?.into_iter().next();
    pass_on_time(time, output).await;
    records(link, output).await?;
    events.begin(link, output).await?;
    hashes(link, output).await?;
    each_pair(link, keys::ROSTER, "roster", output, |(id, entry)| {
        let id = String::from_utf8(id).map_err(|error| error.to_string())?;
        let id = AgentId::parse(&id).map_err(|error| error.to_string())?;
        let entry = String::from_utf8_lossy(&entry);
        let entry = RosterEntry::decode(&entry).map_err(|error| error.to_string())?;
        Ok(Some(FleetInput::RosterEntry(id, Box::new(entry))))
    })
    .await
}

/// Passes on the records that a leader keeps. The incidents are the last of them: a monitor that takes over has them all then.
pub(super) async fn records(link: &mut Link, output: &Output) -> anyhow::Result<()> {
    let mut outbox = Vec::new();
    each_pair(link, keys::OUTBOX, "notification", output, |(_, record)| {
        outbox.push(Notification::decode(&record).map_err(|error| error.to_string())?);
        Ok(None)
    })
    .await?;
    let mut troubles = Vec::new();
    each_pair(link, keys::TROUBLES, "trouble", output, |(_, record)| {
        troubles.push(Trouble::decode(&record).map_err(|error| error.to_string())?);
        Ok(None)
    })
    .await?;
    output.pass(Input::Outbox(outbox, troubles)).await;
    let mut silences = Vec::new();
    each_pair(link, keys::SILENCES, "silence", output, |(_, record)| {
        silences.push(Silence::decode(&record).map_err(|error| error.to_string())?);
        Ok(None)
    })
    .await?;
    output.send(RecoveryInput::Silences(silences)).await;
    recovery::load(link, output).await?;
    let mut notices = Vec::new();
    each_pair(link, keys::NOTICES, "notice", output, |(_, record)| {
        notices.push(Notice::decode(&record).map_err(|error| error.to_string())?);
        Ok(None)
    })
    .await?;
    output.send(WatchInput::Notices(notices)).await;
    let mut incidents = Vec::new();
    each_pair(link, keys::INCIDENTS, "incident", output, |(_, record)| {
        incidents.push(Incident::decode(&record).map_err(|error| error.to_string())?);
        Ok(None)
    })
    .await?;
    output.send(WatchInput::Incidents(incidents)).await;
    Ok(())
}

/// Passes on the store's clock, where it is shown to us.
pub(super) async fn pass_on_time(answer: Option<RedisResult<Value>>, output: &Output) {
    let time = answer.and_then(Result::ok);
    let time = time.and_then(|time| redis::from_redis_value::<(u64, u64)>(time).ok());
    if let Some((seconds, micros)) = time {
        let wall_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        output.send(FleetInput::StoreClock(wall_ms)).await;
    }
}

/// Passes on every agent's hash.
async fn hashes(link: &Link, output: &Output) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for mut master in link.each_master().await? {
        hashes_of(&mut master, &mut seen, output).await?;
    }
    Ok(())
}

/// Passes on the hashes that one server holds. The question for a page of keys is sent with the one for the hashes of the page
/// before.
async fn hashes_of(
    link: &mut Link,
    seen: &mut HashSet<Vec<u8>>,
    output: &Output,
) -> anyhow::Result<()> {
    let mut cursor = Some(b"0".to_vec());
    let mut ids: Vec<AgentId> = Vec::new();
    while cursor.is_some() || !ids.is_empty() {
        let mut question = redis::pipe();
        for id in &ids {
            let key = keys::agent(id);
            question.cmd("HGETALL").arg(&key).cmd("PTTL").arg(&key);
        }
        if let Some(cursor) = &cursor {
            let pattern = format!("{}*", keys::AGENT_PREFIX);
            question.cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern);
            question.arg("COUNT").arg(PAGE);
        }
        let mut answers = ask(link, &mut question, output).await?.into_iter();
        for id in ids.drain(..) {
            let (Some(fields), Some(left)) = (answers.next(), answers.next()) else {
                break;
            };
            pass_on_hash(&id, fields, &left, output).await?;
        }
        cursor = match answers.next() {
            Some(found) => next_keys(found?, seen, &mut ids, output),
            None => None,
        };
    }
    Ok(())
}

/// Takes a page of keys; where the next one begins, if there is one.
fn next_keys(
    found: Value,
    seen: &mut HashSet<Vec<u8>>,
    ids: &mut Vec<AgentId>,
    output: &Output,
) -> Option<Vec<u8>> {
    let (next, found) = page(found)?;
    for key in list(found).into_iter().filter_map(bytes) {
        // A scan may show a key twice.
        if !seen.insert(key.clone()) {
            continue;
        }
        let id = std::str::from_utf8(&key).map_err(|error| error.to_string());
        let id = id.map(|key| key.strip_prefix(keys::AGENT_PREFIX).unwrap_or(key));
        match id.and_then(|id| AgentId::parse(id).map_err(|error| error.to_string())) {
            Ok(id) => ids.push(id),
            Err(error) => output.count("hash", &error),
        }
    }
    (next != b"0" && seen.len() < HASHES_MAX).then_some(next)
}

/// Passes on what an agent's hash holds. An error of the hash itself is counted, one of the store is returned.
pub(super) async fn pass_on_hash(
    id: &AgentId,
    fields: RedisResult<Value>,
    left: &RedisResult<Value>,
    output: &Output,
) -> anyhow::Result<()> {
    match fields {
        Ok(fields) => match agent_hash(id, fields, left) {
            Ok(Some(input)) => output.send(input).await,
            Ok(None) => {}
            Err(error) => output.count("hash", &error),
        },
        Err(error) if is_own_fault(&error) => output.count("hash", &error),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads a hash in pages and passes on what `read` makes of each pair. A pair that is wrong is counted.
async fn each_pair(
    link: &mut Link,
    key: &str,
    kind: &'static str,
    output: &Output,
    mut read: impl FnMut(Pair) -> Result<Option<FleetInput>, String>,
) -> anyhow::Result<()> {
    let mut cursor = b"0".to_vec();
    let mut count = 0;
    loop {
        let mut question = redis::pipe();
        question
            .cmd("HSCAN")
            .arg(key)
            .arg(&cursor)
            .arg("COUNT")
            .arg(PAGE);
        let answer = ask(link, &mut question, output).await?.into_iter().next();
        let found = match answer {
            Some(Ok(found)) => found,
            Some(Err(error)) if is_own_fault(&error) => {
                output.count(kind, &error);
                return Ok(());
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(()),
        };
        let Some((next, found)) = page(found) else {
            return Ok(());
        };
        for pair in pairs(found) {
            count += 1;
            match read(pair) {
                Ok(Some(input)) => output.send(input).await,
                Ok(None) => {}
                Err(error) => output.count(kind, &error),
            }
        }
        if next == b"0" || count >= ENTRIES_MAX {
            return Ok(());
        }
        cursor = next;
    }
}

/// Asks the store, and reports how long the answer took.
pub(super) async fn ask(
    link: &mut Link,
    question: &mut Pipeline,
    output: &Output,
) -> anyhow::Result<Vec<RedisResult<Value>>> {
    let asked = clock::now();
    let answers = question.ignore_errors().query_async(link).await?;
    output
        .send(WatchInput::Answered(clock::now().since(asked)))
        .await;
    Ok(answers)
}
