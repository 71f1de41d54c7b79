//! What decides about agents and about this monitor: the canary, hashes that are verified, the lead. Each question goes out
//! at once, whatever was asked before it and is not answered yet, so that the time that an answer takes is the store's.
//! Records have a queue of their own (`requests.rs`).

use super::answers::is_own_fault;
use super::lead::Written;
use super::load::{ask, pass_on_hash, pass_on_time};
use super::{Output, PAGE, lead};
use crate::clock;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hbshell::store::{Link, ReplicaWatch};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::machine::FleetInput;
use heartbeat::wire::keys;
use redis::{Pipeline, RedisResult, Value};
use std::time::Duration;
use tokio::sync::mpsc;

/// Batches that are not answered yet: those of half a minute with ten canaries a second. Beyond it questions gather.
const UNANSWERED_MAX: usize = 300;

/// What the hub asks the store. What is not answered it asks again.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The agent's hash: a silence is verified.
    Verify(AgentId),
    /// The time to live of the agent's hash.
    ReadTtl(AgentId),
    /// The events of the stream that were not passed on yet.
    ReadEvents,
    /// A message to the monitor itself, and the store's clock.
    Canary(u64),
    /// The lead among the monitors of this store.
    Lead,
}

/// The questions of one connection.
pub(super) struct Questions<'a> {
    pub(super) queue: &'a mut mpsc::Receiver<Question>,
    /// The monitor's own channel.
    pub(super) canary: &'a str,
    /// The name of this monitor among those of its store.
    pub(super) instance: &'a str,
    /// Wakes the reader of the stream.
    pub(super) read_events: mpsc::Sender<()>,
    pub(super) replica: &'a mut ReplicaWatch,
}

impl Questions<'_> {
    /// Asks and passes answers on until the connection is lost. `Ok` only when the hub has ended.
    pub(super) async fn answer(self, link: Link, output: &Output) -> anyhow::Result<()> {
        let Self {
            queue,
            canary,
            instance,
            read_events,
            replica,
        } = self;
        let mut unanswered = FuturesUnordered::new();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = queue.recv_many(&mut batch, PAGE), if unanswered.len() < UNANSWERED_MAX => {
                    if count == 0 {
                        return Ok(());
                    }
                    let batch = std::mem::take(&mut batch);
                    if batch.iter().any(|one| matches!(one, Question::ReadEvents)) {
                        let _ = read_events.try_send(()); // full: it is about to be read
                    }
                    unanswered.push(settle(batch, link.clone(), canary, instance, output));
                }
                Some(settled) = unanswered.next() => {
                    match settled? {
                        None => {}
                        Some(Written::Taken) => replica.wrote(),
                        Some(Written::Refused(error)) => replica.refused(&error),
                    }
                    anyhow::ensure!(!replica.leaves(clock::now()), "it is a replica now, looking for its master");
                }
            }
        }
    }
}

/// Asks one batch and passes its answers on; and whether the store took the one of them that writes.
async fn settle(
    batch: Vec<Question>,
    mut link: Link,
    canary: &str,
    instance: &str,
    output: &Output,
) -> anyhow::Result<Option<Written>> {
    let mut written = None;
    let mut question = redis::pipe();
    for one in &batch {
        add(&mut question, one, canary, instance);
    }
    if question.is_empty() {
        return Ok(None);
    }
    let asked_at = clock::now();
    let mut answers = ask(&mut link, &mut question, output).await?.into_iter();
    for one in batch {
        match one {
            Question::Verify(id) => {
                if let (Some(fields), Some(left)) = (answers.next(), answers.next()) {
                    pass_on_verified(id, fields, left, output).await?;
                }
            }
            Question::ReadTtl(id) => {
                if let Some(left) = answers.next() {
                    pass_on_ttl(&id, left, output).await;
                }
            }
            Question::Canary(_) => {
                let _receivers = answers.next();
                pass_on_time(answers.next(), output).await;
            }
            Question::Lead => {
                if let Some(answer) = answers.next() {
                    let answer = answer.and_then(|value| Ok(redis::from_redis_value(value)?));
                    let answer = (answer, asked_at);
                    written = lead::pass_on(&mut link, instance, answer, output).await?;
                }
            }
            Question::ReadEvents => {}
        }
    }
    Ok(written)
}

fn add(question: &mut Pipeline, one: &Question, canary: &str, instance: &str) {
    match one {
        Question::Verify(id) => {
            let key = keys::agent(id);
            question.cmd("HGETALL").arg(&key).cmd("PTTL").arg(&key);
        }
        Question::ReadTtl(id) => {
            question.cmd("PTTL").arg(keys::agent(id));
        }
        Question::Canary(number) => {
            question.cmd("PUBLISH").arg(canary).arg(*number).cmd("TIME");
        }
        Question::Lead => lead::add(question, instance),
        Question::ReadEvents => {}
    }
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

async fn pass_on_ttl(id: &AgentId, left: RedisResult<Value>, output: &Output) {
    if let Ok(Value::Int(left @ 1..)) = left {
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        output.send(FleetInput::TtlRead(id.clone(), left)).await;
    }
}
