//! A container engine: Docker, or Podman with the same API.
//!
//! The API is used without a version, so that what is inspected and what is created have the same shape.

use super::client::{Answer, CallError, Endpoint, tls};
use super::{Job, Obstacle};
use heartbeat::fleet::ladder::exchange::RuntimeKind;
use hyper::Method;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The label that names a container's agent.
pub(super) const AGENT_LABEL: &str = "hb.agent-id";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Docker's ports without and with TLS.
const PORTS: (u16, u16) = (2375, 2376);

/// The engines that this machine's user reaches.
#[derive(Debug)]
pub(super) struct Engines {
    docker: Engine,
    podman: Engine,
}

/// One engine.
#[derive(Debug)]
pub(super) struct Engine {
    name: &'static str,
    /// Where it listens, or why that is not known.
    endpoint: Result<Endpoint, String>,
}

/// A container as the engine lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: String,
    /// Its first name, without the slash.
    pub(super) name: String,
    /// `created running paused restarting removing exited dead`.
    pub(super) state: String,
    /// Unix seconds.
    created: u64,
    /// The agent that its label names.
    pub(super) agent: Option<String>,
    /// The container whose network it uses.
    network_of: Option<String>,
}

impl Engines {
    pub(super) fn from_environment(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let user = set("XDG_RUNTIME_DIR").map(PathBuf::from);
        let usual = |system: &str, of_user: &str| {
            let own = user.as_ref().map(|dir| dir.join(of_user));
            let own = own.filter(|path| path.exists() && !Path::new(system).exists());
            Endpoint::Unix(own.unwrap_or_else(|| PathBuf::from(system)))
        };
        let certificates = set("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| {
            set("DOCKER_TLS_VERIFY")?;
            Some(PathBuf::from(set("HOME")?).join(".docker"))
        });
        let docker = match set("DOCKER_HOST") {
            Some(text) => address("DOCKER_HOST", &text, certificates.as_deref()),
            None => Ok(usual(DOCKER_SOCKET, "docker.sock")),
        };
        let podman = match set("CONTAINER_HOST") {
            Some(text) => address("CONTAINER_HOST", &text, None),
            None => Ok(usual(PODMAN_SOCKET, "podman/podman.sock")),
        };
        Self {
            docker: Engine {
                name: "Docker",
                endpoint: docker,
            },
            podman: Engine {
                name: "Podman",
                endpoint: podman,
            },
        }
    }

    /// The engine that has the agent's container, and the container.
    pub(super) async fn find(&self, job: &Job) -> Result<(&Engine, Listed), Obstacle> {
        let kind = job.runtime_kind();
        let engines = match kind {
            RuntimeKind::Podman => [&self.podman, &self.docker],
            RuntimeKind::Docker
            | RuntimeKind::Kubernetes
            | RuntimeKind::Systemd
            | RuntimeKind::Host
            | RuntimeKind::Unknown => [&self.docker, &self.podman],
        };
        // The reason of the engine that should have it.
        let mut first = None;
        for engine in engines {
            match engine.find(job).await {
                Ok(container) => return Ok((engine, container)),
                Err(obstacle) => first = first.or(Some(obstacle)),
            }
        }
        let runs_in_one = matches!(kind, RuntimeKind::Docker | RuntimeKind::Podman);
        Err(match first {
            Some(Obstacle::Failed(why)) if !runs_in_one => Obstacle::NotHere(why),
            Some(obstacle) => obstacle,
            None => Obstacle::not_here("there is no container engine"),
        })
    }
}

impl Engine {
    async fn find(&self, job: &Job) -> Result<Listed, Obstacle> {
        let containers = self.list().await?;
        choose(&containers, job)
            .map_err(|why| Obstacle::not_here(format!("{} at {}: {why}", self.name, self.place())))
    }

