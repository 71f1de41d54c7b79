//! Standard output: one JSON object a line.

use super::text::data;
use super::{Tools, later};
use crate::config::receivers::Receiver;
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::Notification;
use std::io::Write;

pub(super) async fn deliver(receiver: &Receiver, sent: &Notification, tools: &Tools) -> Outcome {
    let line = format!("{}\n", data(sent, receiver, &tools.links));
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
