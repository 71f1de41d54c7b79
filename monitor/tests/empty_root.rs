//! Static programs in a root that holds nothing else: names resolve, certificates are verified, a copy is installed.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream, crypto};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use support::static_program::static_program;
use support::{Redis, eventually, get, serving, unused_port};

const NAME: &str = "receiver.hb.test";

/// A root directory.
struct Root(tempfile::TempDir);

impl Root {
    fn with(program: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        static_program(program, root.path());
        let root = Self(root);
        for directory in ["etc", "proc"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        root.write("etc/hosts", &format!("127.0.0.1 {NAME}\n"));
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path().join(path), text).unwrap();
    }

    /// In that root, with no variable but these, to its end.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(&[], words)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// The command that does so; `options` are those of `unshare`.
    fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .arg("--root")
            .arg(self.path())
            .args(options)
            .args(words);
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path);
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// In PEM: an authority that no machine trusts, and a certificate of it for [`NAME`] with its key.
struct Certificates {
    authority: String,
    own: String,
    key: String,
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate with the name of its issuer would count as self-signed.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of the test");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    Certificates {
        authority: issuer.pem(),
        own: own.pem(),
        key: key.serialize_pem(),
    }
}

/// A webhook's receiver over TLS that takes everything: its port, and the certificate of its authority.
fn receiver() -> (u16, String) {
    let made = certificates();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(made.own.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut connection, &mut stream);
            // A client that does not trust it ends the handshake.
            if stream.read(&mut [0; 65536]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            }
        }
    });
    (port, made.authority)
}

#[test]
fn a_receiver_over_https_is_found_by_name_and_its_certificate_is_verified() {
    let root = Root::with("hbmonitor");
    let (port, authority) = receiver();
    root.write("authority.pem", &authority);
    root.write("url", &format!("https://{NAME}:{port}/hook\n"));
    let table =
        "[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl_file = \"/url\"\nprivate = true\n";
    root.write("hb.toml", table);
    let test = ["/hbmonitor", "alert", "test", "--config", "/hb.toml"];

    let stranger = root.run(&test, &[]);
    let said = text(&stranger.stdout) + &text(&stranger.stderr);
    assert!(said.contains("UnknownIssuer"), "{said}");

    let trusted = root.run(&test, &[("SSL_CERT_FILE", "/authority.pem")]);
    assert!(trusted.status.success(), "{trusted:?}");
}

#[test]
fn a_sidecar_finds_its_store_by_name_and_installs_itself() {
    let root = Root::with("hbsidecar");
    let redis = Redis::start();
    let store = format!("redis://{NAME}:{}", redis.port);
    let agent = [
        "/hbsidecar",
        "--id",
        "a1",
        "--redis-url",
        &store,
        "--",
        "/hbsidecar",
    ];
    let done = root.run(
        &[&agent[..], &["install", "/shared/programs/"]].concat(),
        &[],
    );
    assert!(done.status.success(), "{done:?}");
    let installed = root.path().join("shared/programs/hbsidecar");
    let mode = std::fs::metadata(&installed).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let status: Option<String> = redis.run(&["HGET", "agent:a1", "status"]);
    assert_eq!(status.as_deref(), Some("stopped"));
}

#[test]
fn a_store_over_tls_is_found_by_name_and_its_certificate_is_verified() {
    let root = Root::with("hbsidecar");
    let (made, port, server) = (certificates(), unused_port(), tempfile::tempdir().unwrap());
    root.write("authority.pem", &made.authority);
    let file = |name: &str, text: &str| {
        let path = server.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (own, key) = (file("own.pem", &made.own), file("own.key", &made.key));
    let authority = file("authority.pem", &made.authority);
    let tls = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let files = [
        "--tls-cert-file",
        &own,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
    ];
    let mut redis = Redis::absent(&[&tls[..], &files].concat());
    redis.up();
    let store = format!("rediss://{NAME}:{port}");
    let agent = |id: &str, variables: &[(&str, &str)]| {
        let words = [
            "/hbsidecar",
            "--id",
            id,
            "--redis-url",
            &store,
            "--",
            "/hbsidecar",
            "--version",
        ];
        let done = root.run(&words, variables);
        assert!(done.status.success(), "{done:?}");
        redis.run::<Option<String>>(&["HGET", &format!("agent:{id}"), "status"])
    };
    assert_eq!(agent("stranger", &[]), None);
    let trusted = [("HB_REDIS_CA_FILE", "/authority.pem")];
    assert_eq!(agent("known", &trusted).as_deref(), Some("stopped"));
}

/// No name, no home, no `/tmp`, no place to write to. Needs root, as the tests of Docker do.
const STRANGER: [&str; 4] = ["--setuid", "12345", "--setgid", "12345"];

#[test]
fn a_user_that_the_system_does_not_know_is_served_all_the_same() {
    let redis = Redis::start();

    let root = Root::with("hbsidecar");
    let store = format!("redis://{NAME}:{}", redis.port);
    let sidecar = [
        "/hbsidecar",
        "--id",
        "a1",
        "--redis-url",
        &store,
        "--",
        "/hbsidecar",
        "--version",
    ];
    let done = root.command(&STRANGER, &sidecar).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let status: Option<String> = redis.run(&["HGET", "agent:a1", "status"]);
    assert_eq!(status.as_deref(), Some("stopped"));

    let root = Root::with("hbmonitor");
    let monitor = ["/hbmonitor", "--redis-url", &store, "--quiet"];
    let (_running, address) = serving(&mut root.command(&STRANGER, &monitor));
    eventually("it knows the agent", || {
        let (_, agent) = get(&address, "/health/agents/a1")?;
        (agent["state"] == "stopped").then_some(())
    });
}

/// The fleet is watched all the same.
#[test]
fn a_monitor_that_cannot_keep_a_token_or_a_store_names_the_flags_for_it() {
    let place = tempfile::tempdir().unwrap();
    let redis = Redis::start();
    let store = format!("redis://{NAME}:{}", redis.port);
    for (flags, words) in [
        (&[][..], "name a file with --token-file"),
        (
            &["--state-dir", "/etc"],
            "name another directory with --state-dir",
        ),
    ] {
        let root = Root::with("hbmonitor");
        let log = place.path().join("log");
        let monitor = [&["/hbmonitor", "--redis-url", &store][..], flags].concat();
        let mut command = root.command(&STRANGER, &monitor);
        command.stderr(std::fs::File::create(&log).unwrap());
        let (_running, address) = serving(&mut command);
        eventually(&format!("it logs {words:?}"), || {
            std::fs::read_to_string(&log)
                .unwrap()
                .contains(words)
                .then_some(())
        });
        assert!(get(&address, "/health/agents").is_some());
    }
}
