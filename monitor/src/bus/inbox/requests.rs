//! The hub's requests about records, sent to the store in batches, one after the other: what is written later is written
//! after what was written before. Their number times the round trip delays no beat and no question (`questions.rs`).

use super::load::{ask, pass_on_hash, records};
use super::timeline::{self, Timelines};
use super::{Input, Output, PAGE, Request, recovery};
use hbshell::store::{Link, causes};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::recovery::RecoveryInput;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::incident::Incident;
use heartbeat::wire::keys::{self, Channels};
use heartbeat::wire::roster::RosterEntry;
use redis::{Pipeline, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Agents that wait for the removal of their entry: of a full fleet in which everyone is replaced at once.
const LEAVING_MAX: usize = 65_536;

/// Keeps these agents until their entry is removed, as far as there is room: an entry that stays is read at the next start, and
/// its agent leaves again.
pub(super) fn keep_leaving(leaving: &mut Vec<AgentId>, new: impl IntoIterator<Item = AgentId>) {
    let room = LEAVING_MAX.saturating_sub(leaving.len());
    leaving.extend(new.into_iter().take(room));
}

/// Removes roster entries that the connection before did not, so that they are not read again.
pub(super) async fn leave(
    link: &mut Link,
    leaving: &mut Vec<AgentId>,
    output: &Output,
) -> anyhow::Result<()> {
    if leaving.is_empty() {
        return Ok(());
    }
    let mut question = redis::pipe();
    for id in leaving.iter() {
        question.cmd("HDEL").arg(keys::ROSTER).arg(id.as_str());
    }
    let mut answers = ask(link, &mut question, output).await?.into_iter();
    leaving.retain(|_| !is_carried_out(answers.next(), output));
    Ok(())
}

/// The requests of one connection.
pub(super) struct Requests<'a> {
    pub(super) queue: &'a mut mpsc::Receiver<Request>,
    /// Agents whose roster entry is to be removed, which the store has not done: tried again with each count.
    pub(super) leaving: &'a mut Vec<AgentId>,
    /// What people asked for, until the store has answered: a lost connection loses none of it.
    pub(super) kept: &'a mut Vec<Request>,
    pub(super) channels: Channels,
    /// Records that are being read; ends with the connection.
    pub(super) reading: JoinSet<()>,
    /// Whose timelines this connection knows.
    pub(super) timelines: Timelines,
}