    /// All containers, those that have ended too.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, Obstacle> {
        let answer = self
            .call(Method::GET, "/containers/json?all=true", None)
            .await?;
        let listed = self.good(answer, "list the containers")?.json();
        let Value::Array(containers) = listed else {
            return Err(Obstacle::failed(format!(
                "what answers at {} is no container engine; check DOCKER_HOST",
                self.place()
            )));
        };
        Ok(containers.iter().filter_map(Listed::read).collect())
    }

    /// Everything about one container; none when it is gone.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<Value>, Obstacle> {
        let path = format!("/containers/{id}/json");
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(self.good(answer, "inspect the container")?.json()))
    }

    /// One request; the limit of time is the caller's.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Obstacle> {
        let endpoint = self.endpoint.as_ref().map_err(Obstacle::failed)?;
        let answer = endpoint.call(method, path, None, body).await;
        answer.map_err(|error| Obstacle::failed(self.unreachable(&error)))
    }

    /// The answer, if it is a good one.
    pub(super) fn good(&self, answer: Answer, what: &str) -> Result<Answer, Obstacle> {
        match answer.status {
            // 304: it is so already.
            200..=299 | 304 => Ok(answer),
            403 => Err(Obstacle::failed(format!(
                "{} refused to {what}: {}; allow it in the proxy or authorisation plugin before the engine",
                self.name,
                answer.message()
            ))),
            _ => Err(Obstacle::failed(format!(
                "{} could not {what}: {}",
                self.name,
                answer.message()
            ))),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn place(&self) -> String {
        match &self.endpoint {
            Ok(endpoint) => endpoint.to_string(),
            Err(why) => why.clone(),
        }
    }

    fn unreachable(&self, error: &CallError) -> String {
        let (name, place) = (self.name, self.place());
        let remedy = match error {
            CallError::Connect(error) if error.kind() == ErrorKind::NotFound => {
                "start the engine, mount its socket into hbmonitor's container, or set DOCKER_HOST"
            }
            CallError::Connect(error) if error.kind() == ErrorKind::PermissionDenied => {
                "add hbmonitor's user to the group of that socket (docker), or set DOCKER_HOST to a proxy that allows /containers"
            }
            CallError::Connect(_) => "start the engine, or correct DOCKER_HOST",
            CallError::Tls(_) => {
                "check ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH, and the host's name in the engine's certificate"
            }
            CallError::Http(_) => "look at the engine's log (journalctl -u docker)",
        };
        format!("cannot reach {name} at {place}: {error}; {remedy}")
    }
}

impl Listed {
    fn read(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let id = text(&value["Id"])?;
        let network = value["HostConfig"]["NetworkMode"].as_str();
        Some(Self {
            name: value["Names"][0]
                .as_str()
                .unwrap_or(&id)
                .trim_start_matches('/')
                .to_owned(),
            state: text(&value["State"]).unwrap_or_default(),
            created: value["Created"].as_u64().unwrap_or_default(),
            agent: text(&value["Labels"][AGENT_LABEL]),
            network_of: network
                .and_then(|mode| mode.strip_prefix("container:"))
                .map(str::to_owned),
            id,
        })
    }

    fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting")
    }
}

/// The container of the agent: the one that its beat names, else one that is labelled or named as the agent. Of several
/// the one that runs, then the youngest: replacements leave their predecessors behind.
fn choose(containers: &[Listed], job: &Job) -> Result<Listed, String> {
    let agent = job.agent.as_str();
    let reported = job.container_id();
    let by_id = reported.and_then(|id| containers.iter().find(|one| one.id == id));
    if let Some(found) = by_id {
        // From inside, containers that share a network look alike: the engine's files in them are the same.
        let shares = |one: &&Listed| {
            let of = one.network_of.as_deref();
            of.is_some_and(|of| of == found.id || of == found.name)
        };
        let Some(other) = containers.iter().find(shares) else {
            return Ok(found.clone());
        };
        let mut both = containers
            .iter()
            .filter(|one| one.id == found.id || shares(one));
        let named = both.find(|one| one.agent.as_deref() == Some(agent) || one.name == agent);
        return named.cloned().ok_or_else(|| {
            format!(
                "{} and {} share a network, so the id on the beat fits both; label the agent's container {AGENT_LABEL}={agent}",
                found.name, other.name
            )
        });
    }
    let labelled = containers
        .iter()
        .filter(|one| one.agent.as_deref() == Some(agent));
    let named = containers
        .iter()
        .filter(|one| one.agent.is_none() && one.name == agent);
    let youngest = |candidates: &mut dyn Iterator<Item = &Listed>| {
        candidates
            .max_by_key(|one| (one.is_running(), one.created))
            .cloned()
    };
    let found = youngest(&mut labelled.into_iter()).or_else(|| youngest(&mut named.into_iter()));
    found.ok_or_else(|| {
        let short = |id: &str| id.chars().take(12).collect::<String>();
        let gone = reported.map(|id| format!("container {} is not there, and ", short(id)));
        format!(
            "{}no container is named {agent} or labelled {AGENT_LABEL}={agent}; label it, or let hbmonitor reach the engine of its host",
            gone.unwrap_or_default()
        )
    })
}

/// Reads an address as the engine's own command line does.
fn address(variable: &str, text: &str, certificates: Option<&Path>) -> Result<Endpoint, String> {
    let wrong = || {
        format!(
            "{variable}: expected unix:///PATH or tcp://HOST:PORT, got {text:?}; a tunnel (ssh -L) stands in for ssh://"
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    if scheme == "unix" && rest.starts_with('/') {
        return Ok(Endpoint::Unix(PathBuf::from(rest)));
    }
    if !matches!(scheme, "tcp" | "http" | "https") {
        return Err(wrong());
    }
    let with_tls = certificates.is_some() || scheme == "https";
    let (host, port) = host_and_port(
        rest.trim_end_matches('/'),
        if with_tls { PORTS.1 } else { PORTS.0 },
    )
    .ok_or_else(wrong)?;
    if !with_tls {
        return Ok(Endpoint::Tcp(host, port));
    }
    let Some(dir) = certificates else {
        return Err(format!(
            "{variable}: {text} needs certificates; set DOCKER_CERT_PATH to the directory of ca.pem, cert.pem and key.pem"
        ));
    };
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|error| {
            format!(
                "cannot read {}: {error}; check DOCKER_CERT_PATH",
                path.display()
            )
        })
    };
    let (authority, certificate, key) = (read("ca.pem")?, read("cert.pem")?, read("key.pem")?);
    let config = tls(&authority, Some((&certificate, &key)))
        .map_err(|error| format!("cannot use the certificates in {}: {error}", dir.display()))?;
    Ok(Endpoint::Tls(host, port, config))
}

fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(default), str::parse).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (!host.is_empty() && host.chars().all(is_plain)).then(|| (host.to_owned(), port))
}
