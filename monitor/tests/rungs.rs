//! The rungs of recovery on real engines, with real agents under hbsidecar.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use hbmonitor::recovery::{Job, Own, Recovery};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::Performed;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::beat::Runtime;
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use support::docker::{Container, Docker};
use support::unix_redis::UnixRedis;
use support::{Monitor, eventually};

/// An agent in a container of the real engine, with the store that it reports to.
struct Boxed {
    docker: Arc<Docker>,
    store: UnixRedis,
    container: Container,
    id: &'static str,
}

impl Boxed {
    /// `flags` are those of `docker run`, `options` those of hbsidecar.
    fn start(id: &'static str, flags: &[&str], options: &[&str]) -> Self {
        Self::start_in("none", id, flags, options)
    }

    fn start_in(network: &str, id: &'static str, flags: &[&str], options: &[&str]) -> Self {
        let docker = Docker::shared();
        let store = UnixRedis::start();
        let mount = format!("{}:/store", store.dir.path().display());
        let flags = [
            &[
                "-v",
                &mount,
                "-e",
                "HB_REDIS_URL=redis+unix:///store/redis.sock",
            ],
            flags,
        ]
        .concat();
        let sidecar = ["hbsidecar", "--id", id, "--interval", "200ms"];
        let agent = ["--", "sh", "-c", "echo ready; exec sleep 600"];
        let command = [&sidecar[..], options, &agent].concat();
        let container = docker.spawn_in(network, &flags, &command);
        let boxed = Self {
            docker,
            store,
            container,
            id,
        };
        boxed.beats_since(0);
        boxed
    }

    fn epoch(&self) -> u64 {
        let beat = self.store.beat(self.id);
        beat.and_then(|beat| beat["hb"]["epoch"].as_u64())
            .unwrap_or_default()
    }

    /// What its last beat says that it runs in.
    fn runtime(&self) -> Runtime {
        let beat = self.store.beat(self.id).unwrap();
        serde_json::from_value(beat["hb"]["runtime"].clone()).unwrap()
    }

    /// Waits for a beat of a later registration.
    fn beats_since(&self, epoch: u64) {
        eventually(&format!("{} beats after epoch {epoch}", self.id), || {
            (self.epoch() > epoch).then_some(())
        });
    }

    fn replacement(&self, number: usize) -> Removed<'_> {
        Removed(&self.docker, format!("{}-replacement-{number}", self.id))
    }

    fn inspect(&self, name: &str) -> Value {
        inspect(&self.docker, name)
    }

    fn job(&self, rung: Rung) -> Job {
        Job {
            epoch: self.epoch(),
            runtime: Some(self.runtime()),
            ..job(self.id, rung)
        }
    }
}

/// A container, network or volume of the rung's making; it does not outlive the test.
struct Removed<'a>(&'a Docker, String);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        self.0.try_docker(&["rm", "-f", &self.1]);
        self.0.try_docker(&["network", "rm", &self.1]);
    }
}

fn inspect(docker: &Docker, name: &str) -> Value {
    let text = docker.docker(&["container", "inspect", name]);
    let containers: Value = serde_json::from_str(&text).unwrap();
    containers[0].clone()
}

fn job(id: &str, rung: Rung) -> Job {
    Job {
        rung,
        agent: AgentId::parse(id).unwrap(),
        agent_type: "writer".to_owned(),
        host: "node-3".to_owned(),
        epoch: 1,
        token: 3,
        incident: "0190-1".to_owned(),
        reason: "heartbeat_lost".to_owned(),
        runtime: None,
        exclusive: false,
        exec: Vec::new(),
        replace_image: None,
        redis_url: None,
    }
}

fn elsewhere() -> Own {
    Own {
        host: "node-3".to_owned(),
        runtime: Runtime {
            kind: "host".to_owned(),
            id: String::new(),
        },
    }
}

fn recovery(docker: &Docker) -> Recovery {
    let host = docker.host();
    let variable = |name: &str| (name == "DOCKER_HOST").then(|| host.clone()).flatten();
    Recovery::from_environment(&variable, elsewhere())
}

