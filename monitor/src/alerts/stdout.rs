//! Standard output: one JSON object a line for programs, or lines for a person.

use super::text::{action_required, data};
use super::{Tools, later};
use crate::config::receivers::{Form, Receiver};
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::{Message, Notification, Occasion};
use std::io::Write;

pub(super) async fn deliver(
    receiver: &Receiver,
    form: Form,
    sent: &Notification,
    tools: &Tools,
) -> Outcome {
    let line = match form {
        Form::Json => format!("{}\n", data(sent, receiver, &tools.links)),
        Form::Text => text(receiver.rule.name.as_str(), &sent.message),
    };
    // A pipe that no one reads holds up this thread and the deadline of the delivery, nothing else.
    let written = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush())
    });
    match written.await {
        Ok(Ok(())) => Outcome::Taken,
        Ok(Err(error)) => later(&error.to_string()),
        Err(error) => later(&error.to_string()),
    }
}

/// What, next, and what the person can do, each on a line below the headline.
fn text(name: &str, message: &Message) -> String {
    let mut text = format!("to {name}: {}\n", message.headline());
    let action = match message.occasion {
        Occasion::Firing | Occasion::Updated | Occasion::Notice => action_required(message),
        Occasion::Acknowledged | Occasion::Resolved | Occasion::Repaired | Occasion::Test => "",
    };
    let lines = [&message.what, &message.next, action];
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        text.push_str(&format!("        {line}\n"));
    }
    text
}
