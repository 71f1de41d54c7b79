//! A server that takes and refuses what Slack, PagerDuty, Alertmanager and a verifying webhook do.

use super::{eventually, saw};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the API of Slack calls each channel and each message here.
const SLACK_CHANNEL: &str = "C024BE91L";
pub(crate) const SLACK_TS: &str = "1503435956.000247";

/// One request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) status: u16,
    pub(crate) answer: String,
}

impl Taken {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Checks a webhook's headers and its very bytes.
pub(crate) type Verify = fn(&Taken, &[u8]) -> bool;

/// An answer in place of the usual one: status, further header lines, body.
pub(crate) type Instead = (u16, String, String);

/// The server. It ends with the process of the tests.
pub(crate) struct Receivers {
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    instead: Arc<Mutex<Option<Instead>>>,
}

impl Receivers {
    pub(crate) fn start(verify: Verify) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let instead: Arc<Mutex<Option<Instead>>> = Arc::default();
        let (log, other) = (Arc::clone(&taken), Arc::clone(&instead));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, other) = (Arc::clone(&log), Arc::clone(&other));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some((taken, answer)) = serve(&mut reader, &other, verify) {
                        log.lock().unwrap().push(taken);
                        if (&stream).write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            taken,
            instead,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on it answers so; `None`: as usual again.
    pub(crate) fn answer(&self, instead: Option<(u16, &str, &str)>) {
        let owned =
            |(code, headers, body): (u16, &str, &str)| (code, headers.to_owned(), body.to_owned());
        *self.instead.lock().unwrap() = instead.map(owned);
    }

    /// Every request to a path that was answered so far.
    pub(crate) fn all(&self, path: &str) -> Vec<Taken> {
        let taken = self.taken.lock().unwrap();
        let all: Vec<Taken> = taken.iter().filter(|t| t.path == path).cloned().collect();
        saw(path, &all);
        all
    }

    /// Those of them that were taken.
    pub(crate) fn good(&self, path: &str) -> Vec<Taken> {
        let all = self.all(path).into_iter();
        all.filter(|taken| taken.status < 300).collect()
    }

    pub(crate) fn wait(&self, path: &str, what: &str, fits: impl Fn(&Taken) -> bool) -> Taken {
        eventually(&format!("{path} gets {what}"), || {
            self.good(path).into_iter().find(|taken| fits(taken))
        })
    }
}

fn serve(
    reader: &mut BufReader<TcpStream>,
    instead: &Mutex<Option<Instead>>,
    verify: Verify,
) -> Option<(Taken, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut taken = Taken {
        path,
        headers,
        body: Value::Null,
        status: 0,
        answer: String::new(),
    };
    let length = taken.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    taken.body = serde_json::from_slice(&body).unwrap_or_default();
    let other = instead.lock().unwrap().clone();
    let more;
    (taken.status, more, taken.answer) = match other {
        Some(answer) => answer,
        None => judge(&taken, &body, verify),
    };
    let (status, body) = (taken.status, taken.answer.clone());
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{more}\r\n{body}");
    Some((taken, answer))
}

fn judge(taken: &Taken, body: &[u8], verify: Verify) -> Instead {
    let answer = |code: u16, body: &str| (code, String::new(), body.to_owned());
    match taken.path.as_str() {
        path if path.starts_with("/services/") => match slack_fault(&taken.body) {
            None => answer(200, "ok"),
            Some(why) => answer(400, &format!("invalid_blocks: {why}")),
        },
        "/api/chat.postMessage" | "/api/chat.update" => slack_api(taken),
        "/v2/enqueue" => match pagerduty_fault(&taken.body, body.len()) {
            None => answer(202, r#"{"status":"success","message":"Event processed"}"#),
            Some(why) => answer(
                400,
                &format!(r#"{{"status":"invalid event","errors":["{why}"]}}"#),
            ),
        },
        "/v2/change/enqueue" => {
            let payload = &taken.body["payload"];
            match length(&payload["summary"]) {
                1..=1024 if length(&taken.body["routing_key"]) == 32 => answer(202, "{}"),
                _ => answer(400, "invalid change"),
            }
        }
        "/api/v2/alerts" => match alertmanager_fault(&taken.body) {
            None => answer(200, ""),
            Some(why) => answer(400, why),
        },
        "/hook" if body.len() >= 20 * 1024 => answer(413, "too large"),
        "/hook" if verify(taken, body) => answer(204, ""),
        "/hook" => answer(401, "wrong signature"),
        _ => answer(404, "no_service"),
    }
}

fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn slack_api(taken: &Taken) -> Instead {
    let refuse = |why: &str| {
        (
            200,
            String::new(),
            format!(r#"{{"ok":false,"error":"{why}"}}"#),
        )
    };
    if !taken.header("authorization").starts_with("Bearer xoxb-") {
        return refuse("not_authed");
    }
    if length(&taken.body["channel"]) == 0 {
        return refuse("channel_not_found");
    }
    let (ts, thread) = (&taken.body["ts"], &taken.body["thread_ts"]);
    let is_known = |ts: &Value| ts == SLACK_TS;
    if taken.path.ends_with("update") && taken.body["channel"] != SLACK_CHANNEL {
        return refuse("channel_not_found"); // an edit wants the id, not the name
    }
    if taken.path.ends_with("update") && !is_known(ts) {
        return refuse("message_not_found");
    }
    if !thread.is_null() && !is_known(thread) {
        return refuse("thread_not_found");
    }
    match slack_fault(&taken.body) {
        None => (
            200,
            String::new(),
            format!(r#"{{"ok":true,"channel":"{SLACK_CHANNEL}","ts":"{SLACK_TS}"}}"#),
        ),
        Some(_) => refuse("invalid_blocks"),
    }
}

fn slack_fault(body: &Value) -> Option<&'static str> {
    if length(&body["text"]) == 0 || length(&body["text"]) > 4000 {
        return Some("text");
    }
    let all = body.to_string();
    if ["<!channel", "<!here", "<@U"]
        .iter()
        .any(|mention| all.contains(mention))
    {
        return Some("a mention");
    }
    for attachment in body["attachments"].as_array().into_iter().flatten() {
        let blocks = attachment["blocks"].as_array()?;
        if blocks.len() > 50 {
            return Some("blocks");
        }
        for block in blocks {
            let fields = block["fields"].as_array();
            let text = length(&block["text"]["text"]);
            let fits = match block["type"].as_str() {
                Some("header") => {
                    block["text"]["type"] == "plain_text" && (1..=150).contains(&text)
                }
                Some("section") => match fields {
                    Some(fields) => {
                        let short = |f: &Value| (1..=2000).contains(&length(&f["text"]));
                        (1..=10).contains(&fields.len()) && fields.iter().all(short)
                    }
                    None => (1..=3000).contains(&text),
                },
                Some("actions") => block["elements"]
                    .as_array()
                    .is_some_and(|e| (1..=25).contains(&e.len())),
                _ => false,
            };
            if !fits {
                return Some("a block");
            }
        }
    }
    None
}

fn pagerduty_fault(body: &Value, bytes: usize) -> Option<&'static str> {
    if bytes > 512 * 1024 {
        return Some("too large");
    }
    if length(&body["routing_key"]) != 32 {
        return Some("routing_key");
    }
    let (key, payload) = (length(&body["dedup_key"]), &body["payload"]);
    let action = body["event_action"].as_str().unwrap_or_default();
    if !["trigger", "acknowledge", "resolve"].contains(&action) || key == 0 || key > 255 {
        return Some("event_action or dedup_key");
    }
    let severity = payload["severity"].as_str().unwrap_or_default();
    let known = ["critical", "error", "warning", "info"].contains(&severity);
    let summary = (1..=1024).contains(&length(&payload["summary"]));
    let whole = summary && known && length(&payload["source"]) > 0;
    (action == "trigger" && !whole).then_some("payload")
}

fn alertmanager_fault(body: &Value) -> Option<&'static str> {
    let alerts = body.as_array();
    let Some(alerts) = alerts.filter(|alerts| !alerts.is_empty()) else {
        return Some("not a list of alerts");
    };
    for alert in alerts {
        let labels = alert["labels"].as_object();
        let filled = labels.is_some_and(|l| l.values().all(|value| length(value) > 0));
        if !filled || length(&alert["labels"]["alertname"]) == 0 {
            return Some("labels");
        }
        let (from, to) = (alert["startsAt"].as_str(), alert["endsAt"].as_str());
        if from.is_none() || to.is_none() || to < from {
            return Some("startsAt and endsAt");
        }
    }
    None
}