async fn done(recovery: &Recovery, job: &Job) -> String {
    let performed = recovery.perform(job).await;
    let Performed::Done(detail) = &performed else {
        panic!("{:?}: {performed:?}", job.rung);
    };
    detail.clone()
}

async fn failed(recovery: &Recovery, job: &Job) -> String {
    let performed = recovery.perform(job).await;
    let Performed::Failed(why) = &performed else {
        panic!("{:?}: {performed:?}", job.rung);
    };
    why.clone()
}

async fn not_applicable(recovery: &Recovery, job: &Job) -> String {
    let performed = recovery.perform(job).await;
    let Performed::NotApplicable(why) = &performed else {
        panic!("{:?}: {performed:?}", job.rung);
    };
    why.clone()
}

#[tokio::test]
async fn agent_and_sidecar_that_were_killed_with_their_container_come_back() {
    let agent = Boxed::start("killed", &[], &[]);
    let (job, epoch) = (agent.job(Rung::Docker), agent.epoch());
    assert_eq!(job.runtime.as_ref().unwrap().id, agent.container.id());
    agent.container.docker(&["kill"]);
    let detail = done(&recovery(&agent.docker), &job).await;
    assert!(
        detail.contains("Docker restarted the container"),
        "{detail}"
    );
    agent.beats_since(epoch);
}

#[tokio::test]
async fn a_container_that_runs_and_says_nothing_is_restarted_within_its_stop_timeout() {
    let agent = Boxed::start("silent", &["--stop-timeout", "1"], &[]);
    let (job, epoch) = (agent.job(Rung::Docker), agent.epoch());
    agent.container.docker(&["kill", "--signal", "STOP"]);
    done(&recovery(&agent.docker), &job).await;
    agent.beats_since(epoch);
}

#[tokio::test]
async fn without_a_report_a_container_is_found_by_its_label_and_by_its_name() {
    let name = format!("named-{}", std::process::id());
    for (id, flags) in [
        ("labelled", ["--label", "hb.agent-id=labelled"]),
        ("named", ["--name", &name]),
    ] {
        let agent = Boxed::start(id, &flags, &[]);
        let epoch = agent.epoch();
        let known = if id == "named" { &name } else { id };
        done(&recovery(&agent.docker), &job(known, Rung::Docker)).await;
        agent.beats_since(epoch);
    }
}

#[tokio::test]
async fn an_agent_beside_the_main_process_of_its_container_costs_no_restart() {
    let agent = Boxed::start("main", &[], &[]);
    let sidecar = "hbsidecar --id beside --interval 200ms -- sleep 600 >/dev/null 2>&1 &";
    agent.container.exec(&["sh", "-c", sidecar]);
    let beat = eventually("the agent beside it beats", || agent.store.beat("beside"));
    let runtime: Runtime = serde_json::from_value(beat["hb"]["runtime"].clone()).unwrap();
    assert_eq!((runtime.kind.as_str(), runtime.id.as_str()), ("docker", ""));
    let job = Job {
        runtime: Some(runtime),
        ..job("beside", Rung::Docker)
    };
    let why = not_applicable(&recovery(&agent.docker), &job).await;
    assert!(why.contains("hb.agent-id=beside"), "{why}");
}

#[tokio::test]
async fn a_container_that_a_person_paused_is_left_alone() {
    let agent = Boxed::start("held", &[], &[]);
    let job = agent.job(Rung::Docker);
    agent.container.docker(&["pause"]);
    let why = not_applicable(&recovery(&agent.docker), &job).await;
    agent.container.docker(&["unpause"]);
    assert!(why.contains("docker unpause"), "{why}");
}

#[tokio::test]
async fn a_container_that_is_gone_is_said_with_the_way_out() {
    let agent = Boxed::start("gone", &[], &[]);
    let job = agent.job(Rung::Docker);
    agent.container.docker(&["rm", "-f"]);
    let why = not_applicable(&recovery(&agent.docker), &job).await;
    assert!(
        why.contains("is not there") && why.contains("hb.agent-id=gone"),
        "{why}"
    );
}

