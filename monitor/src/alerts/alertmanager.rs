//! Alertmanager, API v2: alerts that are open are repeated each minute, since it forgets what is not repeated.
//!
//! Labels are the identity of an alert there, so they never change while it lasts: its page, and what it was about at first.

use super::http::Sent;
use super::text::{cut, date, evidence};
use super::{Tools, later};
use crate::config::Secret;
use crate::config::receivers::Receiver;
use hbshell::clock;
use heartbeat::alerts::exchange::{Outcome, RENEW_EVERY};
use heartbeat::base::moment::millis;
use heartbeat::wire::notification::{Message, Occasion};
use serde_json::{Value, json};

/// An alert that is not repeated is over after so many renewals.
const RENEWALS_MISSED: u32 = 4;
/// The longest value of an annotation, in characters.
const ANNOTATION_MAX: usize = 4000;
/// Alerts in one request.
const PAGE: usize = 500;

/// A message as it arrives.
pub(super) async fn deliver(
    receiver: &Receiver,
    url: &str,
    token: Option<&Secret>,
    message: &Message,
    tools: &Tools,
) -> Outcome {
    match message.occasion {
        Occasion::Firing
        | Occasion::Updated
        | Occasion::Notice
        | Occasion::Resolved
        | Occasion::Test => {
            post(
                receiver,
                url,
                token,
                &[alert(receiver, message, tools)],
                tools,
            )
            .await
        }
        // It has no word for these.
        Occasion::Acknowledged | Occasion::Repaired => Outcome::Taken,
    }
}

/// All that is open, what was closed lately, and the alert that always fires.
pub(super) async fn renew(
    receiver: &Receiver,
    url: &str,
    token: Option<&Secret>,
    messages: &[Message],
    tools: &Tools,
) -> Outcome {
    let mut alerts = vec![watchdog(tools)];
    alerts.extend(
        messages
            .iter()
            .map(|message| alert(receiver, message, tools)),
    );
    for page in alerts.chunks(PAGE) {
        let outcome = post(receiver, url, token, page, tools).await;
        if outcome != Outcome::Taken {
            return outcome;
        }
    }
    Outcome::Taken
}

async fn post(
    receiver: &Receiver,
    url: &str,
    token: Option<&Secret>,
    alerts: &[Value],
    tools: &Tools,
) -> Outcome {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let mut secrets = Vec::new();
    if let Some(token) = token {
        match token.read() {
            Ok(token) => {
                headers.push(("authorization", format!("Bearer {token}")));
                secrets.push(token);
            }
            Err(error) => return later(&error.to_string()),
        }
    }
    let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
    let posted = tools.http.post(Sent {
        url: &url,
        private: receiver.private,
        headers,
        body: json!(alerts).to_string().into_bytes(),
        secrets,
    });
    match posted.await {
        Ok(answer) => answer.outcome(),
        Err(error) => later(&error),
    }
}

fn alert(receiver: &Receiver, message: &Message, tools: &Tools) -> Value {
    let ends = match (message.occasion, message.until) {
        (Occasion::Resolved, Some(until)) => date(until),
        _ => ends_unless_repeated(tools),
    };
    let mut labels = json!({
        "alertname": message.subject.alert_name(),
        "page": message.page.as_str(),
        "severity": message.severity.as_str(),
    });
    if let [agent] = &*message.agents
        && message.agents_total == 1
    {
        labels["agent"] = json!(agent);
    }
    if let Some(host) = &message.host {
        labels["host"] = json!(host);
    }
    let lines = [
        &*message.what,
        &evidence(message, receiver).join("\n"),
        &message.tried.join("\n"),
        &message.next,
    ]
    .into_iter()
    .filter(|text| !text.is_empty())
    .collect::<Vec<_>>()
    .join("\n");
    let mut alert = json!({
        "labels": labels,
        "annotations": {"summary": message.headline(), "description": cut(&lines, ANNOTATION_MAX)},
        "startsAt": date(message.since),
        "endsAt": ends,
    });
    if let Some(link) = tools.links.of(message) {
        alert["generatorURL"] = json!(link);
    }
    alert
}

fn watchdog(tools: &Tools) -> Value {
    json!({
        "labels": {"alertname": "HbWatchdog", "severity": "none"},
        "annotations": {"summary": "hbmonitor is running; this alert always fires"},
        "startsAt": date(clock::wall_ms()),
        "endsAt": ends_unless_repeated(tools),
    })
}

fn ends_unless_repeated(tools: &Tools) -> String {
    let renewed = tools.patience.scale(RENEW_EVERY * RENEWALS_MISSED);
    date(clock::wall_ms() + millis(renewed))
}
