//! What recovery keeps in the store: the pause, intents, orders, the audit.

use super::Output;
use super::load::ask;
use hbshell::store::Link;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::{Claim, Ticket};
use heartbeat::fleet::recovery::RecoveryInput;
use heartbeat::wire::audit::AuditEntry;
use heartbeat::wire::keys::{self, Channels};
use heartbeat::wire::order::Order;
use heartbeat::wire::pause::Pause;
use redis::{Pipeline, RedisResult, Value};

/// Passes on the pause that the store holds.
pub(super) async fn load(link: &mut Link, output: &Output) -> anyhow::Result<()> {
    let mut question = redis::pipe();
    question.cmd("GET").arg(keys::PAUSE);
    match ask(link, &mut question, output).await?.into_iter().next() {
        Some(Ok(held)) => output.send(paused(held, output)).await,
        Some(Err(error)) => output.count("pause", &error),
        None => {}
    }
    Ok(())
}

fn paused(held: Value, output: &Output) -> RecoveryInput {
    let text: Option<String> = redis::from_redis_value(held).ok();
    let pause = text.and_then(|text| match Pause::decode(&text) {
        Ok(pause) => Some(pause),
        Err(error) => {
            output.count("pause", &error);
            None
        }
    });
    RecoveryInput::Pause(pause)
}

/// Writes an order as pending and publishes it: two answers.
pub(super) fn order(question: &mut Pipeline, channels: Channels, agent: &AgentId, order: &Order) {
    let text = order.encode();
    question
        .cmd("SET")
        .arg(keys::control(agent))
        .arg(&text)
        .arg("PX")
        .arg(order.ttl_ms);
    question
        .cmd("PUBLISH")
        .arg(channels.control(agent))
        .arg(text);
}

/// Removes what the store holds of an agent: two answers. Its counter of epochs stays, so that no number is granted twice.
pub(super) fn forget(question: &mut Pipeline, agent: &AgentId) {
    question.cmd("HDEL").arg(keys::ROSTER).arg(agent.as_str());
    let hash = keys::agent(agent);
    let deleted = question.cmd("DEL").arg(hash).arg(keys::control(agent));
    deleted.arg(keys::timeline(agent));
}

/// Writes the pause, or removes it.
pub(super) fn pause(question: &mut Pipeline, pause: Option<&Pause>) {
    match pause {
        Some(pause) => question.cmd("SET").arg(keys::PAUSE).arg(pause.encode()),
        None => question.cmd("DEL").arg(keys::PAUSE),
    };
}

/// Adds an entry to the audit.
pub(super) fn audit(question: &mut Pipeline, entry: &AuditEntry) {
    let add = question.cmd("XADD").arg(keys::AUDIT);
    add.arg("MAXLEN").arg("~").arg(keys::AUDIT_KEPT).arg("*");
    for (field, value) in entry.encode() {
        add.arg(field).arg(value);
    }
}

/// The key of a rung's intent.
fn intent(ticket: &Ticket) -> String {
    keys::intent(&ticket.agent, ticket.epoch, ticket.rung.as_str())
}

/// Writes an intent unless there is one, and reads whose it is: two answers.
pub(super) fn claim(question: &mut Pipeline, ticket: &Ticket, value: &str) {
    let kept = u64::try_from(keys::INTENT_KEPT.as_millis()).unwrap_or(u64::MAX);
    let set = question.cmd("SET").arg(intent(ticket)).arg(value);
    set.arg("NX").arg("PX").arg(kept);
    question.cmd("GET").arg(intent(ticket));
}

/// What became of a claim.
pub(super) fn claimed(
    written: Option<RedisResult<Value>>,
    held: Option<RedisResult<Value>>,
    value: &str,
) -> Claim {
    let held = held.and_then(Result::ok);
    let held = held.and_then(|held| redis::from_redis_value::<String>(held).ok());
    match (written, held) {
        (Some(Ok(_)), Some(held)) if held == value => Claim::Granted,
        (Some(Ok(_)), Some(_)) => Claim::Taken,
        (Some(_) | None, _) => Claim::Refused,
    }
}

/// Removes intents.
pub(super) fn release(question: &mut Pipeline, tickets: &[Ticket]) {
    for ticket in tickets {
        question.cmd("DEL").arg(intent(ticket));
    }
}