/// What must be the same in the replacement: all but what the engine assigns and what the rung adds.
fn settings(container: &Value) -> Value {
    let mut config = container["Config"].clone();
    let mut host = container["HostConfig"].clone();
    for own in ["Hostname", "Env", "Labels"] {
        config[own] = Value::Null;
    }
    host["Binds"] = Value::Null; // seen as mounts
    let mut mounts: Vec<String> = container["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            format!(
                "{} {} {}",
                mount["Source"], mount["Destination"], mount["RW"]
            )
        })
        .collect();
    mounts.sort();
    let mut networks = container["NetworkSettings"]["Networks"].clone();
    for endpoint in networks.as_object_mut().unwrap().values_mut() {
        *endpoint =
            serde_json::json!({"ipam": endpoint["IPAMConfig"], "id": endpoint["NetworkID"]});
    }
    serde_json::json!({"config": config, "host": host, "mounts": mounts, "networks": networks})
}

/// As a set of `NAME=VALUE`.
fn entries(container: &Value) -> Vec<String> {
    let entries = container["Config"]["Env"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry.as_str().unwrap().to_owned())
        .collect()
}

/// Settings of every sort, as flags of `docker run`.
const RICH: [&str; 39] = [
    "-e",
    "KEY=a value",
    "-e",
    "REDIS_URL=redis://inside",
    "-v",
    "/data",
    "--tmpfs",
    "/scratch",
    "--memory",
    "64m",
    "--cpus",
    "0.5",
    "--pids-limit",
    "50",
    "--user",
    "0:0",
    "--workdir",
    "/tmp",
    "--hostname",
    "rich-host",
    "--restart",
    "unless-stopped",
    "--stop-timeout",
    "3",
    "--ulimit",
    "nofile=512:1024",
    "--cap-drop",
    "MKNOD",
    "--network-alias",
    "writer",
    "--add-host",
    "db:10.1.2.3",
    "--log-opt",
    "max-size=1m",
    "-p",
    "127.0.0.1::7000",
    "--read-only",
    "--entrypoint",
    "/bin/hbsidecar",
];

/// A container with settings of every sort, in two networks.
struct Rich<'a> {
    agent: Boxed,
    networks: [Removed<'a>; 2],
}

impl<'a> Rich<'a> {
    fn start(docker: &'a Arc<Docker>, id: &'static str) -> Self {
        let networks = ["one", "two"].map(|name| {
            let network = format!("hb-{name}-{id}-{}", std::process::id());
            docker.docker(&["network", "create", &network]);
            Removed(docker, network)
        });
        let store = UnixRedis::start();
        let mount = format!("{}:/store", store.dir.path().display());
        let (named, labelled) = (format!("HB_AGENT_ID={id}"), "team=red");
        let own = [
            "--name", id, "--label", labelled, "-v", &mount, "-e", &named,
        ];
        let flags = [&own[..], &RICH].concat();
        let sidecar = ["--redis-url", "redis+unix:///store/redis.sock", "--id", id];
        let agent = ["--interval", "200ms", "--", "sh", "-c", "exec sleep 600"];
        let command = [&sidecar[..], &agent].concat();
        let container = docker.spawn_in(&networks[0].1, &flags, &command);
        docker.docker(&["network", "connect", &networks[1].1, container.id()]);
        let agent = Boxed {
            docker: Arc::clone(docker),
            store,
            container,
            id,
        };
        agent.beats_since(0);
        Self { agent, networks }
    }

