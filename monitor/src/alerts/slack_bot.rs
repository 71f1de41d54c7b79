//! Slack by a bot token: the message of a page is edited as the page goes on, and what is new stands in its thread.

use super::http::{Answer, Sent};
use super::slack::{digest, message};
use super::text::cut;
use super::{Tools, later, refused};
use crate::config::receivers::{Bot, Receiver};
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::{Notification, Occasion};
use serde::Deserialize;
use serde_json::{Value, json};

/// Errors of the API that pass.
const PASSING: [&str; 6] = [
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "ratelimited",
    "rate_limited",
];
/// Errors that mean that the message is not there any more, or may not be edited any more.
const GONE: [&str; 4] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
];

/// What the API answers, whatever the status.
#[derive(Debug, Deserialize)]
struct Answered {
    ok: bool,
    error: Option<String>,
    channel: Option<String>,
    ts: Option<String>,
}

/// Why a call did not do what it should.
enum Failed {
    /// The message is gone.
    Gone,
    Other(Outcome),
}

pub(super) async fn deliver(
    receiver: &Receiver,
    bot: &Bot,
    first: &Notification,
    rest: &[Notification],
    tools: &Tools,
) -> Outcome {
    let token = match bot.token.read() {
        Ok(token) => token,
        Err(error) => return later(&error.to_string()),
    };
    let api = Api {
        receiver,
        bot,
        token,
        tools,
    };
    if !rest.is_empty() {
        return match api.post(digest(first, rest)).await {
            Ok(_) => Outcome::Taken,
            Err(failed) => outcome(failed),
        };
    }
    let body = message(receiver, first, tools);
    let known = first
        .receipt
        .as_deref()
        .and_then(|known| known.split_once('/'));
    let done = match known {
        Some((channel, ts)) => api.go_on(first, &body, channel, ts).await,
        None => Err(Failed::Gone),
    };
    match done {
        Ok(()) => Outcome::Taken,
        Err(Failed::Gone) => match api.post(body).await {
            Ok((channel, ts)) => Outcome::Posted(format!("{channel}/{ts}")),
            Err(failed) => outcome(failed),
        },
        Err(failed @ Failed::Other(_)) => outcome(failed),
    }
}

struct Api<'a> {
    receiver: &'a Receiver,
    bot: &'a Bot,
    token: String,
    tools: &'a Tools,
}

impl Api<'_> {
    /// Edits the message, then adds to its thread: an attempt that is repeated adds nothing twice.
    async fn go_on(
        &self,
        sent: &Notification,
        body: &Value,
        channel: &str,
        ts: &str,
    ) -> Result<(), Failed> {
        let mut edited = body.clone();
        (edited["channel"], edited["ts"]) = (json!(channel), json!(ts));
        self.call("chat.update", edited).await?;
        let message = &sent.message;
        // That a notice is over is seen where it stands.
        if message.subject.is_notice() && message.occasion == Occasion::Resolved {
            return Ok(());
        }
        let reply = json!({
            "channel": channel,
            "thread_ts": ts,
            "text": body["text"],
            "mrkdwn": false,
        });
        self.call("chat.postMessage", reply).await.map(drop)
    }

    /// Writes a new message; its channel's id and its time name it.
    async fn post(&self, mut body: Value) -> Result<(String, String), Failed> {
        body["channel"] = json!(self.bot.channel);
        let answered = self.call("chat.postMessage", body).await?;
        match (answered.channel, answered.ts) {
            (Some(channel), Some(ts)) => Ok((channel, ts)),
            _ => Err(Failed::Other(refused(&"Slack did not name the message"))),
        }
    }

    async fn call(&self, method: &str, body: Value) -> Result<Answered, Failed> {
        let url = format!("{}/api/{method}", self.bot.url.trim_end_matches('/'));
        let posted = self.tools.http.post(Sent {
            url: &url,
            private: self.receiver.private,
            headers: vec![
                ("content-type", "application/json; charset=utf-8".to_owned()),
                ("authorization", format!("Bearer {}", self.token)),
            ],
            body: body.to_string().into_bytes(),
            secrets: vec![self.token.clone()],
        });
        let answer = posted.await.map_err(|error| Failed::Other(later(&error)))?;
        read(&answer)
    }
}

fn read(answer: &Answer) -> Result<Answered, Failed> {
    if answer.status != 200 {
        return Err(Failed::Other(match answer.outcome() {
            Outcome::Taken | Outcome::Posted(_) => refused(&answer.error()),
            failed @ (Outcome::Later { .. } | Outcome::Refused { .. }) => failed,
        }));
    }
    let Ok(answered) = serde_json::from_str::<Answered>(&answer.body) else {
        return Err(Failed::Other(refused(&answer.error())));
    };
    match answered.error.as_deref() {
        _ if answered.ok => Ok(answered),
        Some(error) if GONE.contains(&error) => Err(Failed::Gone),
        Some(error) if PASSING.contains(&error) => Err(Failed::Other(later(&shown(error)))),
        error => Err(Failed::Other(refused(&shown(error.unwrap_or("no reason"))))),
    }
}

fn shown(error: &str) -> String {
    format!("Slack: {}", cut(error, 100))
}

/// A message that is gone cannot be: a new one was written.
fn outcome(failed: Failed) -> Outcome {
    match failed {
        Failed::Gone => refused(&shown("message_not_found")),
        Failed::Other(outcome) => outcome,
    }
}
