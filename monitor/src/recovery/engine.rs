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
/// The label of a replacement that hb made; its value is the id of the container before.
pub(super) const REPLACEMENT_LABEL: &str = "hb.replaces";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Docker's ports without and with TLS.
const PORTS: (u16, u16) = (2375, 2376);

/// The engines that this machine's user reaches.
#[derive(Debug)]
pub(super) struct Engines {
    docker: Engine,
    podman: Engine,
    /// The container of this program.
    own: Option<String>,
}

/// Where an agent's container is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// On this engine.
    Container(&'a Engine, Listed),
    /// On none that is reached, and why.
    Absent(String),
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
    /// hb made it in the place of another one.
    pub(super) is_replacement: bool,
    /// The container whose network it uses.
    network_of: Option<String>,
}

impl Engines {
    /// `own` is the container of this program, which it must not end.
    pub(super) fn from_environment(
        variable: &impl Fn(&str) -> Option<String>,
        own: Option<String>,
    ) -> Self {
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
            own,
        }
    }

    /// Why no engine can be reached: each is misconfigured, or its socket is missing.
    pub(super) fn obstacle(&self) -> Option<String> {
        let why = |engine: &Engine| match &engine.endpoint {
            Ok(Endpoint::Unix(path)) if !path.exists() => {
                Some(format!("there is no {}", path.display()))
            }
            Ok(_) => None,
            Err(why) => Some(why.clone()),
        };
        Some(format!(
            "{}, and {}",
            why(&self.docker)?,
            why(&self.podman)?
        ))
    }

    /// The agent's container. An engine that should have it and does not answer is an obstacle, as is a container that
    /// may be another agent's.
    pub(super) async fn find(&self, job: &Job) -> Result<Found<'_>, Obstacle> {
        let kind = job.runtime_kind();
        let mut absent = None;
        for engine in self.of(kind) {
            match engine.find(job).await {
                Ok(Some(container)) if self.own.as_ref() == Some(&container.id) => {
                    return Err(Obstacle::not_here(format!(
                        "hbmonitor itself runs in the container {}; give it one of its own",
                        container.name
                    )));
                }
                Ok(Some(container)) => return Ok(Found::Container(engine, container)),
                Ok(None) => {
                    absent.get_or_insert_with(|| Ok(absence(engine, job)));
                }
                Err(Obstacle::Failed(why)) => {
                    absent.get_or_insert(Err(why));
                }
                Err(obstacle) => return Err(obstacle),
            }
        }
        let runs_in_one = matches!(kind, RuntimeKind::Docker | RuntimeKind::Podman);
        match absent {
            Some(Err(why)) if runs_in_one => Err(Obstacle::failed(why)),
            Some(Ok(why) | Err(why)) => Ok(Found::Absent(why)),
            None => Ok(Found::Absent("there is no container engine".to_owned())),
        }
    }

    /// The engines for an agent that runs in this, the likeliest first.
    pub(super) fn of(&self, kind: RuntimeKind) -> [&Engine; 2] {
        match kind {
            RuntimeKind::Podman => [&self.podman, &self.docker],
            RuntimeKind::Docker
            | RuntimeKind::Kubernetes
            | RuntimeKind::Systemd
            | RuntimeKind::Host
            | RuntimeKind::Unknown => [&self.docker, &self.podman],
        }
    }
}

impl Engine {
    async fn find(&self, job: &Job) -> Result<Option<Listed>, Obstacle> {
        choose(&self.list().await?, job)
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
            is_replacement: value["Labels"][REPLACEMENT_LABEL].is_string(),
            network_of: network
                .and_then(|mode| mode.strip_prefix("container:"))
                .map(str::to_owned),
            id,
        })
    }

    /// By its label, else by its name.
    pub(super) fn belongs_to(&self, agent: &str) -> bool {
        self.agent.as_deref().unwrap_or(&self.name) == agent
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting")
    }
}

/// The container of the agent: the one that its beat names, else one that is labelled or named as the agent. Of several
/// the one that runs, then the youngest: replacements leave their predecessors behind.
fn choose(containers: &[Listed], job: &Job) -> Result<Option<Listed>, Obstacle> {
    let reported = job.container_id();
    match reported.and_then(|id| containers.iter().find(|one| one.id == id)) {
        Some(found) => of_network(containers, found, job.agent.as_str()).map(Some),
        None => {
            let own = containers
                .iter()
                .filter(|one| one.belongs_to(job.agent.as_str()));
            let age = |one: &&Listed| (one.agent.is_some(), one.is_running(), one.created);
            Ok(own.max_by_key(age).cloned())
        }
    }
}

/// From inside, containers that share a network look alike: the engine's files in them are the same.
fn of_network(containers: &[Listed], found: &Listed, agent: &str) -> Result<Listed, Obstacle> {
    let shares = |one: &&Listed| {
        let of = one.network_of.as_deref();
        of.is_some_and(|of| of == found.id || of == found.name)
    };
    let Some(other) = containers.iter().find(shares) else {
        return Ok(found.clone());
    };
    let mut all = containers.iter().filter(shares).chain([found]);
    let own = all.find(|one| one.belongs_to(agent));
    own.cloned().ok_or_else(|| {
        Obstacle::not_here(format!(
            "{} and {} share a network, so the id on the beat fits both; label the agent's container {AGENT_LABEL}={agent}",
            found.name, other.name
        ))
    })
}

