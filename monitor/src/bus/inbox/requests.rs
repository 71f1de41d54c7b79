//! The hub's requests, sent to the store in batches on a connection of their own: their number times the round trip delays
//! neither each other nor a beat.

use super::answers::is_own_fault;
use super::load::{ask, pass_on_hash, pass_on_time};
use super::{Input, Output, PAGE, Request, recovery};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::recovery::RecoveryInput;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::keys::{self, Channels};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use std::time::Duration;
use tokio::sync::mpsc;

/// Agents that wait for the removal of their entry: of a full fleet in which everyone is replaced at once.
const LEAVING_MAX: usize = 65_536;

/// Removes roster entries that the connection before did not, so that they are not read again.
pub(super) async fn leave(
    link: &mut MultiplexedConnection,
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
    /// Agents whose roster entry is to be removed, which the store has not done: tried again with each canary.
    pub(super) leaving: &'a mut Vec<AgentId>,
    /// What people asked for, until the store has answered: a lost connection loses none of it.
    pub(super) kept: &'a mut Vec<Request>,
    /// The monitor's own channel.
    pub(super) canary: &'a str,
    pub(super) channels: Channels,
    /// Wakes the reader of the stream.
    pub(super) read_events: mpsc::Sender<()>,
}

impl Requests<'_> {
    /// Answers requests until the connection is lost. `Ok` only when the hub has ended.
    pub(super) async fn answer(
        mut self,
        mut link: MultiplexedConnection,
        output: &Output,
    ) -> anyhow::Result<()> {
        let mut batch = std::mem::take(self.kept);
        loop {
            if batch.is_empty() && self.queue.recv_many(&mut batch, PAGE).await == 0 {
                return Ok(());
            }
            self.take_leaving(&mut batch);
            *self.kept = batch.iter().filter(|one| is_kept(one)).cloned().collect();
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
                } else {
                    pass_on(request, &mut answers, output).await?;
                }
            }
            self.kept.clear();
        }
    }

    /// Keeps whose entries are being removed, and adds those that the store did not remove before.
    fn take_leaving(&mut self, batch: &mut Vec<Request>) {
        let again = batch.iter().any(|one| matches!(one, Request::Canary(_)));
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
        let room = LEAVING_MAX.saturating_sub(self.leaving.len());
        self.leaving.extend(new.take(room));
        batch.extend(before.into_iter().map(Request::Leave));
    }

    fn add(&self, question: &mut Pipeline, request: &Request) {
        match request {
            Request::Verify(id) => {
                let key = keys::agent(id);
                question.cmd("HGETALL").arg(&key).cmd("PTTL").arg(&key);
            }
            Request::ReadTtl(id) => {
                question.cmd("PTTL").arg(keys::agent(id));
            }
            Request::ReadEvents => {
                let _ = self.read_events.try_send(()); // full: it is about to be read
            }
            Request::Canary(number) => {
                question.cmd("PUBLISH").arg(self.canary).arg(*number);
                question.cmd("TIME").cmd("HLEN").arg(keys::INCIDENTS);
                question.cmd("HLEN").arg(keys::NOTICES);
            }
            Request::StoreIncident(incident) | Request::Begin(_, incident) => {
                let id = incident.id.to_string();
                question
                    .cmd("HSET")
                    .arg(keys::INCIDENTS)
                    .arg(id)
                    .arg(incident.encode());
            }
            Request::RemoveIncident(id) => {
                question
                    .cmd("HDEL")
                    .arg(keys::INCIDENTS)
                    .arg(id.to_string());
            }
            Request::StoreNotice(notice) => {
                let (id, record) = (notice.id.to_string(), notice.encode());
                question.cmd("HSET").arg(keys::NOTICES).arg(id).arg(record);
            }
            Request::RemoveNotice(id) => {
                question.cmd("HDEL").arg(keys::NOTICES).arg(id.to_string());
            }
            Request::StoreNotification(record) => {
                question
                    .cmd("HSET")
                    .arg(keys::OUTBOX)
                    .arg(&record.id)
                    .arg(record.encode());
            }
            Request::RemoveNotification(id) => {
                question.cmd("HDEL").arg(keys::OUTBOX).arg(id);
            }
            Request::Leave(id) => {
                question.cmd("HDEL").arg(keys::ROSTER).arg(id.as_str());
            }
            Request::Forget(id) => recovery::forget(question, id),
            Request::Order(id, order) => recovery::order(question, self.channels, id, order),
            Request::StoreSilence(silence) => {
                let id = silence.id.to_string();
                question
                    .cmd("HSET")
                    .arg(keys::SILENCES)
                    .arg(id)
                    .arg(silence.encode());
            }
            Request::RemoveSilence(id) => {
                question.cmd("HDEL").arg(keys::SILENCES).arg(id.to_string());
            }
            Request::StorePause(pause) => recovery::pause(question, pause.as_ref()),
            Request::Audit(entry) => recovery::audit(question, entry),
            Request::Claim(ticket, value) => recovery::claim(question, ticket, value),
            Request::Release(tickets) => recovery::release(question, tickets),
        }
    }
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
        | Request::Audit(_)
        | Request::Begin(..)
        | Request::Release(_) => true,
        // They were meant for the agent as it was then.
        Request::Order(..) | Request::Claim(..) => false,
        // The hub asks again, and writes incidents and notices again.
        Request::Verify(_)
        | Request::ReadTtl(_)
        | Request::ReadEvents
        | Request::Canary(_)
        | Request::StoreIncident(_)
        | Request::RemoveIncident(_)
        | Request::StoreNotice(_)
        | Request::RemoveNotice(_)
        | Request::Leave(_) => false,
    }
}