    /// The replacement has all settings of the old container, and what names its agent.
    fn is_as_before(&self, old: &Value, new: &Value) {
        let id = self.agent.id;
        assert_eq!(settings(new), settings(old));
        assert_eq!(new["Config"]["Hostname"], "rich-host");
        assert_eq!(new["Config"]["Labels"]["team"], "red");
        let environment = entries(new);
        let named = [format!("AGENT_ID={id}"), format!("HB_AGENT_ID={id}")];
        let added = named.iter().map(String::as_str).chain(["HB_TAKEOVER=1"]);
        for entry in entries(old).iter().map(String::as_str).chain(added) {
            let same = environment.iter().filter(|own| *own == entry);
            assert_eq!(same.count(), 1, "{entry} in {environment:?}");
        }
        let aliases = &new["NetworkSettings"]["Networks"][&self.networks[0].1]["Aliases"];
        for alias in ["writer", id] {
            let all = aliases.as_array().unwrap();
            assert!(all.contains(&alias.into()), "{alias} in {aliases}");
        }
    }
}

#[tokio::test]
async fn a_container_that_was_removed_is_replaced_with_all_its_settings() {
    let docker = Docker::shared();
    let rich = Rich::start(&docker, "rich");
    let agent = &rich.agent;
    let recovery = recovery(&docker);
    let job = Job {
        redis_url: Some("redis://monitors-own".to_owned()),
        ..agent.job(Rung::Replace)
    };
    recovery.remember(&job.agent, &agent.runtime()).await;
    let (old, epoch) = (agent.inspect("rich"), agent.epoch());
    agent.container.docker(&["rm", "-f"]);

    let replacement = agent.replacement(1);
    let detail = done(&recovery, &job).await;
    assert!(
        detail.contains("rich-replacement-1 in the place of rich"),
        "{detail}"
    );
    let new = agent.inspect(&replacement.1);
    rich.is_as_before(&old, &new);
    agent.beats_since(epoch);
}

#[tokio::test]
async fn the_container_before_is_stopped_for_good_and_its_id_is_fenced() {
    let agent = Boxed::start("fenced", &["--restart", "always"], &["--exclusive"]);
    let job = Job {
        exclusive: true,
        ..agent.job(Rung::Replace)
    };
    let (epoch, old) = (agent.epoch(), agent.container.id().to_owned());
    let replacement = agent.replacement(1);
    done(&recovery(&agent.docker), &job).await;
    let stopped = agent.inspect(&old);
    assert_eq!(stopped["State"]["Running"], false);
    assert_eq!(stopped["HostConfig"]["RestartPolicy"]["Name"], "no");
    agent.beats_since(epoch);
    let epoch = agent.epoch();
    assert_eq!(agent.runtime().id, agent.inspect(&replacement.1)["Id"]);
    agent.container.docker(&["start"]);
    assert_eq!(agent.container.exit_code(), 73, "the id is taken");
    assert_eq!(agent.epoch(), epoch);
}

