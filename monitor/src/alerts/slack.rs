//! Slack, and products that take its incoming webhooks.
//!
//! A webhook answers 200 and `ok`; it can neither edit nor thread. Text of others stands in `plain_text` objects, with
//! `& < >` escaped everywhere, so that a task cannot mention a channel.

use super::http::{Answer, Sent};
use super::text::{cut, evidence, shown_date};
use super::{Tools, later, refused};
use crate::config::receivers::{Receiver, Target};
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::{Mark, Message, Notification};
use serde_json::{Value, json};

/// Limits of Slack, in characters.
const TEXT_MAX: usize = 3900;
const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3000;
const FIELD_MAX: usize = 2000;
const URL_MAX: usize = 3000;
/// Lines of a digest.
const LISTED_MAX: usize = 20;

pub(super) async fn deliver(
    receiver: &Receiver,
    target: &Target,
    first: &Notification,
    rest: &[Notification],
    tools: &Tools,
) -> Outcome {
    let url = match target.read() {
        Ok(url) => url,
        Err(error) => return later(&error.to_string()),
    };
    let body = match rest {
        [] => message(receiver, first, tools),
        _ => digest(first, rest),
    };
    let posted = tools.http.post(Sent {
        url: &url,
        private: receiver.private,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string().into_bytes(),
        secrets: target.secrets(&url),
    });
    match posted.await {
        Ok(answer) => outcome(&answer),
        Err(error) => later(&error),
    }
}

/// A 200 with another text than `ok` was not taken.
fn outcome(answer: &Answer) -> Outcome {
    match answer.status {
        200 if answer.body.trim() == "ok" => Outcome::Taken,
        200 => refused(&answer.error()),
        _ => answer.outcome(),
    }
}

pub(super) fn message(receiver: &Receiver, sent: &Notification, tools: &Tools) -> Value {
    let message = &sent.message;
    let mut blocks =
        vec![json!({"type": "header", "text": plain(&message.headline(), HEADER_MAX)})];
    if !message.what.is_empty() {
        blocks.push(json!({"type": "section", "text": plain(&message.what, SECTION_MAX)}));
    }
    let fields = fields(receiver, message, sent);
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if let Some(link) = tools.links.of(message).filter(|link| link.len() <= URL_MAX) {
        let button = json!({"type": "button", "text": plain("Open", 75), "url": link});
        blocks.push(json!({"type": "actions", "elements": [button]}));
    }
    json!({
        "text": cut(&escaped(&message.headline()), TEXT_MAX),
        "mrkdwn": false,
        "attachments": [{"color": color(message.mark), "blocks": blocks}],
    })
}

fn fields(receiver: &Receiver, message: &Message, sent: &Notification) -> Vec<Value> {
    let mut texts = vec![("Since", shown_date(message.since))];
    texts.extend(message.until.map(|until| ("Until", shown_date(until))));
    texts.push(("Evidence", evidence(message, receiver).join("\n")));
    texts.push(("Tried", message.tried.join("\n")));
    texts.push(("Next", message.next.clone()));
    texts.push(("Host", message.host.clone().unwrap_or_default()));
    if let Some(instead) = &sent.instead_of {
        texts.push(("Instead of", format!("{instead}, which takes no messages")));
    }
    let filled = texts.into_iter().filter(|(_, text)| !text.is_empty());
    filled
        .map(|(name, text)| plain(&format!("{name}\n{text}"), FIELD_MAX))
        .collect()
}

/// Many messages that waited, as one.
pub(super) fn digest(first: &Notification, rest: &[Notification]) -> Value {
    let all = std::iter::once(first).chain(rest);
    let lines: Vec<String> = all.map(|sent| sent.message.headline()).collect();
    let title = format!("{} messages waited for this channel", lines.len());
    let more = lines.len().saturating_sub(LISTED_MAX);
    let mut listed = lines
        .iter()
        .take(LISTED_MAX)
        .map(|line| cut(line, 140))
        .collect::<Vec<_>>();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    json!({
        "text": title,
        "mrkdwn": false,
        "attachments": [{"color": color(first.message.mark), "blocks": [
            {"type": "header", "text": plain(&title, HEADER_MAX)},
            {"type": "section", "text": plain(&listed.join("\n"), SECTION_MAX)},
        ]}],
    })
}

fn plain(text: &str, max: usize) -> Value {
    json!({"type": "plain_text", "text": cut(&escaped(text), max), "emoji": false})
}

/// The three characters that Slack gives a meaning.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn color(mark: Mark) -> &'static str {
    match mark {
        Mark::Failed => "#b3212c",
        Mark::Warning => "#8a5300",
        Mark::Person => "#7a34c4",
        Mark::Healthy | Mark::Repaired => "#0b7350",
        Mark::Plain => "#59616c",
    }
}