impl Requests<'_> {
    /// Answers requests until the connection is lost. `Ok` only when the hub has ended.
    pub(super) async fn answer(mut self, mut link: Link, output: &Output) -> anyhow::Result<()> {
        let mut batch = std::mem::take(self.kept);
        loop {
            if batch.is_empty() && !take(self.queue, &mut batch).await {
                return Ok(());
            }
            count_once(&mut batch);
            self.take_leaving(&mut batch);
            *self.kept = batch.iter().filter(|one| is_kept(one)).cloned().collect();
            self.timelines
                .leave_out_known(&mut link, &mut batch, output)
                .await?;
            let mut question = redis::pipe();
            for request in &batch {
                self.add(&mut question, request);
            }
            let mut answers = Vec::new().into_iter();
            if !question.is_empty() {
                answers = ask(&mut link, &mut question, output).await?.into_iter();
            }
            for request in batch.drain(..) {
                if let Request::Leave(id) = &request {
                    if is_carried_out(answers.next(), output) {
                        self.leaving.retain(|leaving| leaving != id);
                    }
                } else if let Request::ReadRecords = request {
                    self.read_records(&link, output);
                } else {
                    pass_on(request, &mut answers, output).await?;
                }
            }
            self.kept.clear();
        }
    }

    /// Keeps whose entries are being removed, and adds those that the store did not remove before.
    fn take_leaving(&mut self, batch: &mut Vec<Request>) {
        let again = batch.iter().any(|one| matches!(one, Request::Count));
        let before = if again {
            self.leaving.clone()
        } else {
            Vec::new()
        };
        let new = batch.iter().filter_map(|request| {
            if let Request::Leave(id) = request {
                Some(id.clone())
            } else {
                None
            }
        });
        keep_leaving(self.leaving, new);
        batch.extend(before.into_iter().map(Request::Leave));
    }

    /// Reads the records beside everything else: they are many questions.
    fn read_records(&mut self, link: &Link, output: &Output) {
        let (mut link, output) = (link.clone(), output.clone());
        while self.reading.try_join_next().is_some() {}
        self.reading.spawn(async move {
            if let Err(error) = records(&mut link, &output).await {
                let why = causes(error.as_ref());
                tracing::debug!("the records are read again after the next connection: {why}");
            }
        });
    }

    fn add(&self, question: &mut Pipeline, request: &Request) {
        match request {
            Request::ReadRecords => {}
            Request::Count => {
                question.cmd("HLEN").arg(keys::INCIDENTS);
                question.cmd("HLEN").arg(keys::NOTICES);
                question.cmd("INFO").arg("persistence");
            }
            Request::StoreIncident(incident) => store(question, incident),
            // The last look before the rung: the channel may have lost a beat of the agent.
            Request::Begin(ticket, incident) => {
                store(question, incident);
                let key = keys::agent(&ticket.agent);
                question.cmd("HGETALL").arg(&key).cmd("PTTL").arg(&key);
            }
            Request::RemoveIncident(id) => {
                remove(question, keys::INCIDENTS, &id.to_string());
            }
            Request::StoreNotice(notice) => {
                let id = notice.id.to_string();
                set(question, keys::NOTICES, &id, &notice.encode());
            }
            Request::RemoveNotice(id) => remove(question, keys::NOTICES, &id.to_string()),
            Request::StoreTrouble(trouble) => {
                let name = trouble.name.field();
                set(question, keys::TROUBLES, &name, &trouble.encode());
            }
            Request::RemoveTrouble(kind) => remove(question, keys::TROUBLES, &kind.field()),
            Request::StoreNotification(record) => {
                set(question, keys::OUTBOX, &record.id, &record.encode());
            }
            Request::RemoveNotification(id) => remove(question, keys::OUTBOX, id),
            Request::Leave(id) => remove(question, keys::ROSTER, id.as_str()),
            Request::Enlist(id, entry) => enlist(question, id, entry),
            Request::Forget(id) => recovery::forget(question, id),
            Request::Order(id, order) => recovery::order(question, self.channels, id, order),
            Request::StoreSilence(silence) => {
                let id = silence.id.to_string();
                set(question, keys::SILENCES, &id, &silence.encode());
            }
            Request::RemoveSilence(id) => remove(question, keys::SILENCES, &id.to_string()),
            Request::StorePause(pause) => recovery::pause(question, pause.as_ref()),
            Request::Audit(entry) => recovery::audit(question, entry),
            Request::Claim(ticket, value) => recovery::claim(question, ticket, value),
            Request::Release(tickets) => recovery::release(question, tickets),
            Request::Timeline(lines) => timeline::write(question, lines),
        }
    }
}

/// Takes what waits, or what comes next, up to a page of records: timelines of a whole fleet are many in one request. False
/// when no more will come.
async fn take(queue: &mut mpsc::Receiver<Request>, batch: &mut Vec<Request>) -> bool {
    let mut next = queue.recv().await;
    let mut records = 0;
    while let Some(request) = next {
        records += if let Request::Timeline(lines) = &request {
            lines.len()
        } else {
            1
        };
        batch.push(request);
        next = (records < PAGE).then(|| queue.try_recv().ok()).flatten();
    }
    !batch.is_empty()
}

/// Of the counts that have gathered the last one is enough.
fn count_once(batch: &mut Vec<Request>) {
    let is_count = |request: &Request| matches!(request, Request::Count);
    let mut left = batch.iter().filter(|one| is_count(one)).count();
    batch.retain(|one| {
        let counts = is_count(one);
        left -= usize::from(counts);
        !counts || left == 0
    });
}

fn store(question: &mut Pipeline, incident: &Incident) {
    let id = incident.id.to_string();
    set(question, keys::INCIDENTS, &id, &incident.encode());
}

/// Writes one record of a hash.
fn set(question: &mut Pipeline, key: &str, field: &str, record: &str) {
    question.cmd("HSET").arg(key).arg(field).arg(record);
}

fn enlist(question: &mut Pipeline, id: &AgentId, entry: &RosterEntry) {
    let call = question.cmd("EVAL").arg(keys::ROSTER_SCRIPT).arg(1);
    call.arg(keys::ROSTER)
        .arg(id.as_str())
        .arg(entry.epoch)
        .arg(entry.encode());
}

fn remove(question: &mut Pipeline, key: &str, field: &str) {
    question.cmd("HDEL").arg(key).arg(field);
}