#[tokio::test]
async fn a_replacement_that_cannot_start_is_removed_and_the_old_container_is_as_it_was() {
    let agent = Boxed::start("kept", &["--restart", "always"], &[]);
    let (epoch, old) = (agent.epoch(), agent.container.id().to_owned());
    let empty = format!("hb-empty-{}", std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("empty.tar");
    std::fs::write(&tar, [0; 1024]).unwrap();
    agent
        .docker
        .docker(&["import", tar.to_str().unwrap(), &empty]);
    let job = Job {
        replace_image: Some(empty.clone()),
        ..agent.job(Rung::Replace)
    };
    let why = failed(&recovery(&agent.docker), &job).await;
    agent.docker.docker(&["rmi", &empty]);
    assert!(why.contains("the replacement was removed"), "{why}");
    assert!(why.contains("was started again"), "{why}");
    let names = agent.docker.docker(&["ps", "-a", "--format", "{{.Names}}"]);
    assert!(!names.contains("kept-replacement"), "{names}");
    assert_eq!(
        agent.inspect(&old)["HostConfig"]["RestartPolicy"]["Name"],
        "always"
    );
    agent.beats_since(epoch);
}

#[tokio::test]
async fn an_image_that_is_nowhere_leaves_everything_as_it_is() {
    let agent = Boxed::start("plain", &[], &[]);
    let image = "127.0.0.1:1/agent:2".to_owned();
    let job = Job {
        replace_image: Some(image),
        ..agent.job(Rung::Replace)
    };
    let why = failed(&recovery(&agent.docker), &job).await;
    assert!(why.contains("docker pull 127.0.0.1:1/agent:2"), "{why}");
    assert!(why.contains("nothing was changed"), "{why}");
    let state = agent.inspect(agent.container.id())["State"].clone();
    assert_eq!(state["Running"], true);
}

#[tokio::test]
async fn a_name_that_is_taken_is_passed_over() {
    let agent = Boxed::start("second", &[], &[]);
    let other = agent.replacement(1);
    agent
        .docker
        .docker(&["create", "--name", &other.1, agent.docker.image(), "true"]);
    let replacement = agent.replacement(2);
    let detail = done(&recovery(&agent.docker), &agent.job(Rung::Replace)).await;
    assert!(detail.contains(&replacement.1), "{detail}");
}

#[tokio::test]
async fn without_a_container_or_an_image_nothing_is_made_up() {
    let docker = Docker::shared();
    let why = not_applicable(&recovery(&docker), &job("unseen", Rung::Replace)).await;
    assert!(why.contains("replace_image"), "{why}");
}

/// hbmonitor itself, on this engine and the store of the agent.
fn monitor(agent: &Boxed) -> Monitor {
    let url = format!(
        "redis+unix://{}/redis.sock",
        agent.store.dir.path().display()
    );
    let monitor = Monitor::start_with(&url, |command| {
        if let Some(host) = agent.docker.host() {
            command.env("DOCKER_HOST", host);
        }
        command.stderr(Stdio::null());
    });
    monitor.wait_for(agent.id, "healthy");
    monitor
}

/// The rungs of the agent's incident once that is over: name and outcome.
fn climbed(monitor: &Monitor, agent: &str) -> Vec<(String, String)> {
    let path = format!("/v1/incidents?agent={agent}");
    let rungs = eventually("its incident is over", || {
        let (_, answer) = monitor.get(&path)?;
        let incident = answer["incidents"].as_array()?.first()?.clone();
        incident["closedAt"]
            .is_u64()
            .then(|| incident["rungs"].clone())
    });
    let word = |rung: &Value, name: &str| rung[name].as_str().unwrap_or_default().to_owned();
    let rungs = rungs.as_array().unwrap().iter();
    rungs
        .map(|rung| (word(rung, "rung"), word(rung, "outcome")))
        .collect()
}

fn outcomes(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(rung, outcome): &(&str, &str)| ((*rung).to_owned(), (*outcome).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn hbmonitor_restarts_the_container_whose_sidecar_and_agent_were_killed() {
    let agent = Boxed::start("climbed", &[], &[]);
    let (monitor, epoch) = (monitor(&agent), agent.epoch());
    agent.container.docker(&["kill"]);
    let expected = outcomes(&[("docker", "recovered")]);
    assert_eq!(climbed(&monitor, agent.id), expected);
    assert!(agent.epoch() > epoch);
    assert_eq!(agent.runtime().id, agent.container.id());
}

#[test]
fn hbmonitor_replaces_a_container_that_was_removed() {
    let docker = Docker::shared();
    let rich = Rich::start(&docker, "removed");
    let agent = &rich.agent;
    let (monitor, epoch, old) = (monitor(agent), agent.epoch(), agent.inspect(agent.id));
    let replacement = agent.replacement(1);
    agent.container.docker(&["rm", "-f"]);
    let expected = outcomes(&[("docker", "not_applicable"), ("replace", "recovered")]);
    assert_eq!(climbed(&monitor, agent.id), expected);
    rich.is_as_before(&old, &agent.inspect(&replacement.1));
    assert!(agent.epoch() > epoch, "the run before is fenced");
    assert_eq!(agent.runtime().id, agent.inspect(&replacement.1)["Id"]);
}
