//! The rungs of recovery on real engines, with real agents under hbsidecar.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must stop"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use hbmonitor::recovery::{Job, Recovery};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::Performed;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::beat::Runtime;
use std::sync::Arc;
use support::docker::{Container, Docker};
use support::eventually;
use support::unix_redis::UnixRedis;

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
        let container = docker.spawn(&flags, &command);
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

    fn job(&self, rung: Rung) -> Job {
        Job {
            epoch: self.epoch(),
            runtime: Some(self.runtime()),
            ..job(self.id, rung)
        }
    }
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

fn recovery(docker: &Docker) -> Recovery {
    let host = docker.host();
    Recovery::from_environment(&|name| (name == "DOCKER_HOST").then(|| host.clone()).flatten())
}

async fn done(recovery: &Recovery, job: &Job) -> String {
    let performed = recovery.perform(job).await;
    let Performed::Done(detail) = &performed else {
        panic!("{:?}: {performed:?}", job.rung);
    };
    detail.clone()
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
