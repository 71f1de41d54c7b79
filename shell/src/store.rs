//! The store's address and what opens it, as both programs take them from their users; and the connection to it.

mod cluster;
mod connect;
mod credentials;
mod hosts;
mod link;
mod replica;
mod routes;
mod sentinel;

use crate::private_dir::PrivateDir;
use crate::tls::{self, TlsError, TlsFiles};
pub use cluster::ClusterError;
use cluster::{Cluster, Node, Slots, slot};
pub use connect::{ConnectError, causes, remedy};
pub use credentials::{Credentials, CredentialsGiven};
use heartbeat::base::runtime_dir;
use heartbeat::wire::event::Event;
use heartbeat::wire::keys;
pub use link::{Link, Within};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
pub use replica::ReplicaWatch;
use rustls::ClientConfig;
pub use sentinel::SentinelError;
use sentinel::Sentinels;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a store is. What stands in files is read when a connection is made.
#[derive(Clone, Debug)]
pub struct Address {
    info: Box<ConnectionInfo>,
    names: Names,
    is_encrypted: bool,
    credentials: Credentials,
    public_url: String,
}

/// What the URL names.
#[derive(Clone, Debug)]
enum Names {
    /// The server itself, which is the one of `info`.
    Server,
    /// Those that know which server is the master.
    Sentinels(Sentinels),
    /// Nodes that know which of them owns which keys.
    Cluster(Cluster),
}

/// Where the store is at this time: one server, or the nodes of a cluster.
#[derive(Clone, Debug)]
pub struct Located {
    /// The server, or one of the masters.
    server: Target,
    cluster: Option<Map>,
}

/// Who owns which slots, and one of the masters, another one each time.
#[derive(Clone, Debug)]
struct Map {
    slots: Slots,
    any: Node,
}

/// What one connection is made with.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address, database, user and password.
    pub info: ConnectionInfo,
    /// The client of a connection that is encrypted.
    pub tls: Option<Arc<ClientConfig>>,
    /// Others named this server as the master, and it is asked whether it is.
    pub must_be_master: bool,
}

/// Why there is no address. The URL itself is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not the URL of a store.
    #[error("invalid store URL ({0}); write it as in redis://127.0.0.1:6379")]
    Url(String),
    /// The password file is not readable.
    #[error("cannot read the password file {0}: {1}")]
    Password(PathBuf, std::io::Error),
    /// A certificate without its key, or the other way round.
    #[error("--redis-cert-file and --redis-key-file are given together or not at all")]
    HalfIdentity,
    /// Files for TLS, and a store that is reached without it.
    #[error("certificates were given for a store without TLS; write its URL as in rediss://h:6379")]
    NoTls,
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// The text is not a URL of a store, or it asks for TLS without verification, or it does not ask for the TLS that files
    /// were given for.
    pub fn new(url: &str, credentials: Credentials) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let scheme = scheme.replace("valkey", "redis");
        let (scheme, is_encrypted) = match scheme.strip_prefix("rediss") {
            Some(rest) => (format!("redis{rest}"), true),
            None => (scheme, false),
        };
        let plain = match scheme.as_str() {
            "" => rest.to_owned(),
            scheme => format!("{scheme}://{rest}"),
        };
        if is_encrypted && plain.ends_with("#insecure") {
            return Err(AddressError::Url(
                "#insecure is not supported: name the store's certificate authority with --redis-ca-file"
                    .to_owned(),
            ));
        }
        if !is_encrypted && credentials.tls != TlsFiles::default() {
            return Err(AddressError::NoTls);
        }
        let (names, info) = if let Some(rest) = plain.strip_prefix("redis-sentinel://") {
            let (sentinels, info) = Sentinels::parse(rest)?;
            (Names::Sentinels(sentinels), info)
        } else if let Some(rest) = plain.strip_prefix("redis-cluster://") {
            let (cluster, info) = Cluster::parse(rest)?;
            (Names::Cluster(cluster), info)
        } else {
            let info = plain.into_connection_info();
            let wrong = |error: redis::RedisError| AddressError::Url(error.to_string());
            (Names::Server, info.map_err(wrong)?)
        };
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
        Ok(Self {
            info: Box::new(info.set_redis_settings(settings)),
            names,
            is_encrypted,
            credentials,
            public_url: without_secrets(url),
        })
    }

    /// The URL as it was given, without user and password: for programs that know those themselves.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Where the store is now. Sentinels are asked which server is the master, nodes of a cluster who owns which keys, for
    /// `within` at most.
    ///
    /// # Errors
    /// A file is not readable any more, no sentinel names a master, or no node of the cluster answers.
    pub async fn locate(&self, within: Duration) -> Result<Located, ConnectError> {
        let mut server = self.resolve()?;
        let mut map = None;
        match &self.names {
            Names::Server => {}
            Names::Sentinels(sentinels) => {
                let master = sentinels.locate(&server, within).await?;
                server.info = server.info.set_addr(master);
            }
            Names::Cluster(cluster) => {
                let slots = cluster.locate(&server, within).await?;
                if let Some(any) = fastrand::choice(slots.masters()) {
                    server = any.target(&server);
                    map = Some(Map { slots, any });
                }
            }
        }
        Ok(Located {
            server,
            cluster: map,
        })
    }

    fn resolve(&self) -> Result<Target, AddressError> {
        let info = ConnectionInfo::clone(&self.info);
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &self.credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.credentials.password {
            settings = settings.set_password(password.read()?);
        }
        let client = || tls::client(&self.credentials.tls).map(Arc::new);
        let tls = self.is_encrypted.then(client).transpose()?;
        Ok(Target {
            info: info.set_redis_settings(settings),
            tls,
            must_be_master: matches!(self.names, Names::Sentinels(_)),
        })
    }

    /// The number of the database.
    pub fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Whether the store is on this machine: retries disturb no network.
    pub fn is_local(&self) -> bool {
        match &self.names {
            Names::Server => is_local(self.info.addr()),
            Names::Sentinels(sentinels) => sentinels.are(is_local),
            Names::Cluster(cluster) => cluster.are(is_local),
        }
    }
}

