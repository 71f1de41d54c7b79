//! The store's address and what opens it, as both programs take them from their users; and the connection to it.

mod replica;
mod sentinel;

use crate::private_dir::PrivateDir;
use crate::tls::{self, TlsError, TlsFiles};
use heartbeat::base::runtime_dir;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, ServerErrorKind,
};
pub use replica::ReplicaWatch;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
pub use sentinel::SentinelError;
use sentinel::Sentinels;
use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a store is. What stands in files is read when a connection is made.
#[derive(Clone, Debug)]
pub struct Address {
    info: Box<ConnectionInfo>,
    /// Those that know which server is the master; without them it is the one of `info`.
    sentinels: Option<Sentinels>,
    is_encrypted: bool,
    credentials: Credentials,
    public_url: String,
}

/// What a user gives beside the URL, as it was given: by flag, variable or configuration file.
#[derive(Clone, Debug, Default)]
pub struct CredentialsGiven {
    /// The user's name in the store.
    pub username: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// A file with the client's certificate.
    pub cert_file: Option<PathBuf>,
    /// A file with that certificate's key.
    pub key_file: Option<PathBuf>,
}

/// What a user gives beside the URL, checked; it overrides what the URL says.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    username: Option<String>,
    password: Option<Password>,
    tls: TlsFiles,
}

/// A password in a file. The file is read again for each connection, so a new password needs no restart.
#[derive(Clone)]
struct Password {
    file: PathBuf,
    /// What a pipe delivered, as of a shell's `<(pass show redis)`: it cannot be read twice.
    kept: Option<String>,
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

impl CredentialsGiven {
    /// Checks that each file can be used now.
    ///
    /// # Errors
    /// One cannot, or half of a client's identity is missing.
    pub fn open(self) -> Result<Credentials, AddressError> {
        let identity = match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(AddressError::HalfIdentity),
        };
        let tls = TlsFiles {
            ca: self.ca_file,
            identity,
        };
        if tls != TlsFiles::default() {
            tls::client(&tls)?;
        }
        Ok(Credentials {
            username: self.username,
            password: self.password_file.map(Password::open).transpose()?,
            tls,
        })
    }
}

