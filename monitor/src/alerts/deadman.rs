//! The dead man's switch: a service elsewhere that alerts when it is not pinged any more, because hbmonitor, its machine or
//! its network is gone.

use super::http::{Http, Sent};
use crate::config::receivers::Deadman;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A ping that takes longer is given up: the next one is due soon.
const PING_WITHIN: Duration = Duration::from_secs(20);

/// The service, and whether it took the last ping.
#[derive(Debug)]
pub(super) struct Switch {
    deadman: Deadman,
    fails: AtomicBool,
}

impl Switch {
    pub(super) fn new(deadman: Deadman) -> Self {
        Self {
            deadman,
            fails: AtomicBool::new(false),
        }
    }

    /// Pings once. The service itself alerts when none arrives, so a failure is only logged, once.
    pub(super) async fn ping(&self, http: &Http) {
        let ping = tokio::time::timeout(PING_WITHIN, self.attempt(http));
        let error = match ping.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {PING_WITHIN:?}")),
        };
        let failed = self.fails.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !failed => tracing::error!("deadman_url was not pinged: {error}"),
            None if failed => tracing::info!("deadman_url is pinged again"),
            Some(_) | None => {}
        }
    }

    async fn attempt(&self, http: &Http) -> Result<(), String> {
        let target = &self.deadman.target;
        let url = target.read().map_err(|error| error.to_string())?;
        let answer = http
            .get(Sent {
                url: &url,
                private: self.deadman.private,
                headers: Vec::new(),
                body: Vec::new(),
                secrets: target.secrets(&url),
            })
            .await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(answer.error()),
        }
    }
}