fn absence(engine: &Engine, job: &Job) -> String {
    let gone = job.container_id().map(|id| {
        let short: String = id.chars().take(12).collect();
        format!("container {short} is not there, and ")
    });
    format!(
        "{} at {}: {}no container is named {agent} or labelled {AGENT_LABEL}={agent}; label it, or let hbmonitor reach the engine of its host",
        engine.name,
        engine.place(),
        gone.unwrap_or_default(),
        agent = job.agent
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::tests::job;
    use heartbeat::fleet::ladder::rung::Rung;
    use heartbeat::wire::beat::Runtime;
    use serde_json::json;

    fn listed(id: char, name: &str, more: &Value) -> Listed {
        let mut value = json!({"Id": id.to_string().repeat(64), "Names": [format!("/{name}")], "State": "exited"});
        for (key, own) in more.as_object().unwrap() {
            value[key] = own.clone();
        }
        Listed::read(&value).unwrap()
    }

    fn job_in(id: char) -> Job {
        let mut job = job(Rung::Docker);
        job.runtime = Some(Runtime {
            kind: "docker".to_owned(),
            id: id.to_string().repeat(64),
        });
        job
    }

    fn chosen(containers: &[Listed], job: &Job) -> Option<String> {
        choose(containers, job).unwrap().map(|one| one.name)
    }

    #[test]
    fn the_reported_container_comes_before_the_label_and_the_label_before_the_name() {
        let label = json!({"Labels": {AGENT_LABEL: "writer-1"}});
        let all = [
            listed('a', "reported", &json!({})),
            listed('b', "labelled", &label),
            listed('c', "writer-1", &json!({})),
            listed('d', "x", &json!({"Labels": {AGENT_LABEL: "writer-2"}})),
        ];
        assert_eq!(chosen(&all, &job_in('a')).as_deref(), Some("reported"));
        assert_eq!(chosen(&all, &job_in('f')).as_deref(), Some("labelled"));
        assert_eq!(chosen(&all[2..], &job_in('f')).as_deref(), Some("writer-1"));
        assert_eq!(chosen(&all[3..], &job_in('f')), None);
    }

    #[test]
    fn of_several_copies_the_one_that_runs_and_then_the_youngest() {
        let copy = |created, state| json!({"Labels": {AGENT_LABEL: "writer-1"}, "Created": created, "State": state});
        let mut all = vec![
            listed('a', "young", &copy(9, "exited")),
            listed('b', "old", &copy(1, "exited")),
        ];
        assert_eq!(chosen(&all, &job(Rung::Docker)).as_deref(), Some("young"));
        all.push(listed('c', "oldest", &copy(0, "running")));
        assert_eq!(chosen(&all, &job(Rung::Docker)).as_deref(), Some("oldest"));
    }

    #[test]
    fn of_containers_that_share_a_network_only_one_that_is_named_is_touched() {
        let joined =
            json!({"HostConfig": {"NetworkMode": format!("container:{}", "a".repeat(64))}});
        let mut all = vec![listed('a', "vpn", &json!({})), listed('b', "app", &joined)];
        let why = choose(&all, &job_in('a')).unwrap_err();
        assert!(
            matches!(&why, Obstacle::NotHere(why) if why.contains("share a network")),
            "{why:?}"
        );
        all[1].agent = Some("writer-1".to_owned());
        assert_eq!(chosen(&all, &job_in('a')).as_deref(), Some("app"));
    }

    #[test]
    fn addresses_are_read_as_dockers_own_command_line_reads_them() {
        let shown = |text| address("DOCKER_HOST", text, None).map(|endpoint| endpoint.to_string());
        assert_eq!(
            shown("unix:///x/docker.sock").as_deref(),
            Ok("/x/docker.sock")
        );
        assert_eq!(shown("tcp://proxy:2000").as_deref(), Ok("proxy:2000"));
        assert_eq!(shown("tcp://[::1]").as_deref(), Ok("[::1]:2375"));
        for wrong in [
            "",
            "proxy:2000",
            "ssh://host",
            "unix://relative",
            "tcp://",
            "tcp://a b",
            "tcp://h:x",
        ] {
            assert!(
                shown(wrong).is_err_and(|why| why.contains("DOCKER_HOST")),
                "{wrong}"
            );
        }
        let none = shown("https://host").unwrap_err();
        assert!(none.contains("DOCKER_CERT_PATH"), "{none}");
        let missing = address("DOCKER_HOST", "tcp://h", Some(Path::new("/no/such"))).unwrap_err();
        assert!(missing.contains("/no/such/ca.pem"), "{missing}");
    }

    #[test]
    fn an_engine_that_cannot_be_reached_is_said_with_a_remedy() {
        let engine = Engine {
            name: "Docker",
            endpoint: Ok(Endpoint::Unix(PathBuf::from(DOCKER_SOCKET))),
        };
        for (kind, remedy) in [
            (ErrorKind::NotFound, "mount its socket"),
            (ErrorKind::PermissionDenied, "add hbmonitor's user"),
            (ErrorKind::ConnectionRefused, "start the engine"),
        ] {
            let why = engine.unreachable(&CallError::Connect(kind.into()));
            assert!(why.contains(remedy) && why.contains(DOCKER_SOCKET), "{why}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_a_failure_only_for_an_agent_that_runs_in_it() {
        let variable = |name: &str| {
            name.ends_with("_HOST")
                .then(|| "unix:///no/such.sock".to_owned())
        };
        let engines = Engines::from_environment(&variable, None);
        let inside = engines.find(&job_in('a')).await;
        assert!(matches!(inside, Err(Obstacle::Failed(_))), "{inside:?}");
        let outside = engines.find(&job(Rung::Docker)).await;
        assert!(matches!(outside, Ok(Found::Absent(_))), "{outside:?}");
    }
}