impl Credentials {
    /// Whether nothing was given: no secret could go to the wrong store.
    pub fn is_empty(&self) -> bool {
        self.username.is_none() && self.password.is_none() && self.tls == TlsFiles::default()
    }
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
        let (sentinels, info) = match plain.strip_prefix("redis-sentinel://") {
            Some(rest) => {
                let (sentinels, info) = Sentinels::parse(rest)?;
                (Some(sentinels), info)
            }
            None => {
                let info = plain.into_connection_info();
                (
                    None,
                    info.map_err(|error| AddressError::Url(error.to_string()))?,
                )
            }
        };
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
        Ok(Self {
            info: Box::new(info.set_redis_settings(settings)),
            sentinels,
            is_encrypted,
            credentials,
            public_url: without_secrets(url),
        })
    }

    /// The URL as it was given, without user and password: for programs that know those themselves.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// What the next connection is made with. Sentinels are asked which server is the master, for `within` at most.
    ///
    /// # Errors
    /// A file is not readable any more, or no sentinel names a master.
    pub async fn locate(&self, within: Duration) -> Result<Target, ConnectError> {
        let mut target = self.resolve()?;
        if let Some(sentinels) = &self.sentinels {
            let master = sentinels.locate(&target, within).await?;
            target.info = target.info.set_addr(master);
        }
        Ok(target)
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
            must_be_master: self.sentinels.is_some(),
        })
    }

    /// The number of the database.
    pub fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Whether the store is on this machine: retries disturb no network.
    pub fn is_local(&self) -> bool {
        match &self.sentinels {
            Some(sentinels) => sentinels.are(is_local),
            None => is_local(self.info.addr()),
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

/// How long a server may take to say why it closes connections, and how much of that is read, in bytes.
const WORDS_WITHIN: Duration = Duration::from_millis(500);
const WORDS_MAX: usize = 256;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The store cannot be reached, or it refuses the user.
    #[error(transparent)]
    Store(#[from] RedisError),
    /// It was reached, but the two do not trust each other.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    /// It was reached, and gave no answer to the greeting of TLS.
    #[error("no answer to the greeting of TLS")]
    NoTls,
    /// Its host's name has no address.
    #[error("the name {0} has no address")]
    UnknownName(String),
    /// Whether its host's name has an address is not known.
    #[error("no name server answers for {0}")]
    NoNameServer(String),
    /// It closes the connection, and says why.
    #[error("it closes the connection: {0}")]
    Closed(String),
    /// What it is reached with is not there any more.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No server is known that is the master.
    #[error(transparent)]
    Sentinel(#[from] SentinelError),
}

/// Connects, encrypted where the target is; `within` bounds the connection and its greeting each.
///
/// # Errors
/// The store cannot be reached, its certificate is not trusted, it refuses the user, or it should be the master and is not.
pub async fn connect(
    target: Target,
    config: AsyncConnectionConfig,
    within: Duration,
) -> Result<MultiplexedConnection, ConnectError> {
    let mut link = match open(target.clone(), config, within).await {
        Err(ConnectError::Store(error)) if !error.is_connection_refusal() => {
            return Err(why_not(&target, &error)
                .await
                .unwrap_or(ConnectError::Store(error)));
        }
        opened => opened?,
    };
    if target.must_be_master {
        sentinel::check_role(&mut link, target.info.addr()).await?;
    }
    Ok(link)
}

async fn open(
    target: Target,
    config: AsyncConnectionConfig,
    within: Duration,
) -> Result<MultiplexedConnection, ConnectError> {
    let config = config.set_connection_timeout(Some(within));
    let (ConnectionAddr::Tcp(host, port), Some(tls)) = (target.info.addr(), target.tls) else {
        let client = Client::open(target.info)?;
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        return Ok(connected.await?);
    };
    let name = ServerName::try_from(host.clone()).map_err(|_| {
        RedisError::from((
            ErrorKind::InvalidClientConfig,
            "the store's host is no name that a certificate could hold",
        ))
    })?;
    let connected = async {
        let reached = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = reached.await.map_err(unreachable)?;
        let greeting = TlsConnector::from(tls).connect(name, stream);
        let encrypted = tokio::time::timeout(within / 2, greeting).await;
        let stream = encrypted
            .map_err(|_| ConnectError::NoTls)?
            .map_err(ConnectError::Tls)?;
        let settings = target.info.redis_settings();
        MultiplexedConnection::new_with_config(settings, stream, config)
            .await
            .map_err(tls_or_store)
    };
    let late = |_| unreachable(std::io::ErrorKind::TimedOut.into());
    let connected: Result<_, ConnectError> = tokio::time::timeout(within, connected)
        .await
        .map_err(late)?;
    let (connection, driver) = connected?;
    tokio::spawn(driver); // it ends with the last handle of the connection
    Ok(connection)
}

/// Whether there was a connection. The crate counts a refused one as dropped.
fn is_closed(error: &RedisError) -> bool {
    !error.is_connection_refusal()
        && !error.is_timeout()
        && (error.is_connection_dropped() || error.is_io_error())
}

/// What the error does not say: that the name has no address, or why the server hangs up.
async fn why_not(target: &Target, error: &RedisError) -> Option<ConnectError> {
    let ConnectionAddr::Tcp(host, port) = target.info.addr() else {
        return None;
    };
    let address = tokio::net::lookup_host((host.as_str(), *port));
    match tokio::time::timeout(WORDS_WITHIN, address).await {
        Ok(Ok(_)) if target.tls.is_none() && is_closed(error) => why_closed(host, *port).await,
        Ok(Ok(_)) => None,
        Ok(Err(_)) => Some(ConnectError::UnknownName(host.clone())),
        Err(_) => Some(ConnectError::NoNameServer(host.clone())),
    }
}

/// A server that has no room for a client says so and closes. What was sent to it meanwhile takes its words away; so it is
/// listened to once without a word.
async fn why_closed(host: &str, port: u16) -> Option<ConnectError> {
    let words = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        let mut words = [0; WORDS_MAX];
        let length = stream.read(&mut words).await.ok()?;
        let text = String::from_utf8_lossy(words.get(..length)?);
        let text = text.strip_prefix('-')?.trim_end();
        Some(text.chars().filter(|c| !c.is_control()).collect())
    };
    let words = tokio::time::timeout(WORDS_WITHIN, words).await.ok()?;
    words.map(ConnectError::Closed)
}

/// Since TLS 1.3 a store refuses the client's certificate after the handshake, where the first answer is read.
fn tls_or_store(error: RedisError) -> ConnectError {
    // The crate hands its source out behind a pointer of its own.
    let shared = error
        .source()
        .and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let of_tls = shared
        .and_then(|shared| shared.downcast_ref())
        .and_then(std::io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(refusal) => ConnectError::Tls(std::io::Error::other(refusal.clone())),
        None => ConnectError::Store(error),
    }
}

impl ConnectError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Store(error) => remedy_of_outage(error),
            Self::Tls(_) => {
                "name the certificate authority of the store with --redis-ca-file, and the client's own certificate with --redis-cert-file where the store asks for one"
            }
            Self::NoTls => "if it does not speak TLS, write its URL as redis://",
            Self::UnknownName(_) => {
                "check its spelling in --redis-url, and the name servers of this machine (/etc/resolv.conf)"
            }
            Self::NoNameServer(_) => "check the name servers of this machine (/etc/resolv.conf)",
            Self::Closed(_) => {
                "raise its maxclients, or find out who holds its connections (CLIENT LIST)"
            }
            Self::Address(_) => "check --redis-url and the files that the options name",
            Self::Sentinel(SentinelError::Silent(_)) => {
                "start them, or name others with --redis-url"
            }
            Self::Sentinel(SentinelError::Unknown(_)) => "check the name at the end of --redis-url",
            Self::Sentinel(SentinelError::Replica(_)) => {
                "nothing needs to be done if this ends by itself"
            }
        }
    }
}

