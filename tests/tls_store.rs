//! A store that is reached by TLS: a private certificate authority, clients that must show a certificate, and new files.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Monitor, Redis, Running, clean, eventually, place, program, sidecar, unused_port};

/// A Redis with a port for TLS, beside the usual one by which the test looks into it.
struct Encrypted {
    redis: Redis,
    port: u16,
    scheme: &'static str,
    files: tempfile::TempDir,
}

impl Encrypted {
    /// With certificates of an authority that no machine trusts. `clients` is `yes` when they must show one too.
    fn start(clients: &str) -> Self {
        Self::start_as("rediss", clients, &[])
    }

    /// A cluster of one node, which names no host: it is reached by the name that its clients were given.
    fn start_cluster() -> Self {
        let bus = unused_port().to_string();
        let mut more = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
        more.extend(["--tls-cluster", "yes"]); // or it names its port without TLS
        let store = Self::start_as("rediss-cluster", "no", &more);
        let all = ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"];
        let () = store.redis.run(&all);
        store
    }

    fn start_as(scheme: &'static str, clients: &str, more: &[&str]) -> Self {
        let (files, port) = (place(), unused_port());
        write_certificates(files.path());
        let file = |name: &str| files.path().join(name).display().to_string();
        let (server, key, authority) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let port_text = port.to_string();
        let mut arguments = vec![
            "--tls-port",
            &port_text,
            "--tls-cert-file",
            &server,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &authority,
            "--tls-auth-clients",
            clients,
        ];
        arguments.extend(more);
        let mut redis = Redis::absent(&arguments);
        redis.up();
        Self {
            redis,
            port,
            scheme,
            files,
        }
    }

    fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The flags of a client that trusts the authority, and shows a certificate where the server asks for one.
    fn trusting(&self, command: &mut Command, shows: bool) {
        command.arg("--redis-ca-file").arg(self.file("ca.pem"));
        if shows {
            command
                .arg("--redis-cert-file")
                .arg(self.file("client.pem"));
            command.arg("--redis-key-file").arg(self.file("client.key"));
        }
    }

    fn monitor(&self, shows: bool) -> Monitor {
        Monitor::start_with(&self.url(), |command| self.trusting(command, shows))
    }

    fn agent(&self, id: &str, shows: bool) -> Running {
        let mut command = clean(&program("hbsidecar"));
        command.args(["-q", "--redis-url", &self.url(), "--id", id]);
        self.trusting(&mut command, shows);
        command.args(["--interval", "500ms", "--", "sleep", "1000"]);
        Running::start(&mut command)
    }
}

/// A new authority with a server and a client of it, in the place of those that are there.
fn write_certificates(directory: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Its name is its own: a certificate with the name of its issuer counts as self-signed.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of the test");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
    for (name, host) in [("server", "localhost"), ("client", "hb.example")] {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), own.pem()).unwrap();
        let secret = key.serialize_pem();
        std::fs::write(directory.join(format!("{name}.key")), secret).unwrap();
    }
}

/// What the sidecar logs of a store that it cannot use, while its agent runs.
fn refusal(store: &Encrypted, command: &mut Command) -> String {
    let log = store.file("log");
    command.args(["sleep", "1000"]);
    command.stderr(File::create(&log).unwrap());
    let mut running = Running::start(command);
    let line = eventually("the refusal is logged", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines()
            .find(|line| line.contains("store unreachable"))
            .map(str::to_owned)
    });
    assert!(running.0.try_wait().unwrap().is_none(), "{line}");
    line
}

#[test]
fn a_fleet_lives_behind_a_private_authority() {
    let store = Encrypted::start("no");
    let monitor = store.monitor(false);
    let mut agent = store.agent("tls-1", false);
    monitor.wait_for("tls-1", "healthy");
    agent.signal("TERM");
    agent.wait();
    monitor.wait_for("tls-1", "stopped");
}

#[test]
fn a_cluster_is_reached_by_tls_at_each_connection() {
    let store = Encrypted::start_cluster();
    let monitor = store.monitor(false);
    let mut agent = store.agent("tls-c", false);
    monitor.wait_for("tls-c", "healthy");
    agent.signal("TERM");
    agent.wait();
    monitor.wait_for("tls-c", "stopped");
}

