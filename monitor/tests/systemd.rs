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
use std::process::Stdio;
use support::systemd::{Machine, UNITS};
use support::unix_redis::UnixRedis;
use support::{Monitor, eventually, program};

const HOST: &str = "the-only-host";

/// A machine whose bus is reached from outside, with the store of its agents.
struct Reached {
    machine: Machine,
    store: UnixRedis,
    bus: tempfile::TempDir,
}

impl Reached {
    fn boot(units: &[(&str, &str)]) -> Self {
        let (bus, store) = (tempfile::tempdir().unwrap(), UnixRedis::start());
        let file = |(name, text): &(&str, &str)| (format!("{UNITS}/{name}"), (*text).to_owned());
        let files: Vec<(String, String)> = units.iter().map(file).collect();
        let mounts = [
            format!("{}:/run/dbus", bus.path().display()),
            format!("{}:/store", store.dir.path().display()),
            format!("{}:/opt/hbsidecar:ro", program("hbsidecar").display()),
        ];
        let machine = Machine::boot(&files, &mounts);
        Self {
            machine,
            store,
            bus,
        }
    }

    fn systemctl(&self, arguments: &[&str]) -> String {
        self.machine.systemctl(arguments)
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

    fn bus(&self) -> String {
        format!("unix:path={}/system_bus_socket", self.bus.path().display())
    }

    async fn restart(&self, unit: &str) -> Performed {
        let bus = self.bus();
        let variable = |name: &str| (name == "DBUS_SYSTEM_BUS_ADDRESS").then(|| bus.clone());
        let own = Own {
            host: HOST.to_owned(),
            runtime: runtime("host", ""),
        };
        let recovery = Recovery::from_environment(&variable, own);
        recovery.perform(&job(unit)).await
    }
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

/// hbmonitor itself: the unit has no `Restart=`, and its sidecar is killed with its agent.
fn the_ladder_restarts_it(machine: &Reached) {
    let url = format!(
        "redis+unix://{}/redis.sock",
        machine.store.dir.path().display()
    );
    let monitor = Monitor::start_with(&url, |command| {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", machine.bus());
        command.stderr(Stdio::null());
    });
    monitor.wait_for("unit", "healthy");
    let epoch = machine.epoch();
    machine.systemctl(&["kill", "--signal=KILL", "agent.service"]);
    let rungs = eventually("its incident is over", || {
        let (_, answer) = monitor.get("/v1/incidents?agent=unit")?;
        let incident = answer["incidents"].as_array()?.first()?.clone();
        incident["closedAt"]
            .is_u64()
            .then(|| incident["rungs"].clone())
    });
    let rungs = rungs.as_array().unwrap();
    assert_eq!(rungs.len(), 1, "{rungs:?}");
    let (rung, outcome) = (&rungs[0]["rung"], &rungs[0]["outcome"]);
    assert!(rung == "systemd" && outcome == "recovered", "{rungs:?}");
    assert!(machine.epoch() > epoch);
}

/// One machine for the whole story: its boot is the costly part.
#[tokio::test]
async fn a_unit_is_restarted_over_dbus_and_each_refusal_names_a_remedy() {
    let machine = Reached::boot(&[
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

    the_ladder_restarts_it(&machine);

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