/// Whether a lost connection leaves it to be sent again as it is. Entries that leave the roster are kept apart.
pub(super) fn is_kept(request: &Request) -> bool {
    match request {
        Request::Forget(_)
        | Request::StorePause(_)
        | Request::StoreSilence(_)
        | Request::RemoveSilence(_)
        | Request::StoreNotification(_)
        | Request::RemoveNotification(_)
        | Request::StoreTrouble(_)
        | Request::RemoveTrouble(_)
        | Request::Audit(_)
        | Request::Begin(..)
        | Request::Release(_)
        | Request::Timeline(_) => true,
        // They were meant for the agent as it was then.
        Request::Order(..) | Request::Claim(..) => false,
        // The hub wants these again, and writes incidents and notices again.
        Request::Count
        | Request::ReadRecords
        | Request::StoreIncident(_)
        | Request::RemoveIncident(_)
        | Request::StoreNotice(_)
        | Request::RemoveNotice(_)
        | Request::Enlist(..)
        | Request::Leave(_) => false,
    }
}

async fn pass_on(
    request: Request,
    answers: &mut impl Iterator<Item = RedisResult<Value>>,
    output: &Output,
) -> anyhow::Result<()> {
    match request {
        Request::Count => pass_on_count(answers, output).await,
        Request::StoreNotification(record) => {
            if is_carried_out(answers.next(), output) {
                output.pass(Input::NotificationStored(record.id)).await;
            }
        }
        Request::StoreIncident(incident) => {
            if is_carried_out(answers.next(), output) {
                output.send(WatchInput::IncidentSaved(incident)).await;
            }
        }
        Request::RemoveIncident(id) => {
            if is_carried_out(answers.next(), output) {
                output.send(WatchInput::IncidentRemoved(id)).await;
            }
        }
        Request::StoreNotice(_)
        | Request::RemoveNotice(_)
        | Request::RemoveNotification(_)
        | Request::StoreTrouble(_)
        | Request::RemoveTrouble(_)
        | Request::StorePause(_)
        | Request::StoreSilence(_)
        | Request::RemoveSilence(_)
        | Request::Enlist(..)
        | Request::Audit(_) => {
            is_carried_out(answers.next(), output);
        }
        Request::Forget(_) | Request::Order(..) => count_refused(answers.take(2), output),
        Request::Timeline(lines) => count_refused(answers.take(2 * lines.len()), output),
        Request::Release(tickets) => count_refused(answers.take(tickets.len()), output),
        Request::Claim(ticket, value) => {
            let claim = recovery::claimed(answers.next(), answers.next(), &value);
            output.send(RecoveryInput::Claimed(ticket, claim)).await;
        }
        Request::Begin(ticket, incident) => {
            let is_stored = is_carried_out(answers.next(), output);
            if is_stored {
                output.send(WatchInput::IncidentSaved(incident)).await;
            }
            if let (Some(fields), Some(left)) = (answers.next(), answers.next()) {
                pass_on_hash(&ticket.agent, fields, &left, output).await?;
            }
            output.send(RecoveryInput::Begun(ticket, is_stored)).await;
        }
        Request::Leave(_) | Request::ReadRecords => {}
    }
    Ok(())
}

async fn pass_on_count(answers: &mut impl Iterator<Item = RedisResult<Value>>, output: &Output) {
    if let Some(Ok(Value::Int(held))) = answers.next() {
        let held = usize::try_from(held).unwrap_or(0);
        output.send(WatchInput::IncidentsHeld(held)).await;
    }
    if let Some(Ok(Value::Int(held))) = answers.next() {
        let held = usize::try_from(held).unwrap_or(0);
        output.send(WatchInput::NoticesHeld(held)).await;
    }
    // A user who may not ask this does not get to know it.
    if let Some(Ok(answer)) = answers.next()
        && let Ok(info) = redis::from_redis_value::<String>(answer)
    {
        output.pass(Input::DiskFails(disk_fails(&info))).await;
    }
}

/// Whether `INFO persistence` says that the last write to the disk failed.
fn disk_fails(info: &str) -> bool {
    let failed = ["rdb_last_bgsave_status:err", "aof_last_write_status:err"];
    info.lines().any(|line| failed.contains(&line.trim()))
}

fn count_refused(answers: impl Iterator<Item = RedisResult<Value>>, output: &Output) {
    for answer in answers {
        is_carried_out(Some(answer), output);
    }
}

fn is_carried_out(answer: Option<RedisResult<Value>>, output: &Output) -> bool {
    match answer {
        Some(Ok(_)) => true,
        Some(Err(error)) => {
            output.count("refused_write", &error);
            false
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_agents_leave_at_once_as_there_is_room_for() {
        let id = |n: usize| AgentId::parse(&format!("a{n}")).unwrap();
        let mut leaving = Vec::new();
        for from in [0, LEAVING_MAX - 1, LEAVING_MAX] {
            keep_leaving(&mut leaving, (from..from + LEAVING_MAX).map(id));
        }
        assert_eq!(leaving.len(), LEAVING_MAX);
    }
}
