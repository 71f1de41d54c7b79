//! What brings an agent back: one rung of the ladder, carried out by an engine's API or an argv, never by a shell.
//!
//! `exec` runs a command; `docker` and `replace` act on containers through `engine`; `client` speaks HTTP to the engines.
//! Every obstacle is an outcome with the engine's own words and a remedy. Deliberately absent: whether a rung may be
//! climbed, which is the ladder's, and the rung `sidecar`, which is an order through the store.

mod client;
mod docker;
mod engine;
mod exec;

use engine::Engines;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::{Performed, RuntimeKind};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::beat::Runtime;
use std::time::Duration;

/// The longest a rung takes: 2 s less than the 60 s of the ladder, so that its outcome is known there.
const WITHIN: Duration = Duration::from_secs(58);
/// The longest foreign text in an outcome, in characters.
const FOREIGN_CHARS_MAX: usize = 300;

/// One rung to climb for one agent.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is done.
    pub rung: Rung,
    /// The agent.
    pub agent: AgentId,
    /// Its type.
    pub agent_type: String,
    /// The host of its last beat.
    pub host: String,
    /// The registration that is acted upon.
    pub epoch: u64,
    /// The fencing token of the monitor that acts.
    pub token: u64,
    /// The id of the incident.
    pub incident: String,
    /// Why the agent is not healthy, as the word of incidents.
    pub reason: String,
    /// What it ran in, by its last beat; none where that did not say.
    pub runtime: Option<Runtime>,
    /// Two copies must never run at the same time.
    pub exclusive: bool,
    /// The policy's command, program first.
    pub exec: Vec<String>,
    /// The policy's image of a replacement.
    pub replace_image: Option<String>,
    /// The store, for a replacement that does not know it.
    pub redis_url: Option<String>,
}

impl Job {
    fn runtime_kind(&self) -> RuntimeKind {
        let runtime = self.runtime.as_ref();
        runtime.map_or(RuntimeKind::Unknown, |runtime| {
            RuntimeKind::parse(&runtime.kind)
        })
    }

    /// The container that the last beat names: 64 hexadecimal digits, fit for a path.
    fn container_id(&self) -> Option<&str> {
        let runtime = self.runtime.as_ref()?;
        let id = runtime.id.as_str();
        let fits = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.runtime_kind() {
            RuntimeKind::Docker | RuntimeKind::Podman => fits.then_some(id),
            RuntimeKind::Kubernetes
            | RuntimeKind::Systemd
            | RuntimeKind::Host
            | RuntimeKind::Unknown => None,
        }
    }
}

/// Carries rungs out. Made once; a rung takes 58 s at most and may be dropped at any time.
#[derive(Debug)]
pub struct Recovery {
    engines: Engines,
}

impl Recovery {
    /// With the engines that the environment names, as their own command lines find them: `DOCKER_HOST`,
    /// `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`, `CONTAINER_HOST`; else the usual sockets.
    pub fn from_environment(variable: &impl Fn(&str) -> Option<String>) -> Self {
        Self {
            engines: Engines::from_environment(variable),
        }
    }

    /// Carries the rung out. It never fails otherwise than by its outcome, which names a remedy.
    pub async fn perform(&self, job: &Job) -> Performed {
        let result = match job.rung {
            Rung::Docker => docker::restart(&self.engines, job).await,
            Rung::Exec => exec::run(job, WITHIN).await,
            Rung::Sidecar | Rung::Kubernetes | Rung::Systemd | Rung::Replace | Rung::Alert => {
                Err(Obstacle::not_here("it is not carried out by an engine"))
            }
        };
        result.map_or_else(Performed::from, Performed::Done)
    }
}

/// Why a rung was not carried out: the engine's own words and a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    /// It cannot act on this agent; nothing was changed.
    NotHere(String),
    /// It should have, and could not.
    Failed(String),
}

impl Obstacle {
    fn not_here(why: impl Into<String>) -> Self {
        Self::NotHere(why.into())
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

impl From<Obstacle> for Performed {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::NotHere(why) => Self::NotApplicable(why),
            Obstacle::Failed(why) => Self::Failed(why),
        }
    }
}

/// A text of others as a part of a sentence: one line, bounded, without control characters.
fn foreign(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = line.chars().filter(|c| !c.is_control());
    let mut shown: String = rest.by_ref().take(FOREIGN_CHARS_MAX).collect();
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job for an agent of which nothing but its id is known.
    pub(super) fn job(rung: Rung) -> Job {
        Job {
            rung,
            agent: AgentId::parse("writer-1").unwrap(),
            agent_type: "writer".to_owned(),
            host: "node-3".to_owned(),
            epoch: 7,
            token: 3,
            incident: "i-1".to_owned(),
            reason: "heartbeat_lost".to_owned(),
            runtime: None,
            exclusive: false,
            exec: Vec::new(),
            replace_image: None,
            redis_url: None,
        }
    }

    #[test]
    fn foreign_text_is_one_bounded_line() {
        assert_eq!(foreign("a\u{1b}[1m\n  b\0"), "a[1m b");
        assert_eq!(foreign(&"x".repeat(1000)).chars().count(), 301);
    }
}