/// What to do about a store that cannot be reached or refuses the user.
pub fn remedy_of_outage(error: &RedisError) -> &'static str {
    if error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
    {
        return "check the user and the password (--redis-username, --redis-password-file)";
    }
    if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) {
        return "it loads its data: nothing needs to be done if this ends by itself";
    }
    if error.is_timeout() {
        return "it does not answer: check the network between here and there, and that it is not overloaded";
    }
    if is_closed(error) {
        return "look at its log, or name another one with --redis-url; if it speaks TLS, write its URL as rediss://";
    }
    if error.is_io_error() {
        return "start it, or name another one with --redis-url";
    }
    "look at its log, or name another one with --redis-url"
}

/// What happened and its causes, each once: an error of the store repeats the one that it stems from.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

fn unreachable(error: std::io::Error) -> ConnectError {
    ConnectError::Store(error.into())
}

/// Host and port, or the socket's path, or the master's name and its sentinels.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sentinels {
            Some(sentinels) => sentinels.fmt(f),
            None => self.info.addr().fmt(f),
        }
    }
}

impl Password {
    /// Checks that the file is readable.
    fn open(file: PathBuf) -> Result<Self, AddressError> {
        let once = std::fs::metadata(&file).is_ok_and(|found| !found.is_file());
        let text = read(&file)?;
        let kept = once.then_some(text);
        Ok(Self { file, kept })
    }

    fn read(&self) -> Result<String, AddressError> {
        match &self.kept {
            Some(kept) => Ok(kept.clone()),
            None => read(&self.file),
        }
    }
}

/// Shows the file, never its content.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.file).finish()
    }
}

/// The directory in which programs of this user keep what survives a restart; `None` for a user without a home.
pub fn state_directory() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let uid = nix::unistd::geteuid().as_raw();
    runtime_dir::state_dir(path("XDG_STATE_HOME"), path("HOME"), uid)
}

/// The URL that an hbmonitor of this user published in the runtime directory; `None` when there is none, or when the
/// directory or the file may be another user's.
pub fn published_url() -> Option<String> {
    let text = PrivateDir::of_user_if_there()?.read(runtime_dir::STORE_FILE)?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn read(file: &Path) -> Result<String, AddressError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(AddressError::Password(file.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// `.invalid` has no addresses (RFC 6761); without a name server that answers that is not known.
    #[test]
    fn a_name_without_an_address_is_named() {
        let address = Address::new("redis://store.invalid:6379", Credentials::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let within = Duration::from_secs(2);
        let config = AsyncConnectionConfig::new();
        let connected = runtime.block_on(connect(address.resolve().unwrap(), config, within));
        runtime.shutdown_background();
        let error = connected.map(drop).unwrap_err();
        let (text, remedy) = (error.to_string(), error.remedy());
        assert!(text.contains("store.invalid"), "{text}");
        assert!(remedy.contains("/etc/resolv.conf"), "{text}; {remedy}");
    }

    #[test]
    fn a_store_that_is_not_there_is_to_be_started_and_one_that_hangs_up_has_a_log() {
        use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, TimedOut};
        let remedy = |kind: std::io::ErrorKind| {
            remedy_of_outage(&RedisError::from(std::io::Error::from(kind)))
        };
        for (kind, begins) in [
            (ConnectionRefused, "start it"),
            (NotFound, "start it"),
            (ConnectionReset, "look at its log"),
            (TimedOut, "it does not answer"),
        ] {
            assert!(remedy(kind).starts_with(begins), "{kind}: {}", remedy(kind));
        }
    }

    #[test]
    fn a_cause_is_named_once() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = ConnectError::Store(refused().into());
        assert_eq!(causes(&error), refused().to_string());
        let file = AddressError::Password(PathBuf::from("/p"), refused());
        assert_eq!(
            causes(&file),
            format!("cannot read the password file /p: {}", refused())
        );
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