#[test]
fn many_beats_arrive_whole_through_the_encrypted_channel() {
    let store = Encrypted::start("no");
    let monitor = store.monitor(false);
    // More than one record of TLS, and more than one read of the socket, at once.
    let mut connection = store.redis.client().get_connection().unwrap();
    let mut pipeline = redis::pipe();
    for number in 0..2_000 {
        let text = format!(
            r#"{{"agentId":"many-{number}","agentType":"t","timestamp":1,"sequence":1,"status":"healthy","metrics":{{}}}}"#
        );
        pipeline.publish("heartbeats", text).ignore();
    }
    pipeline.query::<()>(&mut connection).unwrap();
    eventually("each of them is known", || {
        let (_, listing) = monitor.get("/health/agents?limit=1")?;
        (listing["total"] == 2_000).then_some(())
    });
}

#[test]
fn a_client_shows_its_certificate_where_the_store_asks_for_one() {
    let store = Encrypted::start("yes");
    let monitor = store.monitor(true);
    let _agent = store.agent("tls-2", true);
    monitor.wait_for("tls-2", "healthy");
}

#[test]
fn new_certificates_need_no_restart() {
    let mut store = Encrypted::start("yes");
    let monitor = store.monitor(true);
    let _agent = store.agent("tls-3", true);
    monitor.wait_for("tls-3", "healthy");
    store.redis.down();
    write_certificates(store.files.path());
    store.redis.up();
    let connected = || {
        let clients: String = store.redis.run(&["CLIENT", "LIST"]);
        // The agent's sidecar, and hbmonitor's connection of beats.
        (clients.matches("sub=1").count() + clients.matches("sub=2").count() >= 2).then_some(())
    };
    eventually("both are back with the new files", connected);
    monitor.wait_for("tls-3", "healthy");
}

#[test]
fn a_certificate_that_the_store_misses_is_named() {
    let store = Encrypted::start("yes");
    let mut command = sidecar(&store.url(), "tls-5", "500ms");
    command.env("HB_REDIS_CA_FILE", store.file("ca.pem"));
    let line = refusal(&store, &mut command);
    assert!(line.contains("--redis-cert-file"), "{line}");
}

#[test]
fn an_authority_that_is_not_trusted_is_named_and_the_agent_runs() {
    let store = Encrypted::start("no");
    let mut command = sidecar(&store.url(), "tls-4", "500ms");
    let line = refusal(&store, &mut command);
    assert!(
        line.contains("certificate") && line.contains("--redis-ca-file"),
        "{line}"
    );
}

#[test]
fn a_url_without_tls_at_a_port_with_it_is_named() {
    let store = Encrypted::start("no");
    let url = store.url().replace("rediss://", "redis://");
    let mut command = sidecar(&url, "tls-6", "500ms");
    let line = refusal(&store, &mut command);
    assert!(line.contains("write its URL as rediss://"), "{line}");
}

#[test]
fn a_url_with_tls_at_a_port_without_it_is_named() {
    let store = Encrypted::start("no");
    let url = store.redis.url().replace("redis://", "rediss://");
    let mut command = sidecar(&url, "tls-7", "500ms");
    let line = refusal(&store, &mut command);
    assert!(line.contains("write its URL as redis://"), "{line}");
}

/// What the server says on the way out is lost when a client speaks first.
#[test]
fn a_server_without_room_for_a_client_is_quoted() {
    let store = Encrypted::start("no");
    let _: String = store.redis.run(&["CONFIG", "SET", "maxclients", "1"]);
    let _taken = eventually("the last place is taken", || {
        let mut taken = store.redis.client().get_connection().ok()?;
        redis::cmd("PING").query::<String>(&mut taken).ok()?;
        Some(taken)
    });
    let mut command = sidecar(&store.redis.url(), "tls-8", "500ms");
    let line = refusal(&store, &mut command);
    assert!(
        line.contains("max number of clients reached; raise its maxclients"),
        "{line}"
    );
}