impl Located {
    /// The server; of a cluster one of the masters.
    pub fn server(&self) -> &Target {
        &self.server
    }

    /// The address of the server that owns this key.
    pub fn address_of(&self, key: &str) -> String {
        let owner = self.cluster.as_ref();
        let owner = owner.and_then(|map| map.slots.owner(slot(key.as_bytes())));
        owner.map_or_else(|| self.server.info.addr().to_string(), Node::to_string)
    }

    /// Where the masters are of which others say that they are it; none for a server that is known by its own address.
    pub fn masters(&self) -> Vec<String> {
        match &self.cluster {
            Some(map) => map.slots.masters().iter().map(Node::to_string).collect(),
            None if self.server.must_be_master => vec![self.server.info.addr().to_string()],
            None => Vec::new(),
        }
    }
}

fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let hosts = authority.rsplit('@').next().unwrap_or(authority);
    let is_public = |pair: &&str| !["user=", "pass="].iter().any(|name| pair.starts_with(name));
    let query: Vec<&str> = query.split('&').filter(is_public).collect();
    let query = match query.join("&") {
        query if query.is_empty() => query,
        query => format!("?{query}"),
    };
    format!("{scheme}://{hosts}{path}{query}")
}

fn is_local(address: &ConnectionAddr) -> bool {
    match address {
        ConnectionAddr::Tcp(host, _) => {
            let ip = host.parse::<std::net::IpAddr>();
            host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
        }
        ConnectionAddr::Unix(_) => true,
        ConnectionAddr::TcpTls { .. } | _ => false,
    }
}

/// Host and port, or the socket's path, or the master's name and its sentinels, or the nodes of a cluster.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::Server => self.info.addr().fmt(f),
            Names::Sentinels(sentinels) => sentinels.fmt(f),
            Names::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

/// The directory in which programs of this user keep what survives a restart; `None` for a user without a home.
pub fn state_directory() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let uid = nix::unistd::geteuid().as_raw();
    runtime_dir::state_dir(path("XDG_STATE_HOME"), path("HOME"), uid)
}

/// The command that adds an event to the stream.
pub fn add_event(event: &Event) -> redis::Cmd {
    let mut add = redis::cmd("XADD");
    add.arg(keys::EVENTS)
        .arg("MAXLEN")
        .arg("~")
        .arg(keys::EVENTS_KEPT)
        .arg("*");
    for (field, value) in event.encode() {
        add.arg(field).arg(value);
    }
    add
}

