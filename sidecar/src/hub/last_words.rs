//! `/dev/termination-log`: Kubernetes mounts this file into each container, and shows what stands in it when the container has
//! ended. One sentence says why hbsidecar ended with a failure.

use super::exits::how;
use super::{Hub, Outcome};
use crate::config::exit;
use heartbeat::wire::life::Reason;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

const TERMINATION_LOG: &str = "/dev/termination-log";

impl Hub {
    /// Leaves the sentence, where the file is there.
    pub(super) fn leave_last_words(&self, outcome: Outcome) {
        if let Some(sentence) = self.last_words(outcome)
            && let Err(error) = write(Path::new(TERMINATION_LOG), &sentence)
        {
            tracing::debug!("cannot write to {TERMINATION_LOG}: {error}");
        }
    }

    fn last_words(&self, outcome: Outcome) -> Option<String> {
        let id = &self.config.id;
        match outcome {
            Outcome::Ended(exit) => {
                let end = self.agent.facts.end.as_ref();
                let why = match end.and_then(|end| end.reason) {
                    Some(Reason::OomKilled) => "out of memory (OOM kill)".to_owned(),
                    Some(_) | None => how(exit),
                };
                let restarts = match self.agent.facts.incarnation {
                    0 => String::new(),
                    1 => ", after 1 restart".to_owned(),
                    n => format!(", after {n} restarts"),
                };
                Some(format!("the agent {id} ended: {why}{restarts}"))
            }
            Outcome::NotStarted(code) => {
                let why = match code {
                    exit::NOT_EXECUTABLE => "its command cannot be executed",
                    exit::NOT_FOUND => "its command was not found",
                    _ => "the log of hbsidecar has the cause",
                };
                Some(format!("the agent {id} was not started: {why}"))
            }
            Outcome::Taken => Some(format!(
                "the agent {id} was not started: another one has this id; give it another, or --takeover"
            )),
            Outcome::PodRestart => Some(format!(
                "the pod of the agent {id} is restarted, as hbmonitor ordered"
            )),
            Outcome::Detached | Outcome::Interrupted(_) => None,
        }
    }
}

/// Into a file that is there; none is made.
fn write(path: &Path, sentence: &str) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    writeln!(file, "{sentence}")
}
