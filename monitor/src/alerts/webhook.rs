//! Any program over HTTP: Standard Webhooks 1.0, signed with HMAC-SHA256 by each key while keys are rotated.

use super::http::Sent;
use super::text::{data, date, event_type};
use super::{Tools, later, refused};
use crate::config::Secret;
use crate::config::receivers::{Receiver, Target};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hbshell::clock;
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::Notification;
use ring::hmac;
use serde_json::json;

/// The standard asks for less than 20 kB.
const BODY_MAX: usize = 19 * 1024;

pub(super) async fn deliver(
    receiver: &Receiver,
    target: &Target,
    secret: Option<&Secret>,
    sent: &Notification,
    tools: &Tools,
) -> Outcome {
    let url = match target.read() {
        Ok(url) => url,
        Err(error) => return later(&error.to_string()),
    };
    let body = body(receiver, sent, tools);
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", sent.id.clone()),
    ];
    let at = clock::wall_ms() / 1000;
    headers.push(("webhook-timestamp", at.to_string()));
    if let Some(secret) = secret {
        match secret.read_signing_keys() {
            Ok(keys) => headers.push(("webhook-signature", signatures(&keys, &sent.id, at, &body))),
            Err(error) => return later(&error.to_string()),
        }
    }
    let posted = tools.http.post(Sent {
        url: &url,
        private: receiver.private,
        headers,
        body: body.into_bytes(),
        secrets: target.secrets(&url),
    });
    match posted.await {
        Ok(answer) if answer.status == 410 => {
            refused(&"410 Gone: its owner asked that nothing more is sent; remove the receiver")
        }
        Ok(answer) => answer.outcome(),
        Err(error) => later(&error),
    }
}

fn body(receiver: &Receiver, sent: &Notification, tools: &Tools) -> String {
    let message = &sent.message;
    let of = |data| {
        let at = date(message.until.unwrap_or(message.since));
        json!({"type": event_type(message.occasion), "timestamp": at, "data": data}).to_string()
    };
    let mut data = data(sent, receiver, &tools.links);
    let whole = of(data.clone());
    if whole.len() <= BODY_MAX {
        return whole;
    }
    for list in ["evidence", "tried", "incidents"] {
        data[list] = json!([]);
    }
    of(data)
}

/// `v1,SIGNATURE` of each key, separated by spaces.
fn signatures(keys: &[Vec<u8>], id: &str, at: u64, body: &str) -> String {
    let signed = format!("{id}.{at}.{body}");
    let sign = |key: &Vec<u8>| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_signed_as_published() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = signatures(
            &[key],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
