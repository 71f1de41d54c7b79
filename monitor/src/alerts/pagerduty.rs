//! PagerDuty, Events API v2: trigger, acknowledge, resolve; a repair is a change event, which wakes no one.
//!
//! The page is the deduplication key: a message that arrives twice is one alert. 202 means that it is queued.

use super::http::Sent;
use super::text::{action_required, cut, date, evidence};
use super::{Tools, later};
use crate::config::Secret;
use crate::config::receivers::Receiver;
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::{Message, Notification, Occasion, Severity};
use serde_json::{Value, json};

/// Limits of PagerDuty: characters, and bytes of the whole body.
const SUMMARY_MAX: usize = 1024;
const KEY_MAX: usize = 255;
const BODY_MAX: usize = 512_000;

pub(super) async fn deliver(
    receiver: &Receiver,
    url: &str,
    routing_key: &Secret,
    sent: &Notification,
    tools: &Tools,
) -> Outcome {
    let key = match routing_key.read_routing_key() {
        Ok(key) => key,
        Err(error) => return later(&error.to_string()),
    };
    let (path, body) = event(receiver, &key, sent, tools);
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let posted = tools.http.post(Sent {
        url: &url,
        private: receiver.private,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.into_bytes(),
        secrets: vec![key],
    });
    match posted.await {
        Ok(answer) => answer.outcome(),
        Err(error) => later(&error),
    }
}

/// The path, and the body.
fn event(
    receiver: &Receiver,
    key: &str,
    sent: &Notification,
    tools: &Tools,
) -> (&'static str, String) {
    let message = &sent.message;
    let link = tools.links.of(message);
    let links: Vec<Value> = link
        .iter()
        .map(|link| json!({"href": link, "text": "Open"}))
        .collect();
    let dedup = cut(message.page.as_str(), KEY_MAX);
    let action = match message.occasion {
        Occasion::Firing | Occasion::Updated | Occasion::Notice => "trigger",
        Occasion::Acknowledged => "acknowledge",
        Occasion::Resolved => "resolve",
        Occasion::Repaired | Occasion::Test => {
            let payload = json!({
                "summary": cut(&message.title, SUMMARY_MAX),
                "source": source(message),
                "timestamp": date(message.until.unwrap_or(message.since)),
                "custom_details": details(receiver, message),
            });
            let body = json!({"routing_key": key, "payload": payload, "links": links});
            return ("/v2/change/enqueue", body.to_string());
        }
    };
    let mut body = json!({"routing_key": key, "event_action": action, "dedup_key": dedup});
    if action == "trigger" {
        body["client"] = json!("hbmonitor");
        body["client_url"] = json!(link);
        body["links"] = json!(links);
        body["payload"] = json!({
            "summary": cut(&message.title, SUMMARY_MAX),
            "source": source(message),
            "severity": severity(message.severity),
            "timestamp": date(message.since),
            "component": message.agents.first(),
            "group": message.host,
            "class": message.subject.alert_name(),
            "custom_details": details(receiver, message),
        });
        if body.to_string().len() > BODY_MAX {
            body["payload"]["custom_details"] = json!({"error": "left out: more than 512 kB"});
        }
    }
    ("/v2/enqueue", body.to_string())
}

fn source(message: &Message) -> String {
    let agent = message.agents.first().map(ToString::to_string);
    message
        .host
        .clone()
        .or(agent)
        .unwrap_or_else(|| "hbmonitor".to_owned())
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn details(receiver: &Receiver, message: &Message) -> Value {
    json!({
        "what": message.what,
        "reason": message.reason,
        "evidence": evidence(message, receiver),
        "tried": message.tried,
        "next": message.next,
        "actionRequired": action_required(message),
        "agents": message.agents,
        "agentsTotal": message.agents_total,
        "lastHeartbeat": message.last_heartbeat.map(date),
        "incidents": message.incidents,
    })
}
