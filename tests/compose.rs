//! `Dockerfile` and `docker-compose.yml` as they are, on a real engine. Only what a registry would deliver is the test's: the
//! base images, and a toolchain whose `cargo` has built already.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
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

/// The words of Compose v1, and of v2 or later, as far as they are here.
fn composes() -> BTreeMap<&'static str, Vec<String>> {
    let exe = std::env::current_exe().unwrap();
    let built = exe.ancestors().nth(3).unwrap();
    let built = built.join("tools/bin/docker-compose-v2");
    let commands = [
        vec!["docker-compose".to_owned()],
        vec!["docker".to_owned(), "compose".to_owned()],
        vec![built.display().to_string()],
    ];
    let mut found = BTreeMap::new();
    for command in commands {
        let mut version = Command::new(&command[0]);
        version.args(&command[1..]).args(["version", "--short"]);
        let Ok(version) = version.output() else {
            continue; // it is not here
        };
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let major = match version.trim().trim_start_matches('v').chars().next() {
            Some('1') => "v1",
            Some('2'..='9') => "v2",
            _ => continue, // a Docker without this plugin
        };
        found.entry(major).or_insert(command);
    }
    found
}

/// A started `docker-compose.yml`.
struct Composed<'a> {
    words: &'a [String],
    docker: &'a Docker,
    port: u16,
}

impl<'a> Composed<'a> {
    fn up(words: &'a [String], docker: &'a Docker) -> Self {
        let composed = Self {
            words,
            docker,
            port: support::unused_port(),
        };
        composed.compose(&["up", "-d", "--quiet-pull"]);
        composed
    }

    /// Compose with these arguments, to a good end; what it wrote.
    fn compose(&self, arguments: &[&str]) -> String {
        let host = self.docker.host().unwrap();
        let socket = host.trim_start_matches("unix://").to_owned();
        let group = std::fs::metadata(&socket).unwrap().gid();
        let output = Command::new(&self.words[0])
            .args(&self.words[1..])
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

impl Drop for Composed<'_> {
    /// With its volumes: another version starts afresh.
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "0"]);
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

/// One engine for all versions: images are the costly part.
#[test]
fn one_command_starts_the_fleet_and_what_is_killed_comes_back() {
    let docker = Docker::empty();
    base_images(&docker);
    let composes = composes();
    for (major, words) in &composes {
        println!("Compose {major}: {words:?}");
        the_story(&Composed::up(words, &docker));
    }
    assert!(!composes.is_empty(), "there is no Compose: make test-deps");
    for major in ["v1", "v2"] {
        if !composes.contains_key(major) {
            // Past the harness, which would keep it to itself.
            let words =
                format!("Compose {major} IS NOT HERE: docker-compose.yml was not tried with it\n");
            std::io::stderr().write_all(words.as_bytes()).unwrap();
        }
    }
}

fn the_story(fleet: &Composed<'_>) {
    fleet.wait_until("is healthy", |agent| agent["state"] == "healthy");
    eventually("both agents are there", || {
        (fleet.agent("reader-1")?["state"] == "healthy").then_some(())
    });

    // The agent dies: its sidecar starts it again, in the same container.
    fleet.compose(&["exec", "-T", "writer", "killall", "-KILL", "sh"]);
    fleet.wait_until("was restarted and is healthy", |agent| {
        agent["restarts"] == 1 && agent["state"] == "healthy"
    });

    the_container_comes_back_where_the_socket_was_allowed(fleet);

    let monitor = fleet.container("hbmonitor");
    let inspect = |format: &str| {
        let words = ["inspect", "--format", format, &monitor];
        fleet.docker.docker(&words)
    };
    eventually("its health check succeeds", || {
        (inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
    fleet.compose(&["stop", "hbmonitor"]);
    assert_eq!(
        inspect("{{.State.ExitCode}} {{.Config.User}}"),
        "0 65532:65532",
        "it ends by itself, and was never root"
    );
}

fn the_container_comes_back_where_the_socket_was_allowed(fleet: &Composed<'_>) {
    // Without the engine's socket a person has to start it: its incident says why.
    let container = fleet.container("writer");
    fleet.docker.docker(&["kill", &container]);
    eventually("the rung docker names what is missing", || {
        let address = format!("127.0.0.1:{}", fleet.port);
        let (_, answer) = get(&address, "/v1/incidents?agent=writer-1")?;
        let rungs = answer["incidents"][0]["rungs"].as_array()?.clone();
        let docker = rungs.iter().find(|rung| rung["rung"] == "docker")?;
        let detail = docker["detail"].as_str()?;
        detail
            .contains("mount its socket into hbmonitor's container")
            .then_some(())
    });
    fleet.docker.docker(&["start", &container]);
    fleet.wait_until("is healthy", |agent| agent["state"] == "healthy");

    fleet.compose(&[&SOCKET_ALLOWED[..], &["up", "-d"]].concat());
    fleet.wait_until("is healthy", |agent| agent["state"] == "healthy");
    let epoch = fleet.agent("writer-1").unwrap()["epoch"].as_u64();
    let container = fleet.container("writer");
    fleet.docker.docker(&["kill", &container]);
    fleet.wait_until("is back in another run", |agent| {
        agent["epoch"].as_u64() > epoch && agent["state"] == "healthy"
    });
}
