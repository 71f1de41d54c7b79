//! A command of the user: JSON on its standard input, the most important in its environment. Never a shell.

use super::text::data;
use super::{Tools, later, refused};
use crate::config::receivers::Receiver;
use hbshell::process_group::ProcessGroup;
use hbshell::service_manager;
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::Notification;
use heartbeat::wire::word;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// What is read of its error output.
const SHOWN_BYTES_MAX: u64 = 300;
/// EX_TEMPFAIL of sysexits.h: try again.
const TRY_AGAIN: i32 = 75;

/// Exit code 0: taken. 75: later. Any other: refused.
pub(super) async fn deliver(
    receiver: &Receiver,
    command: &[String],
    sent: &Notification,
    tools: &Tools,
) -> Outcome {
    let Some((program, arguments)) = command.split_first() else {
        return Outcome::Taken;
    };
    let message = &sent.message;
    let mut command = Command::new(program);
    for variable in service_manager::VARIABLES {
        command.env_remove(variable);
    }
    let spawned = command
        .args(arguments)
        .env("HB_NOTIFICATION_ID", &sent.id)
        .env("HB_OCCASION", word(&message.occasion))
        .env("HB_PAGE", message.page.as_str())
        .env("HB_SEVERITY", message.severity.as_str())
        .env("HB_MESSAGE", message.headline())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return later(&format!("{program} cannot be started: {error}")),
    };
    // The deadline of the delivery drops all of this.
    let group = ProcessGroup::of(child.id());
    let input = format!("{}\n", data(sent, receiver, &tools.links));
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await; // it may have read enough
        }
    };
    let read = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(SHOWN_BYTES_MAX).read_to_end(&mut said).await; // shown only
        }
        said
    };
    let wait = async {
        let status = child.wait().await;
        group.spare(); // its number may be another's now
        status
    };
    let (status, (), said) = tokio::join!(wait, write, read);
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match status {
        Ok(status) if status.success() => Outcome::Taken,
        Ok(status) if status.code() == Some(TRY_AGAIN) => later(&format!("{status}: {said}")),
        Ok(status) => refused(&format!("{status}: {said}")),
        Err(error) => later(&error.to_string()),
    }
}
