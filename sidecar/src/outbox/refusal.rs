//! What the store answers instead of carrying out: whether it may do so later, and what a person can do about it.

use hbshell::store::{ConnectError, SentinelError, TLS_REMEDY};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// How a living store says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot write at this time: a replica, full, its disk is broken.
    ForNow,
    /// It will not write this: not allowed, another kind of key.
    ForGood,
}

/// `None` for an error of the connection, and for a store that is not ready for anything: those end the session.
pub(super) fn refusal(error: &RedisError) -> Option<Refusal> {
    match error.code()? {
        "READONLY" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "TRYAGAIN" => {
            Some(Refusal::ForNow)
        }
        "NOPERM" | "WRONGTYPE" | "ERR" => Some(Refusal::ForGood),
        _ => None,
    }
}

/// What to do about a store that refuses writes.
pub(super) fn remedy_of_refusal(error: &RedisError) -> &'static str {
    match error.code().unwrap_or_default() {
        "READONLY" => "it is a replica: name its master with --redis-url, or promote it",
        "OOM" => "it is full: raise its maxmemory or make room",
        "MISCONF" => "it cannot save its data: look at its disk and its log",
        "NOREPLICAS" => "its replicas are away: bring them back or lower min-replicas-to-write",
        "BUSY" | "TRYAGAIN" => "it is busy: nothing needs to be done if this ends by itself",
        "NOPERM" => "allow its user the commands and keys that docs/wire.md names (ACL SETUSER)",
        "WRONGTYPE" => "another program uses a key of hb: rename or delete that key",
        _ => "look at its log",
    }
}

/// What to do about a store that cannot be reached or refuses the user.
pub(super) fn remedy_of_outage(error: &anyhow::Error) -> &'static str {
    let refused = match error.downcast_ref::<ConnectError>() {
        Some(ConnectError::Tls(_)) => return TLS_REMEDY,
        Some(ConnectError::Sentinel(error)) => return remedy_of_sentinels(error),
        Some(ConnectError::Address(_)) => {
            return "check --redis-url and the files that the options name";
        }
        Some(ConnectError::Store(error)) => Some(error),
        None => error.downcast_ref::<RedisError>(),
    };
    let Some(error) = refused else {
        return "check --redis-url and the files that the options name";
    };
    if error.kind() == ErrorKind::AuthenticationFailed || is_unauthenticated(error) {
        return "check the user and the password (--redis-username, --redis-password-file)";
    }
    if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) {
        return "it loads its data: nothing needs to be done if this ends by itself";
    }
    if error.is_timeout() {
        return "it does not answer: check the network between here and there, and that it is not overloaded";
    }
    if error.is_io_error() {
        return "start it, or name another one with --redis-url";
    }
    "look at its log, or name another one with --redis-url"
}

fn remedy_of_sentinels(error: &SentinelError) -> &'static str {
    match error {
        SentinelError::Silent(_) => "start them, or name others with --redis-url",
        SentinelError::Unknown(_) => "check the name at the end of --redis-url",
        SentinelError::Replica(_) => "nothing needs to be done if this ends by itself",
    }
}

fn is_unauthenticated(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}
