//! The rung `systemd` with a real systemd as PID 1 of a container, and an agent under hbsidecar in a unit of it.
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
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::docker::{Container, Docker};
use support::unix_redis::UnixRedis;
use support::{eventually, program};

const HOST: &str = "the-only-host";

/// A machine in a container. Its programs are those of this machine, read-only; its bus is reached from outside.
struct Machine {
    docker: Arc<Docker>,
    container: Container,
    store: UnixRedis,
    bus: tempfile::TempDir,
    image: String,
}

impl Machine {
    fn boot(units: &[(&str, &str)]) -> Self {
        let docker = Docker::shared();
        let (bus, store) = (tempfile::tempdir().unwrap(), UnixRedis::start());
        let image = format!("hb-systemd-{}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        root(&dir.path().join("root"), units);
        let tar = dir.path().join("image.tar");
        let packed = Command::new("tar")
            .args(["-C", &dir.path().join("root").display().to_string(), "-cf"])
            .args([&tar, Path::new(".")])
            .status();
        assert!(packed.unwrap().success());
        docker.docker(&["import", tar.to_str().unwrap(), &image]);
        let mounts = [
            format!("{}:/run/dbus", bus.path().display()),
            format!("{}:/store", store.dir.path().display()),
            format!("{}:/opt/hbsidecar:ro", program("hbsidecar").display()),
        ];
        let mut flags = vec![
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--cgroupns=host",
            "--stop-signal=SIGRTMIN+3",
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            "--env=container=docker",
            "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--volume=/usr:/usr:ro",
        ];
        flags.extend(mounts.iter().flat_map(|mount| ["-v", mount]));
        let init = ["/lib/systemd/systemd", "--unit=hb.target"];
        let container = docker.spawn_of(&image, "none", &flags, &init);
        let machine = Self {
            docker,
            container,
            store,
            bus,
            image,
        };
        eventually("systemd has started its units", || {
            machine
                .systemctl(&["is-active", "hb.target"])
                .starts_with("active")
                .then_some(())
        });
        machine
    }

    /// What it writes, whatever its exit code.
    fn systemctl(&self, arguments: &[&str]) -> String {
        let command = format!("systemctl {} 2>&1; true", arguments.join(" "));
        self.container.exec(&["sh", "-c", &command])
    }

    fn epoch(&self) -> u64 {
        let beat = self.store.beat("unit");
        beat.and_then(|beat| beat["hb"]["epoch"].as_u64())
            .unwrap_or_default()
    }

    fn beats_since(&self, epoch: u64) {
        eventually(&format!("it beats after epoch {epoch}"), || {
            (self.epoch() > epoch).then_some(())
        });
    }

    async fn restart(&self, unit: &str) -> Performed {
        let bus = format!("unix:path={}/system_bus_socket", self.bus.path().display());
        let variable = |name: &str| (name == "DBUS_SYSTEM_BUS_ADDRESS").then(|| bus.clone());
        let own = Own {
            host: HOST.to_owned(),
            runtime: runtime("host", ""),
        };
        let recovery = Recovery::from_environment(&variable, own);
        recovery.perform(&job(unit)).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.docker.try_docker(&["rm", "-f", self.container.id()]);
        self.docker.try_docker(&["rmi", "-f", &self.image]);
    }
}

/// A root directory with nothing but links into `/usr`, two users and the units.
fn root(root: &Path, units: &[(&str, &str)]) {
    let system = root.join("etc/systemd/system");
    std::fs::create_dir_all(&system).unwrap();
    for dir in [
        "proc", "sys", "dev", "run", "tmp", "var", "root", "usr", "opt", "store",
    ] {
        std::fs::create_dir(root.join(dir)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/usr/sbin/nologin\n";
    for (file, text) in [
        ("passwd", passwd),
        ("group", "root:x:0:\nmessagebus:x:100:\n"),
        ("machine-id", ""),
        (
            "systemd/system/hb.target",
            "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n",
        ),
    ] {
        std::fs::write(root.join("etc").join(file), text).unwrap();
    }
    for (name, text) in units {
        std::fs::write(system.join(name), text).unwrap();
    }
    symlink("/dev/null", system.join("masked.service")).unwrap();
}

fn runtime(kind: &str, id: &str) -> Runtime {
    Runtime {
        kind: kind.to_owned(),
        id: id.to_owned(),
    }
}

fn job(unit: &str) -> Job {
    Job {
        rung: Rung::Systemd,
        agent: AgentId::parse("unit").unwrap(),
        agent_type: "writer".to_owned(),
        host: HOST.to_owned(),
        epoch: 1,
        token: 3,
        incident: "0190-1".to_owned(),
        reason: "heartbeat_lost".to_owned(),
        runtime: Some(runtime("systemd", unit)),
        exclusive: false,
        exec: Vec::new(),
        replace_image: None,
        redis_url: None,
    }
}

fn failure(performed: &Performed) -> &str {
    let Performed::Failed(why) = performed else {
        panic!("{performed:?}");
    };
    why
}

/// One machine for the whole story: its boot is the costly part.
#[tokio::test]
async fn a_unit_is_restarted_over_dbus_and_each_refusal_names_a_remedy() {
    let machine = Machine::boot(&[
        (
            "agent.service",
            "[Service]\nEnvironment=HB_REDIS_URL=redis+unix:///store/redis.sock\n\
             ExecStart=/opt/hbsidecar --id unit --interval 200ms -- /bin/sleep 600\n",
        ),
        (
            "limited.service",
            "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/sleep 600\n",
        ),
        (
            "broken.service",
            "[Service]\nType=oneshot\nExecStart=/bin/false\n",
        ),
        (
            "slow.service",
            "[Service]\nExecStart=/bin/sleep 600\nExecStop=/bin/sleep 600\n",
        ),
    ]);
    machine.systemctl(&["start", "agent.service", "limited.service", "slow.service"]);
    machine.beats_since(0);

    let epoch = machine.epoch();
    machine.systemctl(&["kill", "--signal=KILL", "agent.service"]);
    let done = machine.restart("agent.service").await;
    assert_eq!(
        done,
        Performed::Done("systemd restarted agent.service".to_owned())
    );
    machine.beats_since(epoch);

    let beyond_the_limit = machine.restart("limited.service").await;
    assert!(
        matches!(beyond_the_limit, Performed::Done(_)),
        "{beyond_the_limit:?}"
    );

    let broken = machine.restart("broken.service").await;
    assert!(
        failure(&broken).contains("journalctl -u broken.service"),
        "{broken:?}"
    );

    let absent = machine.restart("absent.service").await;
    assert!(failure(&absent).contains("daemon-reload"), "{absent:?}");

    let masked = machine.restart("masked.service").await;
    assert!(failure(&masked).contains("systemctl unmask"), "{masked:?}");

    machine.systemctl(&["stop", "--no-block", "slow.service"]);
    let stopping = machine.restart("slow.service").await;
    assert!(failure(&stopping).contains("list-jobs"), "{stopping:?}");
}
