//! `Dockerfile` and `docker-compose.yml` as they are, on a real engine. Only what a registry would deliver is the test's: the
//! base images, and a toolchain whose `cargo` has built already.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::docker::{Docker, busybox, copy_libraries};
use support::static_program::{repository, static_program};
use support::{eventually, get};

/// `cargo build` of the image's toolchain: the programs are there.
const CARGO: &str = "#!/bin/sh\nset -e\nmade=$CARGO_TARGET_DIR/here/release\nmkdir -p $made\ncp /programs/* $made/\n";
const RUSTC: &str = "#!/bin/sh\necho 'host: here'\n";
const SOCKET_ALLOWED: [&str; 4] = ["-f", "docker-compose.yml", "-f", "deploy/docker-socket.yml"];

/// A started `docker-compose.yml`.
struct Composed {
    docker: Docker,
    port: u16,
}

impl Composed {
    fn up() -> Self {
        let docker = Docker::empty();
        base_images(&docker);
        let composed = Self {
            docker,
            port: support::unused_port(),
        };
        composed.compose(&["up", "-d", "--quiet-pull"]);
        composed
    }

    /// `docker-compose` with these arguments, to a good end; what it wrote.
    fn compose(&self, arguments: &[&str]) -> String {
        let host = self.docker.host().unwrap();
        let socket = host.trim_start_matches("unix://").to_owned();
        let group = std::fs::metadata(&socket).unwrap().gid();
        let output = Command::new("docker-compose")
            .args(arguments)
            .current_dir(repository())
            .env("COMPOSE_PROJECT_NAME", "hb")
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_HOST", host)
            .env("DOCKER_SOCKET", socket)
            .env("DOCKER_GID", group.to_string())
            .env("HB_PORT", self.port.to_string())
            .env("HB_INTERVAL", "1s")
            .output()
            .unwrap();
        let wrote = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {wrote}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn agent(&self, id: &str) -> Option<Value> {
        let address = format!("127.0.0.1:{}", self.port);
        let (_, agent) = get(&address, &format!("/health/agents/{id}"))?;
        Some(agent)
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(&format!("writer-1 {what}"), || {
            is_so(&self.agent("writer-1")?).then_some(())
        });
    }

    fn container(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service])
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        self.compose(&["kill"]);
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn base_images(docker: &Docker) {
    let place = tempfile::tempdir().unwrap();
    let root = |name: &str| {
        let root = place.path().join(name);
        busybox(&root);
        root
    };
    docker.import_root(&root("busybox"), "busybox:1.36");

    let toolchain = root("rust");
    let programs = toolchain.join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["hbsidecar", "hbmonitor"] {
        static_program(name, &programs);
    }
    write_program(&toolchain.join("bin/cargo"), CARGO);
    write_program(&toolchain.join("bin/rustc"), RUSTC);
    docker.import_root(&toolchain, "rust:1.95-slim-bookworm");

    let redis = root("redis");
    std::fs::create_dir(redis.join("data")).unwrap();
    for name in ["redis-server", "redis-cli"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        let found = std::fs::canonicalize(found.trim()).unwrap();
        copy_libraries(&found, &redis);
        std::fs::copy(&found, redis.join("bin").join(name)).unwrap();
    }
    // As in the real image: reachable from other containers, in its data directory.
    let entrypoint = "#!/bin/sh\ncd /data\nexec \"$@\" --protected-mode no\n";
    write_program(&redis.join("bin/entrypoint"), entrypoint);
    docker.import_root(&redis, "redis-of-this-machine");
    let dockerfile = place.path().join("Dockerfile");
    std::fs::write(
        &dockerfile,
        "FROM redis-of-this-machine\nENTRYPOINT [\"entrypoint\"]\n",
    )
    .unwrap();
    docker.build(place.path(), "redis:7-alpine");
}

/// One engine for the whole story: images and networks are the costly part.
#[test]
fn one_command_starts_the_fleet_and_what_is_killed_comes_back() {
    let fleet = Composed::up();
    fleet.wait_until("is healthy", |agent| agent["state"] == "healthy");
    eventually("both agents are there", || {
        (fleet.agent("reader-1")?["state"] == "healthy").then_some(())
    });

    // The agent dies: its sidecar starts it again, in the same container.
    fleet.compose(&["exec", "-T", "writer", "killall", "-KILL", "sh"]);
    fleet.wait_until("was restarted and is healthy", |agent| {
        agent["restarts"] == 1 && agent["state"] == "healthy"
    });

    // The container dies. Without the engine's socket there is a person to tell; with it hbmonitor starts it again.
    fleet.compose(&[&SOCKET_ALLOWED[..], &["up", "-d"]].concat());
    fleet.wait_until("is healthy", |agent| agent["state"] == "healthy");
    let epoch = fleet.agent("writer-1").unwrap()["epoch"].as_u64();
    let container = fleet.container("writer");
    fleet.docker.docker(&["kill", &container]);
    fleet.wait_until("is back in another run", |agent| {
        agent["epoch"].as_u64() > epoch && agent["state"] == "healthy"
    });

    let monitor = fleet.container("hbmonitor");
    eventually("its health check succeeds", || {
        let health =
            fleet
                .docker
                .docker(&["inspect", "--format", "{{.State.Health.Status}}", &monitor]);
        (health == "healthy").then_some(())
    });
    fleet.compose(&["stop", "hbmonitor"]);
    let ended = fleet.docker.docker(&[
        "inspect",
        "--format",
        "{{.State.ExitCode}} {{.Config.User}}",
        &monitor,
    ]);
    assert_eq!(
        ended, "0 65532:65532",
        "it ends by itself, and was never root"
    );
}
