//! What brings an agent back: one rung of the ladder, carried out by an engine's API or an argv, never by a shell.
//!
//! `exec` runs a command; `docker` and `replace` act on containers through `engine`; `systemd` restarts units over
//! D-Bus, `kubernetes` evicts pods; `client` speaks HTTP to the engines.
//! Every obstacle is an outcome with the engine's own words and a remedy. Deliberately absent: whether a rung may be
//! climbed, which is the ladder's, and the rungs `sidecar` and `pod`, which are orders through the store.

mod client;
mod docker;
mod engine;
mod exec;
mod kubernetes;
mod replace;
mod systemd;

use engine::Engines;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::{Performed, RuntimeKind};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::beat::Runtime;
use kubernetes::Kubernetes;
use replace::memory::Memory;
use std::time::Duration;
use systemd::Systemd;

/// The longest a rung takes: 2 s less than the 60 s of the ladder, so that its outcome is known there.
const WITHIN: Duration = Duration::from_secs(58);
/// To look at a container of an agent that is well.
const INSPECT_WITHIN: Duration = Duration::from_secs(10);
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

    /// The container that the last beat names.
    fn container_id(&self) -> Option<&str> {
        self.runtime.as_ref().and_then(container_id)
    }
}

/// The id of a container: 64 hexadecimal digits, fit for a path.
fn container_id(runtime: &Runtime) -> Option<&str> {
    let id = runtime.id.as_str();
    let fits = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match RuntimeKind::parse(&runtime.kind) {
        RuntimeKind::Docker | RuntimeKind::Podman => fits.then_some(id),
        RuntimeKind::Kubernetes
        | RuntimeKind::Systemd
        | RuntimeKind::Host
        | RuntimeKind::Unknown => None,
    }
}

/// Where this program runs: no rung may end it, and some reach no further than its host.
#[derive(Clone, Debug)]
pub struct Own {
    /// The name of its host, as beats report it.
    pub host: String,
    /// What it runs in.
    pub runtime: Runtime,
}

impl Own {
    /// This process.
    pub fn here() -> Self {
        let host = hbshell::runtime::host_name();
        Self {
            runtime: hbshell::runtime::detect(&host, None),
            host,
        }
    }
}

/// Carries rungs out. Made once; a rung takes 58 s at most and may be dropped at any time.
#[derive(Debug)]
pub struct Recovery {
    engines: Engines,
    memory: Memory,
    systemd: Systemd,
    kubernetes: Kubernetes,
}

impl Recovery {
    /// With the engines that the environment names, as their own command lines find them: `DOCKER_HOST`,
    /// `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`, `CONTAINER_HOST`; `DBUS_SYSTEM_BUS_ADDRESS`,
    /// `DBUS_SESSION_BUS_ADDRESS`, `KUBECONFIG`, `KUBERNETES_SERVICE_HOST`; else the usual sockets and files.
    /// `HB_POD_REMOVAL=delete` deletes pods instead of evicting them.
    pub fn from_environment(variable: &impl Fn(&str) -> Option<String>, own: Own) -> Self {
        let container = container_id(&own.runtime).map(str::to_owned);
        Self {
            engines: Engines::from_environment(variable, container),
            memory: Memory::default(),
            kubernetes: Kubernetes::from_environment(variable, own.runtime.clone()),
            systemd: Systemd::from_environment(variable, own),
        }
    }

    /// Why this rung can act on no agent from here, as far as that shows without asking anyone; `exec` is the policy's
    /// command.
    pub fn obstacle(&self, rung: Rung, exec: &[String]) -> Option<String> {
        match rung {
            Rung::Sidecar | Rung::Pod | Rung::Alert => None,
            Rung::Docker | Rung::Replace => self.engines.obstacle(),
            Rung::Kubernetes => self.kubernetes.obstacle(),
            Rung::Systemd => self.systemd.obstacle(),
            Rung::Exec => exec::obstacle(exec),
        }
    }

    /// Inspects the container that a beat names, and remembers its settings: a container that was removed cannot be
    /// inspected any more. To be called once a registration; it changes nothing, and an engine that does not answer is
    /// no fault of the agent's.
    pub async fn remember(&self, agent: &AgentId, runtime: &Runtime) {
        let kind = RuntimeKind::parse(&runtime.kind);
        let Some(id) = container_id(runtime) else {
            return;
        };
        for engine in self.engines.of(kind) {
            let inspected = tokio::time::timeout(INSPECT_WITHIN, engine.inspect(id)).await;
            if let Ok(Ok(Some(settings))) = inspected {
                self.memory.keep(agent, engine.name(), &settings);
                return;
            }
        }
    }

    /// What the kubelet knows of the failure of an agent in this pod, as a sentence; `None` where it knows nothing, where there is
    /// no pod, or where this program may not ask. Takes half a minute at most.
    pub async fn surroundings(&self, runtime: &Runtime) -> Option<String> {
        self.kubernetes.what_happened(runtime).await
    }

    /// Carries the rung out. It never fails otherwise than by its outcome, which names a remedy.
    pub async fn perform(&self, job: &Job) -> Performed {
        let result = match job.rung {
            Rung::Docker => docker::restart(&self.engines, &self.memory, job).await,
            Rung::Exec => exec::run(job, WITHIN).await,
            Rung::Replace => replace::replace(&self.engines, &self.memory, job).await,
            Rung::Systemd => self.systemd.restart(job).await,
            Rung::Kubernetes => self.kubernetes.evict(job).await,
            Rung::Sidecar | Rung::Pod | Rung::Alert => {
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
    /// The agent's container was removed; nothing was changed.
    Gone(String),
    /// It should have, and could not.
    Failed(String),
    /// Refused for now: try again after this time.
    Later(String, Duration),
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
            Obstacle::Gone(why) => Self::Gone(why),
            Obstacle::Failed(why) => Self::Failed(why),
            Obstacle::Later(why, after) => Self::Later(why, after),
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
