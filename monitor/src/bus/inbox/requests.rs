//! The hub's requests, sent to the store in batches on a connection of their own: their number times the round trip delays
//! neither each other nor a beat.

use super::answers::is_own_fault;
use super::load::{ask, pass_on_hash, pass_on_time};
use super::{Input, Output, PAGE, Request, recovery};
use heartbeat::fleet::machine::FleetInput;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::keys::{self, Channels};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use std::time::Duration;
use tokio::sync::mpsc;

/// The requests of one connection.
pub(super) struct Requests<'a> {
    pub(super) queue: &'a mut mpsc::Receiver<Request>,
    /// What is to be written from before the connection.
    pub(super) kept: Vec<Request>,
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
        let mut batch = std::mem::take(&mut self.kept);
        loop {
            if batch.is_empty() && self.queue.recv_many(&mut batch, PAGE).await == 0 {
                return Ok(());
            }
            let mut question = redis::pipe();
            for request in &batch {
                self.add(&mut question, request);
            }
            let mut answers = Vec::new().into_iter();
            if !question.is_empty() {
                answers = ask(&mut link, &mut question, output).await?.into_iter();
            }
            for request in batch.drain(..) {
                pass_on(request, &mut answers, output).await?;
            }
        }
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
            }
            Request::StoreIncident(incident) => {
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
        }
    }
}

async fn pass_on(
    request: Request,
    answers: &mut impl Iterator<Item = RedisResult<Value>>,
    output: &Output,
) -> anyhow::Result<()> {
    match request {
        Request::Verify(id) => {
            let (Some(fields), Some(left)) = (answers.next(), answers.next()) else {
                return Ok(());
            };
            // An error of the store is no answer about the agent: the question is asked again.
            let answered = fields.as_ref().err().is_none_or(is_own_fault);
            if !answered {
                return Ok(());
            }
            pass_on_hash(&id, fields, &left, output).await?;
            pass_on_ttl(&id, left, output).await;
            output.send(FleetInput::Verified(id)).await;
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
        }
        Request::StoreNotification(record) => match answers.next() {
            Some(Ok(_)) => output.pass(Input::NotificationStored(record.id)).await,
            Some(Err(error)) => output.count("refused_write", &error),
            None => {}
        },
        Request::StoreIncident(_)
        | Request::RemoveIncident(_)
        | Request::RemoveNotification(_)
        | Request::Leave(_)
        | Request::StorePause(_)
        | Request::StoreSilence(_)
        | Request::RemoveSilence(_)
        | Request::Audit(_) => {
            if let Some(Err(error)) = answers.next() {
                output.count("refused_write", &error);
            }
        }
        Request::Forget(_) | Request::Order(..) => {
            for answer in [answers.next(), answers.next()] {
                if let Some(Err(error)) = answer {
                    output.count("refused_write", &error);
                }
            }
        }
        Request::ReadEvents => {}
    }
    Ok(())
}

async fn pass_on_ttl(id: &heartbeat::base::id::AgentId, left: RedisResult<Value>, output: &Output) {
    if let Ok(Value::Int(left @ 1..)) = left {
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        output.send(FleetInput::TtlRead(id.clone(), left)).await;
    }
}