async fn pass_on(
    request: Request,
    answers: &mut impl Iterator<Item = RedisResult<Value>>,
    output: &Output,
) -> anyhow::Result<()> {
    match request {
        Request::Verify(id) => {
            if let (Some(fields), Some(left)) = (answers.next(), answers.next()) {
                pass_on_verified(id, fields, left, output).await?;
            }
        }
        Request::ReadTtl(id) => {
            if let Some(left) = answers.next() {
                pass_on_ttl(&id, left, output).await;
            }
        }
        Request::Canary(_) => {
            let _receivers = answers.next();
            pass_on_time(answers.next(), output).await;
            if let Some(Ok(Value::Int(held))) = answers.next() {
                let held = usize::try_from(held).unwrap_or(0);
                output.send(WatchInput::IncidentsHeld(held)).await;
            }
            if let Some(Ok(Value::Int(held))) = answers.next() {
                let held = usize::try_from(held).unwrap_or(0);
                output.send(WatchInput::NoticesHeld(held)).await;
            }
        }
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
        | Request::StorePause(_)
        | Request::StoreSilence(_)
        | Request::RemoveSilence(_)
        | Request::Audit(_) => {
            is_carried_out(answers.next(), output);
        }
        Request::Forget(_) | Request::Order(..) => count_refused(answers.take(2), output),
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
            output.send(RecoveryInput::Begun(ticket, is_stored)).await;
        }
        Request::ReadEvents | Request::Leave(_) => {}
    }
    Ok(())
}

async fn pass_on_verified(
    id: AgentId,
    fields: RedisResult<Value>,
    left: RedisResult<Value>,
    output: &Output,
) -> anyhow::Result<()> {
    // An error of the store is no answer about the agent: the question is asked again.
    if fields.as_ref().err().is_none_or(is_own_fault) {
        pass_on_hash(&id, fields, &left, output).await?;
        pass_on_ttl(&id, left, output).await;
        output.send(FleetInput::Verified(id)).await;
    }
    Ok(())
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

async fn pass_on_ttl(id: &AgentId, left: RedisResult<Value>, output: &Output) {
    if let Ok(Value::Int(left @ 1..)) = left {
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        output.send(FleetInput::TtlRead(id.clone(), left)).await;
    }
}
