//! The connection to one server, encrypted or not, and why there is none.

use super::cluster::ClusterError;
use super::sentinel::{self, SentinelError};
use super::{AddressError, Target};
use crate::tries;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisConnectionInfo, RedisError,
    RedisResult, ServerErrorKind,
};
use rustls::pki_types::ServerName;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long a connection is waited for before another one is tried beside it: the kernel repeats its own question after 1 s.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(2);
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
    Tls(io::Error),
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
    /// The nodes of a cluster are not there, or are none.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Connects, encrypted where the target is; `within` bounds the connection and its greeting each.
///
/// # Errors
/// The store cannot be reached, its certificate is not trusted, it refuses the user, or it should be the master and is not.
pub(super) async fn connect(
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

pub(super) async fn open(
    target: Target,
    config: AsyncConnectionConfig,
    within: Duration,
) -> Result<MultiplexedConnection, ConnectError> {
    let config = config.set_connection_timeout(Some(within));
    let ConnectionAddr::Tcp(host, port) = target.info.addr() else {
        let client = Client::open(target.info)?;
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        return Ok(connected.await?);
    };
    let settings = target.info.redis_settings();
    let connected = async {
        let stream = reach(host, *port).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = target.tls else {
            return Ok(greet(settings, stream, config).await?);
        };
        let greeting = TlsConnector::from(tls).connect(server_name(host)?, stream);
        let encrypted = tokio::time::timeout(within / 2, greeting).await;
        let stream = encrypted
            .map_err(|_| ConnectError::NoTls)?
            .map_err(ConnectError::Tls)?;
        greet(settings, stream, config).await.map_err(tls_or_store)
    };
    let late = |_| unreachable(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(within, connected)
        .await
        .map_err(late)?
}

/// Connects to the first of the host's addresses that answers. A way that leads nowhere is tried again while the older tries
/// last: where a server was replaced, only new connections are led to the new one, and its name may have another address.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    loop {
        for address in tokio::net::lookup_host((host, port)).await? {
            tries.spawn(TcpStream::connect(address));
        }
        let reached = tokio::time::timeout(TRIED_AGAIN_AFTER, tries::first(&mut tries));
        if let Ok(Some(reached)) = reached.await {
            return reached;
        }
    }
}

fn server_name(host: &str) -> RedisResult<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        RedisError::from((
            ErrorKind::InvalidClientConfig,
            "the store's host is no name that a certificate could hold",
        ))
    })
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    settings: &RedisConnectionInfo,
    stream: S,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let greeted = MultiplexedConnection::new_with_config(settings, stream, config).await;
    let (connection, driver) = greeted?;
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
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(refusal) => ConnectError::Tls(io::Error::other(refusal.clone())),
        None => ConnectError::Store(error),
    }
}

impl ConnectError {
    /// Whether the server gave no answer at all.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Store(error) => error.code().is_none(),
            Self::NoTls | Self::UnknownName(_) | Self::NoNameServer(_) => true,
            Self::Tls(_)
            | Self::Closed(_)
            | Self::Address(_)
            | Self::Sentinel(_)
            | Self::Cluster(_) => false,
        }
    }

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
            Self::Cluster(error) => error.remedy(),
        }
    }
}

/// What to do about a store that cannot be reached, refuses the user, or was lost; `None` for what is no error of a store.
pub fn remedy(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    chain(error).find_map(|error| {
        let of_connection = error.downcast_ref().map(ConnectError::remedy);
        of_connection.or_else(|| error.downcast_ref().map(remedy_of_outage))
    })
}

fn remedy_of_outage(error: &RedisError) -> &'static str {
    if error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
    {
        return "check the user and the password (--redis-username, --redis-password-file)";
    }
    if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) {
        return "it loads its data: nothing needs to be done if this ends by itself";
    }
    if let ErrorKind::Server(
        ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
    ) = error.kind()
    {
        return "it is a node of a cluster, whose URL is written as in redis-cluster://h1:6379,h2:6379";
    }
    if error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown) {
        return "nothing needs to be done if this ends by itself; each slot needs a node that serves it (CLUSTER INFO)";
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
    for cause in chain(error) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

/// An error, then what it stems from.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(
        Some(error),
        |error: &&'a (dyn std::error::Error + 'static)| (*error).source(),
    )
}

pub(super) fn unreachable(error: io::Error) -> ConnectError {
    ConnectError::Store(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Address, Credentials};
    use std::path::PathBuf;

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
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, TimedOut};
        let remedy =
            |kind: io::ErrorKind| remedy_of_outage(&RedisError::from(io::Error::from(kind)));
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
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ConnectError::Store(refused().into());
        assert_eq!(causes(&error), refused().to_string());
        let file = AddressError::Password(PathBuf::from("/p"), refused());
        assert_eq!(
            causes(&file),
            format!("cannot read the password file /p: {}", refused())
        );
    }
}