/// The URL that an hbmonitor of this user published in the runtime directory; `None` when there is none, or when the
/// directory or the file may be another user's.
pub fn published_url() -> Option<String> {
    let text = PrivateDir::of_user_if_there()?.read(runtime_dir::STORE_FILE)?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn of_file(file: &Path) -> Credentials {
        let given = CredentialsGiven {
            password_file: Some(file.to_owned()),
            ..CredentialsGiven::default()
        };
        given.open().unwrap()
    }

    fn password(address: &Address) -> String {
        let target = address.resolve().unwrap();
        target.info.redis_settings().password().unwrap().to_owned()
    }

    #[test]
    fn the_url_that_others_get_holds_no_user_and_no_password() {
        for (given, public) in [
            ("h:7000", "redis://h:7000"),
            ("redis://user:p@ss@h:7000/3", "redis://h:7000/3"),
            ("rediss://:pass@h", "rediss://h"),
            (
                "redis-sentinel://user:pass@h1:1,h2:2/main/3",
                "redis-sentinel://h1:1,h2:2/main/3",
            ),
            (
                "redis+unix:///run/r.sock?db=2&user=me&pass=secret",
                "redis+unix:///run/r.sock?db=2",
            ),
        ] {
            assert_eq!(without_secrets(given), public);
        }
    }

    #[test]
    fn a_password_file_is_read_for_each_connection_and_wins_over_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "one\n").unwrap();
        let address = Address::new("redis://user:zero@h/3", of_file(&file)).unwrap();
        assert_eq!(password(&address), "one");
        std::fs::write(&file, "two\r\n").unwrap();
        assert_eq!(password(&address), "two");
        std::fs::remove_file(&file).unwrap();
        let error = address.resolve().unwrap_err().to_string();
        assert!(error.contains("cannot read the password file"), "{error}");
        assert_eq!(
            (address.to_string(), address.database()),
            ("h:6379".to_owned(), 3)
        );
        let shown = format!("{address:?}{error}");
        assert!(!shown.contains("zero") && !shown.contains("two"), "{shown}");
    }

    #[test]
    fn a_password_in_the_url_is_used_without_a_file() {
        let address = Address::new("redis://user:zero@h", Credentials::default()).unwrap();
        assert_eq!(password(&address), "zero");
    }

    #[test]
    fn what_a_pipe_delivered_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let write = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, "secret\n").unwrap()
        });
        let address = Address::new("redis://h", of_file(&pipe)).unwrap();
        write.join().unwrap();
        assert_eq!(password(&address), "secret");
        assert_eq!(password(&address), "secret");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_bad_url_is_refused_and_its_password_is_not_repeated() {
        for url in [
            "http://user:secret@h",
            "redis",
            "rediss://user:secret@h/#insecure",
            "redis://:secret@h:x",
        ] {
            let error = Address::new(url, Credentials::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("redis://127.0.0.1:6379") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_user_name_wins_over_the_url() {
        let given = CredentialsGiven {
            username: Some("hb".to_owned()),
            ..CredentialsGiven::default()
        };
        let address = Address::new("redis://user:zero@h", given.open().unwrap()).unwrap();
        let target = address.resolve().unwrap();
        assert_eq!(target.info.redis_settings().username(), Some("hb"));
    }

    #[test]
    fn half_an_identity_is_refused() {
        let given = CredentialsGiven {
            cert_file: Some("/no/such/cert.pem".into()),
            ..CredentialsGiven::default()
        };
        assert!(matches!(given.open(), Err(AddressError::HalfIdentity)));
    }

    #[test]
    fn files_for_tls_need_a_url_with_tls() {
        let credentials = Credentials {
            tls: TlsFiles {
                ca: Some("/etc/ca.pem".into()),
                identity: None,
            },
            ..Credentials::default()
        };
        let error = Address::new("redis://h", credentials.clone()).unwrap_err();
        assert!(error.to_string().contains("rediss://"), "{error}");
        assert!(Address::new("rediss://h", credentials).is_ok());
    }

    #[test]
    fn loopback_and_sockets_are_local() {
        let local = |url| {
            Address::new(url, Credentials::default())
                .unwrap()
                .is_local()
        };
        assert!(
            local("redis://127.0.0.1")
                && local("rediss://localhost:1")
                && local("redis://localhost")
                && local("redis+unix:///s")
        );
        assert!(!local("redis://store.example"));
    }
}
